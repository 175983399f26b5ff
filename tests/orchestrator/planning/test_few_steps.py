"""What a person is told of trials that are too short for their question."""

from dataclasses import replace

import pytest

from orchestrator.planning.few_steps import describe_few_steps
from orchestrator.planning.plan import PlannedTrial, make_plan
from orchestrator.spec.sweep_spec import builtin_sweeps, load_sweep_spec
from tests.factories import PRUNING, make_trial_spec

TWENTY = {"update_every_steps": None, "num_updates": 20}


def planned(sparsity: float, num_steps: int, language: str = "sw", **pruning) -> PlannedTrial:
    """From 0.1 to 0.7 of the steps."""
    changes = {"pruning": replace(PRUNING, **pruning)} if sparsity else {}
    spec = make_trial_spec(target_sparsity=sparsity, language=language, **changes)
    return PlannedTrial(spec, spec.trial_id(), 1.0, num_steps=num_steps)


BY_EPOCHS = ["training.num_steps=null", "pruning={embedding_sparsity: [off, same]}"]
"""As XTREME trains: ten epochs of every language, whatever its size."""


def test_no_built_in_sweep_warns():
    """But the dense ones, which nothing is compared with."""
    for name in builtin_sweeps():
        if not name.startswith("xtreme"):
            on_wikiann = {"smoke": [], "masakhaner-2": ["corpus={kind: hub}", "languages=[sw]"]}
            sweep = load_sweep_spec(name, on_wikiann.get(name, ["corpus.kind=hub"]))
            assert describe_few_steps(make_plan(sweep)) == [], name


@pytest.mark.slow
def test_paper_mono_by_epochs_gets_three_lines_for_1800_trials():
    """By hand: 100 sentences are 40 steps, pruned from step 4 to 28 after 10, 20 and 24 of them;
    1,000 are 320, with 96 after the last update. A language has 42 sparse trials and 3 dense."""
    assert describe_few_steps(make_plan(load_sweep_spec("paper-mono", BY_EPOCHS))) == [
        "126 of 1,680 sparse trials have fewer than 20 mask updates that prune, the fewest 3 (jv, "
        "my, yo): their sparsity rises in jumps; set pruning.num_updates=20",
        "252 of 1,680 sparse trials have fewer than 100 steps after the last mask update, the "
        "fewest 12 (jv, my, yo, kk, sw, te): too few to recover; set a smaller pruning.end or "
        "train for more steps",
        "9 of 120 dense trials have fewer than 300 steps, the fewest 40 (jv, my, yo): they may "
        "have learned too little to lose anything; set training.num_steps=300 or more",
    ]


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [planned(0.0, 300), planned(0.5, 334)],  # 21 updates in 201 steps, 100 steps after them
        [planned(0.5, 400, **TWENTY)],
        [planned(0.0, 0), planned(0.5, 0)],  # not known
        # One update is what these are about.
        [planned(0.5, 400, sparsity_schedule="one_shot")],
        [planned(0.5, 400, sparsity_schedule="constant", begin=0.0, end=0.0)],
    ],
)
def test_nothing_is_said_where_there_are_enough(trials):
    assert describe_few_steps(trials) == []


def test_thresholds_are_met_exactly():
    def starts(*trials: PlannedTrial) -> list[str]:
        return [line.partition(",")[0] for line in describe_few_steps(trials)]

    assert starts(planned(0.0, 299)) == ["1 of 1 dense trial has fewer than 300 steps"]
    of_sparse = "1 of 1 sparse trial has fewer than"
    assert starts(planned(0.5, 331)) == [f"{of_sparse} 100 steps after the last mask update"]
    few = planned(0.5, 1000, begin=0.1, end=0.2)  # 10 updates in 100 steps
    assert starts(few) == [f"{of_sparse} 20 mask updates that prune"]
    assert starts(planned(0.5, 1000, begin=0.1, end=0.2, **TWENTY)) == []


@pytest.mark.parametrize(
    ("trial", "remedy"),
    [
        (planned(0.5, 320, update_every_steps=100), "set pruning.num_updates=20"),
        (planned(0.5, 20, **TWENTY), "train for more steps"),
        (planned(0.5, 20, update_every_steps=1), "train for more steps"),
        (
            planned(0.5, 20, update_every_steps=None, num_updates=12),
            "set pruning.num_updates=20 and train for more steps",
        ),
        (planned(0.5, 20), "set pruning.num_updates=20 and train for more steps"),
    ],
)
def test_the_remedy_is_one_that_helps(trial, remedy):
    line = describe_few_steps([trial])[0]
    assert line.endswith(f"their sparsity rises in jumps; {remedy}")


def test_all_languages_are_not_listed():
    trials = [planned(0.0, steps, code) for code, steps in (("sw", 50), ("yo", 40), ("en", 60))]
    assert "the fewest 40 (all 3 languages)" in describe_few_steps(trials)[0]
    assert "the fewest 40 (yo, sw, en)" in describe_few_steps([*trials, planned(0.0, 900, "af")])[0]


def test_one_model_of_all_languages_is_named_so():
    spec = make_trial_spec(
        regime="multilingual", languages=("sw", "yo"), target_sparsity=0.0, pruning=None
    )
    (line,) = describe_few_steps([PlannedTrial(spec, spec.trial_id(), 1.0, num_steps=120)])
    assert "1 of 1 dense trial has fewer than 300 steps, the fewest 120 (multilingual)" in line
