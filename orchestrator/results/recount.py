"""Entities in stored tags, counted once more by seqeval.

A trial counts the entities of all its sentences at once (`workers.scoring.evaluate`). Here each
sequence of tags is handed to seqeval by itself: slower, and of another hand. Both must agree.
"""

from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

COUNTS = ("support", "num_predicted", "num_correct")
"""What is counted of each sentence: columns of `predictions`."""

NUM_KEPT = 100_000
"""Sequences of tags whose entities are kept: most sentences are short, and alike in their tags."""

Entity = tuple[str, int, int]
"""Type, first and last word."""


def count_by_seqeval(
    gold: pa.ChunkedArray, predicted: pa.ChunkedArray, matching: str
) -> np.ndarray:
    """Count the entities of each sentence.

    Args:
        gold: true tags by sentence.
        predicted: predicted tags of the same sentences.
        matching: strict or lenient.

    Returns:
        int64 (num_sentences, 3), see `COUNTS`.
    """
    sides = (pc.binary_join(tags, " ") for tags in (gold, predicted))
    pairs = pc.binary_join_element_wise(*sides, ";").combine_chunks().dictionary_encode()
    counts = [_count(pair, matching) for pair in pairs.dictionary.to_pylist()]
    of_pairs = np.array(counts, np.int64).reshape(-1, len(COUNTS))
    of_sentences: np.ndarray = of_pairs[pairs.indices.to_numpy()]
    return of_sentences


def _count(pair: str, matching: str) -> tuple[int, int, int]:
    true, guessed = (_find_entities(tags, matching) for tags in pair.split(";"))
    return len(true), len(guessed), len(true & guessed)


@lru_cache(NUM_KEPT)
def _find_entities(tags: str, matching: str) -> frozenset[Entity]:
    """The entities of a sentence, whose tags have spaces between them."""
    sentence = tags.split()
    if matching == "lenient":
        from seqeval.metrics.sequence_labeling import get_entities

        return frozenset(get_entities(sentence))
    from seqeval.scheme import IOB2, Entities

    (found,) = Entities([sentence], IOB2, suffix=False).entities
    return frozenset((entity.tag, entity.start, entity.end - 1) for entity in found)
