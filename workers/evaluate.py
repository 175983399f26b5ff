"""Entity-level precision, recall and F1, by entity type and over all.

Entities are found by seqeval: `strict` takes IOB2 at its word (an entity starts with B-), `lenient` is the conlleval
rule that XTREME's published scores use (an I- that continues nothing starts an entity). A predicted entity is correct
when its type, first and last word equal a true one's.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from workers.data.align import NO_LABEL, EncodedSplit
from workers.data.batch import evaluation_order, make_batch
from workers.trial import ENTITY_TYPES, TAGS, EntityScore

Tags = Sequence[Sequence[str]]


def predict(
    model: nn.Module, split: EncodedSplit, batch_size: int, device: torch.device, dtype: torch.dtype
) -> Iterator[np.ndarray]:
    """Predicted label of every word, in the order of the split. Yields nothing of use but the last item.

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
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
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
    per_sentence = np.bincount(split.sentence_of_sequence, weights=np.diff(words_before)).astype(int)
    ends = np.cumsum(per_sentence)
    return [[TAGS[label] for label in labels[end - size : end]] for end, size in zip(ends, per_sentence, strict=True)]


def score(split_name: str, gold: Tags, predicted: Tags, matching: str) -> tuple[EntityScore, ...]:
    """Scores of each entity type, then of all together (`micro`).

    Args:
        split_name: stored with the scores.
        gold: true tags by sentence.
        predicted: predicted tags, of the same lengths.
        matching: strict or lenient.
    """
    true, found = _entities(gold, matching), _entities(predicted, matching)
    rows = []
    for entity_type in (*ENTITY_TYPES, "micro"):
        wanted = {entity for entity in true if entity_type in (entity[0], "micro")}
        given = {entity for entity in found if entity_type in (entity[0], "micro")}
        rows.append(_score(split_name, entity_type, len(wanted), len(given), len(wanted & given)))
    return tuple(rows)


def _score(split_name: str, entity_type: str, support: int, num_predicted: int, num_correct: int) -> EntityScore:
    return EntityScore(
        split=split_name,
        entity_type=entity_type,
        precision=num_correct / num_predicted if num_predicted else None,
        recall=num_correct / support if support else None,
        f1=2 * num_correct / (support + num_predicted) if support + num_predicted else None,
        support=support,
        num_predicted=num_predicted,
        num_correct=num_correct,
    )


def _entities(sentences: Tags, matching: str) -> set[tuple[str, int, int, int]]:
    """(type, sentence, first word, last word) of every entity."""
    if matching == "lenient":
        from seqeval.metrics.sequence_labeling import get_entities

        return {
            (kind, number, first, last)
            for number, tags in enumerate(sentences)
            for kind, first, last in get_entities(list(tags))
        }
    from seqeval.scheme import IOB2, Entities

    entities = Entities([list(tags) for tags in sentences], IOB2, suffix=False)
    return {
        (entity.tag, number, entity.start, entity.end - 1)
        for number, found in enumerate(entities.entities)
        for entity in found
    }
