"""What this process has loaded of its corpora, kept for its next trials: as much as memory allows.

A worker runs many trials on the same languages. Sentences, their sub-words and what is known of
them are therefore made once a process and handed from here to every trial. The limit is a number of
bytes and not of entries, so that forty languages stay together where they fit, which they do.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields, is_dataclass
from sys import getsizeof
from typing import Any, TypeVar, cast

import numpy as np
import pyarrow as pa

Value = TypeVar("Value")

SHARE_OF_MEMORY = 1 / 4
"""Of the memory that a process may use; the rest is for model, optimizer and activations."""

MIN_LIMIT_BYTES = 2**30
"""Never less than this, since a trial holds its own data anyway while it runs. A trial on 39
languages of WikiANN with three splits and 101 perturbed test sets was measured to need 339 MiB."""


class SizedCache:
    """Values by key, the least recently used of which are dropped when all together get too large.

    Args:
        limit_bytes: size of all values together, as `measure_bytes` has it. The value that was
            asked for last stays, however large it is.

    Attributes:
        num_loads: values that had to be made, since they were not there.
    """

    def __init__(self, limit_bytes: int = MIN_LIMIT_BYTES):
        self.limit_bytes = limit_bytes
        self.num_loads = 0
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    @property
    def num_bytes(self) -> int:
        """Size of all values that are held."""
        return sum(size for _, size in self._entries.values())

    def get(self, key: Hashable, load: Callable[[], Value]) -> Value:
        """The value of `key`, from `load` where it is not held.

        Args:
            key: all that decides the value, so that equal keys stand for equal values.
            load: makes the value; what it raises is passed on, and nothing is held then.
        """
        if key in self._entries:
            self._entries.move_to_end(key)
            return cast(Value, self._entries[key][0])

        value = load()
        self.num_loads += 1
        self._entries[key] = value, measure_bytes(value)
        while len(self._entries) > 1 and self.num_bytes > self.limit_bytes:
            self._entries.popitem(last=False)
        return value

    def clear(self) -> None:
        """Drop all values."""
        self._entries.clear()


LOADED = SizedCache()
"""The cache of this process; `workers.run.prepare_process` sets its limit."""


def limit_for(memory_bytes: int) -> int:
    """Bytes that loaded data may take in a process that may use `memory_bytes` in all."""
    return max(MIN_LIMIT_BYTES, int(SHARE_OF_MEMORY * memory_bytes))


def measure_bytes(value: Any) -> int:
    """Size of a value in bytes, with all that it refers to: arrays, and containers of them."""
    if isinstance(value, np.ndarray):
        return getsizeof(value) + (0 if value.base is None else value.nbytes)
    if isinstance(value, pa.Array):
        return cast(int, value.get_total_buffer_size())
    if is_dataclass(value):
        return sum(measure_bytes(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, Mapping):
        return sum(measure_bytes(key) + measure_bytes(inner) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return getsizeof(value) + sum(measure_bytes(inner) for inner in value)
    return getsizeof(value)
