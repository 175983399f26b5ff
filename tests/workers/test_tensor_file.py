"""Files of tensors: any reader of safetensors reads them, and damage shows."""

import numpy as np
import pytest
import torch
from safetensors.torch import load

from workers.storage import Location
from workers.tensor_file import DTYPES, Header, digest_of, read_header, write_tensors

HEADER = Header("a-format-1", "0123456789abcdef", '{"step": 3}')


def written(folder, tensors) -> bytes:
    file = Location.parse(str(folder)) / "a.safetensors"
    file.write_atomic_by(lambda opened: write_tensors(opened, HEADER, tensors))
    return file.read_bytes()


def test_tensors_of_all_types_and_sizes_are_read_back(tmp_path):
    tensors = {
        f"{name} {number}": torch.ones(number).to(dtype)
        for dtype, name in DTYPES.items()
        for number in (0, 1, 7)
    } | {"0-dimensional": torch.tensor(5), "matrix": torch.arange(6.0).reshape(2, 3).T}
    tensors["of none"] = torch.from_numpy(np.zeros(0, np.float32))
    assert tensors["of none"].stride() == (0,)
    data = written(tmp_path, tensors)
    header, digest = read_header(data)
    found = load(data)
    assert header == HEADER
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert digest_of(header, found) == digest == digest_of(HEADER, tensors)


def test_a_changed_bit_changes_the_digest(tmp_path):
    data = bytearray(written(tmp_path, {"a": torch.zeros(100)}))
    data[-1] ^= 1
    header, digest = read_header(bytes(data))
    assert digest_of(header, load(bytes(data))) != digest


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "Expecting value"),
        (b"\2\0\0\0\0\0\0\0{}", "its header says no format and no trial_id and no values"),
        (b"\2\0\0\0\0\0\0\0[]", "no header"),
    ],
)
def test_another_file_is_refused(data, reason):
    with pytest.raises(ValueError, match=reason):
        read_header(data)
