"""Sentences with tags as a file has them, and how these become labels in IOB2.

Source of the schemes: IOB1 is that of Ramshaw and Marcus (1995) and of CoNLL-2003; IOB2 that of
Tjong Kim Sang and Veenstra (1999), in which every entity begins with B-; BIOES and BILOU
(Ratinov and Roth 2009) also mark the last word of an entity and those of one word; IO marks no
beginnings, so that two neighbours of one type are one entity.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from workers.tags import OUTSIDE, TagSet, fault_of_type
from workers.trial import Scheme, TrialError

LASTS_AND_SINGLES = {"E": "S", "L": "U"}
"""Of BIOES and of BILOU: the prefix of an entity's last word, and that of one of a single word."""

PREFIXES = frozenset("BIESLU")
MOST_ODD = 0.1
"""In BIOES, the part of all entities that may be ill-formed; more are another scheme's."""


@dataclass(frozen=True, kw_only=True)
class TaggedText:
    """The sentences of a file.

    Attributes:
        where: the file or data set, in words.
        tokens: list<string> (num_sentences,).
        tags: int64 (num_words,), indices into `names`; where there are none, numbers of tags.
        names: the names of tags; None where the file has numbers and does not say what they mean.
        is_declared: the file lists the names, also those that no word has, and their order.
        lines: of each word, the file's line, counted from 1; None in files without lines.
        num_prefixed: words from which a prefix such as `yo:` was taken off.
    """

    where: str
    tokens: pa.ListArray
    tags: np.ndarray
    names: tuple[str, ...] | None
    is_declared: bool = False
    lines: np.ndarray | None = None
    num_prefixed: int = 0

    @property
    def starts(self) -> np.ndarray:
        """The first word of each sentence, and the end: int64 (num_sentences + 1,)."""
        offsets = self.tokens.offsets.to_numpy().astype(np.int64)
        starts: np.ndarray = offsets - offsets[0]
        return starts

    def place(self, word: int) -> str:
        """Where a word stands, for messages."""
        if self.lines is not None:
            return f"{self.where}:{self.lines[word]}"
        sentence = int(np.searchsorted(self.starts, word, side="right")) - 1
        return f"{self.where}: sentence {sentence}"


@dataclass(frozen=True)
class Mended:
    """What was read otherwise than it stands in the files.

    Attributes:
        num_converted: tags of another scheme that have become IOB2's.
        num_odd: of these, entities that are ill-formed in their own scheme.
        num_prefixed: see `TaggedText`.
    """

    num_converted: int = 0
    num_odd: int = 0
    num_prefixed: int = 0

    def __add__(self, other: "Mended") -> "Mended":
        return Mended(
            self.num_converted + other.num_converted,
            self.num_odd + other.num_odd,
            self.num_prefixed + other.num_prefixed,
        )


def split_tag(name: str) -> tuple[str, str]:
    """Prefix and type of a tag; the prefix is empty where it has none, the type for O."""
    if name == OUTSIDE:
        return OUTSIDE, ""
    prefix, dash, kind = name.partition("-")
    return (prefix, kind) if dash and kind and prefix in PREFIXES else ("", name)


def types_of(text: TaggedText, scheme: Scheme) -> tuple[str, ...]:
    """The entity types of a file: those that it declares, in their order, or else those that are
    there, sorted; empty where it has numbers alone.

    Raises:
        TrialError: kind `bad_data`, when a tag is none.
    """
    if text.names is None:
        return ()
    found: list[str] = []
    is_used = np.bincount(text.tags, minlength=len(text.names)) > 0
    for number, name in enumerate(text.names):
        prefix, kind = split_tag(name)
        if not kind or (prefix == "" and not is_used[number]):
            continue
        word = int(np.argmax(text.tags == number)) if is_used[number] else None
        place = text.where if word is None else text.place(word)
        if prefix == "" and scheme != "io":
            raise TrialError(
                "bad_data",
                f"{place}: tag {name[:60]!r} is neither O nor a type after B- or I-; where words "
                "of entities have their type alone, set corpus.scheme=io",
            )
        if fault := fault_of_type(kind):
            raise TrialError("bad_data", f"{place}: tag {name[:60]!r}: {fault}; rename it")
        found.append(kind)
    return tuple(dict.fromkeys(found if text.is_declared else sorted(found)))


