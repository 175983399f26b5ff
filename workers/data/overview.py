"""What a corpus holds, before anything is trained on it: sizes, entities, repetitions,
sub-words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from workers.data.align import encode
from workers.data.corpus import load_table
from workers.data.entities import (
    FlatSentences,
    find_entities,
    flatten_table,
    sentence_keys,
    unflatten,
)
from workers.trial import CorpusSpec

SHARES = {"median": 0.5, "p95": 0.95, "longest": 1.0}
"""Of sentences, for which lengths are told: so many are no longer."""


@dataclass(frozen=True, kw_only=True)
class Subwords:
    """What a tokenizer makes of a split.

    Attributes:
        num_subwords: of all words, special ones not counted.
        num_unknown: of these, the unknown piece.
        num_split: sentences that are too long and are split between words.
        lengths: sub-words of the sentences, special ones not counted, by the names of `SHARES`.
    """

    num_subwords: int
    num_unknown: int
    num_split: int
    lengths: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class SplitOverview:
    """What a split holds, as a trial reads it.

    Attributes:
        language: its code.
        split: train, validation or test.
        num_sentences: sentences.
        num_words: words.
        entities: their number by type, in the order of labels; an entity begins at B-, or at an I-
            that continues nothing.
        num_unstarted: those of them that begin at I-.
        num_repeated: sentences with the words of one before them.
        num_of_train: sentences whose words are a sentence of the train split; None of train itself.
        subwords: None where there is no tokenizer.
    """

    language: str
    split: str
    num_sentences: int
    num_words: int
    entities: dict[str, int]
    num_unstarted: int
    num_repeated: int
    num_of_train: int | None
    subwords: Subwords | None


def describe_language(
    corpus: CorpusSpec,
    language: str,
    splits: Sequence[str],
    tokenizer: Any = None,
    max_length: int = 128,
) -> list[SplitOverview]:
    """Read the splits of a language and say what they hold.

    Args:
        corpus: the corpus, as trials read it.
        language: the language's code.
        splits: those that are wanted, in this order; train first, if any are compared with it.
        tokenizer: a fast Hugging Face tokenizer; None: nothing is said of sub-words.
        max_length: longest sequence in sub-words, specials included.

    Raises:
        TrialError: kind `bad_data`, see `workers.data.corpus` and `workers.data.align.encode`.
    """
    found, trained = [], None
    for split in splits:
        text = flatten_table(load_table(corpus, language, split), corpus.tags)
        keys = sentence_keys(text.words, text.offsets)
        entities = find_entities(text.labels, text.offsets)
        per_type = entities.count(text.num_sentences, text.tags.num_types).sum(0).tolist()
        of_train = None
        if split == "train":
            trained = keys
        elif trained is not None:
            of_train = int(pc.sum(pc.is_in(keys, value_set=trained)).as_py())
        found.append(
            SplitOverview(
                language=language,
                split=split,
                num_sentences=text.num_sentences,
                num_words=len(text.words),
                entities=dict(zip(text.tags.entity_types, per_type, strict=True)),
                num_unstarted=int((text.labels[entities.start] % 2 == 0).sum()),
                num_repeated=text.num_sentences - len(keys.unique()),
                num_of_train=of_train,
                subwords=None if tokenizer is None else _describe(text, tokenizer, max_length),
            )
        )
    return found


def _describe(text: FlatSentences, tokenizer: Any, max_length: int) -> Subwords:
    encoded = encode(unflatten(text), tokenizer, max_length)
    ids, lengths = encoded.word_input_ids, encoded.num_subwords_of_sentences
    unknown = encoded.unknown_id
    return Subwords(
        num_subwords=len(ids),
        num_unknown=0 if unknown is None else int((ids == unknown).sum()),
        num_split=encoded.num_split_sentences,
        lengths={
            name: int(np.quantile(lengths, share, method="higher"))
            for name, share in SHARES.items()
        },
    )
