"""What cannot go together, and what of it can be said without torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.workers.pruning.pruners import SIZE, settings
from workers.pruning.compatibility import refusals


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"saliency": "size"},
            "pruning.saliency: size is unknown; there are magnitude, movement, gradient_times_w",
        ),
        ({"scope": "row"}, "pruning.scope: row is unknown; there are global, layer, erk"),
        (
            {"saliency": "movement", "sparsity_schedule": "constant", "begin": 0.0, "end": 0.0},
            "saliency: movement with sparsity_schedule constant; its masks are fixed before "
            "the first gradient, use magnitude or random",
        ),
        (
            {"saliency": "movement", "begin": 0.0},
            "pruning.saliency: movement with begin 0; there is no gradient yet",
        ),
        (
            {"saliency": "random", "semantics": "dense_shadow"},
            "saliency: random with semantics dense_shadow; .*use magnitude or semantics hard",
        ),
        (
            {"semantics": "dense_shadow", "granularity": "block", "block_shape": SIZE},
            "pruning.granularity: block with semantics dense_shadow; "
            ".*use unstructured or semantics hard",
        ),
        (
            {"sparsity_schedule": "one_shot"},
            "pruning.end: 0.7 with sparsity_schedule one_shot; .*leave end out",
        ),
        (
            {"sparsity_schedule": "one_shot", "end": 0.2, "initial_sparsity": 0.1},
            "pruning.initial_sparsity: 0.1 with sparsity_schedule one_shot; "
            ".*leave initial_sparsity out",
        ),
        (
            {"sparsity_schedule": "constant", "end": 0.0},
            "begin: 0.2 with sparsity_schedule constant; its masks are fixed before "
            "the first step, leave begin out",
        ),
        (
            {"initial_sparsity": 0.6},
            "pruning.initial_sparsity: 0.6 is above the target 0.5; give at most that",
        ),
        (
            {"initial_sparsity": 0.4, "embedding_sparsity": 0.3},
            "pruning.initial_sparsity: 0.4 is above embedding_sparsity 0.3; give at most that",
        ),
        (
            {"granularity": "block"},
            "pruning.block_shape: missing with granularity block; give two numbers",
        ),
        (
            {"n_of_m": SIZE},
            r"pruning.n_of_m: \[2, 4\] with granularity unstructured; "
            "leave it out, or use granularity n_of_m",
        ),
        (
            {"granularity": "block", "block_shape": (0, 4)},
            r"pruning.block_shape: \[0, 4\] are not two numbers from 1 on; give two",
        ),
        (
            {"include": ("a(",)},
            r"pruning.include: 'a\(' is no regular expression \(.*\); correct it",
        ),
        ({"exclude": ("[",)}, r"pruning.exclude: '\[' is no regular expression"),
    ],
)
def test_what_cannot_go_together_is_refused(changes, match):
    (message,) = refusals(settings(**changes), 0.5)
    with pytest.raises(ValueError, match=match):
        raise ValueError(message)


@pytest.mark.parametrize(
    ("changes", "target", "match"),
    [
        ({}, 0.7, "pruning.n_of_m: 2 of 4 is sparsity 0.5 and the target is 0.7; make them equal"),
        (
            {"embedding_sparsity": 0.6},
            0.5,
            "pruning.n_of_m: 2 of 4 is sparsity 0.5 and embedding_sparsity is 0.6",
        ),
        ({"n_of_m": (4, 4)}, 0.5, "pruning.n_of_m: 4 of 4 prunes nothing; give n below m"),
        ({"n_of_m": (0, 4)}, 0.5, r"pruning.n_of_m: \[0, 4\] are not two numbers from 1 on"),
        ({"n_of_m": None}, 0.5, "pruning.n_of_m: missing with granularity n_of_m"),
        (
            {"scope": "global"},
            0.5,
            "pruning.scope: global with granularity n_of_m; .*use scope layer",
        ),
        ({"scope": "erk"}, 0.5, "pruning.scope: erk with granularity n_of_m"),
    ],
)
def test_n_of_m_fits_its_target_and_every_run(changes, target, match):
    (message,) = refusals(
        settings(**{"scope": "layer", "granularity": "n_of_m", "n_of_m": SIZE} | changes), target
    )
    with pytest.raises(ValueError, match=match):
        raise ValueError(message)


def test_a_third_is_near_enough():
    assert refusals(settings(scope="layer", granularity="n_of_m", n_of_m=(1, 3)), 0.666667) == []


def test_frozen_weights_may_lie_under_constant_masks():
    constant = settings(sparsity_schedule="constant", semantics="dense_shadow", begin=0.0, end=0.0)
    assert refusals(constant, 0.5) == []


def test_choices_can_be_read_without_torch():
    modules = ("compatibility", "granularity", "saliency", "schedule", "scope")
    lines = [
        "import sys",
        *(f"import workers.pruning.{name}" for name in modules),
        "sys.exit('torch' in sys.modules)",
    ]
    subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], check=True, cwd=Path(__file__).parents[3]
    )
