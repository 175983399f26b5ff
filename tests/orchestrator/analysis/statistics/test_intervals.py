"""Which seeds and sentences stand behind an interval, and intervals of means over languages."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from orchestrator.analysis.inputs.frames import Results
from orchestrator.analysis.inputs.predictions import SetPredictions
from orchestrator.analysis.statistics.intervals import (
    IntervalOptions,
    Pair,
    Sentences,
    changes_to_dense,
    f1s_of,
    tabulate,
    with_f1_ends,
)
from orchestrator.analysis.topics.verdicts import judge_changes

PLACE = {
    "series": 0,
    "regime": "monolingual",
    "settings": "",
    "language": "sw",
    "target_sparsity": 0.5,
}
PLACE |= {"embedding_sparsity": 0.0, "embeddings": "dense", "cell_id": "c"}
PLACE |= {"matching": "strict", "own_matching": "strict"}


def make_set(counts, language="sw"):
    """A set from (predicted, correct) of each trial, each a list over sentences; two entities in
    each sentence."""
    num_sentences = len(next(iter(counts.values()))[0])
    columns = {
        name: [np.array(values[at], np.int32) for values in counts.values()]
        for at, name in enumerate("pc")
    }
    return SetPredictions(
        set_id=f"set of {language}",
        language=language,
        perturbation="none",
        support=np.full(num_sentences, 2, np.int32),
        num_words=np.full(num_sentences, 5, np.int32),
        trial_ids=list(counts),
        num_predicted=columns["p"],
        num_correct=columns["c"],
    )


def trial_rows(pairs, language="sw", **changes):
    """The rows of one sparse cell and the dense trials beside it: (sparse trial, dense trial,
    change) of each seed."""
    for seed, (sparse, dense, delta) in enumerate(pairs):
        row = PLACE | {"seed": seed, "language": language} | changes
        yield row | {"trial_id": sparse, "dense_trial_id": dense, "delta": delta}
        yield row | {"trial_id": dense, "target_sparsity": 0.0, "cell_id": "d"}


def make_results(rows):
    trials = pd.DataFrame(list(rows))
    return Results(split="test", trials=trials, cells=pd.DataFrame(), holes=[], notes=[])


def find(results, sets=(), confidence=0.95):
    """A row a cell and language."""
    changes = changes_to_dense(results, Sentences(results, sets))
    return tabulate(changes, IntervalOptions(confidence=confidence)).to_dict("records")


def random_counts(names, num_sentences, seed):
    random = np.random.default_rng(seed)
    counts = {}
    for name in names:
        correct = random.integers(0, 3, num_sentences)
        counts[name] = (np.maximum(correct, random.integers(1, 4, num_sentences)), correct)
    return counts


def f1_of(counts, left_out=None):
    predicted, correct = (np.array(column) for column in counts)
    kept = np.arange(len(predicted)) != left_out
    return 2 * correct[kept].sum() / (2 * kept.sum() + predicted[kept].sum())


def test_an_interval_equals_its_formula_written_out():
    names = ("s0", "d0", "s1", "d1", "s2", "d2")
    counts = random_counts(names, 30, seed=1)
    changes = [f1_of(counts[f"s{seed}"]) - f1_of(counts[f"d{seed}"]) for seed in range(3)]
    pairs = [(f"s{seed}", f"d{seed}", change) for seed, change in enumerate(changes)]
    (row,) = find(make_results(trial_rows(pairs)), [make_set(counts)])

    def change_without(seed, sentence):
        return f1_of(counts[f"s{seed}"], sentence) - f1_of(counts[f"d{seed}"], sentence)

    def jackknife(seeds):
        values = [np.mean([change_without(k, at) for k in seeds]) for at in range(30)]
        return 29 / 30 * sum((value - np.mean(values)) ** 2 for value in values)

    # Of K seeds: mean of single variances = common + own, variance of the mean = common + own / K.
    of_mean, of_each = jackknife(range(3)), np.mean([jackknife([seed]) for seed in range(3)])
    own = (of_each - of_mean) * 3 / 2
    of_seed = max(np.var(changes, ddof=1), own)
    variance = of_mean + (of_seed - own) / 3
    common = variance - of_seed / 3
    df = variance**2 / ((of_seed / 3) ** 2 / 2 + common**2 / 29)
    half = stats.t.ppf(0.975, df) * math.sqrt(variance)
    assert (row["std_error"], row["df"]) == (
        pytest.approx(math.sqrt(variance), rel=1e-5),
        pytest.approx(df, rel=1e-4),
    )
    assert (row["low"], row["high"]) == (
        pytest.approx(np.mean(changes) - half, rel=1e-4),
        pytest.approx(np.mean(changes) + half, rel=1e-4),
    )
    inner = stats.t.ppf(0.95, df) * math.sqrt(variance)
    assert row["equivalence_high"] - row["delta_mean"] == pytest.approx(inner, rel=1e-4)
    assert (row["allows_for"], row["num_sentences"]) == ("seeds and sentences", 30)
    assert not row["is_odd"]


def test_cells_of_other_levels_change_nothing():
    counts = random_counts(("s0", "d0", "s1", "d1"), 30, seed=2)
    pairs = [("s0", "d0", -0.1), ("s1", "d1", -0.2)]
    rows = list(trial_rows(pairs))
    (alone,) = find(make_results(rows), [make_set(counts)])
    more = [*rows, *trial_rows([("x0", "y0", 0.3), ("x1", "y1", 0.0)], target_sparsity=0.9)]
    more += trial_rows([("z0", "w0", 0.3), ("z1", "w1", 0.0)], language="yo", series=1)
    beside = find(make_results(more), [make_set(counts)])
    assert len(beside) == 3
    (same,) = (row for row in beside if row["target_sparsity"] == 0.5 and row["language"] == "sw")
    assert same == alone


def test_without_predictions_seeds_alone_are_allowed_for():
    pairs = [("s0", "d0", -0.25), ("s1", "d1", 0.5), ("s2", "d2", 0.125)]
    (row,) = find(make_results(trial_rows(pairs)))
    wanted = stats.ttest_1samp([-0.25, 0.5, 0.125], 0).confidence_interval(0.95)
    assert (row["low"], row["high"]) == (pytest.approx(wanted.low), pytest.approx(wanted.high))
    assert (row["allows_for"], row["num_pairs"], row["num_sentences"]) == ("seeds", 3, None)


def test_one_seed_without_predictions_has_no_interval():
    (row,) = find(make_results(trial_rows([("s0", "d0", -0.25), ("s1", "d1", math.nan)])))
    assert (row["delta_mean"], row["allows_for"]) == (-0.25, "nothing")
    assert row["reason"] == "one seed, no predictions"
    assert math.isnan(row["low"])
    assert (row["num_pairs"], row["num_holes"]) == (1, 1)


def test_one_seed_with_predictions_has_an_interval_over_sentences():
    counts = {"s0": ([2, 2, 2, 2], [2, 0, 1, 1]), "d0": ([2, 2, 2, 2], [2, 2, 1, 1])}
    (row,) = find(make_results(trial_rows([("s0", "d0", -0.25)])), [make_set(counts)])
    assert row["allows_for"] == "sentences"
    # All is predicted, so F1 is a mean over sentences, of 0, -1, 0, 0: the t interval of that.
    wanted = stats.ttest_1samp([0, -1, 0, 0], 0).confidence_interval(0.95)
    assert (row["low"], row["high"]) == (
        pytest.approx(wanted.low, rel=1e-5),
        pytest.approx(wanted.high, rel=1e-5),
    )


def test_identical_sentences_that_count_as_one_are_fewer_sentences():
    """Four sentences twice each: by hand the interval of four, of which each counts double."""
    counts = {"s0": ([2] * 8, [2, 0, 1, 1] * 2), "d0": ([2] * 8, [2, 2, 1, 1] * 2)}
    results, sets = make_results(trial_rows([("s0", "d0", -0.25)])), [make_set(counts)]
    words = np.array([0, 1, 2, 3] * 2)
    apart = changes_to_dense(results, Sentences(results, sets))
    together = changes_to_dense(results, Sentences(results, sets, lambda set_id: words))
    (one,) = tabulate(together, IntervalOptions()).to_dict("records")
    (each,) = tabulate(apart, IntervalOptions()).to_dict("records")
    wanted = stats.ttest_1samp([0, -1, 0, 0], 0).confidence_interval(0.95)
    assert (one["low"], one["high"]) == (
        pytest.approx(wanted.low, rel=1e-5),
        pytest.approx(wanted.high, rel=1e-5),
    )
    assert (one["num_sentences"], each["num_sentences"]) == (4, 8)

    ratio = (one["high"] - one["low"]) / (each["high"] - each["low"])
    assert ratio > 1.5
    options = IntervalOptions(is_identical_one=True)
    (significance, *_) = judge_changes(results, together, options, 0.01, apart)
    note = f"Identical sentences count as one: 1 interval {ratio:.2f} times as wide in the median"
    assert note in significance.notes[-1]


def f1_rows(f1s):
    for seed, f1 in enumerate(f1s):
        row = PLACE | {"seed": seed, "trial_id": f"s{seed}", "dense_trial_id": "", "f1": f1}
        yield row


def test_f1_itself_has_an_interval_over_its_seeds():
    results = make_results(f1_rows([0.5, 0.75, 0.625]))
    (row,) = tabulate(f1s_of(results, None), IntervalOptions()).to_dict("records")
    wanted = stats.ttest_1samp([0.5, 0.75, 0.625], 0).confidence_interval(0.95)
    assert (row["low"], row["high"]) == (pytest.approx(wanted.low), pytest.approx(wanted.high))
    assert (row["delta_mean"], row["allows_for"]) == (pytest.approx(0.625), "seeds")


def test_f1_itself_has_an_interval_over_its_sentences():
    """All is predicted, two of two, so F1 is a mean over sentences: of 1, 0, 0.5, 0.5."""
    counts = {"s0": ([2, 2, 2, 2], [2, 0, 1, 1])}
    results = make_results(f1_rows([0.5]))
    f1s = f1s_of(results, Sentences(results, [make_set(counts)]))
    (row,) = tabulate(f1s, IntervalOptions()).to_dict("records")
    wanted = stats.ttest_1samp([1, 0, 0.5, 0.5], 0).confidence_interval(0.95)
    assert (row["low"], row["high"]) == (
        pytest.approx(wanted.low, rel=1e-5),
        pytest.approx(wanted.high, rel=1e-5),
    )
    assert (row["allows_for"], row["is_odd"]) == ("sentences", False)


def test_an_interval_of_f1_ends_where_f1_does():
    results = make_results(f1_rows([0.0, 0.5]))
    f1s = f1s_of(results, None)
    frame = pd.DataFrame([PLACE])
    (row,) = with_f1_ends(frame, f1s, IntervalOptions()).to_dict("records")
    assert (row["f1_low"], row["f1_high"]) == (0.0, 1.0)


def test_a_seed_without_predictions_counts_with_what_sentences_do_to_the_others():
    counts = random_counts(("s0", "d0", "s1", "d1"), 30, seed=3)
    changes = [f1_of(counts[f"s{seed}"]) - f1_of(counts[f"d{seed}"]) for seed in range(2)]
    pairs = [("s0", "d0", changes[0]), ("s1", "d1", changes[1]), ("s2", "d2", changes[0] - 0.01)]
    (row,) = find(make_results(trial_rows(pairs)), [make_set(counts)])
    assert (row["num_pairs"], row["allows_for"]) == (3, "seeds and sentences")
    (of_two,) = find(make_results(trial_rows(pairs[:2])), [make_set(counts)])
    assert 0.4 * of_two["std_error"] < row["std_error"] < 1.2 * of_two["std_error"]


def test_scores_that_do_not_agree_with_predictions_are_odd():
    counts = {"s0": ([2, 2], [2, 0]), "d0": ([2, 2], [2, 2])}
    for delta, is_odd in ((-0.1, True), (-0.5, False)):
        (row,) = find(make_results(trial_rows([("s0", "d0", delta)])), [make_set(counts)])
        assert row["is_odd"] == is_odd


def test_trials_on_different_sentences_are_not_paired_by_sentence():
    counts = random_counts(("s0",), 30, seed=4), random_counts(("d0",), 30, seed=5)
    one, other = (make_set(of_trial) for of_trial in counts)
    other.set_id = "another"
    (row,) = find(make_results(trial_rows([("s0", "d0", -0.25)])), [one, other])
    assert row["reason"] == "one seed, no predictions"


@pytest.mark.parametrize("num_seeds", [1, 2, 3])
def test_three_sentences_have_a_wide_interval_and_nothing_to_learn_has_none(num_seeds):
    names = [f"{side}{seed}" for seed in range(num_seeds) for side in "sd"]
    counts = {name: ([2, 2, 2], [2, 1, 0] if name[0] == "s" else [2, 2, 2]) for name in names}
    pairs = [(f"s{seed}", f"d{seed}", -0.5) for seed in range(num_seeds)]
    (row,) = find(make_results(trial_rows(pairs)), [make_set(counts)])
    assert row["high"] - row["low"] > 1
    equal = {name: ([2, 2, 2], [0, 0, 0]) for name in names}
    pairs = [(f"s{seed}", f"d{seed}", 0.0) for seed in range(num_seeds)]
    (row,) = find(make_results(trial_rows(pairs)), [make_set(equal)])
    assert (row["delta_mean"], row["reason"]) == (0.0, "no seed or sentence changes it")


def levels(results, sets=()):
    (level,) = changes_to_dense(results, Sentences(results, sets)).values()
    return level


def test_a_mean_over_independent_languages_has_the_mean_of_their_variances():
    random = np.random.default_rng(6)
    rows = []
    for language in ("de", "my", "sw", "yo"):
        pairs = [
            (f"{language}s{k}", f"{language}d{k}", random.normal(-0.1, 0.02)) for k in range(3)
        ]
        rows += trial_rows(pairs, language)
    level = levels(make_results(rows))
    found = level.of_mean(("de", "my", "yo"))
    ends = found.ends("delta", IntervalOptions())
    is_in = np.array([True, True, False, True])
    mean = level.estimates.mean[is_in].mean()
    std_error = math.sqrt(level.estimates.variance[is_in].sum()) / 3
    assert found.mean == pytest.approx(mean)
    assert ends["delta_low"] + ends["delta_high"] == pytest.approx(2 * mean)
    # What the level lends to all of them is uncertain once, so that it does not average out.
    of_variance = level.estimates.alone[is_in].sum() + level.estimates.shared[is_in].sum() ** 2
    df = 2 * level.estimates.variance[is_in].sum() ** 2 / of_variance
    assert 2 < df < 24
    half = stats.t.ppf(0.975, df) * std_error
    assert (ends["delta_high"] - ends["delta_low"]) / 2 == pytest.approx(half)
    assert math.isnan(level.of_mean(("ka",)).mean)


def test_a_mean_over_languages_of_one_model_has_the_spread_of_the_seeds_means():
    values = {"de": [-0.1, -0.2, -0.15], "my": [-0.2, -0.25, -0.1], "sw": [-0.1, -0.3, -0.2]}
    rows = []
    for language, changes in values.items():
        pairs = [(f"s{seed}", f"d{seed}", change) for seed, change in enumerate(changes)]
        rows += trial_rows(pairs, language, regime="multilingual")
    found = levels(make_results(rows)).of_mean(tuple(values))
    ends = found.ends("delta", IntervalOptions())
    wanted = stats.ttest_1samp(np.mean(list(values.values()), axis=0), 0).confidence_interval(0.95)
    assert ends == pytest.approx({"delta_low": wanted.low, "delta_high": wanted.high})


def test_of_a_drop_a_sentence_is_left_out_with_all_that_were_made_from_it():
    names = ("s0", "d0", "s1", "d1")
    published, *draws = (random_counts(names, 30, seed) for seed in range(3))

    def drop(name, left_out=None):
        perturbed = np.mean([f1_of(counts[name], left_out) for counts in draws])
        return f1_of(published[name], left_out) - perturbed

    pairs = [Pair(f"s{k}", f"d{k}", drop(f"s{k}") - drop(f"d{k}"), "strict") for k in range(2)]
    results = make_results(trial_rows([(*pair[:3],) for pair in pairs]))
    sets = [
        replace(make_set(counts), set_id=f"draw {draw}", perturbation="within_family")
        for draw, counts in enumerate(draws)
    ]
    of_published = Sentences(results, [make_set(published)])
    (found,) = Sentences.of_drops(results, of_published, sets).values()
    influences, odd = found.of_changes(pairs, "sw")
    assert odd < 1e-12
    for of_seed, pair in zip(influences, pairs, strict=True):
        without = [drop(pair.trial_id, at) - drop(pair.other_id, at) for at in range(30)]
        expected = 29 / 30 * sum((value - np.mean(without)) ** 2 for value in without)
        assert (of_seed**2).sum() == pytest.approx(expected, rel=1e-5)

    # A draw less of one trial: its pair is not known. Without published ones none is.
    sets[1] = replace(make_set({name: draws[1][name] for name in names[1:]}), set_id="draw 1",
                      perturbation="within_family")  # fmt: skip
    (found,) = Sentences.of_drops(results, of_published, sets).values()
    assert len(found.of_changes(pairs, "sw")[0]) == 1
    (found,) = Sentences.of_drops(results, Sentences(results, []), sets).values()
    assert len(found.of_changes(pairs, "sw")[0]) == 0


def test_identical_sentences_are_left_out_of_a_drop_together():
    counts = [random_counts(("s0", "d0"), 10, seed) for seed in range(2)]
    words = np.array([0, 0, 1, 2, 3, 4, 5, 6, 7, 7])
    results = make_results(trial_rows([("s0", "d0", 0.0)]))
    perturbed = replace(make_set(counts[1]), set_id="draw", perturbation="within_family")
    published = Sentences(results, [make_set(counts[0])], lambda set_id: words)
    (found,) = Sentences.of_drops(results, published, [perturbed], lambda set_id: words).values()
    influences, _ = found.of_changes([Pair("s0", "d0", 0.0, "strict")], "sw")
    assert influences.shape == (1, 8)
