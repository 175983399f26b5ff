"""How charts look: colours that colour-blind readers tell apart, and Vega-Lite's configuration in
light and dark.

Sources: the categorical colours are those of Okabe and Ito 2008, Color Universal Design; the
sequential ones viridis, of van der Walt and Smith 2015; changes go from vermillion to blue.
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
"""Colours that tell kinds apart, in the order in which they are used; black is that of the text."""

CATEGORIES = list(OKABE_ITO.values())

CHANGE = {
    "light": ["#b2430a", "#e9a27f", "#f5f5f5", "#8fbfe0", "#0b5c93"],
    "dark": ["#f08a4b", "#9c4d1f", "#3a3a3a", "#2b6ea3", "#7cc0f2"],
}
"""From loss over no change to gain."""

STATES = {"completed": "#009e73", "failed": "#d55e00", "missing": "#999999"}
"""Trials by what became of them."""

FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', sans-serif"

INK = {"light": "#1a1a1a", "dark": "#e8e8e8"}
FAINT = {"light": "#d9d9d9", "dark": "#444444"}
QUIET = {"light": "#595959", "dark": "#b0b0b0"}


def config(scheme: str, font: str = FONT) -> dict[str, Any]:
    """Vega-Lite's configuration for a light or a dark page."""
    ink, faint, quiet = INK[scheme], FAINT[scheme], QUIET[scheme]
    axis = {"domainColor": quiet, "gridColor": faint, "tickColor": quiet}
    text = {"labelColor": ink, "titleColor": ink, "titleFontWeight": "normal"}
    return {
        "background": None,
        "font": font,
        "axis": axis | text | {"labelFontSize": 12, "titleFontSize": 12},
        "header": text | {"labelFontSize": 12, "titleFontSize": 12},
        "legend": text | {"orient": "top", "labelFontSize": 12, "titleFontSize": 12},
        "title": {"color": ink},
        "view": {"stroke": faint},
        "mark": {"color": OKABE_ITO["blue"]},
        "text": {"color": ink},
        "rule": {"color": quiet},
        "range": {
            "category": CATEGORIES,
            "diverging": CHANGE[scheme],
            "heatmap": {"scheme": "viridis"},
        },
    }
