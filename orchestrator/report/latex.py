"""Tables as LaTeX, with the rules of the package booktabs."""

import re
from collections.abc import Iterable
from typing import Any

import pandas as pd

LONGEST = 45
"""Rows that fit on a page; with more, a table goes on over pages, by the package longtable."""

_SIGNS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "–": "--",
    "—": "---",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "Δ": r"$\Delta$",
    "→": r"$\rightarrow$",
    "…": r"\dots{}",
    "\u00a0": "~",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"}

_ANY_SIGN = re.compile("[" + re.escape("".join(_SIGNS)) + "]")
_BEYOND = re.compile("[^\u0000-\u024f\u1e00-\u1eff\u2010-\u2027]")
"""Letters that pdfTeX's usual fonts lack: all but Latin ones and punctuation."""


def escape(text: str) -> str:
    """A text as LaTeX that shows it: signs with a meaning lose it, line ends become spaces."""
    in_a_line = " ".join(_without_controls(text).split())
    return _ANY_SIGN.sub(lambda found: _SIGNS[found[0]], in_a_line)


def make_table(rows: pd.DataFrame, comments: Iterable[str] = ()) -> str:
    """A table as LaTeX.

    Args:
        rows: numbers, texts and null. Numbers get four significant digits, null a dash.
        comments: sentences that stand above it as comments.

    Returns:
        A `tabular`, for a float of the paper's own; a `longtable` where it is longer than a page.
    """
    is_long = len(rows) > LONGEST
    is_number = [_is_number(rows[name]) for name in rows]
    lines = [
        f"{' & '.join(cells)} \\\\"
        for cells in zip(*(map(_cell, rows[name].tolist()) for name in rows), strict=True)
    ]
    head = [r"\toprule", f"{' & '.join(escape(str(name)) for name in rows)} \\\\", r"\midrule"]
    begin = f"{{{''.join('r' if one else 'l' for one in is_number)}}}"
    kind = "longtable" if is_long else "tabular"
    packages = r"\usepackage{booktabs,longtable}" if is_long else r"\usepackage{booktabs}"
    body = [
        f"\\begin{{{kind}}}{begin}",
        *head,
        *([r"\endhead", r"\bottomrule", r"\endfoot"] if is_long else []),
        *lines,
        *([] if is_long else [r"\bottomrule"]),
        f"\\end{{{kind}}}",
    ]
    text = "\n".join(body)
    above = [*comments, f"Needs {packages} and the font encoding T1."]
    if _BEYOND.search(text):
        above.append("It has letters that only XeLaTeX and LuaLaTeX print, with a font for them.")
    return "\n".join([*map(_comment, above), text]) + "\n"


def _is_number(column: pd.Series) -> bool:
    kind = column.dtype
    return pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)


def _cell(value: Any) -> str:
    if pd.isna(value):
        return "--"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return escape(str(value))
    shown = f"{value:d}" if isinstance(value, int) else _four_digits(value)
    return f"${shown}$" if shown.startswith("-") else shown


def _four_digits(value: float) -> str:
    return f"{value:.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def _comment(text: str) -> str:
    return f"% {' '.join(_without_controls(text).split())}"


def _without_controls(text: str) -> str:
    """A text without what is no character to look at, such as NUL and signs of direction."""
    return "".join(one if one.isprintable() else " " for one in text)
