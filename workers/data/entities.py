"""Entities of gold text, and what of a split a model has met in training; all sentences at once.

An entity begins at a B- tag, or at an I- tag that continues nothing (the conlleval rule, `lenient`;
WikiANN's ja and zh have such tags), and goes on through I- tags of its type. Gold text is read by
this rule wherever entities are compared or replaced, whatever rule a trial is scored by, which is
`workers.scoring.evaluate`'s.

Words are compared without the white space around them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.data.corpus import Sentences
from workers.tags import ENTITY_TYPES

BETWEEN_WORDS = b"\xff"
"""Joins the words of a key; it occurs in no UTF-8 text, so keys are equal exactly when the words
are."""


@dataclass(frozen=True)
class FlatSentences:
    """Sentences laid end to end.

    Attributes:
        words: strings (num_words,).
        labels: int64 (num_words,), indices into `workers.tags.TAGS`.
        offsets: int64 (num_sentences + 1,); sentence i is `words[offsets[i]:offsets[i + 1]]`.
    """

    words: pa.Array
    labels: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True)
class Entities:
    """Entities in the order of the text, each array int64 (num_entities,).

    Attributes:
        sentence: which sentence.
        start: first word, counted through all sentences.
        end: word after the last one.
        kind: index into `ENTITY_TYPES`.
    """

    sentence: np.ndarray
    start: np.ndarray
    end: np.ndarray
    kind: np.ndarray

    def __len__(self) -> int:
        return len(self.start)

    def count(self, num_sentences: int, is_counted: np.ndarray | slice = slice(None)) -> np.ndarray:
        """How many of them each sentence has: int64 (num_sentences, 3), by type in the order of
        `ENTITY_TYPES`."""
        num_kinds = len(ENTITY_TYPES)
        cells = (self.sentence * num_kinds + self.kind)[is_counted]
        return np.bincount(cells, minlength=num_sentences * num_kinds).reshape(
            num_sentences, num_kinds
        )


@dataclass(frozen=True, kw_only=True)
class SentenceFacts:
    """What of each sentence a model that was trained on the language has met.

    Attributes:
        is_seen: bool (num_sentences,); its words are, one for one, those of a sentence of the train
            split.
        num_unseen_entities: int64 (num_sentences,); entities whose words and type are no entity of
            the train split.
    """

    is_seen: np.ndarray
    num_unseen_entities: np.ndarray


def sentence_facts(train: Sentences, evaluated: Sentences) -> SentenceFacts:
    """Compare sentences with the train split of their language.

    Args:
        train: the split as it was trained on, so after `max_train_sentences`.
        evaluated: sentences of a split that is scored, as published or perturbed.
    """
    known, asked = flatten(train), flatten(evaluated)
    known_entities, entities = (find_entities(flat.labels, flat.offsets) for flat in (known, asked))
    known_keys, keys = entity_keys(known, known_entities), entity_keys(asked, entities)
    is_new = np.ones(len(entities), bool)
    for kind in range(len(ENTITY_TYPES)):
        is_kind = entities.kind == kind
        is_new[is_kind] = ~_is_in(
            keys.filter(is_kind), known_keys.filter(known_entities.kind == kind)
        )
    num_sentences = len(evaluated.tokens)
    return SentenceFacts(
        is_seen=_is_in(_sentence_keys(asked), _sentence_keys(known)),
        num_unseen_entities=entities.count(num_sentences, is_new).sum(1),
    )


def flatten(sentences: Sentences) -> FlatSentences:
    """Lay sentences end to end."""
    words = pa.array(list(chain.from_iterable(sentences.tokens)), pa.string())
    return FlatSentences(words, *flatten_labels(sentences.labels))


def flatten_table(table: pa.Table) -> FlatSentences:
    """Like `flatten`, for what `workers.data.corpus.load_table` gives; without a Python object a
    word."""
    words = pa.concat_arrays(pc.list_flatten(table["tokens"]).chunks)
    labels = pc.list_flatten(table["labels"]).to_numpy()
    return FlatSentences(words, labels, _offsets(pc.list_value_length(table["tokens"]).to_numpy()))


def flatten_labels(labels: Iterable[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """The labels of all sentences, int64 (num_words,), and where each begins, int64 (num_sentences
    + 1,)."""
    labels = list(labels)
    return np.fromiter(chain.from_iterable(labels), np.int64), _offsets(
        [len(sentence) for sentence in labels]
    )


def find_entities(labels: np.ndarray, offsets: np.ndarray) -> Entities:
    """Find the entities of sentences that are laid end to end.

    Args:
        labels: int64 (num_words,), indices into `workers.tags.TAGS`.
        offsets: int64 (num_sentences + 1,), first word of each sentence.
    """
    kind = (labels - 1) // 2  # -1 for O
    is_begin = labels % 2 == 1
    continues = np.zeros(
        len(labels) + 1, bool
    )  # one more: the end of the text, which like any start is a boundary
    continues[1:-1] = (kind[1:] >= 0) & ~is_begin[1:] & (kind[1:] == kind[:-1])
    continues[offsets] = False
    boundaries = np.flatnonzero(~continues)
    start, end = boundaries[:-1], boundaries[1:]
    is_entity = kind[start] >= 0
    start, end = start[is_entity], end[is_entity]
    return Entities(np.searchsorted(offsets, start, "right") - 1, start, end, kind[start])


def entity_keys(flat: FlatSentences, entities: Entities) -> pa.Array:
    """The words of each entity as one value, to be compared and sorted: binary (num_entities,)."""
    offsets = _offsets(entities.end - entities.start)
    positions = np.arange(offsets[-1]) + np.repeat(entities.start - offsets[:-1], np.diff(offsets))
    return _join(flat.words.take(pa.array(positions)), offsets)


def words_of_key(key: bytes) -> list[str]:
    """The words that `entity_keys` joined."""
    return [word.decode() for word in key.split(BETWEEN_WORDS)]


def _sentence_keys(flat: FlatSentences) -> pa.Array:
    return _join(flat.words, flat.offsets)


def _join(words: pa.Array, offsets: np.ndarray) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(words).cast(pa.binary())
    return pc.binary_join(
        pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), trimmed), BETWEEN_WORDS
    )


def _is_in(keys: pa.Array, known: pa.Array) -> np.ndarray:
    return np.asarray(pc.is_in(keys, value_set=known).to_numpy(zero_copy_only=False), bool)


def _offsets(lengths: np.ndarray | list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
