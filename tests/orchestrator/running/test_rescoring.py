"""Scores by another rule, computed from stored predictions: those that scoring a trial gives."""

from dataclasses import astuple, fields, replace

import numpy as np
import pytest

from orchestrator.errors import StoreError
from orchestrator.results.store import ResultStore
from orchestrator.running.rescoring import rescore, score_predictions
from tests.factories import (
    make_circumstances,
    make_not_applicable,
    make_trial_result,
    make_trial_spec,
)
from tests.golden_results import unpack
from tests.wikiann_tags import TAGS
from tests.workers.scoring.test_evaluate import count_tags
from workers.result import EntityScore, PredictedSet, RobustnessScore, SentenceSet, TrialResult
from workers.scoring.evaluate import score, score_perturbed
from workers.trial import CLEAN, TrialSpec

LANGUAGES = ("sw", "yo")
SETS = [
    (language, split, perturbation, draw)
    for language in LANGUAGES
    for split, perturbation, draw in (
        ("validation", CLEAN, 0),
        ("test", CLEAN, 0),
        ("test", "within_script", 0),
        ("test", "within_script", 1),
    )
]


def trial(matching: str, seed: int = 0) -> TrialSpec:
    spec = make_trial_spec(regime="multilingual", languages=LANGUAGES, seed=seed)
    predictions = ("validation", "test", "perturbed")
    return replace(
        spec, evaluation=replace(spec.evaluation, matching=matching, predictions=predictions)
    )


def random_tags(generator: np.random.Generator, lengths: list[int]) -> list[list[str]]:
    """Tags of sentences, with I- tags where no entity has begun, which the rules take apart."""
    return [[TAGS[label] for label in generator.integers(0, len(TAGS), size)] for size in lengths]


def make_result(matching: str, seed: int) -> TrialResult:
    """What scoring a model by this rule gives that predicts at random."""
    scores: list[EntityScore] = []
    robustness: list[RobustnessScore] = []
    predictions: list[PredictedSet] = []
    for number, (language, split, perturbation, draw) in enumerate(SETS):
        of_set = np.random.default_rng(number)  # the same sentences for all trials
        lengths = of_set.integers(1, 9, 60).tolist()
        gold, is_seen = random_tags(of_set, lengths), of_set.random(60) < 0.3
        num_replaced = of_set.integers(0, 3, (60, 3))
        predicted = random_tags(np.random.default_rng((seed, number)), lengths)
        counts = count_tags(gold, predicted, matching)
        if perturbation == CLEAN:
            scores += score(language, split, counts, is_seen)
        else:
            robustness += score_perturbed(language, perturbation, draw, counts, num_replaced)
        sentences = SentenceSet(
            set_id=f"{number:016x}",
            language=language,
            split=split,
            perturbation=perturbation,
            draw=draw,
            tokens=[["word"] * size for size in lengths],
            gold=gold,
            num_subwords=lengths,
            num_unseen_entities=[0] * 60,
            is_seen=is_seen.tolist(),
        )
        predictions.append(
            PredictedSet(
                sentences=sentences,
                predicted=predicted,
                confidence=[[200] * len(tags) for tags in predicted],
                support=counts.support.sum(1).tolist(),
                num_predicted=counts.num_predicted.sum(1).tolist(),
                num_correct=counts.num_correct.sum(1).tolist(),
            )
        )
    robustness.append(make_not_applicable(language="yo"))
    return make_trial_result(
        scores=tuple(scores), robustness=tuple(robustness), predictions=tuple(predictions)
    )


def commit(store: ResultStore, matching: str, seed: int = 0) -> None:
    spec = trial(matching, seed)
    assert store.commit_completed(spec, make_result(matching, seed), **make_circumstances())


def rows(store: ResultStore, matching: str) -> list[dict]:
    return [
        row
        for name in ("scores", "robustness")
        for row in store.read(name).to_pylist()
        if row["matching"] == matching
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("stored", "asked"), [("strict", "lenient"), ("lenient", "strict")])
def test_rescoring_gives_what_scoring_by_that_rule_gives_to_the_last_bit(tmp_path, stored, asked):
    store, expected = ResultStore(str(tmp_path / "a")), ResultStore(str(tmp_path / "b"))
    for seed in (0, 1):
        commit(store, stored, seed)
        commit(expected, asked, seed)
    before = rows(store, stored)
    specs = [trial(asked, seed) for seed in (0, 1)]
    assert sorted(rescore(store, specs)) == sorted(spec.trial_id() for spec in specs)
    assert rows(store, asked) == rows(expected, asked)
    assert rows(store, stored) == before
    assert rows(expected, asked) != before, "the rules differ on these tags"
    assert store.verify([spec.trial_id() for spec in specs]) == []


def test_what_is_added_to_trials_of_an_earlier_version_is_whole(recipe_2, tmp_path):
    store = ResultStore(str(unpack(tmp_path, "results/v3")))
    specs = []
    for row in store.read("trials", ["status", "spec_json"]).to_pylist():
        spec = TrialSpec.from_json(row["spec_json"])
        if row["status"] == "completed" and spec.evaluation.predictions:
            evaluation = replace(spec.evaluation, matching="lenient")
            specs.append(replace(spec, evaluation=evaluation))
    assert len(list(rescore(store, specs))) == len(specs) > 0
    assert store.verify([spec.trial_id() for spec in specs]) == []


def test_rescoring_stops_between_trials_when_told_to(tmp_path):
    store = ResultStore(str(tmp_path))
    for seed in (0, 1, 2):
        commit(store, "strict", seed)
    specs = [trial("lenient", seed) for seed in (0, 1, 2)]
    done = []
    for trial_id in rescore(store, specs, is_stopping=lambda: len(done) == 2):
        done.append(trial_id)
    assert store.rescored() == {trial_id: {"lenient"} for trial_id in done}
    assert len(done) == 2


def test_predictions_of_a_set_that_is_gone_are_refused(tmp_path):
    store = ResultStore(str(tmp_path))
    commit(store, "strict")
    (tmp_path / "sentences" / f"{0:016x}.parquet").unlink()
    with pytest.raises(StoreError, match="the set 0000000000000000 is missing; `sparsweep verify`"):
        list(rescore(store, [trial("lenient")]))
    assert store.rescored() == {}


@pytest.mark.slow
def test_rescoring_real_trials_by_their_own_rule_gives_their_scores_to_the_last_bit(tmp_path):
    tables = ("trials", "scores", "robustness", "predictions", "sentences")
    store = ResultStore(str(unpack(tmp_path, tables=tables)))
    trial_ids = sorted(store.file_keys())[::12]
    names = [field.name for field in fields(EntityScore)]
    stored: dict[str, list[tuple]] = {}
    for row in store.read("scores", ["trial_id", *names]).to_pylist():
        stored.setdefault(row.pop("trial_id"), []).append(tuple(row.values()))
    perturbed = dict(store.read_each("robustness", trial_ids))
    num_others = 0
    for trial_id, predictions in store.read_each("predictions", trial_ids):
        rows = perturbed[trial_id].to_pylist()
        scores, _ = score_predictions(predictions, rows, store.read_sentences, "strict")
        assert sorted(map(repr, map(astuple, scores))) == sorted(map(repr, stored[trial_id]))
        lenient, _ = score_predictions(predictions, rows, store.read_sentences, "lenient")
        num_others += lenient != scores
    assert num_others > 0, "the rules differ on some of these trials"
