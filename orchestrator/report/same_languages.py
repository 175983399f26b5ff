"""Means over languages that can be compared between sparsities.

While a sweep runs, and where trials failed, one sparsity has other languages than the next. A line
through the means of whatever is there rises and falls with who is in it: F1 seems to rise where the
hard languages are still missing. So a line is either of the same languages everywhere, or broken
where they change.
"""

from collections.abc import Sequence

import pandas as pd

from orchestrator.analysis.inputs.frames import MIXED
from orchestrator.report.charts import lend_dense
from orchestrator.wording import counted

SPARSITY = "target_sparsity"
NUM_SHOWN = "distinct(language)"
"""What a chart of rows of `mark_same` joins to them as `num_shown`: the languages that the reader
has chosen, all or one."""
IN_MEAN = "datum.num_shown === 1 || datum.is_same === 'yes'"
"""An expression of Vega: whether a row of `mark_same` is drawn. One language is compared with
itself."""
NO_MEAN = "datum.num_shown > 1 && datum.has_same === 'no'"
"""The same: whether a row is of a sparsity that has too few of the languages."""
SAME_TOLD = (
    "A line is of the same languages at each sparsity; above a panel stands how many. × has too "
    "few of them."
)


def find_same(
    rows: pd.DataFrame, panel: Sequence[str], value: str, parts: Sequence[str] = ()
) -> pd.Series:
    """Find the rows that means of a panel are of.

    Args:
        rows: a row a language, sparsity and part, with the columns `panel`, `language`,
            `target_sparsity`, `parts` and `value`. An index without repetition.
        panel: columns that tell apart what is looked at by itself; null is a value.
        value: the column that is averaged; null where nothing was measured.
        parts: columns that tell apart the lines of a panel, of the same languages all.

    Returns:
        bool, by the index of `rows`. In a panel the rows of all languages that have each part at
        each sparsity; a sparsity that costs more rows than it brings has none.
    """
    is_in = pd.Series(False, rows.index)
    for _, of_panel in rows.groupby(list(panel), dropna=False):
        measured = of_panel.dropna(subset=[value])
        if measured.empty:
            continue
        found = measured.groupby(["language", SPARSITY, *parts]).size()
        has = found.unstack([SPARSITY, *parts]).notna()
        # A sparsity counts with all parts that any language has there.
        has = has.T.groupby(level=SPARSITY).all().T
        languages, sparsities = choose_same(has)
        is_in[of_panel.index] = (
            of_panel["language"].isin(languages)
            & of_panel[SPARSITY].isin(sparsities)
            & of_panel[value].notna()
        )
    return is_in


def choose_same(has: pd.DataFrame) -> tuple[list[str], list[float]]:
    """Choose languages and sparsities, each of which has each.

    Args:
        has: bool, a row a language and a column a sparsity: whether there is a value.

    Returns:
        The languages and sparsities of the most values; of at least two sparsities, where any
        language has two. Of equals those of more sparsities.
    """
    best: tuple[list[str], list[float]] = ([], [])
    most = (False, 0)
    in_order = has.sum().sort_values(ascending=False, kind="stable").index
    for number in range(1, len(in_order) + 1):
        sparsities = list(in_order[:number])
        languages = list(has.index[has[sparsities].all(axis=1)])
        worth = (number > 1 and bool(languages), number * len(languages))
        if worth >= most:
            best, most = (languages, sorted(sparsities)), worth
    return best


def average_same(
    rows: pd.DataFrame, panel: Sequence[str], values: Sequence[str], parts: Sequence[str] = ()
) -> pd.DataFrame:
    """Average over the same languages at each sparsity of a panel.

    Args:
        rows: as of `find_same`, with the columns `values`, `regime` and `num_seeds`.
        panel: see `find_same`.
        values: what is averaged; a language counts where it has the first.
        parts: see `find_same`.

    Returns:
        A row a panel, sparsity and part: the means, null where the sparsity has too few languages;
        `num_languages` and `num_trials` behind them, and `of_languages`, see `tell_kept`.
    """
    is_in = find_same(rows, panel, values[0], parts)
    seeds = rows["num_seeds"].where(is_in, 0)
    is_alone = rows["regime"] == "monolingual"
    of_means = rows.assign(
        num_languages=rows["language"].where(is_in),
        of_languages=tell_kept(rows, is_in, panel, values[0]),
        alone=seeds.where(is_alone, 0),
        together=seeds.where(~is_alone, 0),
        **{name: rows[name].where(is_in) for name in values},
    )
    means = of_means.groupby([*panel, SPARSITY, *parts], dropna=False, as_index=False).agg(
        **{name: (name, "mean") for name in values},
        num_languages=("num_languages", "nunique"),
        of_languages=("of_languages", "first"),
        alone=("alone", "sum"),
        together=("together", "max"),
    )
    means["num_trials"] = means.pop("alone") + means.pop("together")
    return means


