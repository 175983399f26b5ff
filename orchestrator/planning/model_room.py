"""How much room the models that a sweep keeps will take, before anything has run.

A model is stored as what it differs in from the encoder (`workers.model.kept_model`): of pruned
matrices a bit a weight and the values that are left, of word embeddings the rows that training
reads, of all else every value.
"""

import math
from collections.abc import Sequence

from orchestrator.planning.plan import PlannedTrial
from orchestrator.wording import counted, size_in_words
from workers.model.size import ModelSize, size_of
from workers.trial import TrialSpec

VALUE_BYTES = 4
"""A weight is float32."""

ROWS_A_ROOT = 175
"""Rows of the word embeddings that a train split of N sentences reads are at most so many times the
root of N. Counted in WikiANN with mBERT's sub-words, German reads most of twelve languages, 777 of
100 sentences, 4,972 of 1,000, 12,258 of 5,000 and 20,447 of 20,000; Georgian 3,826 of 10,000."""


def describe_model_room(left: Sequence[PlannedTrial]) -> list[str]:
    """A line on the models of trials that are left; nothing where nothing is known.

    Args:
        left: trials of a sweep that keeps models; they have the same encoder.
    """
    size = size_of(left[0].spec.model) if left else None
    if size is None:
        return []
    kept = sum(model_bytes(trial.spec, size, trial.num_train_sentences) for trial in left)
    dense = len(left) * size.num_parameters * VALUE_BYTES
    return [
        f"models: at most about {size_in_words(kept)} for {counted(len(left), 'kept model')}; "
        f"dense copies would take {size_in_words(dense)}"
    ]


def model_bytes(spec: TrialSpec, size: ModelSize, num_sentences: int) -> int:
    """Bytes of the file of a model, without its header.

    Args:
        spec: the trial.
        size: of its encoder.
        num_sentences: of the train split, of all languages together.
    """
    width, inner = size.width, size.inner_width
    linear = min(
        size.num_layers * (4 * width * width + 2 * width * inner),
        size.num_parameters - size.num_embedding_weights,
    )
    others = size.num_parameters - size.num_embedding_weights - linear
    embeddings = _embedding_bytes(spec, size, num_sentences)
    return _pruned_bytes(linear, spec.target_sparsity) + VALUE_BYTES * others + embeddings


def _pruned_bytes(num_weights: int, sparsity: float) -> int:
    """Of a matrix: all values, or a bit a weight and those that are left."""
    whole = VALUE_BYTES * num_weights
    return min(whole, num_weights // 8 + round((1 - sparsity) * whole))


def _embedding_bytes(spec: TrialSpec, size: ModelSize, num_sentences: int) -> int:
    """Of the word embeddings; with weight decay all rows change, and random ones come from no
    encoder."""
    changes_all = spec.model.init == "random" or spec.training.weight_decay > 0
    whole = _pruned_bytes(size.num_embedding_weights, spec.embedding_sparsity)
    if changes_all:
        return whole
    share = ROWS_A_ROOT * math.sqrt(num_sentences) * size.width / size.num_embedding_weights
    bits = size.num_embedding_weights // 8 if spec.embedding_sparsity else 0
    values = VALUE_BYTES * size.num_embedding_weights * (1 - spec.embedding_sparsity)
    return min(whole, bits + round(share * values))
