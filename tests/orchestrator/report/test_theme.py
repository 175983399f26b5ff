"""Colours in light and dark."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from orchestrator.report import theme
from orchestrator.report.theme import CHANGES, COLOURS, config

CSS = Path(theme.__file__).parent / "template" / "page.css"


def luminance(colour: str) -> float:
    """Relative luminance by WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_and_marks_can_be_seen_on_the_page(scheme):
    colours = COLOURS[scheme]
    paper = colours["paper"]
    assert contrast(colours["ink"], paper) > 7
    assert contrast(colours["quiet"], paper) > 4.5
    for name in ("main", "good", "even", "unsure", "bad"):
        assert contrast(colours[name], paper) > 3, name
    assert contrast(colours["faint"], paper) < 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_around_the_charts_has_their_colours(scheme):
    css = CSS.read_text()
    for name in ("paper", "ink", "quiet", "faint"):
        assert f"--{name}: {COLOURS[scheme][name]};" in css


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_missing_is_told_from_no_change_and_from_the_page(scheme):
    missing, unchanged = COLOURS[scheme]["missing"], CHANGES[scheme][2]
    assert contrast(missing, unchanged) > 1.3
    assert contrast(missing, COLOURS[scheme]["paper"]) > 1.5
    assert contrast(COLOURS[scheme]["quiet"], missing) > 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_sparsities_have_colours_that_are_seen_and_told_apart(scheme):
    """Of four lines, in what Vega draws."""
    import vl_convert

    rows = [{"a": place, "line": line} for line in "abcd" for place in range(2)]
    chart = {
        "data": {"values": rows},
        "mark": {"type": "line", "color": "black"},
        "encoding": {
            "x": {"field": "a", "type": "quantitative"},
            "y": {"field": "a", "type": "quantitative"},
            "color": {"field": "line", "type": "ordinal", "legend": None},
        },
    }
    svg = vl_convert.vegalite_to_svg(chart, config=config(scheme))
    lines = re.findall(r'stroke="rgb\((\d+), ?(\d+), ?(\d+)\)"', svg)
    drawn = ["#" + "".join(f"{int(part):02x}" for part in one) for one in lines]
    drawn = drawn or re.findall(r'stroke="(#[0-9a-f]{6})" stroke-width="2"', svg)
    assert len(set(drawn)) == 4
    seen = [contrast(one, COLOURS[scheme]["paper"]) for one in drawn]
    assert min(seen) > 2
    ordered = sorted(map(luminance, drawn))
    assert all(high + 0.05 > 1.4 * (low + 0.05) for low, high in pairwise(ordered))


def test_light_and_dark_differ_in_their_colours_only():
    light, dark = config("light"), config("dark")
    assert light != dark
    assert light["axis"].keys() == dark["axis"].keys()
    assert config("light", font="Libertinus Serif")["font"] == "Libertinus Serif"
