"""Tables as LaTeX, with the rules of the package booktabs.

A table is set as large as it fits on a page: names of columns are broken into lines, long texts get
columns of a fixed width, and letters become smaller. How wide it is, is estimated from the widths
of the letters of Computer Modern.
"""

import itertools
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

LONGEST = 45
"""Lines that fit on a page; with more, a table goes on over pages, by the package longtable."""

PAGE_PT = 487.0
"""Width in TeX's points that a table may have: 6.75 inches, as `paper.TEXT_PT`."""

LONG_TEXTS = (24, 10)
"""Digits of width from which a column of texts is broken into lines, where it has to become
narrower; the second where that is not enough."""

LONG_WORD = 45
"""Digits of width of the longest word that a column keeps whole, such as the name of a commit."""

_SIZES = {"normalsize": (5.0, 6.0), "small": (4.63, 4.0), "footnotesize": (4.25, 3.0)} | {
    "scriptsize": (3.98, 2.0)
}
"""Of LaTeX's sizes in a document of 10 points: the width of a digit, and the half gap between
columns, in points."""

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
    "▲": r"$\bigtriangleup$",
    "▼": r"$\bigtriangledown$",
    "…": r"\dots{}",
    "\u00a0": "~",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"}

_ACCENTS = dict(
    zip(
        "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0323\u0327\u0328\u0331",
        ("`", "'", "^", "~", "=", "u", ".", '"', "r", "H", "v", "d", "c", "k", "b"),
        strict=True,
    )
)
"""Marks that follow a letter, as commands of LaTeX that put them on it."""

_ANY_SIGN = re.compile("[" + re.escape("".join(_SIGNS)) + "]")
_LIGATURE = re.compile(r"([-`',])(?=\1)")
"""Signs that two of would become another one, such as a dash."""
_PRINTED = (
    "\u0000-\u0125\u0128-\u0137\u0139-\u013e\u0141-\u0148\u014a-\u0165\u0168-\u017e\u0218-\u021b"
    "\u2010-\u2016\u2018-\u201a\u201c-\u201e\u2020-\u2022\u2026"
)
"""What pdfTeX knows in the font encoding T1."""
_BEYOND = re.compile(f"[^{_PRINTED}]")
_WIDE, _THIN = frozenset("mwMW%@—"), frozenset("iljftrI.,:;'|()[]!/ ")


@dataclass(frozen=True, eq=False)
class _Column:
    """A column as LaTeX has it.

    Attributes:
        head: the lines of its name.
        cells: its cells.
        is_number: whether it stands to the right.
        width: of its widest cell or line of the head, in digits.
        word: of the widest part that is not broken, in digits.
        is_broken: whether its cells are broken into lines, of `width`.
    """

    head: Sequence[str]
    cells: Sequence[str]
    is_number: bool
    width: float
    word: float
    is_broken: bool = False


def escape(text: str) -> str:
    """A text as LaTeX that shows it: signs with a meaning lose it, line ends become spaces, and
    letters with marks that pdfTeX lacks are put together."""
    in_a_line = " ".join(_without_controls(text).split())
    apart = _LIGATURE.sub("\\1\0", in_a_line)
    signs = _ANY_SIGN.sub(lambda found: _SIGNS[found[0]], apart).replace("\0", "{}")
    return _BEYOND.sub(lambda found: _put_together(found[0]), unicodedata.normalize("NFC", signs))


