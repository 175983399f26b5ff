"""A chart as SVG, PDF and PNG at the width of a paper's column.

Charts are made for the page, whose texts have 12 pixels. They are laid out here in as many pixels
as make a column when 12 pixels are 8 points, so that everything in them keeps its proportion.
"""

import copy
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from xml.etree import ElementTree

from orchestrator.report.figure import ROWS
from orchestrator.report.theme import config

COLUMN_PT, TEXT_PT = 234.0, 486.0
"""Widths in points of 1/72 inch: a column, and both with the gap, of a page of letter paper."""
PAGE_PT = 630.0
"""Height in points that a page has for a figure above its caption."""
PT_PER_PIXEL = 8 / 12
PPI = 300
"""Pixels an inch of a PNG."""
TALL = 1.25
"""A chart of several panels that is taller than so many column widths takes both columns."""
LEAST_PLOT = 0.5
"""One view whose axes take more than this part of a column takes both columns."""
SHRINKS = 0.7
"""How much narrower panels become, at most, so that one more stands in a line."""
NARROWEST, WIDEST = 0.3, 2.0
"""How much narrower or wider views may become in the end."""
LEGEND_COLUMNS = (0, 4, 3, 2, 1)
"""How many kinds a line of a legend has; 0 for all. The first is taken whose legend fits."""

FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
"""The first comes with vl-convert, is put into every PDF, and has the widths of the next two."""

_BLACK = {"ink": "#000000", "quiet": "#000000", "faint": "#dddddd", "paper": "#ffffff"}
_THEMES: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "paper": ("light", "#ffffff", _BLACK),
    "light": ("light", "#ffffff", {}),
    "dark": ("dark", "#161616", {}),
}
"""Of each theme: the colours of the page, the background, and colours that differ."""

THEMES = tuple(_THEMES)
"""`paper`: black on white. `light` and `dark`: as the page, for slides."""

_MANY = ("hconcat", "vconcat", "concat", "spec")
_ROOT = re.compile(r'width="([\d.]+)" height="([\d.]+)"')
_PLOT = re.compile(r'class="background"[^>]* d="M[-\d.]+,[-\d.]+h([\d.]+)')


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A chart in three formats.

    Attributes:
        svg: with texts as texts.
        pdf: with its fonts; texts can be searched and copied.
        png: at 300 pixels an inch.
        width_pt: width in points of 1/72 inch.
        height_pt: height in points.
    """

    svg: str
    pdf: bytes
    png: bytes
    width_pt: float
    height_pt: float


def theme_config(theme: str) -> dict[str, Any]:
    """Vega-Lite's configuration for one of `THEMES`."""
    scheme, background, colours = _THEMES[theme]
    found = config(scheme, FONT) | {"background": background}
    if not colours:
        return found
    texts = {"labelColor": colours["ink"], "titleColor": colours["ink"]}
    lines = {"domainColor": colours["quiet"], "tickColor": colours["quiet"]}
    own: dict[str, dict[str, Any]] = {
        "axis": texts | lines | {"gridColor": colours["faint"]},
        "header": texts,
        "legend": texts,
        "title": {"color": colours["ink"]},
        "view": {"stroke": None},
        "text": {"color": colours["ink"]},
        "rule": {"color": colours["quiet"]},
    }
    found |= {name: found.get(name, {}) | values for name, values in own.items()}
    if "params" in found:  # colours that charts name
        found["params"] = [
            param | {"value": colours.get(param["name"], param["value"])}
            for param in found["params"]
        ]
    return found


