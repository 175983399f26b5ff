"""Entities of gold text, and which of them a model has met in training; all sentences at once.

An entity begins at a B- tag, or at an I- tag that continues nothing (the conlleval rule, `lenient`;
WikiANN's ja and zh have such tags), and goes on through I- tags of its type. Gold text is read by
this rule wherever entities are compared or replaced, whatever rule a trial is scored by.

Words are compared without the white space around them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.data.corpus import Sentences
from workers.tags import WIKIANN, TagSet

BETWEEN_WORDS = b"\xff"
"""Joins the words of a key. No UTF-8 text has this byte, so equal keys stand for equal words."""


@dataclass(frozen=True)
class FlatSentences:
    """Sentences laid end to end.

    Attributes:
        words: strings (num_words,).
        labels: int8 (num_words,), labels of `tags`.
        offsets: int64 (num_sentences + 1,); sentence i is `words[offsets[i]:offsets[i + 1]]`.
        tags: what labels stand for.
    """

    words: pa.Array
    labels: np.ndarray
    offsets: np.ndarray
    tags: TagSet = WIKIANN

    @property
    def num_sentences(self) -> int:
        """Sentences."""
        return len(self.offsets) - 1


@dataclass(frozen=True)
class Entities:
    """Entities in the order of the text, each array int64 (num_entities,).

    Attributes:
        sentence: which sentence.
        start: first word, counted through all sentences.
        end: word after the last one.
        kind: its type, an index into `TagSet.entity_types`.
    """

    sentence: np.ndarray
    start: np.ndarray
    end: np.ndarray
    kind: np.ndarray

    def __len__(self) -> int:
        return len(self.start)

    def count(
        self, num_sentences: int, num_types: int, is_counted: np.ndarray | slice = slice(None)
    ) -> np.ndarray:
        """How many entities each sentence has.

        Args:
            num_sentences: sentences of the text, with those that have no entity.
            num_types: entity types that there are.
            is_counted: bool (num_entities,), which entities count; all by default.

        Returns:
            int64 (num_sentences, num_types).
        """
        sentences, kinds = self.sentence[is_counted], self.kind[is_counted]
        return count_by_sentence(sentences, kinds, num_sentences, num_types)


def count_by_sentence(
    sentences: np.ndarray, kinds: np.ndarray, num_sentences: int, num_kinds: int
) -> np.ndarray:
    """How many of each kind each sentence has.

    Args:
        sentences: of each thing that counts, its sentence, integers (n,).
        kinds: of each, its kind, integers (n,) from 0 on.
        num_sentences: sentences of the text, with those that have none.
        num_kinds: kinds that there are.

    Returns:
        int64 (num_sentences, num_kinds).
    """
    counts = np.bincount(sentences * num_kinds + kinds, minlength=num_sentences * num_kinds)
    return counts.reshape(num_sentences, num_kinds)


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


@dataclass(frozen=True)
class TrainText:
    """What a split says, as a rule that of train: to compare other sentences with and to take
    entities from.

    Attributes:
        text: the split itself.
        sentences: binary (num_distinct_sentences,), the distinct sentences as keys.
        entities: binary (num_distinct_entities,) of each type in the order of `text.tags`: the
            distinct entities as keys, see `entity_keys`, sorted.
    """

    text: FlatSentences
    sentences: pa.Array
    entities: tuple[pa.Array, ...]


def describe_text(text: FlatSentences) -> TrainText:
    """Find the distinct sentences and entities of a split.

    Args:
        text: the split as it is used, so after `max_train_sentences` or `max_eval_sentences`.
    """
    entities = find_entities(text.labels, text.offsets)
    keys = entity_keys(text, entities)
    distinct = [keys.filter(entities.kind == kind).unique() for kind in range(text.tags.num_types)]
    return TrainText(
        text=text,
        sentences=sentence_keys(text.words, text.offsets).unique(),
        entities=tuple(forms.take(pc.sort_indices(forms)) for forms in distinct),
    )


def join_texts(texts: Sequence[TrainText]) -> TrainText:
    """What several splits say together, but for the sentences themselves, which are the first's.

    Args:
        texts: one or more.
    """
    if len(texts) == 1:
        return texts[0]
    together = [
        pa.concat_arrays(forms).unique() for forms in zip(*(t.entities for t in texts), strict=True)
    ]
    return TrainText(
        text=texts[0].text,
        sentences=pa.concat_arrays([text.sentences for text in texts]).unique(),
        entities=tuple(forms.take(pc.sort_indices(forms)) for forms in together),
    )


def entities_without(
    entities: tuple[pa.Array, ...], others: Iterable[tuple[pa.Array, ...]]
) -> tuple[pa.Array, ...]:
    """Entities that are none of others, by words and type.

    Args:
        entities: of each type, see `TrainText.entities`.
        others: several such.

    Returns:
        What is left, in its order.
    """
    for known in others:
        entities = tuple(
            forms.filter(pc.invert(pc.is_in(forms, value_set=of_kind)))
            for forms, of_kind in zip(entities, known, strict=True)
        )
    return entities


def sentence_facts(train: TrainText, evaluated: FlatSentences) -> SentenceFacts:
    """Compare sentences with the train split of their language.

    Args:
        train: of the same language.
        evaluated: sentences of a split that is scored, as published or perturbed.
    """
    entities = find_entities(evaluated.labels, evaluated.offsets)
    keys = entity_keys(evaluated, entities)

    # An entity of another type is another entity, so each type is looked up by itself.
    is_new = np.ones(len(entities), bool)
    for kind, known in enumerate(train.entities):
        is_kind = entities.kind == kind
        is_new[is_kind] = ~_is_in(keys.filter(is_kind), known)

    return SentenceFacts(
        is_seen=_is_in(sentence_keys(evaluated.words, evaluated.offsets), train.sentences),
        num_unseen_entities=entities.count(
            evaluated.num_sentences, evaluated.tags.num_types, is_new
        ).sum(1),
    )


def flatten(sentences: Sentences) -> FlatSentences:
    """Lay sentences end to end."""
    words = pa.array(list(chain.from_iterable(sentences.tokens)), pa.string())
    return FlatSentences(words, *flatten_labels(sentences.labels), sentences.tags)


def flatten_table(table: pa.Table, tags: TagSet = WIKIANN) -> FlatSentences:
    """Like `flatten`, without a Python object a word.

    Args:
        table: as `workers.data.corpus.load_table` gives it.
        tags: what its labels stand for, those of its corpus.
    """
    # Concatenating copies, so that nothing holds on to sentences beyond the corpus' limit.
    words = pa.concat_arrays(pc.list_flatten(table["tokens"]).chunks)
    labels = pc.list_flatten(table["labels"]).to_numpy().astype(np.int8)
    offsets = _offsets(pc.list_value_length(table["tokens"]).to_numpy())
    return FlatSentences(words, labels, offsets, tags)


def unflatten(flat: FlatSentences) -> Sentences:
    """The sentences that were laid end to end."""
    tokens = pa.ListArray.from_arrays(pa.array(flat.offsets, pa.int32()), flat.words)
    labels = flat.labels.tolist()
    bounds = pairwise(flat.offsets.tolist())
    return Sentences(tokens.to_pylist(), [labels[start:end] for start, end in bounds], flat.tags)


def flatten_labels(labels: Iterable[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Lay the labels of sentences end to end.

    Args:
        labels: a list a sentence.

    Returns:
        The labels, int8 (num_words,), and where each sentence begins, int64 (num_sentences + 1,).
    """
    labels = list(labels)
    return np.fromiter(chain.from_iterable(labels), np.int8), _offsets(
        [len(sentence) for sentence in labels]
    )