def make_table(rows: pd.DataFrame, comments: Iterable[str] = ()) -> str:
    """A table as LaTeX.

    Args:
        rows: numbers, texts and null. Numbers of a column have the same number of decimals, at most
            four significant digits of the largest; null is a dash.
        comments: sentences that stand above it as comments.

    Returns:
        A `tabular`, for a float of the paper's own; a `longtable` where it is longer than a page.
    """
    columns, size = _fit([_make_column(str(name), rows[name]) for name in rows])
    is_long = _count_lines(columns) > LONGEST
    begin = "".join(_alignment(column, size) for column in columns)
    kind = "longtable" if is_long else "tabular"
    packages = ["booktabs", *(["array"] if "p{" in begin else []), *(["longtable"] * is_long)]
    lines = [" & ".join(cells) for cells in zip(*(one.cells for one in columns), strict=True)]
    body = [
        rf"\begingroup\{size}\setlength{{\tabcolsep}}{{{_SIZES[size][1]:g}pt}}",
        f"\\begin{{{kind}}}{{@{{}}{begin}@{{}}}}",
        r"\toprule",
        *(f"{' & '.join(cells)} \\\\" for cells in _head(columns)),
        r"\midrule",
        *([r"\endhead", r"\bottomrule", r"\endfoot"] if is_long else []),
        *(f"{line} \\\\" for line in lines),
        *([] if is_long else [r"\bottomrule"]),
        f"\\end{{{kind}}}",
        r"\endgroup",
    ]
    text = "\n".join(body)
    needs = f"Needs \\usepackage{{{','.join(packages)}}} and the font encoding T1."
    above = [*comments, needs]
    if _width(columns, size) > PAGE_PT:
        above.append("It is wider than a page of letter paper: turn it, or take columns out.")
    if _BEYOND.search(text):
        above.append("It has letters that only XeLaTeX and LuaLaTeX print, with a font for them.")
    return "\n".join([*map(_comment, above), text]) + "\n"


def _make_column(name: str, values: pd.Series) -> _Column:
    is_number = _is_number(values)
    given = values.tolist()
    cells = _numbers(given) if is_number else [_cell(value) for value in given]
    plain = [re.sub(r"[$\\{}^]", "", one.replace(r"\times", "W W")) for one in cells]
    shown = plain if is_number else ["--" if pd.isna(one) else str(one) for one in given]
    head = _break(name, max(map(_digits, shown), default=0.0))
    return _Column(
        head=[escape(line) for line in head],
        cells=cells,
        is_number=is_number,
        width=max(map(_digits, [*shown, *head])),
        word=max(map(_digits, [*head, *(word for one in shown for word in one.split())])),
    )


def _break(name: str, width: float) -> list[str]:
    """A name in lines, at its underscores, that are no wider than its cells where it can be."""
    lines: list[str] = []
    for part in re.findall(r"[^_ ]+_?|[_ ]+", name) or [name]:
        if lines and _digits(lines[-1] + part) <= max(min(width, LONG_TEXTS[0]), 7):
            lines[-1] += part
        else:
            lines.append(part)
    return lines


def _head(columns: Sequence[_Column]) -> list[list[str]]:
    """The lines of all names, each as its cells; names end in the last line."""
    height = max((len(column.head) for column in columns), default=1)
    filled = [[""] * (height - len(column.head)) + list(column.head) for column in columns]
    return [list(line) for line in zip(*filled, strict=True)]


def _fit(columns: list[_Column]) -> tuple[list[_Column], str]:
    """The columns, and the largest size in which they fit; long texts are broken into lines where
    they don't in the size of notes."""
    for size in ("normalsize", "small", "footnotesize"):
        if _width(columns, size) <= PAGE_PT:
            return columns, size
    for size, least in itertools.product(("footnotesize", "scriptsize"), LONG_TEXTS):
        fitted = _break_texts(columns, size, least)
        if _width(fitted, size) <= PAGE_PT:
            return fitted, size
    return fitted, "scriptsize"


def _count_lines(columns: Sequence[_Column]) -> int:
    """Lines that all rows take, where some cells are broken into lines."""
    of_columns = [
        [math.ceil(_digits(cell) / one.width) if one.is_broken else 1 for cell in one.cells]
        for one in columns
    ]
    return sum(max(1, *of_row) for of_row in zip(*of_columns, strict=True))


