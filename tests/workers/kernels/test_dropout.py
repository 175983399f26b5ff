"""Who is dropped: Philox against its authors' vectors, and Numba against plain torch."""

import numpy as np
import pytest
import torch

from workers.kernels.dropout import DropoutKey, drop_reference, philox, threshold_and_scale
from workers.kernels.numba_dropout import PIECE, drop

KEY = DropoutKey(seed=2**40 + 5, step=7, call=3)


@pytest.mark.parametrize(("rounds", "word", "expected"), [
    (7, 0x00000000, (0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48)),
    (10, 0x00000000, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (10, 0xFFFFFFFF, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
])  # fmt: skip
def test_philox_gives_the_published_words(rounds, word, expected):
    counter = np.full((4, 1), word, np.uint32)
    assert tuple(philox(counter, (word, word), rounds)[:, 0]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "shape", [(0,), (1,), (15,), (16, 1), (17,), (127,), (8, 16), (3, 43), (5000,)]
)
def test_numba_gives_the_bits_of_the_reference(dtype, shape):
    given = torch.randn(shape, generator=torch.manual_seed(0)).to(dtype)
    for p in (0.1, 0.5):
        assert torch.equal(drop(given, p, KEY), drop_reference(given, p, KEY))


def test_bits_do_not_depend_on_threads_or_on_how_memory_lies():
    given = torch.randn((3, 2 * PIECE + 77))
    before = torch.get_num_threads()
    found = []
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            found.append(drop(given, 0.3, KEY))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    turned = given.t().contiguous().t()
    assert torch.equal(drop(turned, 0.3, KEY), found[0])
    assert torch.equal(drop_reference(turned, 0.3, KEY), found[0])


@pytest.mark.parametrize("function", [drop, drop_reference])
def test_what_stays_is_scaled_up_and_the_others_are_zero(function):
    ones = torch.ones(200_000)
    threshold, scale = threshold_and_scale(0.1)
    assert (threshold, scale) == (6554, 65536 / (65536 - 6554))
    found = function(ones, 0.1, KEY)
    assert set(found.unique().tolist()) == {0.0, float(np.float32(scale))}
    assert float((found == 0).double().mean()) == pytest.approx(0.1, abs=0.003)  # 4 deviations
    assert not function(ones, 1.0, KEY).any()
    assert torch.equal(function(ones, 0.0, KEY), ones)


@pytest.mark.parametrize("part", ["seed", "step", "call"])
def test_each_part_of_the_key_counts(part):
    ones = torch.ones(4096)
    other = KEY._replace(**{part: getattr(KEY, part) + 1})
    high = KEY._replace(seed=KEY.seed + 2**32)
    kept = [drop(ones, 0.5, key) != 0 for key in (KEY, other, high)]
    for first, second in ((0, 1), (0, 2)):
        assert 0.45 < float((kept[first] == kept[second]).double().mean()) < 0.55
