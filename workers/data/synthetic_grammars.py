"""The languages of the embedded corpus, read from `grammars/`: a text file a language.

Such a file is small, and somebody who reads the language can correct it. It holds the words around
the names; the names of persons, places and companies come from Faker's locales.

Each line is `symbol: alternative | alternative`. A symbol given twice keeps both lines'
alternatives, and an alternative given twice is drawn twice as often. Empty lines, and lines that
begin with `#`, say nothing to the program. These symbols are settings:

    locale    the Faker locale that names are drawn from
    scripts   how the Unicode names of all its names' letters start
    size      large, medium or small, see `SIZES`
    names     `symbol = method`: further symbols for names, and the Faker method that draws each
    digits    ten characters from zero to nine, if they are not 0123456789
    words     characters, where each is a word of its own, otherwise spaces

All others are rules. In an alternative `{symbol}` is replaced by an alternative of that symbol, by
a name from Faker, or by a number (`{year}`, `{years}`, `{number}`, `{digit}`). In a line, `[LOC]`
marks an entity written as the symbol `LOC` says, and `[ORG FC {town}]` one that is spelled out. A
name outside brackets belongs to no entity (a song, a battle), which is part of what has to be
learned. Words stand apart from punctuation by a space, as in WikiANN. Where a language inflects
names, lines are worded so that the dictionary form is right, or nearly so.

`common.txt` has what all languages share; a rule that a language's own file has takes its place.
"""

import graphlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

FOLDER = Path(__file__).parent / "grammars"
COMMON_FILE = "common.txt"

SIZES = {"large": (1000, 200), "medium": (400, 150), "small": (100, 100)}
"""Sentences in `train`, and in each of `validation` and `test`, by the setting `size`: there are
languages with little to learn from."""

NUMBER_RANGES = {"year": (1850, 2020), "number": (2, 999), "digit": (0, 9)}
"""Symbols that stand for a number, and the lowest and the highest there is."""
SPAN_OF_YEARS = "years"
"""The symbol that stands for the years of a life."""

LINES = ("line", "common_line", "plain")
"""The symbols whose alternatives are whole lines; only they may have entities in brackets."""

_SETTINGS = ("locale", "scripts", "size", "names", "digits", "words")
_NEEDED_RULES = (*LINES, "PER", "ORG", "LOC")
_DIGITS = "0123456789"

_RULE = re.compile(r"(\w+): (.+)")
_SYMBOL = re.compile(r"\{(\w+)\}")
_ENTITY = re.compile(r"\[(?:PER|ORG|LOC)(?: [^\[\]]+)?\]")
_NAME = re.compile(r"(\w+) = (\w+)")

Entries = dict[str, tuple[str, ...]]
"""Symbol -> all its alternatives, as they stand in a file."""


@dataclass(frozen=True, kw_only=True)
class SyntheticLanguage:
    """One language of the corpus: how many sentences it has, and what they are made of."""

    locale: str
    """The Faker locale that names are drawn from."""
    scripts: tuple[str, ...]
    """How the Unicode names of all its names' letters start."""
    num_train: int
    """Sentences in `train`."""
    num_eval: int
    """Sentences in `validation`, and as many in `test`."""
    names: Mapping[str, str]
    """Symbol -> Faker method, for the symbols that are names."""
    rules: Mapping[str, tuple[str, ...]]
    """Symbol -> alternatives, for all others but numbers."""
    digits: str = _DIGITS
    """What numbers are written with, from zero to nine."""
    is_split_into_characters: bool = False
    """Whether each character is a word of its own, as WikiANN has it where words are not set apart
    by spaces."""


def read_languages(folder: Path = FOLDER) -> Mapping[str, SyntheticLanguage]:
    """Read and check all grammars of a folder.

    Args:
        folder: has `common.txt`, and `<code>.txt` for each language, in UTF-8.

    Returns:
        Language code -> language, sorted by code.

    Raises:
        ValueError: a file is not as the head of this module says; the message names it.
        OSError: a file cannot be read, or there is no `common.txt`.
    """
    common = _read_entries(folder / COMMON_FILE)
    files = [file for file in sorted(folder.glob("*.txt")) if file.name != COMMON_FILE]
    return MappingProxyType({file.stem: _read_language(file, common) for file in files})


