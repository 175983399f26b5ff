"""What is kept of loaded data: as much as fits, the least recently used goes first."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from workers.data.cache import MIN_LIMIT_BYTES, SizedCache, limit_for, measure_bytes

ARRAY_BYTES = 80_000


def array(number: int) -> np.ndarray:
    return np.full(ARRAY_BYTES // 8, number, np.int64)


def test_what_was_loaded_is_loaded_once():
    cache = SizedCache()
    first = cache.get("sw", lambda: array(1))
    assert cache.get("sw", lambda: array(2)) is first
    assert cache.num_loads == 1


def test_sixty_four_languages_stay_together_where_they_fit():
    cache = SizedCache(limit_bytes=64 * 2 * ARRAY_BYTES)
    for _ in range(3):
        for language in range(64):
            cache.get(language, lambda: array(0))
    assert cache.num_loads == 64


def test_the_least_recently_used_goes_first():
    cache = SizedCache(limit_bytes=int(2.5 * ARRAY_BYTES))
    for language in ("sw", "yo", "sw", "my"):  # `sw` was used after `yo`
        cache.get(language, lambda: array(0))
    assert cache.num_loads == 3
    cache.get("sw", lambda: array(0))
    assert cache.num_loads == 3
    cache.get("yo", lambda: array(0))
    assert cache.num_loads == 4


def test_all_together_stay_within_the_limit():
    cache = SizedCache(limit_bytes=3 * ARRAY_BYTES)
    for language in range(10):
        cache.get(language, lambda: array(0))
        assert cache.num_bytes <= 3 * ARRAY_BYTES


def test_a_value_larger_than_the_limit_is_kept_alone():
    cache = SizedCache(limit_bytes=ARRAY_BYTES // 2)
    first = cache.get("sw", lambda: array(1))
    assert cache.get("sw", lambda: array(2)) is first
    cache.get("yo", lambda: array(3))
    assert cache.num_bytes == measure_bytes(array(3))


def test_what_cannot_be_loaded_is_not_kept():
    cache = SizedCache()

    def fail() -> np.ndarray:
        raise ValueError("no such language")

    with pytest.raises(ValueError, match="no such language"):
        cache.get("sw", fail)
    assert cache.get("sw", lambda: array(1))[0] == 1


@dataclass(frozen=True)
class _Text:
    words: pa.Array
    labels: np.ndarray
    name: str


def test_arrays_are_measured_wherever_they_stand():
    words = pa.array(["habari"] * 10_000)
    text = _Text(words, array(0), "test")
    size = measure_bytes({"test": (text, array(1)[:1000])})
    assert size == pytest.approx(words.nbytes + ARRAY_BYTES + 8000, rel=0.01)


def test_the_limit_follows_the_memory_and_holds_a_trial_on_forty_languages_at_least():
    assert limit_for(64 * 2**30) == 16 * 2**30
    assert limit_for(2**30) == MIN_LIMIT_BYTES == 2**30