def to_labels(text: TaggedText, tags: TagSet, scheme: Scheme) -> tuple[np.ndarray, Mended]:
    """The labels of a file's words.

    Args:
        text: the file.
        tags: what labels stand for.
        scheme: auto reads IOB2, and BIOES or BILOU where their prefixes are there.

    Returns:
        int64 (num_words,), and what was mended.

    Raises:
        TrialError: kind `bad_data`, when a tag is none of this set or of this scheme.
    """
    if text.names is None:
        return _of_numbers(text, tags), Mended(num_prefixed=text.num_prefixed)
    _refuse_unknown(text, tags, scheme)
    kinds = {name: 1 + 2 * number for number, name in enumerate(tags.entity_types)}
    parts = [split_tag(name) for name in text.names]
    begins = np.array([kinds.get(kind, 0) for _, kind in parts], np.int64)[text.tags]
    prefixes = np.array([prefix for prefix, _ in parts], "U1")[text.tags]
    there = set(np.unique(prefixes).tolist())
    is_end_marked = bool(there & {*LASTS_AND_SINGLES, *LASTS_AND_SINGLES.values()})
    if scheme == "iob1":
        labels = _from_iob1(begins, prefixes, text.starts)
    elif scheme == "io":
        labels = _from_io(begins, text.starts)
    elif scheme == "bioes" or (scheme == "auto" and is_end_marked):
        return _from_bioes(text, begins, prefixes, there)
    else:
        labels = begins + (prefixes == "I")
        return labels, Mended(num_prefixed=text.num_prefixed)
    is_other = (begins > 0) & (prefixes != np.where(labels % 2 == 1, "B", "I"))
    return labels, Mended(int(is_other.sum()), 0, text.num_prefixed)


def _of_numbers(text: TaggedText, tags: TagSet) -> np.ndarray:
    """Numbers without names stand for the tags in their order."""
    for word in np.flatnonzero((text.tags < 0) | (text.tags >= len(tags)))[:1]:
        raise TrialError(
            "bad_data",
            f"{text.where}: tag {text.tags[word]} is outside 0 to {len(tags) - 1}, which stand for "
            f"{', '.join(tags.tags)}; name the types in the order of the numbers in "
            "corpus.entity_types",
        )
    return text.tags


ALLOWED: dict[Scheme, frozenset[str]] = {
    "auto": PREFIXES,
    "iob2": frozenset("BI"),
    "iob1": frozenset("BI"),
    "bioes": PREFIXES,
    "io": frozenset(["I", ""]),
}
"""The prefixes of each scheme's tags, beside O."""


def _refuse_unknown(text: TaggedText, tags: TagSet, scheme: Scheme) -> None:
    """Refuse tags that are of another scheme, or of a type that is not in the set."""
    names = text.names or ()
    parts = [split_tag(name) for name in names]
    is_used = np.bincount(text.tags, minlength=len(names)) > 0
    known = set(tags.entity_types)
    for number, (prefix, kind) in enumerate(parts):
        if prefix == OUTSIDE or (prefix == "" and not is_used[number]):
            continue
        place = text.place(int(np.argmax(text.tags == number))) if is_used[number] else text.where
        if prefix not in ALLOWED[scheme] and is_used[number]:
            _refuse_scheme(place, names[number], scheme, known, tags)
        if kind in known:
            continue
        if text.is_declared:
            raise TrialError(
                "bad_data",
                f"{text.where}: tags are {list(names)}; expected {list(tags.tags)}, in any order, "
                "or all their types in corpus.entity_types",
            )
        _refuse_tag(place if text.lines is not None else text.where, names[number], tags)


def _refuse_tag(place: str, name: str, tags: TagSet) -> None:
    raise TrialError(
        "bad_data",
        f"{place}: tag {name[:60]!r} is none of {', '.join(tags.tags)}; "
        "corpus.entity_types lists the types",
    )


def _refuse_scheme(place: str, name: str, scheme: Scheme, known: set[str], tags: TagSet) -> None:
    if split_tag(name)[0] == "" and name not in known:
        _refuse_tag(place, name, tags)
    raise TrialError(
        "bad_data",
        f"{place}: tag {name[:60]!r} is not of scheme {scheme}; where all tags of a file are of "
        "one scheme, name it in corpus.scheme: auto, iob2, iob1, bioes or io",
    )


def _is_first(starts: np.ndarray, num_words: int) -> np.ndarray:
    first = np.zeros(num_words + 1, bool)
    first[starts] = True
    is_first: np.ndarray = first[:-1]
    return is_first


def _before(values: np.ndarray, starts: np.ndarray, filling: int | str) -> np.ndarray:
    """The value of the word before, within a sentence."""
    shifted = np.roll(values, 1)
    shifted[_is_first(starts, len(values))] = filling
    return shifted