def _read_entries(file: Path) -> Entries:
    entries: Entries = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file.name}: it is not UTF-8 ({error}); save it as UTF-8") from None
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#"):
            continue
        rule = _RULE.fullmatch(line)
        alternatives = rule[2].split(" | ") if rule else []
        if rule is None or not all(text.strip() and "|" not in text for text in alternatives):
            raise ValueError(
                f"{file.name}, line {number}: {line!r} is no rule; "
                "write it as `symbol: alternative | alternative`"
            )
        entries[rule[1]] = entries.get(rule[1], ()) + tuple(alternatives)
    return entries


def _read_language(file: Path, common: Entries) -> SyntheticLanguage:
    own = _read_entries(file)
    num_train, num_eval = SIZES[_setting(file, own, "size", SIZES)]
    digits = _setting(file, own, "digits", default=_DIGITS)
    if not len(digits) == len(set(digits)) == 10:
        raise ValueError(f"{file.name}: digits are {digits!r}; give ten, from zero to nine")
    words = _setting(file, own, "words", ("characters", "spaces"), default="spaces")
    if "scripts" not in own:
        raise ValueError(f"{file.name}: scripts is missing; add a line for it, as other grammars")
    language = SyntheticLanguage(
        locale=_setting(file, own, "locale"),
        scripts=own["scripts"],
        num_train=num_train,
        num_eval=num_eval,
        names=MappingProxyType(_names(file, common) | _names(file, own)),
        rules=MappingProxyType(_rules(common) | _rules(own)),
        digits=digits,
        is_split_into_characters=words == "characters",
    )
    _check_rules(file, language)
    return language


def _setting(
    file: Path,
    entries: Entries,
    name: str,
    accepted: Mapping[str, object] | tuple[str, ...] = (),
    default: str | None = None,
) -> str:
    """The one value of a setting; `accepted` are all there may be, if it is not empty."""
    values = entries.get(name, () if default is None else (default,))
    if not values:
        raise ValueError(f"{file.name}: {name} is missing; add a line for it, as other grammars")
    if len(values) > 1:
        raise ValueError(f"{file.name}: {name} has {len(values)} values; give one")
    if accepted and values[0] not in accepted:
        raise ValueError(
            f"{file.name}: {name} is {values[0]!r}, which is unknown; "
            f"there are {', '.join(accepted)}"
        )
    return values[0]


def _names(file: Path, entries: Entries) -> dict[str, str]:
    names = {}
    for text in entries.get("names", ()):
        pair = _NAME.fullmatch(text)
        if pair is None:
            raise ValueError(f"{file.name}: names has {text!r}; write `symbol = method of Faker`")
        names[pair[1]] = pair[2]
    return names


def _rules(entries: Entries) -> Entries:
    return {symbol: texts for symbol, texts in entries.items() if symbol not in _SETTINGS}


def _check_rules(file: Path, language: SyntheticLanguage) -> None:
    """Refuse what would stop the writing of sentences, or would be written as it stands."""
    rules = language.rules
    if missing := [symbol for symbol in _NEEDED_RULES if symbol not in rules]:
        raise ValueError(f"{file.name}: there is no rule for {', '.join(missing)}; add one")
    known = {*rules, *language.names, *NUMBER_RANGES, SPAN_OF_YEARS}
    for symbol, texts in rules.items():
        for text in texts:
            if unknown := sorted(set(_SYMBOL.findall(text)) - known):
                raise ValueError(
                    f"{file.name}: {symbol}: {text!r} has the unknown {', '.join(unknown)}; "
                    f"there are {', '.join(sorted(known))}"
                )
            without_entities = _ENTITY.sub("", text) if symbol in LINES else text
            if set(_SYMBOL.sub("", without_entities)) & set("[]{}"):
                raise ValueError(
                    f"{file.name}: {symbol}: {text!r} has a stray bracket; write {{symbol}}, "
                    "and in a line [PER], [ORG] or [LOC]"
                )
    uses = {symbol: set(_SYMBOL.findall(" ".join(texts))) for symbol, texts in rules.items()}
    try:
        graphlib.TopologicalSorter(uses).prepare()
    except graphlib.CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise ValueError(f"{file.name}: {circle} never ends; take one of them out") from None


LANGUAGES = read_languages()
"""WikiANN's code -> language, for the languages of the embedded corpus."""