def find_entities(labels: np.ndarray, offsets: np.ndarray, matching: str = "lenient") -> Entities:
    """Find the entities of sentences that are laid end to end.

    Args:
        labels: integers (num_words,), of any `workers.tags.TagSet`.
        offsets: int64 (num_sentences + 1,), first word of each sentence.
        matching: lenient, see above; or strict: what begins at an I- tag is none.

    Raises:
        ValueError: `matching` is not known.
    """
    if matching not in ("strict", "lenient"):
        raise ValueError(f"evaluation.matching: {matching!r} is not known; give strict or lenient")
    kind = (labels.astype(np.int64) - 1) // 2  # -1 for O
    is_begin = labels % 2 == 1

    # Which words go on with what the word before them is part of. The end of the text has a place
    # of its own, since it is a boundary as every start of a sentence is.
    continues = np.zeros(len(labels) + 1, bool)
    continues[1:-1] = (kind[1:] >= 0) & ~is_begin[1:] & (kind[1:] == kind[:-1])
    continues[offsets] = False

    # Between two boundaries lies an entity or a word outside.
    boundaries = np.flatnonzero(~continues)
    start, end = boundaries[:-1], boundaries[1:]
    is_entity = is_begin[start] if matching == "strict" else kind[start] >= 0
    start, end = start[is_entity], end[is_entity]
    return Entities(np.searchsorted(offsets, start, "right") - 1, start, end, kind[start])


def entity_keys(flat: FlatSentences, entities: Entities) -> pa.Array:
    """The words of each entity as one value, to be compared and sorted.

    Args:
        flat: the text.
        entities: those of the text.

    Returns:
        binary (num_entities,).
    """
    offsets = _offsets(entities.end - entities.start)
    positions = np.arange(offsets[-1]) + np.repeat(entities.start - offsets[:-1], np.diff(offsets))
    return _join(flat.words.take(pa.array(positions)), offsets)


def words_of_key(key: bytes) -> list[str]:
    """The words that `entity_keys` joined, without the white space around them.

    Args:
        key: of one entity.
    """
    return [word.decode() for word in key.split(BETWEEN_WORDS)]


def sentence_keys(words: pa.Array, offsets: np.ndarray) -> pa.Array:
    """The words of each sentence as one value, to be compared.

    Args:
        words: strings (num_words,), those of the sentences end to end.
        offsets: integers (num_sentences + 1,), first word of each sentence.

    Returns:
        binary (num_sentences,).
    """
    return _join(words, offsets)


def _join(words: pa.Array, offsets: np.ndarray) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(words).cast(pa.binary())
    return pc.binary_join(
        pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), trimmed), BETWEEN_WORDS
    )


def _is_in(keys: pa.Array, known: pa.Array) -> np.ndarray:
    return np.asarray(pc.is_in(keys, value_set=known).to_numpy(zero_copy_only=False), bool)


def _offsets(lengths: np.ndarray | list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
