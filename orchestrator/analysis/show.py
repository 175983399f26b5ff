"""Analysis tables on a terminal, 100 columns wide: sparsities across where there is one number a
sparsity.

Not all columns are shown; files have them all.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.analysis.tables import VERDICTS, AnalysisTable
from orchestrator.results.rows import Row
from workers.trial import CLEAN, MICRO

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
ABSENT = "–"
SHORT_VERDICTS = {"equivalent": "equiv.", "undecided": "?"}
HEADINGS = {"language": "lang", "embeddings": "embed", "entity_type": "type"}
"""Of a matrix's index, narrow as its values."""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A table with one number for each sparsity.

    Attributes:
        title: what the numbers are.
        index: columns that tell rows apart.
        text: a number as it is shown, from its row.
        count: column that says how much stands behind a number. Most of a row's numbers have the
            same count, which is shown in the last column; any other count is shown above its
            number.
        counted: heading of the last column.
        across: column that tells the table's columns apart.
        trials: column with the number of trials behind a number, where `count` is of something
            else; the highest one of the row is shown.
        of: what is shown of the table's rows, where that is not these themselves.
    """

    title: str
    index: tuple[str, ...]
    text: Callable[[Row], str]
    count: str
    counted: str
    across: str = "target_sparsity"
    trials: str | None = None
    of: Callable[[Sequence[Row]], list[Row]] = list


@dataclass(frozen=True)
class Lines:
    """A table with one line for each row.

    Attributes:
        headings: of the columns shown, by the columns' names.
        of: as of `Matrix`.
    """

    headings: Mapping[str, str]
    of: Callable[[Sequence[Row]], list[Row]] = list


def show(tables: Sequence[AnalysisTable]) -> RenderableType:
    """All tables, each with its title and notes.

    Args:
        tables: some or all of `tables.ANALYSES`.
    """
    return Group(*(part for table in tables for part in show_table(table)))


def show_table(table: AnalysisTable) -> Iterator[RenderableType]:
    """One table: title, numbers by regime and settings, notes."""
    yield Text(f"{table.name}: {table.title}", style="bold", overflow="fold")
    rows = table.rows.to_pylist()

    # Rows of one series follow one another.
    for series, members in groupby(rows, key=lambda row: (row["regime"], row["settings"])):
        place = ", ".join(filter(None, series))
        of_series = list(members)
        for view in VIEWS[table.name]:
            shown = view.of(of_series)
            if not shown:  # such as sparsities of a series that is dense
                continue
            if isinstance(view, Matrix):
                yield Text(f"{place}: {view.title}", overflow="fold")
                yield _matrix(view, shown)
            else:
                yield Text(place, overflow="fold")
                yield _lines(view, shown)

    if table.name == "robustness":
        yield from _reasons(rows)
    for note in table.notes:
        yield Text(f"· {note}", overflow="fold")
    yield Text()


def _matrix(view: Matrix, rows: Sequence[Row]) -> Table:
    """Rows of one series as a table with one number for each sparsity."""
    across = sorted({row[view.across] for row in rows})
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    for name in view.index:
        table.add_column(HEADINGS.get(name, name), overflow="fold")
    for value in across:
        table.add_column(_text(value), justify="right", no_wrap=True)
    table.add_column(view.counted, justify="right", overflow="fold")
    if view.trials:
        table.add_column("trials", justify="right")

    last: tuple[str, ...] = ()
    for index, members in _by(rows, view.index):
        cells = {row[view.across]: row for row in members}
        counts = Counter(row[view.count] for row in members if row[view.count])
        usual = counts.most_common(1)[0][0] if counts else 0  # what the last column shows
        texts = [_cell(view, cells[value], usual) if value in cells else "" for value in across]
        trials = [str(max(row[view.trials] for row in members))] if view.trials else []
        table.add_row(*_unlike(index, last), *texts, str(usual), *trials)
        last = index
    return table


def _cell(view: Matrix, row: Row, usual: int) -> str:
    count = row[view.count]
    is_unusual = count and count != usual
    return view.text(row) + (str(count).translate(SUPERSCRIPTS) if is_unusual else "")


def _by(rows: Sequence[Row], names: Sequence[str]) -> Iterator[tuple[tuple[str, ...], list[Row]]]:
    """Rows that share the values of these columns, in the order of the first of them."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(_text(row[name]) for name in names), []).append(row)
    yield from groups.items()


