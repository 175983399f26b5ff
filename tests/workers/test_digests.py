"""A digest stands for all that a file says, and does not depend on the order of its arrays."""

import numpy as np
import pytest
from safetensors.numpy import save

from workers.digests import content_digest, read_metadata


def part(name: str, array: np.ndarray):
    return name, str(array.dtype), array.shape, array.data


A, B = part("a", np.arange(6)), part("b", np.zeros(3, np.int8))


def test_texts_names_types_shapes_and_bytes_count_and_the_order_of_arrays_does_not():
    digest = content_digest(["x", "y"], [A, B])
    assert len(digest) == 32
    assert content_digest(["x", "y"], [B, A]) == digest
    others = {
        content_digest(["xy"], [A, B]),
        content_digest(["x", "y"], [A]),
        content_digest(["x", "y"], [A, ("c", *B[1:])]),
        content_digest(["x", "y"], [A, ("b", "uint8", *B[2:])]),
        content_digest(["x", "y"], [part("a", np.arange(6).reshape(2, 3)), B]),
        content_digest(["x", "y"], [part("a", np.arange(1, 7)), B]),
    }
    assert len(others | {digest}) == 7


def test_digest_does_not_change_with_versions():
    """Files that are kept hold it."""
    assert content_digest(["x"], [A, B]) == "1a35e6c980b718535a1f008e0fd230d4"


def test_metadata_is_read_without_the_arrays():
    assert read_metadata(save({"a": np.zeros(2)}, {"digest": "d"})) == {"digest": "d"}
    assert read_metadata(save({"a": np.zeros(2)})) == {}


@pytest.mark.parametrize(
    "header", [b"", b"junk", b"[]", b"{", b'{"__metadata__": 5}', b'{"__metadata__": {"a": 1}}']
)
def test_what_is_no_header_is_refused(header):
    with pytest.raises(ValueError, match="."):
        read_metadata(len(header).to_bytes(8, "little") + header)
