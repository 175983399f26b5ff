"""Colours in light and dark."""

import pytest

from orchestrator.report.theme import FAINT, INK, QUIET, config

PAPER = {"light": "#ffffff", "dark": "#161616"}
"""As page.css has it."""


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
def test_texts_can_be_read_on_the_page(scheme):
    assert contrast(INK[scheme], PAPER[scheme]) > 7
    assert contrast(QUIET[scheme], PAPER[scheme]) > 4.5
    assert contrast(FAINT[scheme], PAPER[scheme]) < 3


def test_light_and_dark_differ_in_their_colours_only():
    light, dark = config("light"), config("dark")
    assert light != dark
    assert light["axis"].keys() == dark["axis"].keys()
    assert config("light", font="Libertinus Serif")["font"] == "Libertinus Serif"
