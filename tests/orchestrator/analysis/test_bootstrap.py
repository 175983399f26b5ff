"""Intervals of the change of F1 against loops written out, and how often they cover the truth."""

import math

import numpy as np
import pandas as pd
import pytest

from orchestrator.analysis.bootstrap import Bootstrap, draw_sentences, resample
from orchestrator.analysis.frames import Results
from orchestrator.analysis.predictions import SetPredictions
from orchestrator.analysis.verdicts import judge_changes

PLACE = {
    "series": 0,
    "regime": "monolingual",
    "settings": "",
    "language": "sw",
    "target_sparsity": 0.5,
}
PLACE |= {"embedding_sparsity": 0.0, "embeddings": "dense", "cell_id": "c"}
PLACE |= {"matching": "strict", "own_matching": "strict"}


def make_set(counts):
    """A set from (predicted, correct) of each trial, each a list over sentences; two entities in
    each sentence."""
    num_sentences = len(next(iter(counts.values()))[0])
    columns = {
        name: [np.array(values[at], np.int32) for values in counts.values()]
        for at, name in enumerate("pc")
    }
    return SetPredictions(
        set_id="s",
        language="sw",
        perturbation="none",
        support=np.full(num_sentences, 2, np.int32),
        num_words=np.full(num_sentences, 5, np.int32),
        trial_ids=list(counts),
        num_predicted=columns["p"],
        num_correct=columns["c"],
    )


def make_results(pairs):
    """Results of one sparse cell and the dense trials beside it: (sparse trial, dense trial, delta)
    of each seed."""
    rows = []
    for seed, (sparse, dense, delta) in enumerate(pairs):
        row = PLACE | {"seed": seed}
        rows.append(row | {"trial_id": sparse, "dense_trial_id": dense, "delta": delta})
        rows.append(row | {"trial_id": dense, "target_sparsity": 0.0, "cell_id": "d"})
    return Results(
        split="test", trials=pd.DataFrame(rows), cells=pd.DataFrame(), holes=[], notes=[]
    )


def find_intervals(results, sets, options):
    """The table `significance`."""
    return judge_changes(results, sets, options, margin=0.01)[0]


def test_f1_of_resampled_sentences_equals_a_loop_over_them():
    random = np.random.default_rng(1)
    predicted = random.integers(0, 4, (3, 7))
    correct = np.minimum(random.integers(0, 3, (3, 7)), predicted)
    one = make_set({f"t{at}": (predicted[at], correct[at]) for at in range(3)})
    draws = resample(one, 20, np.random.default_rng(5))
    drawn = np.random.default_rng(5).integers(7, size=(20, 7))
    for at in range(3):
        for replicate, sentences in enumerate([range(7), *drawn]):
            support, found, right = 0, 0, 0
            for sentence in sentences:
                support += 2
                found += predicted[at][sentence]
                right += correct[at][sentence]
            assert draws[f"t{at}"][replicate] == pytest.approx(
                2 * right / (support + found), abs=1e-12
            )


def test_intervals_equal_a_loop_over_seeds_and_sentences():
    random = np.random.default_rng(2)
    names = ["s0", "d0", "s1", "d1", "s2", "d2"]
    counts = {name: (random.integers(0, 4, 9), random.integers(0, 2, 9)) for name in names}
    counts = {
        name: (np.maximum(predicted, correct), correct)
        for name, (predicted, correct) in counts.items()
    }
    options = Bootstrap(num_replicates=40, seed=11, confidence=0.8)
    pairs = [("s0", "d0", 0.0), ("s1", "d1", 0.0), ("s2", "d2", 0.0)]
    row = find_intervals(make_results(pairs), [make_set(counts)], options).rows.to_pylist()[0]

    generator = np.random.default_rng(11)
    drawn = generator.integers(9, size=(40, 9))
    times = generator.multinomial(3, [1 / 3] * 3, size=40)
    changes = []
    for sentences, of_seeds in zip(drawn, times, strict=True):
        f1 = {}
        for name, (predicted, correct) in counts.items():
            found, right = (
                sum(predicted[at] for at in sentences),
                sum(correct[at] for at in sentences),
            )
            f1[name] = 2 * right / (2 * 9 + found)
        changes.append(
            sum(of_seeds[seed] * (f1[f"s{seed}"] - f1[f"d{seed}"]) for seed in range(3)) / 3
        )
    low, high = np.quantile(changes, [0.1, 0.9])
    assert (row["low"], row["high"], row["confidence"]) == (
        pytest.approx(low),
        pytest.approx(high),
        0.8,
    )
    low, high = np.quantile(changes, [0.2, 0.8])
    assert (row["equivalence_low"], row["equivalence_high"]) == (
        pytest.approx(low),
        pytest.approx(high),
    )
    assert (row["resampled"], row["num_replicates"], row["num_sentences"]) == (
        "seeds and sentences",
        40,
        9,
    )


