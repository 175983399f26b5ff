"""Plain sentences written from the numbers: what can be told of them, and what cannot.

Each comes of rows of one regime, settings and embeddings, which the reader chooses in the page; so
it does not name them. Nothing is computed here but counts and medians of what the analysis found.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pandas as pd

from orchestrator.report.same_languages import mark_same
from orchestrator.results.rows import Row
from orchestrator.wording import counted, some_of

Tables = Callable[[str], pd.DataFrame]
"""From the name of a table of the analysis to its rows, with `series`."""

NEEDS = ("tally", "significance", "tolerance", "tests", "across_languages", "power", "disagreement")
"""The tables that sentences are written from."""

COLUMNS = ["series", "embeddings", "about", "sentence"]
LEVEL_OF_TEST = 0.05
NOTHING = (
    "No sparse trial has a dense one of the same seed and settings: nothing can be told of what "
    "pruning changes."
)


def conclude(tables: Tables) -> pd.DataFrame:
    """Write the sentences.

    Args:
        tables: gives the tables `NEEDS`.

    Returns:
        Rows with the columns `COLUMNS`, in the order of reading: what a sentence is about, and the
        sentence. No rows where nothing is compared.
    """
    topics = {
        "Which languages lose": _on_languages,
        "What they tolerate": _on_tolerance,
        "All languages together": _on_all,
        "What seeds alone change": _on_seeds,
        "What more seeds would tell": _on_power,
    }
    levels = tables("tally")
    rows = [
        (*place, about, sentence)
        for place, of_place in levels.groupby(["series", "embeddings"], sort=False)
        if of_place["num_trials"].sum() > 0
        for about, tell in topics.items()
        for sentence in tell(partial(_of, tables, place))
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _of(tables: Tables, place: Sequence[str], name: str) -> pd.DataFrame:
    """Rows of a table that are of a series and embeddings."""
    rows = tables(name)
    return rows[(rows["series"] == place[0]) & (rows["embeddings"] == place[1])]


def _on_languages(tables: Tables) -> Iterator[str]:
    """What the changes come to, a sentence a sparsity; and why some cannot be told."""
    verdicts = tables("significance")
    for row in tables("tally").to_dict("records"):
        level = verdicts[verdicts["target_sparsity"] == row["target_sparsity"]]
        yield tell_tally(row, level)
    undecided = verdicts[verdicts["verdict"] == "undecided"]
    if alone := int((undecided["num_pairs"] == 1).sum()):
        yield (
            f"Of {counted(len(undecided), 'undecided change')} {_are(alone)} of one seed, which "
            "does not tell what another would have done."
        )
    if len(undecided):
        yield ("Undecided does not mean equal: with these seeds and sentences both are possible.")


def tell_tally(row: Row, level: pd.DataFrame) -> str:
    """A sentence on the languages of one sparsity.

    Args:
        row: of the table `tally`.
        level: the rows of `significance` that it counts.
    """
    start = f"At {percent(row['target_sparsity'])} sparsity"
    counts = {
        name: int(row[f"num_{name}"]) for name in ("worse", "better", "equivalent", "undecided")
    }
    total, missing = sum(counts.values()), int(row["num_missing"])
    if not total:
        return f"{start} nothing can be told: no language has a sparse and a dense trial."
    others = f", {missing} {'was' if missing == 1 else 'were'} not compared" if missing else ""
    if total == 1:
        return f"{_tell_one(start, level[level['verdict'].notna()].iloc[0])}{others}."
    parts = [
        f"{_none_or(counts['worse'])} of {counted(total, 'language')} {_is(counts['worse'])} worse",
        f"{_none_or(counts['better'])} {_is(counts['better'])} better",
    ]
    if number := counts["equivalent"]:
        parts.append(f"{number} {_is(number)} equivalent (within {row['margin']:g} of F1)")
    if number := counts["undecided"]:
        parts.append(f"{number} {_is(number)} undecided")
    return f"{start} {', '.join(parts)}{others}."


def _tell_one(start: str, row: pd.Series) -> str:
    """A sentence on the only language."""
    change = (
        f"{start} {row['language']} is {row['verdict']}: F1 changes by {row['delta_mean']:+.3f}"
    )
    if pd.isna(row["low"]) or "seeds" not in row["allows_for"]:
        return f"{change}, and how much other seeds would differ is not known"
    return f"{change}, and the truth may lie from {row['low']:+.3f} to {row['high']:+.3f}"


def _on_tolerance(tables: Tables) -> Iterator[str]:
    """Up to which sparsity languages are shown to keep their F1."""
    rows = tables("tolerance")
    rows = rows[rows["tolerated_sparsity"].notna()]
    if rows.empty:
        return
    margin = f"{rows['margin'].iloc[0]:g}"
    kept = (
        rows[rows["tolerated_sparsity"] > 0].groupby("tolerated_sparsity")["language"].apply(list)
    )
    for sparsity, languages in kept.sort_index(ascending=False).items():
        yield (
            f"{_some(languages)} {'keeps its' if len(languages) == 1 else 'keep their'} F1 up to "
            f"{percent(sparsity)} sparsity, to within {margin}."
        )
    never = rows[rows["tolerated_sparsity"] == 0]
    if len(never):
        yield (
            f"Of {_some(never['language'])} it is not shown at any sparsity that was tried that F1 "
            f"stays within {margin}."
        )


def _on_all(tables: Tables) -> Iterator[str]:
    """Tests across languages, and how often a sparse run wins."""
    verdicts = tables("significance")
    yield from _tell_others(verdicts[verdicts["delta_mean"].notna()])
    tests = tables("tests")
    tests = tests[tests["comparison"] == "sparse - dense"]
    tests = tests[tests["p"].notna()]
    if len(tests) and (tests["p_least"] > LEVEL_OF_TEST).all():
        yield (
            "No test over languages can tell a change from none at any sparsity: "
            f"{_families(tests['num_families'].max())} can at best give "
            f"p = {tests['p_least'].min():.2g}."
        )
    else:
        yield from map(_tell_test, tests.to_dict("records"))
    across = tables("across_languages")
    wins = across[(across["statistic"] == "improvement") & across["value"].notna()]
    for row in wins.to_dict("records"):
        ends = [rounded(row[end]) for end in ("low", "high") if pd.notna(row[end])]
        between = f" (with other seeds from {ends[0]} to {ends[1]})" if len(set(ends)) > 1 else ""
        yield (
            f"At {percent(row['target_sparsity'])} sparsity a sparse run has a higher F1 than a "
            f"dense one of its language in {rounded(row['value'])} of pairs of runs{between}."
        )


def _tell_test(row: Row) -> str:
    """A sentence on a test across languages."""
    start = f"At {percent(row['target_sparsity'])} sparsity"
    families = _families(row["num_families"])
    if row["p_least"] > LEVEL_OF_TEST:
        return (
            f"{start} no test over languages can tell a change from none: {families} can at best "
            f"give p = {row['p_least']:.2g}."
        )
    is_shown = row["p_holm"] <= LEVEL_OF_TEST
    return (
        f"{start} the median change over {families} is {row['median_change']:+.3f}; that this is "
        f"not chance is {'shown' if is_shown else 'not shown'} (p = {row['p_holm']:.2g} after "
        "Holm's correction)."
    )


def _tell_others(rows: pd.DataFrame) -> Iterator[str]:
    """A sentence where sparsities are not of the same languages.

    Args:
        rows: a row a language and sparsity that has a number.
    """
    sets = rows.groupby("target_sparsity")["language"].agg(frozenset)
    if sets.nunique() > 1:
        total, same = len(frozenset().union(*sets)), len(frozenset.intersection(*sets))
        yield (
            f"Sparsities are not of the same languages: {same} of {counted(total, 'language')} "
            f"{_is(same)} at each. What follows may differ between sparsities for that alone."
        )


def _families(number: int) -> str:
    return f"{number} language famil{'y' if number == 1 else 'ies'}"


def _on_seeds(tables: Tables) -> Iterator[str]:
    """How often predictions differ, beside what seeds alone change."""
    rows = tables("disagreement")
    marked = mark_same(rows.reset_index(drop=True), ["series"], "excess_share")
    for sparsity, level in marked.groupby("target_sparsity"):
        same = level[level["is_same"] == "yes"]
        start = f"At {percent(sparsity)} sparsity"
        if len(same):
            cross, dense = same["cross_share"].mean(), same["dense_share"].mean()
            yield (
                f"{start} a sparse and a dense trial of another seed tag {rounded(cross)} of "
                f"sentences differently, two dense seeds {rounded(dense)} (mean over "
                f"{same['of_languages'].iloc[0]})."
            )
        elif marked["excess_share"].notna().any():
            yield (
                f"{start} too few of the languages have predictions of two seeds to be compared "
                "with other sparsities."
            )
    if rows["excess_share"].isna().all() and len(rows):
        yield (
            "What seeds alone change in predictions cannot be told: that takes stored predictions "
            "of two seeds."
        )


def _on_power(tables: Tables) -> Iterator[str]:
    """How many seeds it takes to see the change that was asked for."""
    power = tables("power")
    power = power[power["language"] != "mean"]
    yield from _tell_others(power[power["reason"].isna()])
    for sparsity, level in power.groupby("target_sparsity"):
        known = level[level["reason"].isna()]
        change = f"{level['change'].iloc[0]:g}"
        start = f"To see a change of {change} at {percent(sparsity)} sparsity"
        if known.empty:
            continue
        enough = known[known["seeds_needed"].notna()].sort_values("seeds_needed", kind="stable")
        never = len(known) - len(enough)
        if enough.empty:
            yield f"{start} no number of seeds is enough on these test sentences."
            continue
        seeds, more = enough["seeds_needed"].astype(int), ""
        if never:
            of_all = counted(len(known), "language")
            more = f"; for {never} of {of_all} no number is enough on these test sentences"
        first, last = (f"{seeds.iloc[at]} ({enough['language'].iloc[at]})" for at in (0, -1))
        if len(enough) == 1:
            yield f"{start} it takes {seeds.iloc[0]} seeds for {enough['language'].iloc[0]}{more}."
        else:
            yield (
                f"{start} it takes {seeds.median():.0f} seeds for the language in the middle, from "
                f"{first} to {last}{more}."
            )
    if len(power) and power["reason"].notna().all():
        yield (
            "How many seeds it takes to see a change cannot be told: that takes two seeds whose "
            "changes differ."
        )


def percent(share: float) -> str:
    """A share in words: `70 %`, `12.5 %`."""
    return f"{100 * share:.3g} %"


def rounded(share: float) -> str:
    """The same without decimals, for what is not known better."""
    return f"{100 * share:.0f} %"


def _is(number: int) -> str:
    return "is" if number <= 1 else "are"


def _are(number: int) -> str:
    return f"{number:,} {_is(number)}"


def _none_or(number: int) -> str:
    return f"{number}" if number else "none"


def _some(languages: Sequence[str]) -> str:
    """Languages by their codes, the first of many."""
    return some_of(sorted(languages), 12)