def _lines(view: Lines, rows: Sequence[Row]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    for name, heading in view.headings.items():
        is_number = any(isinstance(row[name], float | int) for row in rows)
        justify: Any = "right" if is_number else "left"
        table.add_column(heading, justify=justify, no_wrap=is_number, overflow="fold")
    for row in rows:
        table.add_row(*(ROUNDED.get(name, _text)(row[name]) for name in view.headings))
    return table


def _reasons(rows: Sequence[Row]) -> Iterator[Text]:
    """Why perturbations do not apply, once for each language and perturbation."""
    reasons = {
        (row["language"], row["perturbation"]): row["reason"] for row in rows if row["reason"]
    }
    for (language, perturbation), reason in reasons.items():
        yield Text(f"n/a: {language} {perturbation}: {reason}", overflow="fold")


def _unlike(index: tuple[str, ...], last: tuple[str, ...]) -> list[str]:
    """The index without what the row above has already said, from the left."""
    texts = list(index)
    for place, (text, above) in enumerate(zip(index, last, strict=False)):
        if text != above:
            break
        texts[place] = ""
    return texts


def _text(value: Any) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _number(value: float | None, sign: str = "") -> str:
    """Three digits, without the zero before the point."""
    if value is None:
        return ABSENT
    if abs(value) < 1:
        return f"{value:{sign}z.3f}".replace("0.", ".", 1)
    return f"{value:.3g}"


def _plain(name: str, sign: str = "") -> Callable[[Row], str]:
    return lambda row: _number(row[name], sign)


def _p_value(value: float | None) -> str:
    return _number(value) if value is None or value >= 0.001 else "<.001"


def _with_p(row: Row, name: str) -> str:
    return ABSENT if row["p"] is None else f"{_number(row[name], '+')} {_p_value(row['p'])}"


def _with_std(mean: str, std: str) -> Callable[[Row], str]:
    """As in .842(12) for 0.842 with a standard deviation of 0.012."""
    return lambda row: _number(row[mean]) + ("" if row[std] is None else f"({1000 * row[std]:.0f})")


def _perturbed(row: Row) -> str:
    return "n/a" if row["status"] == "not_applicable" else _number(row["f1_perturbed_mean"])


def _interval(low: str, high: str) -> Callable[[Row], str]:
    return lambda row: (
        ABSENT if row[low] is None else f"{_number(row[low], '+')} {_number(row[high], '+')}"
    )


def _tolerated(row: Row) -> str:
    return f"{_text(row['tolerated_sparsity'])} < {_text(row['worse_at'])}"


def _change(
    index: tuple[str, ...],
    counted: str = "pairs",
    count: str = "num_pairs",
    trials: str | None = None,
) -> Matrix:
    return Matrix(
        title="change of F1 to dense",
        index=index,
        text=_plain("delta_dense_mean", "+"),
        count=count,
        counted=counted,
        trials=trials,
    )


BY_LANGUAGE = ("language", "embeddings")
BY_GROUP = ("grouping", "group", "embeddings")
BY_PERTURBATION = ("perturbation", "embeddings")
LEVEL_HEADINGS = {"embeddings": "embeddings", "target_sparsity": "sparsity"}
SIGNED = (
    "delta_dense_mean",
    "delta_pooled",
    "delta_pooled_low",
    "delta_pooled_high",
    "relative_dense_mean",
    "delta_embeddings_mean",
    "delta_embeddings_low",
    "delta_embeddings_high",
    "delta_equal_size",
    "median_change",
    "estimate",
    "worst_f1_change",
    "f1_std_change",
    "f1_range_change",
    "tier_gap_change",
)
UNSIGNED = (
    *("delta_embeddings_std", "std_error"),
    *("worst_f1", "f1_std", "f1_range", "tier_gap"),
    *("overall_sparsity", "num_bytes", "num_multiplications", "f1_mean", "value", "low", "high"),
)
ROUNDED = {
    **dict.fromkeys(SIGNED, lambda value: _number(value, "+")),
    **dict.fromkeys(UNSIGNED, _number),
    **dict.fromkeys(("p", "p_holm", "p_bh", "p_least", "p_independent"), _p_value),
}
"""How numbers in lines are rounded; others are written whole."""


def _errors_of_all(rows: Sequence[Row]) -> list[Row]:
    """Of each kind of error the mean share over languages: eleven lines for each of 40 languages
    would be more than anybody reads."""
    names = ("embeddings", "target_sparsity", "side", "kind")
    whole = [
        row
        for row in rows
        if (row["perturbation"], row["subset"], row["entity_type"]) == (CLEAN, "all", MICRO)
    ]
    found = []
    for _, members in _by(whole, names):
        shares = [row["share_mean"] for row in members if row["share_mean"] is not None]
        mean = {"share_mean": fmean(shares) if shares else None, "num_languages": len(shares)}
        found.append({name: members[0][name] for name in names} | mean)
    return found


def _reliability_of_all(rows: Sequence[Row]) -> list[Row]:
    """Of each bin of words predicted as entities the part that is right, over all languages."""
    names = ("embeddings", "target_sparsity", "bin_low")
    found = []
    for _, members in _by([row for row in rows if row["words"] == "entity"], names):
        filled = [row for row in members if row["num_words"]]
        num_words = sum(row["num_words"] for row in filled)
        num_right = sum(row["num_words"] * row["accuracy"] for row in filled)
        counts = {
            "accuracy": num_right / num_words if num_words else None,
            "num_languages": len(filled),
        }
        found.append({name: members[0][name] for name in names} | counts)
    return found


def _margins_of_all(rows: Sequence[Row]) -> list[Row]:
    """Of each subset, and of each entity type, the mean over languages."""
    names = ("embeddings", "target_sparsity", "subset", "entity_type")
    wanted = [row for row in rows if row["subset"] == "all" or row["entity_type"] == MICRO]
    found = []
    for _, members in _by(wanted, names):
        row = {name: members[0][name] for name in names}
        for name in ("f1_mean", "delta_dense_mean"):
            values = [member[name] for member in members if member[name] is not None]
            row[name] = fmean(values) if values else None
            row[f"num_{name}"] = len(values)
        found.append(row)
    return found


def _kinds_of_all(rows: Sequence[Row]) -> list[Row]:
    """Of each kind of matrix the mean over layers and languages."""
    names = ("embeddings", "target_sparsity", "kind")
    return [
        {name: members[0][name] for name in names}
        | {
            "sparsity_mean": fmean(row["sparsity_mean"] for row in members),
            "density_min": min(row["density_min"] for row in members),
            "num_rows": len(members),
        }
        for _, members in _by([row for row in rows if row["target_sparsity"] > 0], names)
    ]


def _sizes_of_all(rows: Sequence[Row]) -> list[Row]:
    """Of each level the means over languages."""
    found = []
    for _, members in _by(rows, ("embeddings", "target_sparsity")):
        row = {name: members[0][name] for name in ("embeddings", "target_sparsity")}
        for name in ("overall_sparsity", "f1_mean", "delta_equal_size"):
            values = [member[name] for member in members if member[name] is not None]
            row[name] = fmean(values) if values else None
        for name in ("num_bytes", "num_multiplications"):
            values = [member[name] / 1e6 for member in members if member[name] is not None]
            row[name] = fmean(values) if values else None
        row["num_languages"] = sum(member["f1_mean"] is not None for member in members)
        found.append(row)
    return found


def _tenths(rows: Sequence[Row]) -> list[Row]:
    """The thresholds of whole tenths."""
    return [row for row in rows if round(20 * row["threshold"]) % 2 == 0]


def _parts_of_all(part: str) -> Callable[[Sequence[Row]], list[Row]]:
    """Of each perturbation and part, such as an entity type, the mean over languages."""
    names = ("perturbation", part, "embeddings", "target_sparsity")

    def average(rows: Sequence[Row]) -> list[Row]:
        found = []
        for _, members in _by(rows, names):
            drops = [row["drop_mean"] for row in members if row["drop_mean"] is not None]
            mean = {"drop_mean": fmean(drops) if drops else None, "num_languages": len(drops)}
            found.append({name: members[0][name] for name in names} | mean)
        return found

    return average


VIEWS: dict[str, tuple[Matrix | Lines, ...]] = {
    "quality": (
        Matrix(
            title="mean F1 and (standard deviation over seeds, in thousandths)",
            index=BY_LANGUAGE,
            text=_with_std("f1_mean", "f1_std"),
            count="num_seeds",
            counted="seeds",
        ),
        _change(BY_LANGUAGE),
    ),
    "groups": (
        Matrix(
            title="mean F1 of languages",
            index=BY_GROUP,
            text=_plain("f1_mean"),
            count="num_languages",
            counted="languages",
            trials="num_trials",
        ),
        _change(BY_GROUP, "languages", "num_languages_compared", "num_trials_compared"),
        Matrix(
            title="interval of the mean change of all n languages",
            index=("embeddings",),
            text=_interval("delta_dense_low", "delta_dense_high"),
            count="num_languages_compared",
            counted="n",
            of=lambda rows: [row for row in rows if row["grouping"] == "all"],
        ),
    ),
    "worst": (
        Lines(
            LEVEL_HEADINGS
            | {
                "kind": "kind",
                "name": "loses most",
                "delta_dense_mean": "change",
                "delta_pooled": "pooled",
                "delta_pooled_low": "from",
                "delta_pooled_high": "to",
            }
            | {
                "num_languages": "languages",
                "num_trials": "trials",
                "num_compared": "of",
                "num_missing": "missing",
            }
        ),
    ),
    "embeddings": (
        Matrix(
            title="F1 with pruned minus F1 with dense embeddings",
            index=BY_LANGUAGE,
            text=_plain("delta_embeddings_mean", "+"),
            count="num_pairs",
            counted="pairs",
        ),
    ),
    "embeddings_overall": (
        Lines(
            LEVEL_HEADINGS
            | {
                "delta_embeddings_mean": "change",
                "delta_embeddings_low": "from",
                "delta_embeddings_high": "to",
                "delta_embeddings_std": "std",
                "num_languages": "languages",
            }
            | {"num_languages_missing": "missing", "num_trials": "trials"}
        ),
    ),
    "power": (
        Matrix(
            title="seeds needed (–: no number is enough)",
            index=BY_LANGUAGE,
            text=lambda row: ABSENT if row["seeds_needed"] is None else f"{row['seeds_needed']:,}",
            count="num_seeds",
            counted="now",
        ),
        Matrix(
            title="sentences below which no number of seeds is enough",
            index=BY_LANGUAGE,
            text=lambda row: (
                ABSENT if row["sentences_at_least"] is None else f"{row['sentences_at_least']:,}"
            ),
            count="num_sentences",
            counted="now",
        ),
        Matrix(
            title="smallest change that is seen now",
            index=BY_LANGUAGE,
            text=_plain("detectable"),
            count="num_seeds",
            counted="seeds",
        ),
    ),
    "steps": (
        Lines(
            {"trials": "trials", "grouping": "grouping", "group": "group"}
            | {"num_steps_min": "steps", "num_steps_max": "to"}
            | {"num_updates_min": "updates", "num_updates_max": "to"}
            | {"num_recovery_steps_min": "recovery", "num_recovery_steps_max": "to"}
            | {"num_languages": "languages", "num_trials": "number"}
        ),
    ),
    "breakdown": tuple(
        Matrix(
            title=f"mean over languages of {title}",
            index=("embeddings", "subset", "entity_type"),
            text=_plain(name, sign),
            count=f"num_{name}",
            counted="languages",
            of=_margins_of_all,
        )
        for title, name, sign in (
            ("F1", "f1_mean", ""),
            ("the change of F1 to dense", "delta_dense_mean", "+"),
        )
    ),
    "layer_sparsity": tuple(
        Matrix(
            title=title,
            index=("embeddings", "kind"),
            text=_plain(name),
            count="num_rows",
            counted="matrices",
            of=_kinds_of_all,
        )
        for title, name in (
            ("mean sparsity over layers and languages", "sparsity_mean"),
            ("smallest density of a layer and language", "density_min"),
        )
    ),
    "budget": (
        Lines(
            LEVEL_HEADINGS
            | {"overall_sparsity": "overall", "num_bytes": "MB"}
            | {"num_multiplications": "million mult.", "f1_mean": "F1"}
            | {"delta_equal_size": "at equal size", "num_languages": "languages"},
            of=_sizes_of_all,
        ),
    ),
    "across_languages": (
        Lines(
            {"statistic": "statistic"}
            | LEVEL_HEADINGS
            | {"value": "value", "low": "low", "high": "high"}
            | {"num_languages": "languages", "num_trials": "trials"}
        ),
    ),
    "profiles": (
        Matrix(
            title="share of runs with an F1 above the threshold",
            index=("embeddings", "threshold"),
            text=_plain("value"),
            count="num_languages",
            counted="languages",
            of=_tenths,
        ),
    ),
    "disparity": (
        Lines(
            LEVEL_HEADINGS
            | {"worst_language": "worst", "worst_f1": "F1", "worst_f1_change": "change"}
            | {"f1_std": "std", "f1_std_change": "change"}
            | {"f1_range": "range", "f1_range_change": "change"}
            | {"tier_gap": "gap", "tier_gap_change": "change"}
            | {"num_languages": "languages", "num_trials": "trials"}
        ),
    ),
    "robustness": (
        Matrix(
            title="F1 on perturbed sentences",
            index=("language", *BY_PERTURBATION),
            text=_perturbed,
            count="num_seeds",
            counted="seeds",
        ),
    ),
    "robustness_overall": tuple(
        Matrix(
            title=title,
            index=BY_PERTURBATION,
            text=_plain(name),
            count="num_languages",
            counted="languages",
            trials="num_trials",
        )
        for title, name in (
            ("mean F1 on perturbed sentences", "f1_perturbed_mean"),
            ("mean drop of F1 from clean to perturbed", "drop_mean"),
        )
    ),
    "robustness_types": (
        Matrix(
            title="mean over languages of the drop of F1 from clean to perturbed",
            index=("perturbation", "entity_type", "embeddings"),
            text=_plain("drop_mean"),
            count="num_languages",
            counted="languages",
            of=_parts_of_all("entity_type"),
        ),
    ),
    "robustness_subsets": (
        Matrix(
            title="mean over languages of the drop of F1 from clean to perturbed",
            index=("perturbation", "subset", "embeddings"),
            text=_plain("drop_mean"),
            count="num_languages",
            counted="languages",
            of=_parts_of_all("subset"),
        ),
    ),
    "disagreement": (
        Matrix(
            title="share of sentences whose modal prediction changes",
            index=BY_LANGUAGE,
            text=_plain("pie_share"),
            count="num_pairs",
            counted="seeds",
        ),
        Matrix(
            title=(
                "share on which a sparse and a dense trial of another seed differ, less that of "
                "two alike; p"
            ),
            index=BY_LANGUAGE,
            text=lambda row: _with_p(row, "excess_share"),
            count="num_pairs",
            counted="seeds",
        ),
    ),
    "pies_profile": (
        Matrix(
            title="mean of those that change minus mean of those on which dense seeds differ",
            index=("property", *BY_LANGUAGE),
            text=_plain("unstable_difference", "+"),
            count="num_trials",
            counted="seeds",
        ),
    ),
    "errors": (
        Matrix(
            title="mean over languages of the share of true entities, of predicted ones, of tags",
            index=("embeddings", "side", "kind"),
            text=_plain("share_mean"),
            count="num_languages",
            counted="languages",
            of=_errors_of_all,
        ),
    ),
    "calibration": (
        Matrix(
            title="calibration error of words predicted as entities, and of all",
            index=("language", "embeddings", "words"),
            text=_plain("ece_mean"),
            count="num_seeds",
            counted="seeds",
        ),
    ),
    "reliability": (
        Matrix(
            title="part of the words predicted as entities that are right, by the lowest "
            "probability of a bin, all languages together",
            index=("embeddings", "target_sparsity"),
            text=_plain("accuracy"),
            count="num_languages",
            counted="languages",
            across="bin_low",
            of=_reliability_of_all,
        ),
    ),
    "significance": (
        Matrix(
            title="interval of the change of F1, from n seeds",
            index=BY_LANGUAGE,
            text=_interval("low", "high"),
            count="num_pairs",
            counted="n",
        ),
        Matrix(
            title="verdict; equiv.: equivalent, ?: undecided",
            index=BY_LANGUAGE,
            text=lambda row: SHORT_VERDICTS.get(row["verdict"], _text(row["verdict"])),
            count="num_pairs",
            counted="n",
        ),
    ),
    "tally": (
        Lines(
            LEVEL_HEADINGS
            | {"margin": "margin"}
            | {f"num_{name}": name for name in VERDICTS}
            | {"num_missing": "missing", "num_languages": "languages", "num_trials": "trials"}
        ),
    ),
    "tolerance": (
        Matrix(
            title="highest sparsity that is tolerated < lowest that is worse",
            index=("language",),
            text=_tolerated,
            count="num_sparsities",
            counted="sparsities",
            across="embeddings",
            trials="num_trials",
        ),
    ),
    "tests": (
        Lines(
            {"comparison": "comparison"}
            | LEVEL_HEADINGS
            | {
                "median_change": "median",
                "p": "p",
                "p_holm": "Holm",
                "p_bh": "BH",
                "p_least": "least",
                "p_independent": "indep.",
            }
            | {"num_families": "families", "num_languages": "lang", "num_trials": "trials"}
        ),
    ),
    "languages": (
        Matrix(
            title="what languages differ in; files have the source of each",
            index=("language",),
            text=_plain("value"),
            count="num_trials",
            counted="trials",
            across="covariate",
        ),
    ),
    "correlations": tuple(
        Matrix(
            title=title,
            index=("outcome", "covariate", "embeddings"),
            text=text,
            count="num_languages",
            counted="languages",
        )
        for title, text in (
            ("rank correlation of the change with the covariate", _plain("rho", "+")),
            ("its p, within language families", lambda row: _p_value(row["p"])),
        )
    ),
    "slopes": (
        Lines(
            {"outcome": "outcome", "covariate": "covariate", "embeddings": "embed"}
            | {"estimate": "estimate", "std_error": "std err", "p": "p", "p_holm": "Holm"}
            | {"p_least": "least", "p_independent": "indep.", "num_levels": "levels"}
            | {"num_languages": "lang"}
        ),
    ),
    "model": (
        Lines(
            {"embeddings": "embeddings", "term": "term"}
            | {"estimate": "estimate", "std_error": "std error", "p_independent": "p indep."}
            | {"num_observations": "rows", "num_languages": "languages", "num_trials": "trials"}
        ),
    ),
}
"""How each table looks."""
