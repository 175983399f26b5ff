"""The statistics of an analysis against numbers worked by hand, loops written out, and effects that
were planted."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from orchestrator.analysis.bootstrap import Bootstrap, draw_sentences, find_intervals, resample
from orchestrator.analysis.disagreement import find_modes
from orchestrator.analysis.frames import Results, embeddings_name, tier
from orchestrator.analysis.inference import corrected, estimate, signed_rank
from orchestrator.analysis.predictions import SetPredictions, collect_predictions
from orchestrator.errors import StoreError

PLACE = {
    "series": 0,
    "regime": "monolingual",
    "settings": "",
    "language": "sw",
    "target_sparsity": 0.5,
}
PLACE |= {"embedding_sparsity": 0.0, "embeddings": "dense", "cell_id": "c"}


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
        support=np.full(num_sentences, 2, np.int32),
        num_words=np.full(num_sentences, 5, np.int32),
        trial_ids=list(counts),
        num_predicted=columns["p"],
        num_correct=columns["c"],
    )


def make_results(pairs):
    """Results of one cell: (sparse trial, dense trial, delta) of each seed."""
    rows = [
        PLACE | {"trial_id": sparse, "dense_trial_id": dense, "delta": delta, "seed": seed}
        for seed, (sparse, dense, delta) in enumerate(pairs)
    ]
    return Results(
        split="test", trials=pd.DataFrame(rows), cells=pd.DataFrame(), holes=[], notes=[]
    )


# Bootstrap


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


# Modes


@pytest.mark.parametrize(
    ("column", "mode", "is_tied"),
    [
        ((4, 4, 9), 4, False),
        ((9, 4, 4), 4, False),
        ((9, 4, 7), 9, True),  # all unlike: the lowest seed's
        ((4, 9), 4, True),
        ((5, 7, 7, 5), 5, True),
        ((3,), 3, False),
    ],
)
def test_the_mode_is_the_most_frequent_and_of_equals_the_first(column, mode, is_tied):
    modes, ties = find_modes(np.array([[value, 1] for value in column], np.int32))
    assert (modes.tolist(), ties.tolist()) == ([mode, 1], [is_tied, False])


# Predictions


def predictions_of(tags, *, set_id="s", order=None, **changes):
    columns = {
        "set_id": [set_id] * len(tags),
        "language": ["sw"] * len(tags),
        "split": ["test"] * len(tags),
        "perturbation": ["none"] * len(tags),
        "sentence": order or list(range(len(tags))),
        "predicted": tags,
        "support": [1] * len(tags),
        "num_predicted": [1] * len(tags),
        "num_correct": [1] * len(tags),
    }
    return pa.table(columns | changes)


def test_sequences_have_equal_numbers_where_they_are_equal():
    first = predictions_of([["O"], ["B-PER", "I-PER"], []])
    second = predictions_of([[], ["B-PER", "I-PER"], ["O", "O"]], order=[2, 1, 0])
    (one,) = collect_predictions([("a", first), ("b", second)], "test")
    assert one.num_words.tolist() == [1, 2, 0]
    assert (one.sequences[0] == one.sequences[1]).tolist() == [False, True, True]


def test_perturbed_sentences_and_other_splits_are_left_out():
    first = predictions_of([["O"], ["O"]], perturbation=["none", "within_script"])
    second = predictions_of([["O"], ["O"]], split=["validation", "validation"])
    (one,) = collect_predictions([("a", first), ("b", second)], "test")
    assert (one.trial_ids, len(one.support)) == (["a"], 1)


def test_tags_that_are_none_are_refused():
    with pytest.raises(
        StoreError, match=r"predictions: 'B-DOG' of set s is no tag; tags are O, B-PER"
    ):
        collect_predictions([("a", predictions_of([["B-DOG"]]))], "test")


# Tests and corrections


def test_signed_ranks_by_hand():
    # |1| |2| |3| |4| |5|, signs - + + + +: the smaller sum of ranks is 1; sums of 0 and 1 in 2 of
    # 32 ways, twice
    assert signed_rank(np.array([-0.01, 0.02, 0.03, 0.04, 0.05])) == (1.0, pytest.approx(4 / 32))


def test_changes_of_zero_have_no_rank():
    assert signed_rank(np.array([0.0, 0.02, 0.81 - 0.8 - 0.01, 0.03])) == (
        0.0,
        pytest.approx(2 / 4),
    )
    assert signed_rank(np.zeros(3)) == (None, None)
    assert signed_rank(np.array([])) == (None, None)


def test_corrections_by_hand():
    p = pd.Series([0.01, math.nan, 0.04, 0.03])
    # Holm: 3 * 0.01, 2 * 0.03, then 0.04 raised to what came before; BH: 3/3 * 0.04, min(3/2 *
    # 0.03, 0.04), 3 * 0.01
    assert corrected(p, "holm").tolist() == pytest.approx([0.03, math.nan, 0.06, 0.06], nan_ok=True)
    assert corrected(p, "fdr_bh").tolist() == pytest.approx(
        [0.03, math.nan, 0.04, 0.04], nan_ok=True
    )


# Mixed model


def planted(sd_language, num_languages=30):
    random = np.random.default_rng(4)
    rows = []
    for language in range(num_languages):
        own, size = random.normal(0, sd_language), random.uniform(-1, 1)
        for sparsity in (-0.2, 0.0, 0.2):
            for pruned in (0.0, 1.0):
                mean = -0.03 - 0.2 * sparsity + 0.04 * size + 0.1 * sparsity * size - 0.05 * pruned
                rows.append(
                    {
                        "delta_f1": mean + own + random.normal(0, 0.005),
                        "sparsity": sparsity,
                        "log10_train": size,
                        "embeddings_pruned": pruned,
                        "language": f"l{language}",
                    }
                )
    return pd.DataFrame(rows)


def test_a_model_recovers_what_was_planted():
    rows, notes = estimate(planted(0.02), "delta_f1 ~ sparsity * log10_train + embeddings_pruned")
    found = {row["term"]: row for row in rows}
    truth = {"Intercept": -0.03, "sparsity": -0.2, "log10_train": 0.04, "sparsity:log10_train": 0.1}
    truth |= {"embeddings_pruned": -0.05}
    for term, value in truth.items():
        assert abs(found[term]["estimate"] - value) < 3 * found[term]["std_error"]
        assert found[term]["p"] < 0.01
    assert found["sd_language"]["estimate"] == pytest.approx(0.02, rel=0.4)
    assert found["sd_residual"]["estimate"] == pytest.approx(0.005, rel=0.2)
    assert notes == []


def test_coefficients_are_those_of_generalized_least_squares():
    data = planted(0.02)
    rows, _ = estimate(data, "delta_f1 ~ sparsity * log10_train + embeddings_pruned")
    found = {row["term"]: row["estimate"] for row in rows}
    own = (data["language"].to_numpy()[:, None] == data["language"].to_numpy()[None, :]).astype(
        float
    )
    covariance = found["sd_language"] ** 2 * own + found["sd_residual"] ** 2 * np.eye(len(data))
    sparsity, size = data["sparsity"], data["log10_train"]
    design = np.column_stack(
        [np.ones(len(data)), sparsity, size, sparsity * size, data["embeddings_pruned"]]
    )
    inverse = np.linalg.inv(covariance)
    expected = np.linalg.solve(
        design.T @ inverse @ design, design.T @ inverse @ data["delta_f1"].to_numpy()
    )
    names = ("Intercept", "sparsity", "log10_train", "sparsity:log10_train", "embeddings_pruned")
    assert [found[name] for name in names] == pytest.approx(expected, rel=1e-6)


def test_languages_that_do_not_differ_are_said_to_be_at_the_bound():
    rows, notes = estimate(planted(0.0), "delta_f1 ~ sparsity * log10_train")
    assert {row["term"] for row in rows} >= {"sparsity", "sd_language"}
    assert any("at its bound, 0" in note for note in notes)


def test_a_model_that_cannot_be_fitted_has_no_numbers():
    data = planted(0.02)
    data["log10_train"] = data["sparsity"] * 2
    rows, notes = estimate(data, "delta_f1 ~ sparsity + log10_train")
    assert rows == []
    assert len(notes) == 1
    assert "cannot be fitted" in notes[0]
    assert "no numbers" in notes[0]


# Words


def test_tiers_are_bounded_by_the_published_sizes():
    sizes = (100, 1_000, 5_000, 10_000, 15_000, 20_000)
    names = [
        "up to 100",
        "up to 1,000",
        "up to 10,000",
        "up to 10,000",
        "over 10,000",
        "over 10,000",
    ]
    assert [tier(size) for size in sizes] == names


def test_embeddings_are_named_by_what_was_done_to_them():
    assert [embeddings_name(0.9, value) for value in (0.0, 0.9, 0.5)] == [
        "dense",
        "pruned",
        "pruned to 0.5",
    ]
