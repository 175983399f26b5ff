"""From the tags of words to the labels of sub-words, kept on disk once made.

The first sub-word of a word carries its label, the others carry none. A sentence whose sub-words
exceed the limit is split between words into several sequences, as XTREME's preprocessing does;
predictions are put together again before scoring, so a score is always over whole sentences.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from workers.data.corpus import Sentences, load_table
from workers.data.entities import FlatSentences, flatten_table, unflatten
from workers.data.kept import read_entry, refuse_entry, write_entry
from workers.data.tagged_text import count_starts
from workers.data.tokenizer import load_tokenizer, prefix_of_words
from workers.digests import content_digest, read_metadata
from workers.trial import CorpusSpec, ModelSpec, TrialError, digest

NO_LABEL = -100
"""Label of a sub-word that is not scored: torch's cross-entropy leaves it out."""

NO_ID = -1
"""In the files of kept splits: there is no such id."""

FORMAT_VERSION = 4
"""Part of the name of a kept split; raise it when `encode` gives other arrays for the same
sentences, or a file says something else."""


@dataclass(frozen=True)
class EncodedSplit:
    """One split as sequences of sub-words, laid end to end in the order of the sentences.

    Attributes:
        input_ids: int32 (num_subwords,), specials included.
        labels: int8 (num_subwords,), `NO_LABEL` except at the first sub-word of each word.
        offsets: int64 (num_sequences + 1,); sequence i is `input_ids[offsets[i]:offsets[i + 1]]`.
        sentence_of_sequence: int64 (num_sequences,), ascending.
        num_unstarted_entities: I- tags that continue nothing.
        pad_id: id that fills up a batch.
        unknown_id: id of the tokenizer's unknown piece; None where it has none.
        num_specials: special ids in each sequence.
        parts: sequences of each language, in order, where splits of several are joined; else one
            part.
    """

    input_ids: np.ndarray
    labels: np.ndarray
    offsets: np.ndarray
    sentence_of_sequence: np.ndarray
    num_unstarted_entities: int
    pad_id: int
    unknown_id: int | None
    num_specials: int
    parts: tuple[int, ...]

    @property
    def lengths(self) -> np.ndarray:
        """Sub-words of each sequence: int64 (num_sequences,)."""
        return np.diff(self.offsets)

    @property
    def word_labels(self) -> np.ndarray:
        """The true label of every word: int8 (num_words,)."""
        labels: np.ndarray = self.labels[self.labels != NO_LABEL]
        return labels

    @property
    def num_sequences(self) -> int:
        """Sequences; at least the number of sentences."""
        return len(self.offsets) - 1

    @property
    def num_sentences(self) -> int:
        """Sentences."""
        return int(self.sentence_of_sequence[-1]) + 1

    @property
    def num_subwords_of_sentences(self) -> np.ndarray:
        """Sub-words of each sentence's words, special ids not counted: int64 (num_sentences,)."""
        lengths = self.lengths - self.num_specials
        return np.bincount(self.sentence_of_sequence, weights=lengths).astype(np.int64)

    @property
    def word_input_ids(self) -> np.ndarray:
        """Sub-words of all words, special ids left out: int32 (num_subwords_of_words,)."""
        firsts = np.flatnonzero(self.labels != NO_LABEL)
        if not len(firsts):
            return self.input_ids[:0]
        # Each sequence begins with the same special ids, and then a word's first sub-word.
        sequence = np.searchsorted(self.offsets, firsts[0], side="right") - 1
        num_before = int(firsts[0] - self.offsets[sequence])
        is_of_word = np.ones(len(self.input_ids), bool)
        for place in range(num_before):
            is_of_word[self.offsets[:-1] + place] = False
        for place in range(self.num_specials - num_before):
            is_of_word[self.offsets[1:] - 1 - place] = False
        ids: np.ndarray = self.input_ids[is_of_word]
        return ids

    @property
    def num_split_sentences(self) -> int:
        """Sentences that take more than one sequence."""
        return int((np.bincount(self.sentence_of_sequence) > 1).sum())


