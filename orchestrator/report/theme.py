"""How charts look: colours that colour-blind readers tell apart, and Vega-Lite's configuration in
light and dark.

A chart names a colour that depends on the scheme by `charts.colour`; the configuration has its
value, so that one chart serves both schemes, print, and themes of figures.

Sources: colours of kinds are those of Okabe and Ito 2008, Color Universal Design; amounts go
through viridis, of van der Walt and Smith 2015; changes from vermillion over grey to blue.
"""

from typing import Any

OKABE_ITO = {
    "blue": "#0072b2",
    "orange": "#e69f00",
    "green": "#009e73",
    "pink": "#cc79a7",
    "sky": "#56b4e9",
    "vermillion": "#d55e00",
    "yellow": "#f0e442",
}

CATEGORIES = {
    "light": [OKABE_ITO[name] for name in ("blue", "orange", "green", "pink", "sky", "vermillion")],
    "dark": [
        OKABE_ITO[name] for name in ("sky", "orange", "green", "pink", "yellow", "vermillion")
    ],
}
"""Colours that tell kinds apart, in the order in which they are used: the first are seen best on
the page."""

CHANGES = {
    "light": ["#b2430a", "#e9a27f", "#f2f2f2", "#8fbfe0", "#0b5c93"],
    "dark": ["#f08a4b", "#9c4d1f", "#2a2a2a", "#2b6ea3", "#7cc0f2"],
}
"""From loss over no change to gain."""

AMOUNTS = {"light": [0.0, 0.85], "dark": [0.2, 1.0]}
"""The part of viridis whose colours are seen on the page, for sparsities that are lines."""

COLOURS = {
    "light": {
        "paper": "#ffffff",
        "ink": "#1a1a1a",
        "quiet": "#595959",
        "faint": "#d9d9d9",
        "main": OKABE_ITO["blue"],
        "good": OKABE_ITO["blue"],
        "even": OKABE_ITO["green"],
        "unsure": "#8c8c8c",
        "bad": OKABE_ITO["vermillion"],
        "missing": "#d0d0d0",
    },
    "dark": {
        "paper": "#161616",
        "ink": "#e8e8e8",
        "quiet": "#b0b0b0",
        "faint": "#444444",
        "main": OKABE_ITO["sky"],
        "good": OKABE_ITO["sky"],
        "even": OKABE_ITO["green"],
        "unsure": "#9a9a9a",
        "bad": "#f07c2a",
        "missing": "#4a4a4a",
    },
}
"""Colours by what they are for: the page and its text, what is in the foreground, verdicts (better,
equivalent, undecided, worse), and what was not measured."""

FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', sans-serif"


def config(scheme: str, font: str = FONT) -> dict[str, Any]:
    """Vega-Lite's configuration for a light or a dark page.

    Args:
        scheme: light or dark.
        font: a CSS list of fonts.
    """
    colours = COLOURS[scheme]
    ink, quiet, faint = colours["ink"], colours["quiet"], colours["faint"]
    sizes = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
    text = {"labelColor": ink, "titleColor": ink} | sizes
    lines = {"domainColor": quiet, "gridColor": faint, "tickColor": quiet}
    return {
        "background": None,
        "font": font,
        "params": [{"name": name, "value": value} for name, value in colours.items()],
        "axis": lines | text | {"labelLimit": 240, "labelFlush": False},
        "header": text,
        "legend": text | {"orient": "top", "labelLimit": 300, "titleLimit": 400},
        "title": {"color": ink},
        "view": {"stroke": faint},
        "mark": {"color": colours["main"]},
        "text": {"color": ink},
        "rule": {"color": quiet},
        "range": {
            "category": CATEGORIES[scheme],
            "diverging": CHANGES[scheme],
            "ordinal": {"scheme": "viridis", "extent": AMOUNTS[scheme]},
            "ramp": {"scheme": "viridis"},
            "heatmap": {"scheme": "viridis"},
        },
    }
