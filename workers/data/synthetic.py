"""An embedded corpus that looks like WikiANN: everything can be tried without a download.

It has short Wikipedia-like lines in languages of all sizes, tagged with persons, organisations and
places. It is for tests, smoke runs and learning the tool: its scores say nothing about a language.
The names come from Faker, the words around them from `workers.data.synthetic_grammars`; here is
what turns both into tagged sentences.

What makes it worth learning: most names of the test split never occur in training, the same name is
a person, a place, a company or nothing depending on the words around it, and a few lines cannot be
decided at all.
"""

import importlib.metadata
import random
import re
import unicodedata
import zlib
from typing import Any

from workers.data.synthetic_grammars import (
    LANGUAGES,
    NUMBER_RANGES,
    SPAN_OF_YEARS,
    SyntheticLanguage,
)
from workers.trial import SPLITS

__all__ = [
    "GENERATOR_VERSION",
    "LANGUAGES",
    "SyntheticLanguage",
    "fingerprint",
    "make_sentences",
    "num_sentences",
]

# Part of `fingerprint`. Raise it with every change, here or in a grammar, that changes a sentence.
GENERATOR_VERSION = 1

# One name in four is kept from training; the other splits draw from those, except for three names
# in ten. Of the entities of a test split 79 to 99 in 100, depending on the language, then do not
# occur in its train split.
_HELD_OUT_FRACTION = 0.25
_KNOWN_IN_EVAL = 0.3
# Given names are not kept apart: real ones recur, and a full name is new when its surname is.
_SHARED_SYMBOLS = frozenset({"man", "woman"})

_COMMON_LINE_FRACTION = 0.45
_PLAIN_LINE_FRACTION = 0.02

_MIN_WORDS = 3
_MAX_WORDS = 25
_MAX_CHARACTERS = 60

# Enough for a name of a small pool that only one draw in four may use; what still fails is taken as
# it is.
_MAX_DRAWS = 60

_PROVIDERS = ["faker.providers.person", "faker.providers.address", "faker.providers.company"]

_PIECE = re.compile(r"\[(?P<type>PER|ORG|LOC)(?: (?P<text>[^\]]*))?\]|(?P<plain>[^\[]+)")
_SYMBOL = re.compile(r"\{(\w+)\}")
_WORD = re.compile(r"[«»„“”(),;:]|[^\s«»„“”(),;:]+")
# Marks that a name may hold beside letters. Faker also has remarks in brackets, digits and slips of
# the keyboard.
_NAME_MARKS = frozenset(" -'’.,&«»")

Sentence = tuple[list[str], list[str]]


def num_sentences(language: str, split: str) -> int:
    """How many sentences a split of a language has.

    Args:
        language: one of `LANGUAGES`.
        split: train, validation or test.

    Raises:
        ValueError: the corpus has no such language or split.
    """
    entry = _find_language(language)
    if split not in SPLITS:
        raise ValueError(f"split: {split!r} is unknown; give one of {', '.join(SPLITS)}")
    return entry.num_train if split == "train" else entry.num_eval


def fingerprint(seed: int) -> str:
    """What identifies the text that `make_sentences` writes for a seed.

    Equal fingerprints, equal sentences. The version of Faker is part of it, for other versions have
    other names.
    """
    return f"synthetic-{GENERATOR_VERSION}-seed-{seed}-faker-{importlib.metadata.version('faker')}"