def inlined(chart: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A chart's specification with its rows in it.

    Args:
        chart: Vega-Lite, of the named data `ROWS`.
        rows: a figure's rows, as JSON has them.
    """
    datasets = {**chart.get("datasets", {}), ROWS: list(rows)}
    return copy.deepcopy({**chart, "datasets": {}}) | {"datasets": datasets}


def draw(
    chart: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], theme: str = "paper"
) -> Drawn:
    """Draw a chart at the width of a column, or of two where it needs that.

    Args:
        chart: Vega-Lite, of the named data `ROWS`.
        rows: the rows that it draws.
        theme: one of `THEMES`.
    """
    import vl_convert

    look = theme_config(theme)
    for width_pt in (COLUMN_PT, TEXT_PT):
        room = width_pt / PT_PER_PIXEL
        svg = _fit(inlined(chart, rows), room, look)
        if _is_at_ease(_measure(svg), room):
            break
    size = _measure(svg)
    scale = min(PT_PER_PIXEL, width_pt / size.width)
    width_pt, height_pt = size.width * scale, size.height * scale
    told = f'width="{width_pt:.2f}pt" height="{height_pt:.2f}pt"'
    # vl-convert takes a pixel for a point, so that its files get the size without a unit.
    unitless = _ROOT.sub(told.replace("pt", ""), svg, count=1)
    return Drawn(
        svg=_ROOT.sub(told, svg, count=1),
        pdf=vl_convert.svg_to_pdf(unitless),
        png=vl_convert.svg_to_png(unitless, ppi=PPI),
        width_pt=width_pt,
        height_pt=height_pt,
    )


class _Size(NamedTuple):
    """Of a drawn chart: width and height in pixels; of one view, the width between its axes, else
    0; of a chart of panels, their number, else 0."""

    width: float
    height: float
    plot_width: float
    num_panels: int


def _measure(svg: str) -> _Size:
    found = _ROOT.search(svg)
    assert found is not None, "vl-convert writes the size of an SVG first"
    drawn = ElementTree.fromstring(svg)  # noqa: S314, vl-convert wrote it
    panels = drawn.find(".//{*}g[@class='mark-group role-scope cell']")
    plot = None if panels is not None else _PLOT.search(svg)
    return _Size(
        width=float(found[1]),
        height=float(found[2]),
        plot_width=float(plot[1]) if plot else 0.0,
        num_panels=0 if panels is None else len(panels),
    )


def _is_at_ease(size: _Size, room: float) -> bool:
    """Whether a chart looks well in that many pixels."""
    if size.width > room + 1:
        return False
    if size.plot_width:
        return size.plot_width >= LEAST_PLOT * size.width
    return size.height <= TALL * room


def lay_out(chart: dict[str, Any], width: float, num_panels: int = 0) -> None:
    """Let a chart take a width in pixels, as far as that is known before it is drawn: one view
    takes it all; of panels, as many stand beside one another as there is room for.

    Args:
        chart: with its rows.
        width: in pixels.
        num_panels: how many panels it has; 0 where that is not known.
    """
    if "columns" in chart:
        panel = max((view["width"] for view in _sized(chart)), default=200)
        most = max(1, int((width - 50) // (SHRINKS * panel + 22)))
        num_panels = num_panels or most
        columns = math.ceil(num_panels / math.ceil(num_panels / most))  # lines of a length
        has_gap = num_panels % columns > 0  # Vega-Lite draws axes there
        chart["columns"] = num_panels if has_gap and num_panels == most + 1 else columns
    elif _is_single(chart) and not isinstance(chart.get("width"), dict):  # else a step a value
        chart["width"] = width
        chart["autosize"] = {"type": "fit-x", "contains": "padding"}
        _drop_width(chart)


def _fit(chart: dict[str, Any], width: float, look: Mapping[str, Any]) -> str:
    """An SVG of a chart that is laid out for a width in pixels; it may be narrower, or wider."""
    lay_out(chart, width)
    chart.pop("autosize", None)  # Vega would cut off a legend that is too wide
    _shorten_legends(chart, width)
    if "columns" in chart:
        num_panels = _measure(_to_svg(chart, look)).num_panels
        lay_out(chart, width, num_panels)
        _lower(
            chart, math.ceil(num_panels / chart["columns"]), _measure(_to_svg(chart, look)).height
        )
    svg = ""
    for columns in LEGEND_COLUMNS:
        legend = look["legend"] | ({"columns": columns} if columns else {})
        svg = _fit_views(chart, width, {**look, "legend": legend})
        if _measure(svg).width <= width + 1:
            break
    return svg


def _fit_views(chart: dict[str, Any], width: float, look: Mapping[str, Any]) -> str:
    """Draw a chart, and again with other widths of its views, until it is as wide as it should."""
    svg = _to_svg(chart, look)
    natural = {id(view): view["width"] for view in _sized(chart)}
    if not natural:
        return svg
    _scale(chart, natural, 0.75)
    now, narrower = _measure(svg).width, _measure(_to_svg(chart, look)).width
    gain = max((now - narrower) / 0.25, *natural.values(), 1.0)
    factor = 1.0
    for _ in range(3):
        factor = min(max(factor + (width - now) / gain, NARROWEST), WIDEST)
        _scale(chart, natural, factor)
        svg = _to_svg(chart, look)
        now = _measure(svg).width
        if abs(now - width) <= 1:
            break
    _scale(chart, natural, 1.0)
    return svg


def _lower(chart: dict[str, Any], num_lines: int, height: float) -> None:
    """Make panels lower where all together are higher than a page, down to a half."""
    views = list(_sized(chart, "height"))
    too_much = height - PAGE_PT / PT_PER_PIXEL
    if views and too_much > 0:
        of_panels = num_lines * max(view["height"] for view in views)
        for view in views:
            view["height"] *= max(0.5, 1 - too_much / of_panels)


def _shorten_legends(part: Any, width: float) -> None:
    """Let the ramps of legends take a third of a width, where they are longer."""
    for name, value in part.items() if isinstance(part, dict) else enumerate(part):
        if name == "gradientLength":
            part[name] = min(value, width / 3)
        elif isinstance(value, dict | list) and name != "datasets":
            _shorten_legends(value, width)


def _is_single(chart: Mapping[str, Any]) -> bool:
    """Whether a chart is one view, whose width Vega-Lite can fit by itself."""
    encoding = chart.get("encoding", {})
    return not any(name in chart for name in _MANY) and not {"row", "column", "facet"} & set(
        encoding
    )


def _drop_width(chart: Mapping[str, Any]) -> None:
    for layer in chart.get("layer", ()):
        layer.pop("width", None)
        _drop_width(layer)


def _sized(chart: dict[str, Any], side: str = "width") -> Iterator[dict[str, Any]]:
    """The views of a chart that have a width, or a height, in pixels."""
    if isinstance(chart.get(side), int | float):
        yield chart
    for name in (*_MANY, "layer"):
        inner = chart.get(name, ())
        for view in [inner] if isinstance(inner, dict) else inner:
            yield from _sized(view, side)


def _scale(chart: dict[str, Any], natural: Mapping[int, float], factor: float) -> None:
    for view in _sized(chart):
        view["width"] = natural[id(view)] * factor


def _to_svg(chart: Mapping[str, Any], look: Mapping[str, Any]) -> str:
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg(dict(chart), config=dict(look), allowed_base_urls=[])
    return svg
