"""A whole trial on a GPU that is not there: from a fresh process on, on one device throughout, and
without a look at values but where that is meant.

What it computes, and autograd's own part, is for a real GPU: see test_gpu.
"""

import json
import subprocess
import sys
from typing import Any

import pytest
import torch

from workers.model.positions import CHOOSE_BY_VALUE, READ_PACKED_ROWS

pytestmark = [
    pytest.mark.slow,  # a process each, which imports torch and transformers
    pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a real GPU"),
]

LOGGING = {"workers/train.py:_log", "workers/train.py:_refuse_non_finite_loss"}


def run(program: str, *words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", f"tests.workers.{program}", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("precision", "changes"),
    [
        ("float32", {"saliency": "movement", "embedding_sparsity": 0.5, "scope": "layer"}),
        ("bfloat16", {"semantics": "dense_shadow"}),
        ("float32", {"granularity": "n_of_m", "n_of_m": (2, 4), "scope": "layer"}),
    ],
)
def test_a_trial_computes_on_the_gpu_and_looks_at_values_only_where_it_must(precision, changes):
    result = run("fake_gpu_trial", precision, json.dumps(changes))
    assert (result["kernels"], result["device"], result["num_steps"]) == ("triton", "cuda", 23)
    assert result["device_name"] == "NVIDIA H100 80GB HBM3"
    assert result["num_replays"] > 12, "two a step, and layouts are few"
    assert result["peak_gpu_memory_gib"] == 1.0, "what the stand-in says"
    looks = result["looks"]
    assert looks["loading"] == {}
    assert set(looks["training"]) == LOGGING
    assert looks["training"]["workers/train.py:_log"] == 2 * 3, "every 10 steps and at the end"
    assert set(looks["evaluating"]) == {"scoring/evaluate.py:predict"}
    assert looks["evaluating"]["scoring/evaluate.py:predict"] == 2, "once a batch"
    counting = {"pruning/pruner.py:<genexpr>", "workers/run.py:describe_vocabulary"}
    assert set(looks["end"]) == counting, "zeros are counted"


def test_forward_passes_that_are_recorded_look_at_no_value_and_copy_nothing_from_the_host():
    looks = run("fake_gpu_families")
    assert looks.keys() == READ_PACKED_ROWS
    assert {family for family, places in looks.items() if places} == CHOOSE_BY_VALUE, looks