def make_sentences(language: str, split: str, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Write one split of one language.

    The result depends on the arguments and on what is in `fingerprint`; not on the process, on what
    was written before, or on any global random state.

    Args:
        language: one of `LANGUAGES`.
        split: train, validation or test.
        seed: any integer; another seed is another corpus of the same kind.

    Returns:
        The words of each sentence, and their IOB2 tags ("O", "B-PER", "I-PER", ...),
        `num_sentences` of each. There are 3 to 25 words; in languages split into characters up to
        60.

    Raises:
        ValueError: the corpus has no such language or split.
    """
    count = num_sentences(language, split)
    writer = _Writer(LANGUAGES[language], f"{GENERATOR_VERSION}/{seed}/{language}", split)
    sentences = [writer.write_sentence() for _ in range(count)]
    return [words for words, _ in sentences], [tags for _, tags in sentences]


def _find_language(language: str) -> SyntheticLanguage:
    if language not in LANGUAGES:
        raise ValueError(
            f"language: {language!r} is not in the synthetic corpus; "
            f"it has {', '.join(sorted(LANGUAGES))}"
        )
    return LANGUAGES[language]


class _Writer:
    """Writes the sentences of one split, each from the random state that the one before left."""

    def __init__(self, language: SyntheticLanguage, key: str, split: str):
        from faker import Faker

        self._language = language
        self._key = key
        self._is_train = split == "train"
        self._rng = random.Random(f"{key}/{split}")
        # Without weights: rare names are as welcome as frequent ones, and drawing is faster.
        self._faker: Any = Faker(language.locale, providers=_PROVIDERS, use_weighting=False)
        self._faker.seed_instance(f"{key}/{split}")
        self._digits = str.maketrans("0123456789", language.digits)

    def write_sentence(self) -> Sentence:
        longest = _MAX_CHARACTERS if self._language.is_split_into_characters else _MAX_WORDS
        while True:
            words, tags = self._fill_line(self._choose_line())
            if _MIN_WORDS <= len(words) <= longest:
                return words, tags

    def _choose_line(self) -> str:
        draw = self._rng.random()
        if draw < _PLAIN_LINE_FRACTION:
            symbol = "plain"
        else:
            symbol = (
                "common_line" if draw < _PLAIN_LINE_FRACTION + _COMMON_LINE_FRACTION else "line"
            )
        return self._rng.choice(self._language.rules[symbol])

    def _fill_line(self, line: str) -> Sentence:
        words: list[str] = []
        tags: list[str] = []
        for piece in _PIECE.finditer(line):
            entity_type = piece["type"]
            text = piece["plain"] or piece["text"] or f"{{{entity_type}}}"
            piece_words = self._split_words(self._expand(text))
            words += piece_words
            if entity_type is None:
                tags += ["O"] * len(piece_words)
            else:
                tags += [f"B-{entity_type}"] + [f"I-{entity_type}"] * (len(piece_words) - 1)
        return words, tags

    def _expand(self, text: str) -> str:
        return _SYMBOL.sub(lambda match: self._expand_symbol(match[1]), text)

    def _expand_symbol(self, symbol: str) -> str:
        if symbol in self._language.rules:
            return self._expand(self._rng.choice(self._language.rules[symbol]))
        if symbol in self._language.names:
            return self._draw_name(symbol)
        return self._draw_number(symbol).translate(self._digits)

    def _draw_number(self, symbol: str) -> str:
        if symbol == SPAN_OF_YEARS:
            born = self._rng.randint(1850, 1940)
            return f"{born} – {born + self._rng.randint(20, 80)}"
        return str(self._rng.randint(*NUMBER_RANGES[symbol]))

    def _draw_name(self, symbol: str) -> str:
        draw = getattr(self._faker, self._language.names[symbol])
        wants_held_out = not self._is_train and self._rng.random() >= _KNOWN_IN_EVAL
        usable: str | None = None
        for _ in range(_MAX_DRAWS):
            name: str = draw()
            if not _is_usable(name, self._language.scripts):
                continue
            usable = name
            if symbol in _SHARED_SYMBOLS or self._is_held_out(name) == wants_held_out:
                break
        if usable is None:
            scripts = "/".join(self._language.scripts)
            raise RuntimeError(
                f"faker: locale {self._language.locale} gave no {symbol} in {scripts} letters in "
                f"{_MAX_DRAWS} draws; use the Faker version that the project is tested with"
            )
        return usable

    def _is_held_out(self, name: str) -> bool:
        # A checksum of the name decides, so that the splits agree on it without knowing of each
        # other.
        return zlib.crc32(f"{self._key}/{name}".encode()) % 1000 < 1000 * _HELD_OUT_FRACTION

    def _split_words(self, text: str) -> list[str]:
        if self._language.is_split_into_characters:
            return [character for character in text if not character.isspace()]
        words: list[str] = _WORD.findall(text)
        return words


def _is_usable(name: str, scripts: tuple[str, ...]) -> bool:
    """Whether a name has nothing in it but letters of these scripts and a name's marks."""
    return any(character.isalpha() for character in name) and all(
        character in _NAME_MARKS
        or (
            unicodedata.category(character)[0] in "LM"
            and unicodedata.name(character, "").startswith(scripts)
        )
        for character in name
    )
