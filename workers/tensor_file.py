"""Tensors in a safetensors file whose header says what they are, with a digest of all of it.

The file of a running trial's state, of first steps that trials share, and of a kept model.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, astuple, dataclass
from typing import BinaryIO

import torch
from torch import Tensor

from workers.digests import DIGEST_LENGTH, Part, digest_in_order, read_metadata

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.complex64: "C64",
}
"""What safetensors calls the types that states have."""


@dataclass(frozen=True)
class Header:
    """What a file says of its tensors.

    Attributes:
        format: its kind and version.
        trial_id: whose tensors these are: a trial's, or those of first steps that trials share.
        values: all else, as JSON.
    """

    format: str
    trial_id: str
    values: str


def write_tensors(file: BinaryIO, header: Header, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, one tensor after the other.

    Not by safetensors itself, which wants all of them in the memory of the host at once: gigabytes,
    for each of the workers of a node.

    Args:
        file: new.
        header: all that it says, but for the digest.
        tensors: on any device.
    """
    places: dict[str, tuple[int, int]] = {}
    end = 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].element_size(), name)):  # aligned
        begin, end = end, end + tensors[name].numel() * tensors[name].element_size()
        places[name] = (begin, end)

    def beginning(digest: str) -> bytes:
        described = {
            name: {
                "dtype": DTYPES[tensors[name].dtype],
                "shape": list(tensors[name].shape),
                "data_offsets": places[name],
            }
            for name in places
        }
        text = json.dumps(
            {"__metadata__": asdict(header) | {"digest": digest}} | described
        ).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    start = len(beginning("0" * DIGEST_LENGTH))

    def written() -> Iterator[Part]:
        for name in sorted(tensors):
            part = part_of(name, tensors[name])
            file.seek(start + places[name][0])
            file.write(part[-1])
            yield part

    digest = digest_in_order(astuple(header), written())
    file.seek(0)
    file.write(beginning(digest))


def digest_of(header: Header, tensors: Mapping[str, Tensor]) -> str:
    """Of all that the file says: header and tensors."""
    return digest_in_order(astuple(header), parts_of(tensors))


def parts_of(tensors: Mapping[str, Tensor]) -> Iterator[Part]:
    """The tensors in the order of their names, for a digest of them."""
    return (part_of(name, tensors[name]) for name in sorted(tensors))


def part_of(name: str, tensor: Tensor) -> Part:
    """A tensor of any device, for a digest."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    if not len(flat):  # of NumPy, nothing has a stride of 0, of which there is no view as bytes
        flat = flat.new_empty(0)
    return name, str(tensor.dtype), tensor.shape, flat.view(torch.uint8).numpy().data


def read_header(data: bytes) -> tuple[Header, str | None]:
    """The header of a file and its digest; None where it says none.

    Raises:
        ValueError: it is no such file.
    """
    metadata = read_metadata(data)
    missing = [name for name in Header.__dataclass_fields__ if name not in metadata]
    if missing:
        raise ValueError(f"its header says no {' and no '.join(missing)}")
    header = Header(*(metadata[name] for name in Header.__dataclass_fields__))
    return header, metadata.get("digest")