def test_parts_of_a_draw_are_those_of_one_draw(monkeypatch):
    whole = np.concatenate(list(draw_sentences(10, 6, np.random.default_rng(3))))
    monkeypatch.setattr("orchestrator.analysis.bootstrap.DRAWS_AT_A_TIME", 20)
    parts = list(draw_sentences(10, 6, np.random.default_rng(3)))
    assert [len(part) for part in parts] == [2, 2, 2]
    assert np.array_equal(np.concatenate(parts), whole)
    assert (whole.sum(axis=1) == 10).all()


def test_without_predictions_only_seeds_are_resampled_and_it_is_said():
    found = find_intervals(
        make_results([("s0", "d0", -0.25), ("s1", "d1", 0.5)]), [], Bootstrap(num_replicates=500)
    )
    row = found.rows.to_pylist()[0]
    assert (row["delta_mean"], row["low"], row["high"]) == (
        0.125,
        -0.25,
        0.5,
    )  # the range of what the seeds gave
    assert (row["resampled"], row["num_pairs"], row["num_sentences"]) == ("seeds", 2, None)
    assert any("With 2 seeds" in note and "at most 50%" in note for note in found.notes)
    assert "Seeds only are resampled for 1 interval, as no predictions are stored." in found.notes


def test_one_seed_without_predictions_has_no_interval():
    found = find_intervals(
        make_results([("s0", "d0", -0.25), ("s1", "d1", math.nan)]), [], Bootstrap()
    )
    row = found.rows.to_pylist()[0]
    assert (row["delta_mean"], row["low"], row["resampled"]) == (-0.25, None, "nothing")
    assert (row["num_pairs"], row["num_holes"], row["num_replicates"]) == (1, 1, 0)


def test_one_seed_with_predictions_has_an_interval_over_sentences():
    one = make_set({"s0": ([2, 2, 2, 2], [2, 0, 1, 1]), "d0": ([2, 2, 2, 2], [2, 2, 1, 1])})
    found = find_intervals(make_results([("s0", "d0", -0.25)]), [one], Bootstrap())
    row = found.rows.to_pylist()[0]
    assert row["resampled"] == "sentences"
    assert row["low"] < row["delta_mean"] == -0.25 < row["high"] <= 0
    assert any("nothing is said of other seeds" in note for note in found.notes)


def test_scores_that_do_not_agree_with_predictions_are_named():
    one = make_set({"s0": ([2, 2], [2, 0]), "d0": ([2, 2], [2, 2])})
    found = find_intervals(make_results([("s0", "d0", -0.1)]), [one], Bootstrap(num_replicates=5))
    assert "Scores and predictions do not agree on 1 change: see quality." in found.notes


@pytest.mark.slow
def test_intervals_over_sentences_cover_as_often_as_they_say():
    random = np.random.default_rng(0)
    num_sentences, covered, repeats = 150, 0, 200
    for _ in range(repeats):
        hard = random.random(num_sentences) < 0.5  # shared, so that dense and sparse F1 go together
        right = {}
        for name, chance in (("d0", 0.9), ("s0", 0.8)):
            found = random.random((2, num_sentences)) < np.where(hard, chance - 0.3, chance)
            right[name] = found.sum(axis=0)
        one = make_set(
            {name: (np.full(num_sentences, 2), correct) for name, correct in right.items()}
        )
        row = find_intervals(
            make_results([("s0", "d0", 0.0)]),
            [one],
            Bootstrap(num_replicates=200, seed=int(random.integers(10**6))),
        ).rows.to_pylist()[0]
        covered += (
            row["low"] <= -0.1 <= row["high"]
        )  # all entities are predicted: F1 is the part that is right
    assert 0.9 <= covered / repeats <= 0.99