def join(splits: Sequence[EncodedSplit]) -> EncodedSplit:
    """Lay splits of several languages end to end.

    Args:
        splits: at least one, all encoded with the same tokenizer.
    """
    if len(splits) == 1:
        return splits[0]

    # Where each split begins in the whole, in sub-words and in sentences.
    starts = np.cumsum([0, *(len(split.input_ids) for split in splits[:-1])])
    first_sentences = np.cumsum([0, *(split.num_sentences for split in splits[:-1])])
    ends = [split.offsets[1:] + start for split, start in zip(splits, starts, strict=True)]
    owners = [
        split.sentence_of_sequence + first
        for split, first in zip(splits, first_sentences, strict=True)
    ]
    return EncodedSplit(
        input_ids=np.concatenate([split.input_ids for split in splits]),
        labels=np.concatenate([split.labels for split in splits]),
        offsets=np.concatenate([[0], *ends]),
        sentence_of_sequence=np.concatenate(owners),
        num_unstarted_entities=sum(split.num_unstarted_entities for split in splits),
        pad_id=splits[0].pad_id,
        unknown_id=splits[0].unknown_id,
        num_specials=splits[0].num_specials,
        parts=tuple(part for split in splits for part in split.parts),
    )


def load_encoded(
    corpus: CorpusSpec,
    model: ModelSpec,
    language: str,
    split: str,
    max_length: int,
    text: FlatSentences | None = None,
) -> EncodedSplit:
    """A split as sub-words: from this machine's disk, else made and kept there.

    Args:
        corpus: with the fingerprint of this language's files alone.
        model: whose tokenizer is used.
        language: code of the language.
        split: train, validation or test.
        max_length: longest sequence, specials included.
        text: the split's sentences; read from the corpus where they are not given.

    Raises:
        TrialError: kind `bad_data`, see `workers.data.corpus` and `workers.data.tokenizer`.
    """
    if text is None:
        text = flatten_table(load_table(corpus, language, split), corpus.tags)
    key = [language, split]
    if corpus.fingerprint is None:  # a revision of the hub may move: what it gave is what counts
        key.append(_content(text))
    return _encode_once(key, corpus, model, text, max_length)


def encode_text(
    corpus: CorpusSpec, model: ModelSpec, text: FlatSentences, max_length: int
) -> EncodedSplit:
    """Sentences that are no split as sub-words: from this machine's disk, else made and kept there
    by their content.

    Args:
        corpus: whose vocabulary the built-in model has.
        model: whose tokenizer is used.
        text: the sentences.
        max_length: longest sequence, specials included.

    Raises:
        TrialError: kind `bad_data`, see `workers.data.tokenizer`.
    """
    return _encode_once([_content(text)], corpus, model, text, max_length)


def _content(text: FlatSentences) -> str:
    return digest([text.words.to_pylist(), text.labels.tolist(), text.offsets.tolist()])


def _encode_once(
    sentences: list[str], corpus: CorpusSpec, model: ModelSpec, text: FlatSentences, max_length: int
) -> EncodedSplit:
    """The text as sub-words, once a machine; `sentences` says which text of the corpus it is."""
    key = [FORMAT_VERSION, corpus.identity(), model.identity(), *sentences, max_length]
    if model.fingerprint is None:
        key.append(digest(load_tokenizer(model, corpus).backend_tokenizer.to_str()))

    name = f"encoded/{digest(key)}.safetensors"
    if (kept := _read_kept(name)) is not None:
        return kept
    encoded = encode(unflatten(text), load_tokenizer(model, corpus), max_length)
    arrays = _to_arrays(encoded)
    write_entry(name, save(arrays, {"digest": _digest_of(name, arrays)}))
    return encoded


def _read_kept(name: str) -> EncodedSplit | None:
    """The split that is kept under a name; None where there is none, or where it is damaged."""
    data = read_entry(name)
    if data is None:
        return None
    try:
        arrays = load(data)
        if read_metadata(data).get("digest") != _digest_of(name, arrays):
            raise ValueError("its digest is another one")
        return _from_arrays(arrays)
    except (SafetensorError, ValueError, LookupError) as error:
        refuse_entry(name, error)
        return None


def _digest_of(name: str, arrays: dict[str, np.ndarray]) -> str:
    parts = [(key, str(array.dtype), array.shape, array.data) for key, array in arrays.items()]
    return content_digest([name], parts)


