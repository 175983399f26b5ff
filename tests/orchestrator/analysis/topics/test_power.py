"""How many seeds and sentences see a change, by hand and from stored results."""

import math

import pytest

from orchestrator.analysis.analyze import analyze, plan_power
from orchestrator.analysis.topics.power import ALL_LANGUAGES, MOST_SEEDS, Parts
from orchestrator.errors import StoreError
from orchestrator.results.store import ResultStore
from tests.benchmarks.analysis import make_results


def parts(num_sentences: int, seed_std: float) -> Parts:
    """As in WikiANN: the standard deviation of an F1 by n sentences is about 0.24 / √n, of whose
    variance 70 % are a seed's own."""
    variance = 0.24**2 / num_sentences
    return Parts(0.3 * variance, 0.7 * variance, seed_std**2, num_sentences)


@pytest.mark.parametrize(("seed_std", "num_seeds"), [(0.005, 5), (0.01, 12), (0.02, 39)])
def test_seeds_that_see_a_point_on_10000_sentences(seed_std, num_seeds):
    """Student's t with one seed less, whose test needs 6, 13 and 40."""
    assert parts(10_000, seed_std).seeds_needed(0.01) == num_seeds


def test_few_sentences_are_not_made_up_for_by_seeds():
    few = parts(1_000, 0.003)
    assert few.seeds_needed(0.01) is None
    at_least = few.sentences_at_least(0.01)
    # By hand: with seeds without end (1.96 + 0.842)² x 0.3 x 0.24² / n is to be 0.01².
    assert at_least == pytest.approx(2.802**2 * 0.3 * 0.24**2 / 0.01**2, rel=0.01)
    assert Parts(0.3 * 0.24**2 / 900, 0, 0, 900).sentences_at_least(0.01) is not None
    enough = parts(at_least, 0.003)
    assert enough.detectable(MOST_SEEDS) <= 0.01 < parts(at_least - 1, 0.003).detectable(MOST_SEEDS)


def test_sentences_that_these_seeds_need():
    known = parts(1_000, 0.003)
    needed = known.sentences_needed(0.01, 3)
    assert known.detectable(3, needed / 1_000) <= 0.01 < known.detectable(3, (needed - 1) / 1_000)
    assert parts(1_000, 0.02).sentences_needed(0.01, 3) is None, "seeds differ by too much"
    assert known.sentences_needed(0.01, 1) is None


def test_without_sentences_seeds_alone_count():
    by_seeds = Parts(0.0, 0.0, 0.01**2, math.inf)
    # By hand: t of 9 degrees at 0.975 and 0.8 is 2.262 + 0.883, times 0.01 / √10.
    assert by_seeds.detectable(10) == pytest.approx(3.145 * 0.01 / math.sqrt(10), abs=1e-5)
    assert by_seeds.seeds_needed(0.01) == 10
    assert (by_seeds.sentences_needed(0.01, 3), by_seeds.sentences_at_least(0.01)) == (None, None)


def test_what_never_differs_is_seen_by_two_seeds():
    assert Parts(0.0, 0.0, 0.0, 100).seeds_needed(0.01) == 2


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> ResultStore:
    folder = str(tmp_path_factory.mktemp("results"))
    sparsities = {"sparsities": (0.5, 0.9), "seeds": (0, 1, 2)}
    make_results(folder, ("de", "my"), num_sentences=50, **sparsities)
    return ResultStore(folder)


@pytest.mark.slow
def test_stored_results_have_the_variances_of_their_intervals(results):
    rows = plan_power(results, 0.05).rows.to_pylist()
    (significance,) = analyze(results, only=["significance"])
    place = ("regime", "language", "target_sparsity", "embedding_sparsity")
    errors = {
        tuple(row[name] for name in place): row["std_error"]
        for row in significance.rows.to_pylist()
    }
    of_languages = [row for row in rows if row["language"] != ALL_LANGUAGES]
    assert len(of_languages) == len(errors) == 16
    for row in of_languages:
        quantiles = row["detectable"] / errors[tuple(row[name] for name in place)]
        assert quantiles + 1e-3 >= 1.96 + 0.842, "those of the normal distribution"
        assert quantiles <= 4.303 + 1.061 + 1e-3, "those of two degrees of freedom"
        assert (row["num_seeds"], row["num_sentences"], row["change"]) == (3, 50, 0.05)
        sees = row["detectable"] <= 0.05
        assert sees == (row["seeds_needed"] is not None and row["seeds_needed"] <= 3)
    means = [row for row in rows if row["language"] == ALL_LANGUAGES]
    assert [row["num_languages"] for row in means] == [2] * 4, "of trials of one language"


@pytest.mark.slow
def test_no_sparse_trial_and_one_seed_have_no_numbers(tmp_path):
    dense, alone = str(tmp_path / "dense"), str(tmp_path / "alone")
    make_results(dense, ("de",), sparsities=(), seeds=(0, 1), num_sentences=5)
    table = plan_power(ResultStore(dense), 0.01)
    assert (table.rows.num_rows, len(table.notes)) == (0, 1)
    make_results(alone, ("de",), sparsities=(0.5,), seeds=(0,), num_sentences=5)
    rows = plan_power(ResultStore(alone), 0.01).rows.to_pylist()
    assert {row["seeds_needed"] for row in rows} == {None}
    assert all(row["reason"] for row in rows)


@pytest.mark.parametrize("change", [0.0, 1.0, -0.01, math.nan])
def test_what_is_no_change_is_refused(results, change):
    with pytest.raises(StoreError, match="is no change of F1; give a number above 0 and below 1"):
        plan_power(results, change)
