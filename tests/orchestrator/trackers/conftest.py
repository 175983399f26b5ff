"""Results of which every kind of trial is exported."""

import pytest

from orchestrator.results.store import ResultStore
from tests.factories import (
    make_circumstances,
    make_robustness_score,
    make_score,
    make_trial_result,
    make_trial_spec,
)


@pytest.fixture
def store(tmp_path):
    """Swahili: a sparse trial, a dense one, and one that failed."""
    store = ResultStore(str(tmp_path / "results"))
    specs = [make_trial_spec(), make_trial_spec(target_sparsity=0.0), make_trial_spec(seed=1)]
    for spec in specs[:2]:
        store.commit_completed(spec, make_trial_result(), **make_circumstances())
    failure = {"kind": "bad_data", "message": "no words", "traceback": None}
    store.commit_failed(specs[2], **failure, **make_circumstances())
    store.write_plan("demo", specs)
    return store


def commit_two_languages(store):
    """A multilingual trial that was scored on a third language, too; returns its spec."""
    spec = make_trial_spec(regime="multilingual", languages=("sw", "yo"))
    scores = [make_score(language=code, f1=f1) for code, f1 in F1S.items()]
    draws = [make_robustness_score(draw=draw, f1=f1) for draw, f1 in enumerate((0.25, 0.75))]
    result = make_trial_result(scores=tuple(scores), robustness=tuple(draws))
    store.commit_completed(spec, result, **make_circumstances())
    return spec


F1S = {"sw": 0.5, "yo": 0.25, "ka": 0.125}