def encode(sentences: Sentences, tokenizer: Any, max_length: int) -> EncodedSplit:
    """Tokenise words and lay their labels on first sub-words.

    Args:
        sentences: words and labels.
        tokenizer: a fast Hugging Face tokenizer.
        max_length: longest sequence, specials included; a word longer than this by itself keeps its
            beginning.

    Raises:
        TrialError: kind `bad_data`, when the tokenizer cannot be handed words, or leaves nothing of
            one.
    """
    before, after = _special_ids(tokenizer)
    room = max_length - len(before) - len(after)
    prefix = prefix_of_words(tokenizer)
    batch = tokenizer(
        [[prefix + word for word in words] for words in sentences.tokens]
        if prefix
        else sentences.tokens,
        is_split_into_words=True,
        add_special_tokens=False,
        return_attention_mask=False,
        verbose=False,
    )

    ids: list[int] = []
    labels: list[int] = []
    offsets, owners = [0], []
    for sentence, sentence_labels in enumerate(sentences.labels):
        words = _subwords_of_words(batch, sentence, len(sentence_labels), tokenizer)
        for first, last in _windows([len(word) for word in words], room):
            subwords = [word[:room] for word in words[first:last]]
            ids += before
            labels += [NO_LABEL] * len(before)
            for word, label in zip(subwords, sentence_labels[first:last], strict=True):
                ids += word
                labels += [label] + [NO_LABEL] * (len(word) - 1)
            ids += after
            labels += [NO_LABEL] * len(after)
            offsets.append(len(ids))
            owners.append(sentence)

    of_words = np.fromiter(chain.from_iterable(sentences.labels), np.int64)
    starts = np.cumsum([0, *map(len, sentences.labels)])
    _, num_unstarted = count_starts(of_words, starts)
    return EncodedSplit(
        input_ids=np.array(ids, np.int32),
        labels=np.array(labels, np.int8),
        offsets=np.array(offsets, np.int64),
        sentence_of_sequence=np.array(owners, np.int64),
        num_unstarted_entities=num_unstarted,
        pad_id=tokenizer.pad_token_id,
        unknown_id=tokenizer.unk_token_id,
        num_specials=len(before) + len(after),
        parts=(len(owners),),
    )


def _special_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Ids that the tokenizer puts before and after a sentence."""
    probe = tokenizer(["a"], is_split_into_words=True)
    words, ids = probe.word_ids(), probe["input_ids"]
    inside = [position for position, word in enumerate(words) if word is not None]
    if not inside:
        raise TrialError(
            "bad_data",
            f"model.name: the tokenizer of {tokenizer.name_or_path} leaves nothing of the word "
            "'a', as where transformers makes another kind of it than its tokenizer.json has; "
            "choose another encoder",
        )
    return ids[: inside[0]], ids[inside[-1] + 1 :]


def _subwords_of_words(
    batch: Any, sentence: int, num_words: int, tokenizer: Any
) -> list[list[int]]:
    """Sub-word ids of each word.

    A word of which a tokenizer leaves nothing (a lone control character) becomes unknown.

    Raises:
        TrialError: kind `bad_data`, when there is such a word and no unknown sub-word.
    """
    words: list[list[int]] = [[] for _ in range(num_words)]
    for subword, word in zip(batch["input_ids"][sentence], batch.word_ids(sentence), strict=True):
        words[word].append(subword)
    if not all(words) and tokenizer.unk_token_id is None:
        raise TrialError(
            "bad_data",
            f"model.name: the tokenizer of {tokenizer.name_or_path} leaves nothing of word "
            f"{words.index([])} of sentence {sentence}, and has no unk_token; set one in its "
            "tokenizer_config.json, or leave the word out",
        )
    return [word or [tokenizer.unk_token_id] for word in words]


def _windows(lengths: list[int], room: int) -> list[tuple[int, int]]:
    """Word ranges, each of at most `room` sub-words, filled from the left."""
    windows, first, used = [], 0, 0
    for position, length in enumerate(lengths):
        length = min(length, room)
        if used + length > room:
            windows.append((first, position))
            first, used = position, 0
        used += length
    return [*windows, (first, len(lengths))]


def _to_arrays(encoded: EncodedSplit) -> dict[str, np.ndarray]:
    unknown_id = NO_ID if encoded.unknown_id is None else encoded.unknown_id
    return {
        "input_ids": encoded.input_ids,
        "labels": encoded.labels,
        "offsets": encoded.offsets,
        "sentence_of_sequence": encoded.sentence_of_sequence,
        "scalars": np.array(
            [encoded.num_unstarted_entities, encoded.pad_id, unknown_id, encoded.num_specials],
            np.int64,
        ),
    }


def _from_arrays(arrays: dict[str, np.ndarray]) -> EncodedSplit:
    num_unstarted, pad_id, unknown_id, num_specials = (int(value) for value in arrays["scalars"])
    return EncodedSplit(
        arrays["input_ids"],
        arrays["labels"],
        arrays["offsets"],
        arrays["sentence_of_sequence"],
        num_unstarted,
        pad_id,
        None if unknown_id == NO_ID else unknown_id,
        num_specials,
        (len(arrays["sentence_of_sequence"]),),
    )
