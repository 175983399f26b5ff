"""Entity-level precision, recall and F1, by entity type and over all.

Entities are found by seqeval. `strict`: an entity starts with B-, as IOB2 has it. `lenient`: an I-
that continues nothing starts an entity, too; this is the rule of conlleval, which XTREME's
published scores use. A predicted entity is correct when its type, first and last word equal a true
one's.

Counts are kept by sentence, so that any subset of the sentences can be scored; precision, recall
and F1 come from sums.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from workers.data.align import NO_LABEL, EncodedSplit
from workers.data.batch import evaluation_order, make_batch
from workers.result import EntityScore, RobustnessScore
from workers.tags import ENTITY_TYPES, TAGS
from workers.trial import MICRO, SUBSETS, DonorPool, Perturbation

Tags = Sequence[Sequence[str]]
Found = list[tuple[int, int, int]]
"""The entities of a sequence of tags: index of the type, first word, last word."""
Place = tuple[int, int, int, int]
"""An entity with the number of its sentence before these."""


@dataclass(frozen=True, kw_only=True)
class EntityCounts:
    """Entities of each sentence: int64 (num_sentences, 3), by type in the order of `ENTITY_TYPES`.

    Attributes:
        support: those that are there.
        num_predicted: those that were predicted.
        num_correct: those that are there and were predicted.
    """

    support: np.ndarray
    num_predicted: np.ndarray
    num_correct: np.ndarray


def predict(
    model: nn.Module, split: EncodedSplit, batch_size: int, device: torch.device, dtype: torch.dtype
) -> Iterator[np.ndarray]:
    """Predicted label of every word, in the order of the split; the last item has all of them.

    Args:
        model: left in evaluation mode.
        split: what to predict.
        batch_size: sequences a forward pass.
        device: where the model is.
        dtype: float32, or bfloat16 for autocast.

    Yields:
        int64 (num_words,) after each batch; complete after the last one.
    """
    model.eval()
    labels = np.full(len(split.input_ids), NO_LABEL, np.int64)
    is_word = split.labels != NO_LABEL
    for indices in evaluation_order(split.lengths, batch_size):
        batch = make_batch(split, indices, device)
        with (
            torch.inference_mode(),
            torch.autocast(device.type, dtype, enabled=dtype is not torch.float32),
        ):
            logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        predicted = logits.float().argmax(-1).cpu().numpy()
        for row, index in zip(predicted, indices, strict=True):
            start, end = split.offsets[index], split.offsets[index + 1]
            labels[start:end] = row[: end - start]
        yield labels[is_word]


def tags_of_sentences(split: EncodedSplit, labels: np.ndarray) -> list[list[str]]:
    """Lay word labels out by sentence, the parts of a split sentence together again.

    Args:
        split: whose sentences.
        labels: int64 (num_words,), as `predict` gives them.
    """
    is_word = split.labels != NO_LABEL
    words_before = np.concatenate([[0], np.cumsum(is_word)])[split.offsets]
    words_of_sequence = np.diff(words_before)
    num_words = np.bincount(split.sentence_of_sequence, weights=words_of_sequence).astype(int)
    ends = np.cumsum(num_words)
    return [
        [TAGS[label] for label in labels[end - size : end]]
        for end, size in zip(ends, num_words, strict=True)
    ]


def count_entities(gold: Tags, predicted: Tags, matching: str) -> EntityCounts:
    """Find the entities of both, and those that are in both.

    Args:
        gold: true tags by sentence.
        predicted: predicted tags, of the same lengths.
        matching: strict or lenient.

    Raises:
        ValueError: a sentence has not as many predicted tags as true ones, or a tag or `matching`
            is not known.
    """
    if [len(tags) for tags in gold] != [len(tags) for tags in predicted]:
        raise ValueError(_describe_difference(gold, predicted))
    # Most sentences are predicted as they are annotated, and short ones look alike.
    found = _find_entities({tuple(tags) for tags in (*gold, *predicted)}, matching)
    true, guessed = _entities(gold, found), _entities(predicted, found)
    return EntityCounts(
        support=_count(true, len(gold)),
        num_predicted=_count(guessed, len(gold)),
        num_correct=_count(set(true) & set(guessed), len(gold)),
    )


def _entities(sentences: Tags, found: Mapping[tuple[str, ...], Found]) -> list[Place]:
    return [
        (number, *place) for number, tags in enumerate(sentences) for place in found[tuple(tags)]
    ]


def _find_entities(
    sequences: Collection[tuple[str, ...]], matching: str
) -> dict[tuple[str, ...], Found]:
    """The entities of each sequence of tags, by seqeval."""
    if unknown := {tag for tags in sequences for tag in tags} - set(TAGS):
        raise ValueError(f"tags: {sorted(unknown)[0]!r} is not known; there are {', '.join(TAGS)}")
    kinds = {entity_type: kind for kind, entity_type in enumerate(ENTITY_TYPES)}
    if matching == "lenient":
        from seqeval.metrics.sequence_labeling import get_entities

        return {
            tags: [(kinds[kind], first, last) for kind, first, last in get_entities(list(tags))]
            for tags in sequences
        }
    if matching != "strict":
        raise ValueError(f"evaluation.matching: {matching!r} is not known; give strict or lenient")
    from seqeval.scheme import IOB2, Entities

    by_sequence = Entities([list(tags) for tags in sequences], IOB2, suffix=False).entities
    return {
        tags: [(kinds[entity.tag], entity.start, entity.end - 1) for entity in entities]
        for tags, entities in zip(sequences, by_sequence, strict=True)
    }


def _count(entities: Collection[Place], num_sentences: int) -> np.ndarray:
    """Of each sentence and type: int64 (num_sentences, 3)."""
    cells = np.array(
        [sentence * len(ENTITY_TYPES) + kind for sentence, kind, _, _ in entities], np.int64
    )
    shape = (num_sentences, len(ENTITY_TYPES))
    return np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)


def score(
    language: str, split: str, counts: EntityCounts, is_seen: np.ndarray
) -> tuple[EntityScore, ...]:
    """Scores of a split as published.

    Args:
        language: stored with the scores.
        split: stored with the scores.
        counts: of the split's sentences.
        is_seen: bool (num_sentences,), from `workers.data.entities.sentence_facts`.

    Returns:
        Scores of all sentences, of the seen and of the unseen ones, in this order; of each entity
        type, then of all together. Rates lie in [0, 1].
    """
    masks = dict(zip(SUBSETS, (np.ones_like(is_seen), is_seen, ~is_seen), strict=True))
    return tuple(
        EntityScore(
            language=language,
            split=split,
            subset=subset,
            entity_type=entity_type,
            num_sentences=int(is_member.sum()),
            **numbers,
        )
        for subset, is_member in masks.items()
        for entity_type, numbers in _numbers(counts, is_member)
    )


def score_perturbed(
    language: str,
    perturbation: Perturbation,
    draw: int,
    counts: EntityCounts,
    num_replaced: np.ndarray,
) -> tuple[RobustnessScore, ...]:
    """Scores of perturbed sentences.

    Args:
        language: stored with the scores.
        perturbation: stored with the scores.
        draw: stored with the scores.
        counts: of the perturbed sentences.
        num_replaced: int64 (num_sentences, 3), by type in the order of `ENTITY_TYPES`.

    Returns:
        Of each entity type, then of all together. Rates lie in [0, 1].
    """
    replaced = _with_micro(num_replaced)
    return tuple(
        RobustnessScore(
            language=language,
            perturbation=perturbation,
            draw=draw,
            entity_type=entity_type,
            status="scored",
            reason=None,
            num_replaced=replaced[entity_type],
            **numbers,
        )
        for entity_type, numbers in _numbers(counts, np.ones(len(num_replaced), bool))
    )


def not_applicable(pool: DonorPool) -> RobustnessScore:
    """The only row of a perturbation that does not apply to a language.

    Args:
        pool: without donors; its reason is stored.
    """
    return RobustnessScore(
        language=pool.language,
        perturbation=pool.perturbation,
        draw=0,
        entity_type=MICRO,
        status="not_applicable",
        reason=pool.reason,
        num_replaced=None,
        precision=None,
        recall=None,
        f1=None,
        support=None,
        num_predicted=None,
        num_correct=None,
    )


def _numbers(counts: EntityCounts, is_member: np.ndarray) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each entity type, and micro, with the fields that all kinds of scores have."""
    sums = [
        _with_micro(array[is_member])
        for array in (counts.support, counts.num_predicted, counts.num_correct)
    ]
    for entity_type in sums[0]:
        yield entity_type, _rates(*(of_types[entity_type] for of_types in sums))


def _rates(support: int, num_predicted: int, num_correct: int) -> dict[str, Any]:
    return {
        "precision": num_correct / num_predicted if num_predicted else None,
        "recall": num_correct / support if support else None,
        "f1": 2 * num_correct / (support + num_predicted) if support + num_predicted else None,
        "support": support,
        "num_predicted": num_predicted,
        "num_correct": num_correct,
    }


def _with_micro(per_sentence: np.ndarray) -> dict[str, int]:
    """Sums over the sentences by entity type, and of all types."""
    sums = [int(total) for total in per_sentence.sum(0)]
    return dict(zip((*ENTITY_TYPES, MICRO), (*sums, sum(sums)), strict=True))


def _describe_difference(gold: Tags, predicted: Tags) -> str:
    if len(gold) != len(predicted):
        return f"predicted: {len(predicted)} sentences for {len(gold)} true ones; give one for each"
    pairs = enumerate(zip(gold, predicted, strict=True))
    number, true, guessed = next(
        (number, true, guessed) for number, (true, guessed) in pairs if len(true) != len(guessed)
    )
    return (
        f"predicted: sentence {number} has {len(guessed)} tags for {len(true)} words; "
        "give one for each"
    )
