"""Entity-level precision, recall and F1, by entity type and over all.

`strict`: an entity starts with B-, as IOB2 has it. `lenient`: an I- that continues nothing starts
an entity, too; this is the rule of conlleval, which XTREME's published scores use. A predicted
entity is correct when its type, first and last word equal a true one's. These are seqeval's rules,
with which tests compare every count.

Counts are kept by sentence, so that any subset of the sentences can be scored; precision, recall
and F1 come from sums.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from workers.data.align import NO_LABEL, EncodedSplit
from workers.data.batch import Batch, evaluation_order, make_batch
from workers.data.entities import Entities, find_entities
from workers.data.packing import PackedBatches
from workers.model.positions import first_position, reads_packed_rows
from workers.result import EntityScore, RobustnessScore
from workers.tags import MAX_TYPES, WIKIANN, TagSet
from workers.trial import MICRO, SUBSETS, DonorPool, Perturbation, TrialSpec

SUBWORDS_A_PASS_OF_A_CPU = 512
"""On a CPU small passes are faster: they pad less, and stay in its cache. On one core 1,000 Swahili
sentences took 0.7 times as long with the small model as in passes of 128 sequences, 150 of them 0.4
to 0.5 times with mBERT's shape, one second a pass; 1,024 sub-words took 0.55, 2,048 took 0.67."""


CONFIDENCE_STEPS = 255
"""A probability is stored as the nearest of so many equal parts of 1, in a byte: wrong by 0.002 at
most."""


@dataclass(frozen=True, kw_only=True)
class EntityCounts:
    """Entities of each sentence: int64 (num_sentences, num_types), in the order of `tags`.

    Attributes:
        tags: whose entity types are counted.
        support: those that are there.
        num_predicted: those that were predicted.
        num_correct: those that are there and were predicted.
    """

    tags: TagSet
    support: np.ndarray
    num_predicted: np.ndarray
    num_correct: np.ndarray


def subwords_a_pass(spec: TrialSpec, device: torch.device) -> int:
    """The most sub-words of a forward pass of scoring, with what fills up.

    On a GPU a pass takes as much room as `evaluation.batch_size` sequences of
    `training.max_length`. Most are shorter, so there are more of them: 7 times fewer passes for
    WikiANN, each of which takes as long as it takes to launch.
    """
    room = spec.evaluation.batch_size * spec.training.max_length
    return room if device.type != "cpu" else min(room, SUBWORDS_A_PASS_OF_A_CPU)


def predict(
    model: nn.Module,
    split: EncodedSplit,
    max_subwords: int,
    device: torch.device,
    dtype: torch.dtype,
    with_confidences: bool = True,
) -> Generator[None, None, tuple[np.ndarray, np.ndarray | None]]:
    """Predicted label of every word and its probability, in the order of the split.

    Args:
        model: left in evaluation mode.
        split: what to predict.
        max_subwords: a forward pass, see `subwords_a_pass`.
        device: where the model is.
        dtype: float32, or bfloat16 for autocast.
        with_confidences: False where nobody stores the probabilities.

    Yields:
        After every forward pass.

    Returns:
        The labels, int8 (num_words,), of the corpus' tags; and the probabilities that the model
        gives them, the largest of each word, uint8 (num_words,): in 255ths, to the nearest; None
        where they are not wanted.
    """
    model.eval()
    confidences = np.zeros(len(split.input_ids) + 1, np.uint8) if with_confidences else None
    labels = np.full(len(split.input_ids) + 1, NO_LABEL, np.int8)  # the last: of what fills a row
    make: Callable[[np.ndarray], Batch] = partial(make_batch, split, device=device)
    if reads_packed_rows(model):
        make = PackedBatches(split, device, first_position(model), dtype).make
    for indices in evaluation_order(split.lengths, max_subwords):
        batch = make(indices)
        with (
            torch.inference_mode(),
            torch.autocast(device.type, dtype, enabled=dtype is not torch.float32),
        ):
            logits = model(**batch.inputs).logits
        logits = logits.float()
        found = logits.argmax(-1).to(torch.uint8)
        if confidences is None:
            labels[batch.place] = found.cpu().numpy()
        else:
            in_bytes = (CONFIDENCE_STEPS * logits.softmax(-1).amax(-1)).round().to(torch.uint8)
            # Both at once: each copy waits for a GPU.
            both = torch.stack([found, in_bytes]).cpu().numpy()
            labels[batch.place], confidences[batch.place] = both
        yield
    is_word = split.labels != NO_LABEL
    return labels[:-1][is_word], None if confidences is None else confidences[:-1][is_word]


def split_by_sentence(values: np.ndarray, offsets: np.ndarray) -> list[list[int]]:
    """Numbers of words, such as `predict` gives, by sentence.

    Args:
        values: integers (num_words,).
        offsets: int64 (num_sentences + 1,), first word of each sentence.
    """
    numbers = values.tolist()
    return [numbers[start:end] for start, end in pairwise(offsets.tolist())]


def tags_of_sentences(
    labels: np.ndarray, offsets: np.ndarray, tags: TagSet = WIKIANN
) -> list[list[str]]:
    """Word labels as the tags that are stored, by sentence.

    Args:
        labels: integers (num_words,), of `tags`.
        offsets: int64 (num_sentences + 1,), first word of each sentence.
        tags: what labels stand for.
    """
    named = np.array(tags.tags, object)[labels].tolist()
    return [named[start:end] for start, end in pairwise(offsets.tolist())]


def count_entities(
    gold: np.ndarray,
    predicted: np.ndarray,
    offsets: np.ndarray,
    matching: str,
    tags: TagSet = WIKIANN,
) -> EntityCounts:
    """Find the entities of both, and those that are in both, of all sentences at once.

    Args:
        gold: the true label of each word, integers (num_words,), of `tags`.
        predicted: the predicted ones of the same words.
        offsets: int64 (num_sentences + 1,), first word of each sentence.
        matching: strict or lenient.
        tags: what labels stand for.

    Raises:
        ValueError: there are not as many predicted labels as true ones, or `matching` is not known.
    """
    if len(predicted) != len(gold):
        raise ValueError(f"predicted: {len(predicted)} labels for {len(gold)} words; give one each")
    true, guessed = (find_entities(labels, offsets, matching) for labels in (gold, predicted))

    # At a word starts one true entity at most: where it ends and its type tell it from others.
    true_at = np.zeros(len(gold), np.int64)  # 0: none, for no entity ends at 0
    true_at[true.start] = _end_and_kind(true)
    is_correct = true_at[guessed.start] == _end_and_kind(guessed)
    size = len(offsets) - 1, tags.num_types
    return EntityCounts(
        tags=tags,
        support=true.count(*size),
        num_predicted=guessed.count(*size),
        num_correct=guessed.count(*size, is_correct),
    )


def _end_and_kind(entities: Entities) -> np.ndarray:
    numbers: np.ndarray = entities.end * MAX_TYPES + entities.kind
    return numbers


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
        num_replaced: int64 (num_sentences, num_types), in the order of `counts.tags`.

    Returns:
        Of each entity type, then of all together. Rates lie in [0, 1].
    """
    replaced = _with_micro(num_replaced, counts.tags)
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
        _with_micro(array[is_member], counts.tags)
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


def _with_micro(per_sentence: np.ndarray, tags: TagSet) -> dict[str, int]:
    """Sums over the sentences by entity type, and of all types."""
    sums = [int(total) for total in per_sentence.sum(0)]
    return dict(zip((*tags.entity_types, MICRO), (*sums, sum(sums)), strict=True))