def _break_texts(columns: Sequence[_Column], size: str, least: float) -> list[_Column]:
    """The columns, of which those of texts that are wider than so many digits share the room that
    the others leave."""
    long = [one for one in columns if not one.is_number and one.width > least]
    short = [one for one in columns if one not in long]
    digit, gap = _SIZES[size]
    room = (PAGE_PT - _width(short, size) - 2 * gap * len(long)) / digit
    shares = iter(_share(room, long, least))
    return [
        replace(one, width=next(shares), is_broken=True) if one in long else one for one in columns
    ]


def _share(room: float, columns: Sequence[_Column], least: float) -> list[float]:
    """Share a width: a column that wants less than an equal part gets it, the others share what is
    left. None becomes narrower than its widest word, and than `least`."""
    shares = {}
    for place, one in enumerate(sorted(columns, key=lambda one: one.width)):
        narrowest = max(min(one.word, LONG_WORD), least)
        shares[id(one)] = max(min(one.width, room / (len(columns) - place)), narrowest)
        room -= shares[id(one)]
    return [shares[id(one)] for one in columns]


def _width(columns: Sequence[_Column], size: str) -> float:
    """An estimate in points."""
    digit, gap = _SIZES[size]
    return digit * sum(one.width for one in columns) + 2 * gap * max(0, len(columns) - 1)


def _alignment(column: _Column, size: str) -> str:
    if column.is_broken:
        points = math.floor(column.width * _SIZES[size][0])
        return rf">{{\raggedright\arraybackslash}}p{{{points}pt}}"
    return "r" if column.is_number else "l"


def _digits(text: str) -> float:
    """About how many digits are as wide as a text."""
    return sum(map(_digits_of, text))


def _digits_of(letter: str) -> float:
    if letter in _WIDE:
        return 1.75
    if letter in _THIN:
        return 0.75
    return 1.5 if letter.isupper() or unicodedata.east_asian_width(letter) in "WF" else 1.06


def _is_number(column: pd.Series) -> bool:
    kind = column.dtype
    return pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)


def _cell(value: Any) -> str:
    """A cell of a column that is not of numbers. What would be an argument of the line end before
    it stands in braces."""
    if pd.isna(value):
        return "--"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = escape(str(value))
    return f"{{{text[0]}}}{text[1:]}" if text[:1] in ("[", "*") else text


def _numbers(values: Sequence[Any]) -> list[str]:
    """Numbers whose decimal points stand below one another."""
    known = [float(value) for value in values if not pd.isna(value) and math.isfinite(value)]
    largest = max(map(abs, known), default=0.0)
    most = 3 - math.floor(math.log10(largest)) if largest else 0
    decimals = max((_decimals(value) for value in known), default=0)
    decimals = min(max(most, 0), decimals, 6)
    return [_number(value, decimals) for value in values]


def _decimals(value: float) -> int:
    """How many decimals four digits of a number have."""
    digits, _, power = f"{value:.3e}".partition("e")
    return max(0, len(digits.rstrip("0").partition(".")[2]) - int(power))


def _number(value: Any, decimals: int) -> str:
    if pd.isna(value):
        return "--"
    if math.isinf(value):
        return r"$\infty$" if value > 0 else r"$-\infty$"
    shown = f"{value:.{decimals}f}"
    if abs(value) >= 1e15 or (value and not float(shown)):
        digits, _, power = f"{value:.1e}".partition("e")
        return rf"${digits.removesuffix('.0')}\times10^{{{int(power)}}}$"
    return f"${shown}$" if shown.startswith("-") else shown


def _comment(text: str) -> str:
    return f"% {' '.join(_without_controls(text).split())}"


def _without_controls(text: str) -> str:
    """A text without what is no character to look at, such as NUL and signs of direction."""
    return "".join(one if one.isprintable() else " " for one in text)


def _put_together(letter: str) -> str:
    """A letter that pdfTeX lacks: with its marks put on it where it knows them, else as it is."""
    apart = unicodedata.normalize("NFD", letter)
    base, marks = apart[0], apart[1:]
    if not marks or _BEYOND.match(base) or not set(marks) <= _ACCENTS.keys():
        return letter
    for mark in marks:
        base = f"\\{_ACCENTS[mark]}{{{base}}}"
    return base