def _same_type_before(begins: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Words of entities whose sentence has a word of the same type right before them."""
    is_same: np.ndarray = (begins > 0) & (_before(begins, starts, 0) == begins)
    return is_same


def _from_iob1(begins: np.ndarray, prefixes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """In IOB1 an entity begins with I-, but with B- right after another one of its type."""
    labels: np.ndarray = begins + (_same_type_before(begins, starts) & (prefixes == "I"))
    return labels


def _from_io(begins: np.ndarray, starts: np.ndarray) -> np.ndarray:
    labels: np.ndarray = begins + _same_type_before(begins, starts)
    return labels


def _from_bioes(
    text: TaggedText, begins: np.ndarray, prefixes: np.ndarray, there: set[str]
) -> tuple[np.ndarray, Mended]:
    """From BIOES or BILOU: entities stay what they are, and one that goes on without a beginning
    keeps its I-, as in IOB2."""
    of_bioes, of_bilou = there & {"E", "S"}, there & {"L", "U"}
    if of_bioes and of_bilou:
        # The scheme whose tags come first is taken for the file's.
        firsts = {
            int(np.argmax(np.isin(prefixes, list(marks)))): marks for marks in (of_bioes, of_bilou)
        }
        word, other = max(firsts), "- and ".join(sorted(firsts[min(firsts)]))
        raise TrialError(
            "bad_data",
            f"{text.place(word)}: tag {(text.names or ())[text.tags[word]]!r} in a file with "
            f"{other}-, which mixes BIOES and BILOU; write one of them",
        )
    starts = text.starts
    is_inside = np.isin(prefixes, ["I", "E", "L"])
    is_over = np.isin(prefixes, ["E", "L", "S", "U"])
    goes_on = is_inside & _same_type_before(begins, starts)
    after_end = goes_on & (_before(is_over.astype(np.int64), starts, 1) == 1)

    # What follows the end of an entity of its own type does not go on with that one.
    labels = begins + (is_inside & ~after_end)

    # Ill-formed: what goes on without a beginning, and what is never ended.
    is_orphan = is_inside & (~goes_on | after_end)
    is_open = np.isin(prefixes, ["B", "I"])
    next_goes_on = np.append((goes_on & ~after_end)[1:], False)
    is_unended = is_open & ~next_goes_on
    num_odd = int((is_orphan | is_unended).sum())
    num_entities = int(((begins > 0) & ~goes_on).sum())
    if num_odd > MOST_ODD * max(num_entities, 1):
        word = int(np.argmax(is_orphan | is_unended))
        name = (text.names or ())[text.tags[word]]
        raise TrialError(
            "bad_data",
            f"{text.place(word)}: tag {name!r} is ill-formed in BIOES and BILOU, as are {num_odd} "
            f"of {num_entities} entities of the file, which mixes schemes; write one of them, or "
            "ask for one in corpus.scheme",
        )
    num_converted = int(np.isin(prefixes, ["E", "S", "L", "U"]).sum())
    return labels, Mended(num_converted, num_odd, text.num_prefixed)


def count_starts(labels: np.ndarray, starts: np.ndarray) -> tuple[int, int]:
    """How many entities there are, and how many of them begin with I-.

    Args:
        labels: integers (num_words,).
        starts: see `TaggedText.starts`.
    """
    before = _before(labels, starts, 0)
    is_inside = (labels > 0) & (labels % 2 == 0)
    is_unstarted = is_inside & (before != labels) & (before != labels - 1)
    return int(((labels % 2 == 1) | is_unstarted).sum()), int(is_unstarted.sum())


def as_label_lists(text: TaggedText, labels: np.ndarray) -> pa.Table:
    """The sentences with their labels: a row each, `tokens` and `labels`."""
    listed = pa.ListArray.from_arrays(
        pa.array(text.starts, pa.int32()), pa.array(labels, pa.int64())
    )
    return pa.table({"tokens": text.tokens, "labels": listed})


def from_lists(
    where: str,
    tokens: Sequence[Sequence[str]],
    tags: Sequence[Sequence[str]],
    lines: Sequence[int] | None = None,
) -> TaggedText:
    """A text of which words and names of tags are known by sentence."""
    numbers: dict[str, int] = {}
    flat = [numbers.setdefault(tag, len(numbers)) for sentence in tags for tag in sentence]
    return TaggedText(
        where=where,
        tokens=pa.array(tokens, pa.list_(pa.string())),
        tags=np.array(flat, np.int64),
        names=tuple(numbers),
        lines=None if lines is None else np.array(lines, np.int64),
    )
