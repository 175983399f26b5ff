"""Which rows of a figure share one chart where no reader can choose, as on paper or in a notebook.

On the page a reader looks at one series and one kind of embeddings at a time; lines of several
would lie on one another. Languages are drawn together.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestrator.report.figure import Choice, Drawing, Figure

APART = ("series", "embeddings")
"""Those of `figure.FILTERS` whose values are not drawn together."""

LONGEST_NAME = 100


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows of a figure that share one chart.

    Attributes:
        chosen: the value of each column of `APART` that tells these rows from others.
        rows: the rows; those in which such a column is null belong to every part. Where the reader
            of the page chooses in the figure itself, as one trial of many, those that it shows
            at first.
        shown: of what the reader chooses there, by what it is called: the value that is shown.
    """

    chosen: Mapping[str, str]
    rows: pd.DataFrame
    shown: Mapping[str, str]

    def name(self, figure: Figure) -> str:
        """A name for files. It says what is shown, and so stays when the results hold more."""
        parts = [figure.name, *(_as_name(value) for value in self.chosen.values())]
        return "-".join(part for part in parts if part)


def divide(drawing: Drawing) -> list[Part]:
    """Divide the rows of a figure by what is not drawn together.

    Args:
        drawing: a figure; it may be without rows.

    Returns:
        The parts, sorted by their values; none where there are no rows.
    """
    if drawing.table.empty:
        return []
    columns = [column for column in APART if column in drawing.filters]
    parts = []
    for chosen, rows in _divide(drawing.table, columns, {}):
        shown, rows_shown = choose_first(rows, drawing.choices)
        parts.append(Part(chosen=chosen, rows=rows_shown.reset_index(drop=True), shown=shown))
    return parts


def choose_first(
    rows: pd.DataFrame, choices: Sequence[Choice]
) -> tuple[dict[str, str], pd.DataFrame]:
    """What is shown of a figure before its reader chooses, and the rows of that."""
    shown = {}
    for choice in choices:
        values = rows[choice.column]
        if not choice.has_all and values.notna().any():
            first = values[values.notna()].iloc[0]
            shown[choice.label] = str(first)
            rows = rows[values.isna() | (values == first)]
    return shown, rows


def settle_choices(chart: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A chart for each value of the choice that the page offers inside it.

    Args:
        chart: Vega-Lite; a choice is a parameter of `charts.selection`. What else the reader can
            set, such as where an axis begins, stays at its first value.

    Returns:
        By what the value is called in names of files; one chart, of an empty name, where there is
        no choice.
    """
    params = [dict(param) for param in chart.get("params", ())]
    binds = {param["name"]: param.pop("bind", {}) for param in params}
    for param in params:
        if "labels" in binds[param["name"]]:
            others = [other for other in params if other is not param]
            return {
                _as_name(value): {**chart, "params": [*others, param | {"value": value}]}
                for value in binds[param["name"]]["options"]
            }
    return {"": dict(chart)}


def _divide(
    rows: pd.DataFrame, columns: list[str], chosen: Mapping[str, str]
) -> Iterator[tuple[Mapping[str, str], pd.DataFrame]]:
    if not columns:
        yield chosen, rows
        return
    column, *others = columns
    values = sorted(rows[column].dropna().unique(), key=str)
    if not values:
        yield from _divide(rows, others, chosen)
    for value in values:
        belongs = rows[column].isna() | (rows[column] == value)
        yield from _divide(rows[belongs], others, {**chosen, column: str(value)})


def _as_name(value: str) -> str:
    """Small letters, digits and hyphens; a text that is long, or has no such letters, is told from
    others by a hash."""
    plain = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if name and len(name) <= LONGEST_NAME and value.isascii():
        return name
    digest = hashlib.sha256(value.encode()).hexdigest()[:8]
    return f"{name[:LONGEST_NAME]}-{digest}".strip("-")
