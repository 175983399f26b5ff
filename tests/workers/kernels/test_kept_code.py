"""Machine code of the loops for CPUs is kept between processes where that is possible."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

STEP = """
import sys
import torch
from numba.core import caching

if "nowhere" in sys.argv:
    caching.FunctionCache._impl_class._locator_classes = []
from workers.kernels import numba_loops
from workers.pruning.masked_adamw import MaskedAdamW

weight = torch.nn.Parameter(torch.ones(40, 33))
weight.grad = torch.ones(40, 33)
MaskedAdamW([weight], prunable=True).step()
stats = numba_loops.adamw.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()), weight.sum().item())
"""
"""A step of the optimizer. Prints how often kept machine code was found, how often it was compiled,
and what came out. With the argument `nowhere` no folder can be written to."""


@pytest.mark.slow
def test_a_second_process_compiles_nothing_and_a_folder_is_not_needed(tmp_path):
    def step(*arguments: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", STEP, *arguments],
            cwd=ROOT,
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()

    *counts, result = step()
    assert counts == ["0", "1"]
    assert step() == ["1", "0", result]
    assert step("nowhere") == ["0", "1", result]
