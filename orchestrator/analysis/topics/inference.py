"""Across languages: whether their changes of F1 are centred on 0.

Languages of one family are not independent. So p comes from flipping the signs of whole families;
beside it stands Wilcoxon's, which takes languages as independent.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from orchestrator.analysis.inputs.frames import CELL, Results, families_of, finish, in_order
from orchestrator.analysis.statistics.permutations import numbered, p_value, sign_flips
from orchestrator.analysis.tables import TESTS, AnalysisTable
from orchestrator.analysis.topics.quality import pair_embeddings
from orchestrator.results.rows import Row
from orchestrator.wording import counted

DIGITS = 12
"""Differences of decimal fractions are rounded, so that what is tied or 0 is seen to be."""

SIGNED_RANKS = ("statistic", "p", "p_least", "p_independent", "num_families")
"""Columns that a test makes."""

SPARSE, EMBEDDINGS = "sparse - dense", "pruned - dense embeddings"
"""What is compared."""


def compare_languages(results: Results) -> AnalysisTable:
    """Make the table `tests`.

    Source: Wilcoxon 1945; Winkler et al. 2015, Multi-level block permutation; corrections of Holm
        1979 and of Benjamini and Hochberg 1995.
    """
    families = families_of(results.trials)
    changes = results.sparse.rename(columns={"delta": "change"})
    rows = [*_test_levels(changes, SPARSE, families)]
    pairs = pair_embeddings(results)
    if not pairs.empty:
        pairs["change"] = pairs["f1"] - pairs["f1_dense"]
        rows += _test_levels(pairs, EMBEDDINGS, families)
    if not rows:
        return finish(TESTS, pd.DataFrame(), ["No sparse trials: nothing to test."])

    table = pd.DataFrame(rows)
    p_of_tests = table.groupby(["series", "comparison"])["p"]
    table["num_tests"] = p_of_tests.transform("count")
    table["p_holm"] = p_of_tests.transform(corrected, method="holm")
    table["p_bh"] = p_of_tests.transform(corrected, method="fdr_bh")
    return finish(TESTS, in_order(table, ["comparison"]), _test_notes(table, results))


def _test_levels(
    trials: pd.DataFrame, comparison: str, families: Mapping[str, str]
) -> Iterator[Row]:
    """The row of each level, from the `change` of trials and languages."""
    for place, rows in trials.groupby(CELL):
        means = rows.groupby("language")["change"].mean()
        changes = means.dropna()
        yield dict(zip(CELL, place, strict=True)) | {
            "comparison": comparison,
            "median_change": float(changes.median()) if len(changes) else None,
            **signed_rank(changes.to_numpy(), [families[code] for code in changes.index]),
            "num_languages": len(changes),
            "num_languages_missing": len(means) - len(changes),
            "num_trials": rows.loc[rows["change"].notna(), "trial_id"].nunique(),
        }


def signed_rank(changes: np.ndarray, families: Sequence[Hashable]) -> Row:
    """Test whether changes are centred on 0, those of 0 left out.

    Wilcoxon's ranks are taken over all languages. If nothing changes but by chance, the changes of
    a family may as well all have the opposite sign, whatever they have in common: p is the share of
    such flips, of all families together, that give as large a difference between the sums of ranks.

    Args:
        changes: float64 (languages,), without NaN.
        families: that of each language.

    Returns:
        The columns `SIGNED_RANKS`: the smaller sum of ranks; the two-sided p, in (0, 1], exact up
        to 14 families; the lowest p that these ranks could have given; Wilcoxon's p, exact with and
        without ties; families with a change. All but the last are None where no change is left.

    Source: Wilcoxon 1945, Individual comparisons by ranking methods.
    """
    changes = np.round(changes, DIGITS)
    is_changed = changes != 0
    if not is_changed.any():
        return dict.fromkeys(SIGNED_RANKS) | {"num_families": 0}
    signed = np.sign(changes[is_changed]) * stats.rankdata(np.abs(changes[is_changed]))
    families = [family for family, kept in zip(families, is_changed, strict=True) if kept]
    sums = np.bincount(numbered(families), signed)
    p, p_least = p_value(np.abs(sign_flips(len(sums)) @ sums))
    ranks = np.abs(signed)
    statistic = float(min(ranks[signed > 0].sum(), ranks[signed < 0].sum()))
    numbers = (statistic, p, p_least, _p_if_independent(ranks, statistic), len(sums))
    return dict(zip(SIGNED_RANKS, numbers, strict=True))


def _p_if_independent(ranks: np.ndarray, statistic: float) -> float:
    """Wilcoxon's two-sided p: the share of all ways in which each rank may be of either sum that
    give one as small as `statistic`."""
    # Ranks of ties end in a half. Entry s is the probability that the doubled sum is s.
    doubled = np.rint(2 * ranks).astype(int)
    probabilities = np.ones(1)
    for rank in doubled:
        step = np.zeros(rank + 1)
        step[[0, rank]] = 0.5
        probabilities = np.convolve(probabilities, step)
    return min(1.0, 2 * float(probabilities[: round(2 * statistic) + 1].sum()))


def corrected(p: pd.Series, method: str) -> pd.Series:
    """Correct p-values over all that are there.

    Args:
        p: in [0, 1]; NaN stays NaN and is not counted.
        method: `holm` or `fdr_bh` (Benjamini and Hochberg).

    Source: Holm 1979, A simple sequentially rejective multiple test procedure; Benjamini and
        Hochberg 1995, Controlling the false discovery rate.
    """
    ranked = p.dropna().sort_values()
    values, number = ranked.to_numpy(), len(ranked)
    if method == "holm":
        raised = np.maximum.accumulate(values * np.arange(number, 0, -1))
    else:
        raised = np.minimum.accumulate((values / (np.arange(1, number + 1) / number))[::-1])[::-1]
    return pd.Series(np.minimum(raised, 1.0), ranked.index, float).reindex(p.index)


def _test_notes(table: pd.DataFrame, results: Results) -> list[str]:
    notes = [
        "p takes languages of a family as one, however alike they are; p_independent, which is "
        "Wilcoxon's, is too small where they are alike."
    ]
    is_sparse = results.cells["target_sparsity"] > 0  # dense ones may have more, without a pair
    num_seeds = int(results.cells.loc[is_sparse, "num_seeds"].max()) if is_sparse.any() else 0
    if num_seeds:
        notes.append(
            "Languages are what is counted: a test within one language cannot go below "
            f"p = {2.0 ** (1 - num_seeds):g} with {counted(num_seeds, 'seed')}, so none is made."
        )
    out_of_reach = int((table["p_least"] > 0.05).sum())
    if out_of_reach:
        notes.append(
            "Out of reach of p = 0.05 with the language families there are: "
            f"{counted(out_of_reach, 'test')}, see p_least. It takes 6 families."
        )
    if (table["regime"] != "monolingual").any():
        notes.append(
            "Languages of a multilingual trial, and those scored zero-shot, share its model and "
            "are not independent: p is too small there."
        )
    return [*notes, *_reasons(table, results)]


def _reasons(table: pd.DataFrame, results: Results) -> Iterator[str]:
    """Why there is no p, for each comparison and reason."""
    is_dense = results.trials["target_sparsity"] == 0
    has_dense = results.trials.loc[is_dense, "f1"].notna().any()
    untested = table[table["p"].isna()]
    for comparison, rows in untested.groupby("comparison", sort=False):
        is_empty = rows["num_languages"] == 0
        no_side = "no language has an F1 on both sides, of one seed"
        if comparison == SPARSE and not has_dense:
            no_side = "no dense trial has an F1"
        for number, why in (
            (int(is_empty.sum()), no_side),
            (int((~is_empty).sum()), "no language with a change other than 0"),
        ):
            if number:
                yield f"No test of {counted(number, 'level')} ({comparison}): {why}."