def mark_same(
    rows: pd.DataFrame, panel: Sequence[str], value: str, parts: Sequence[str] = ()
) -> pd.DataFrame:
    """Say which rows the means are of that a chart draws itself, see `IN_MEAN` and `NO_MEAN`.

    Args:
        rows: see `find_same`.
        panel: see `find_same`.
        value: see `find_same`.
        parts: see `find_same`.

    Returns:
        The rows with `is_same`, yes or no; `has_same`, whether any row of its sparsity is; and
        `of_languages`, see `tell_kept`.
    """
    is_in = find_same(rows, panel, value, parts)
    by_sparsity = [rows[name] for name in (*panel, SPARSITY)]
    has_same = is_in.groupby(by_sparsity, dropna=False).transform("any")
    names = {True: "yes", False: "no"}
    return rows.assign(
        is_same=is_in.map(names),
        has_same=has_same.map(names),
        of_languages=tell_kept(rows, is_in, panel, value),
    )


def tell_kept(rows: pd.DataFrame, is_in: pd.Series, panel: Sequence[str], value: str) -> pd.Series:
    """How many languages means are of, such as `6 languages`, or `4 of 6 languages` where others
    have a value somewhere in the panel.

    Args:
        rows: see `find_same`.
        is_in: what it found.
        panel: see `find_same`.
        value: see `find_same`.
    """
    by_panel = [rows[name] for name in panel]
    kept, measured = (
        rows["language"].where(which).groupby(by_panel, dropna=False).transform("nunique")
        for which in (is_in, rows[value].notna())
    )
    return pd.Series(map(_tell, kept, measured), rows.index, dtype=object)


def _tell(num_languages: int, of_all: int) -> str:
    if num_languages < of_all:
        return f"{num_languages} of {of_all} languages"
    return counted(num_languages, "language")


def join_same(
    table: pd.DataFrame, rows: pd.DataFrame, line: Sequence[str], value: str
) -> pd.DataFrame:
    """Say which of the means of a line are of the same languages, where they are what they are.

    Args:
        table: a row a line and sparsity: means over all languages that are there.
        rows: those of languages behind it, with the columns `line`, `language`, `target_sparsity`
            and `value`.
        line: columns that tell lines apart; null is a value.
        value: null in `rows` where a language has nothing.

    Returns:
        The table with `joined`, one number for neighbours of the same languages, by which a line is
        drawn; and `of_languages`, such as `4 of 6`, null where all of the line's are there.
    """
    place = [*line, SPARSITY]
    there = rows.dropna(subset=[value]).groupby(place, dropna=False)["language"].agg(frozenset)
    keys = pd.MultiIndex.from_frame(table[place])
    sets = pd.Series(there.reindex(keys).to_numpy(), table.index)
    joined, told = pd.Series(0, table.index), pd.Series(None, table.index, dtype=object)
    for _, of_line in table.sort_values(SPARSITY).groupby(list(line), dropna=False):
        known = sets[of_line.index].dropna()
        joined[known.index] = (known != known.shift()).cumsum()
        if known.nunique() > 1:
            total = len(frozenset().union(*known))
            fewer = known[known.map(len) < total]
            told[fewer.index] = [f"{len(one)} of {total}" for one in fewer]
    return table.assign(joined=joined, of_languages=told)


def tell_joined(table: pd.DataFrame) -> list[str]:
    """What must be said of a table of `join_same`; nothing where all lines are whole."""
    if table["of_languages"].isna().all():
        return []
    return [
        "Where a line is broken other languages are behind the next point: 4 of 6 is how many have "
        "a value there; where nothing is said all have one. Compare only points that are joined."
    ]


def same_notes(notes: Sequence[str]) -> list[str]:
    """The notes of a table of the analysis, but for what does not hold of means over the same
    languages."""
    return [note for note in notes if not note.startswith(MIXED)]


def with_dense(rows: pd.DataFrame, of: Sequence[str] = ("series",)) -> pd.DataFrame:
    """The rows, with those of dense trials once for each kind of embeddings that sparse ones of
    the same place have, whose lines begin there; as of dense embeddings where there are none. They
    are lent to other series, see `charts.lend_dense`.

    Args:
        rows: with the columns `embeddings`, `target_sparsity` and `of`.
        of: columns that say the place.
    """
    rows = lend_dense(rows)
    is_dense = rows[SPARSITY] == 0
    kinds = rows.loc[~is_dense, [*of, "embeddings"]].drop_duplicates()
    begin = rows[is_dense].drop(columns="embeddings").merge(kinds, on=list(of), how="left")
    begin["embeddings"] = begin["embeddings"].fillna("dense")
    return pd.concat([begin[rows.columns], rows[~is_dense]], ignore_index=True)


def tell_fewer(table: pd.DataFrame, line: Sequence[str], count: str = "num_languages") -> pd.Series:
    """Say of which rows fewer languages are behind than behind others that are compared with them.

    Args:
        table: a row a line and sparsity, or several.
        line: columns that tell apart what is compared; null is a value.
        count: the number of languages.

    Returns:
        Texts such as `4 of 6 languages`, null where none is missing.
    """
    most = table.groupby(list(line), dropna=False)[count].transform("max")
    told = table[count].astype(str) + " of " + most.astype(str) + " languages"
    return told.astype(object).where(table[count] < most, None)
