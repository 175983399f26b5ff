"""A digest of what a safetensors file holds, so that a damaged one is not believed.

XXH3 is no protection from somebody who wants to deceive; it finds damage, at several GB/s where
SHA-256 hashes half a GB/s.
"""

import json
from collections.abc import Iterable, Sequence

from xxhash import xxh3_128

Part = tuple[str, str, Sequence[int], memoryview]
"""Of an array: its name, its type in words, its shape, its bytes."""

DIGEST_LENGTH = 32
"""Hexadecimal digits."""


def content_digest(texts: Sequence[str], parts: Iterable[Part]) -> str:
    """32 hexadecimal digits that stand for these texts and arrays, in whatever order arrays come.

    Args:
        texts: what the file says beside its arrays.
        parts: the arrays.
    """
    return digest_in_order(texts, sorted(parts, key=lambda part: part[0]))


def digest_in_order(texts: Sequence[str], parts: Iterable[Part]) -> str:
    """`content_digest` of arrays that come in the order of their names: each is looked at before
    the next one is asked for."""
    whole = xxh3_128(json.dumps(list(texts)).encode())
    for name, dtype, shape, data in parts:
        whole.update(json.dumps([name, dtype, list(shape)]).encode())
        whole.update(data)
    return whole.hexdigest()


def read_metadata(data: bytes) -> dict[str, str]:
    """What a safetensors file says beside its arrays: 8 bytes of length, then JSON.

    Raises:
        ValueError: it is no such file.
    """
    length = int.from_bytes(data[:8], "little")
    try:
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    except (AttributeError, RecursionError) as error:
        raise ValueError(f"no header: {error}") from error
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its header holds no metadata")
    return metadata
