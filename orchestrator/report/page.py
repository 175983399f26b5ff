"""The report as one HTML file that needs no network: figures, their rows, and Vega-Lite.

The page holds each figure's rows once, as JSON. The script beside this file draws charts of them
when they come near the view, makes the tables and CSV files that the reader asks for, and applies
the reader's choices. Its security policy forbids the network, and any script but these.
"""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import pandas as pd

from orchestrator.report.figure import FILTERS, Drawing, Figure
from orchestrator.report.material import Material
from orchestrator.report.sections import SECTIONS
from orchestrator.report.theme import config
from orchestrator.results.export import write_text
from orchestrator.spec.languages import find_language
from orchestrator.wording import counted
from workers.storage import Location


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A figure as the page has it."""

    figure: Figure
    drawing: Drawing
    data: str

    @property
    def trials(self) -> str:
        """How many trials are behind it, in words."""
        return counted(self.drawing.num_trials, "trial")


def write_page(material: Material, path: str) -> Location:
    """Write the page to a file, on this machine or in an object store.

    Raises:
        StoreError: it cannot be written there.
        OSError: the disk is full or fails.
    """
    return write_text(make_page(material), path)


def make_page(material: Material, state: str = "") -> str:
    """Make the whole page.

    Args:
        material: what was analysed.
        state: where the page is served while results grow, the name of their state; the page then
            asks whether it has changed, see `orchestrator.report.live`.

    Returns:
        HTML.
    """
    from jinja2 import Environment

    folder = files("orchestrator.report") / "template"
    style, views, script, template, live = (
        (folder / name).read_text(encoding="utf-8")
        for name in ("page.css", "views.js", "page.js", "page.html", "live.js")
    )
    sections = [
        (section, [_show(figure, material) for figure in section.figures]) for section in SECTIONS
    ]
    scripts = [_vega(), f"{views}\n{script}", *([live] if state else [])]
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    shown = [one for _, of_section in sections for one in of_section]
    return page.render(
        results=str(material.store.location),
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        state=state,
        sections=sections,
        choices=_find_choices([one.drawing for one in shown]),
        settings=as_json({"config": {name: config(name) for name in ("light", "dark")}}),
        style=style,
        scripts=scripts,
        hashes=[_hash(text) for text in scripts],
    )


def _vega() -> str:
    """The scripts of Vega, Vega-Lite and Vega-Embed, as `window.vegaEmbed`."""
    import vl_convert

    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return script


def _hash(script: str) -> str:
    """What the security policy calls a script by."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _show(figure: Figure, material: Material) -> Shown:
    drawing = figure.draw(material)
    chart = None if drawing.chart is None else drawing.chart.to_dict()
    meanings = material.meanings(figure.needs)
    data = {
        "name": figure.name,
        "chart": chart,
        "filters": list(drawing.filters),
        "choices": [asdict(choice) for choice in drawing.choices],
        "view": drawing.view,
        "meanings": {name: meanings[name] for name in drawing.table if name in meanings},
        "columns": {str(name): as_column(column) for name, column in drawing.table.items()},
    }
    return Shown(figure=figure, drawing=drawing, data=as_json(data))


def as_values(column: pd.Series) -> list[Any]:
    """A column's values as JSON has them; null where there is none."""
    return [None if pd.isna(value) else value for value in column.astype(object).tolist()]


def as_column(column: pd.Series) -> list[Any] | dict[str, list[Any]]:
    """A column's values; or, where they are repeated, each once and the place of each row's."""
    values = as_values(column)
    different = list(dict.fromkeys(values))
    if 4 * len(different) > len(values):
        return values
    places = {value: place for place, value in enumerate(different)}
    return {"values": different, "places": [places[value] for value in values]}


def as_json(value: Any) -> str:
    """JSON that may stand inside a script element: it holds no `<`, so that no tag begins in it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _find_choices(drawings: Sequence[Drawing]) -> Sequence[tuple[str, str, Mapping[str, str]]]:
    """Of each column by which there is something to choose: its name, what it is called, and the
    values with what they are called; an empty value for all of them. The page begins with the first
    one."""
    found = []
    for column, label in FILTERS.items():
        values: dict[str, str] = {"": "all languages"} if column == "language" else {}
        for drawing in drawings:
            if column in drawing.filters:
                there = drawing.table[column].dropna().unique()
                values |= {str(value): _name(column, str(value)) for value in sorted(there)}
        if column == "series":
            num_sparse = _count_sparse(drawings)  # the page shall not look empty
            most = sorted(values, key=lambda value: (-num_sparse[value], value))
            values = {value: values[value] for value in most}
        if len(values) > (2 if column == "language" else 1):
            found.append((column, label, values))
    return found


def _count_sparse(drawings: Sequence[Drawing]) -> Counter[str]:
    """Rows of sparse trials, by series."""
    number = Counter[str]()
    for drawing in drawings:
        if {"series", "target_sparsity"} <= set(drawing.table.columns):
            is_sparse = drawing.table["target_sparsity"] > 0
            number.update(drawing.table.loc[is_sparse, "series"].dropna().astype(str))
    return number


def _name(column: str, value: str) -> str:
    name = find_language(value).name if column == "language" else value
    return value if name == value else f"{value} ({name})"
