"""What comes out of a trial: its progress while it runs, its scores, curves and layers at the end.

Plain values; only the standard library is imported here.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from workers.trial import Perturbation

Phase = Literal["loading", "training", "evaluating"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a running trial is; yielded after every step."""

    step: int
    num_steps: int
    loss: float | None
    sparsity: float
    subwords_per_s: float
    phase: Phase


@dataclass(frozen=True, kw_only=True)
class EntityScore:
    """Entity-level scores of one language, split and subset. `entity_type` is one of the corpus or
    micro (all together).

    A value is None where it is not defined: precision when nothing was predicted, recall when there
    is nothing to find, F1 when both hold.
    """

    language: str
    split: str
    subset: str
    entity_type: str
    num_sentences: int
    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    num_predicted: int
    num_correct: int


@dataclass(frozen=True, kw_only=True)
class RobustnessScore:
    """Scores on the perturbed test sentences of one language; values are None as in `EntityScore`.

    A perturbation that does not apply to the language (an empty pool) has one row, `micro` of draw
    0, with status `not_applicable`, its reason, and None for every number.
    """

    language: str
    perturbation: Perturbation
    draw: int
    entity_type: str
    status: Literal["scored", "not_applicable"]
    reason: str | None
    num_replaced: int | None
    precision: float | None
    recall: float | None
    f1: float | None
    support: int | None
    num_predicted: int | None
    num_correct: int | None


@dataclass(frozen=True, kw_only=True)
class SentenceSet:
    """Sentences that predictions are stored for, one list entry each. `perturbation` is `none` for
    published ones.

    `set_id` is a hash of all else: equal sets, equal ids, whichever trial saw them. `num_subwords`
    counts those of the words. An entity is unseen when its words and type are no entity of the
    language's train split.
    """

    set_id: str
    language: str
    split: str
    perturbation: str
    draw: int
    tokens: list[list[str]]
    gold: list[list[str]]
    num_subwords: list[int]
    num_unseen_entities: list[int]
    is_seen: list[bool]


@dataclass(frozen=True, kw_only=True)
class PredictedSet:
    """Tags predicted for the sentences of a set, each with its probability in 255ths, and entities
    counted in each sentence: gold, predicted and correct."""

    sentences: SentenceSet
    predicted: list[list[str]]
    confidence: list[list[int]]
    support: list[int]
    num_predicted: list[int]
    num_correct: list[int]


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """Training at one step: mean loss since the point before, learning rate and sparsity in force,
    gradient norm."""

    step: int
    loss: float
    lr: float
    sparsity: float
    grad_norm: float


@dataclass(frozen=True, kw_only=True)
class LayerSparsity:
    """One prunable tensor after training: how many of its weights are exactly zero."""

    name: str
    shape: tuple[int, ...]
    num_zeros: int
    num_weights: int


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Sub-words of the words of one language's train split as it was used, special ones not
    counted: those that are the tokenizer's unknown piece, and how many different ones there are.

    Of the rows that these have in the trained word embeddings: all weights, and how many are
    exactly zero; None where the model has no such matrix.
    """

    language: str
    num_words: int
    num_subwords: int
    num_unknown: int
    num_pieces: int
    num_weights: int | None
    num_zeros: int | None


@dataclass(frozen=True, kw_only=True)
class DeviceStretch:
    """Part of a trial that one model of device computed, from that number of optimizer steps
    on."""

    name: str
    from_step: int


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What a finished trial leaves. Times are wall-clock seconds summed over all its resumptions;
    `device` and `device_name` are those of the last one.

    Scores that come from a kept model (`scored_from_model`) stand beside what was measured when it
    was trained; only `evaluate_s` is that of the scores, and the data are those that were read for
    them. `model_bytes` and `model_digest` are those of the file of the model, None without one.
    """

    achieved_sparsity: float
    achieved_embedding_sparsity: float | None
    overall_sparsity: float
    num_parameters: int
    num_prunable: int
    num_steps: int
    selected_step: int
    num_train_sentences: int
    num_train_subwords: int
    num_split_sentences: int
    num_unstarted_entities: int
    data_fingerprint: str
    model_commit: str | None
    num_resumes: int
    shared_steps: int
    load_s: float
    train_s: float
    evaluate_s: float
    subwords_per_s: float
    peak_memory_gib: float
    peak_gpu_memory_gib: float | None
    device: str
    device_name: str
    num_threads: int
    kernels: str
    scores: tuple[EntityScore, ...]
    robustness: tuple[RobustnessScore, ...]
    predictions: tuple[PredictedSet, ...]
    curve: tuple[CurvePoint, ...]
    layers: tuple[LayerSparsity, ...]
    vocabulary: tuple[Vocabulary, ...]
    devices: tuple[DeviceStretch, ...]
    scored_from_model: bool = False
    model_bytes: int | None = None
    model_digest: str | None = None

    def without_scores(self) -> dict[str, Any]:
        """All but the scores and predictions, as JSON values by name."""
        values = asdict(replace(self, scores=(), robustness=(), predictions=()))
        return {name: value for name, value in values.items() if name not in OF_SCORING}

    @classmethod
    def from_values(cls, values: Mapping[str, Any], **scores: Any) -> "TrialResult":
        """A result from what `without_scores` gave, and scores and predictions.

        Args:
            values: of any version; what an earlier one did not measure is None.
            scores: what takes the place of these, by name.
        """
        read: dict[str, Any] = {
            name: values.get(name) for name in cls.__dataclass_fields__ if name not in OF_SCORING
        }
        for name, kind in LISTS.items():
            read[name] = tuple(kind(**_frozen(one)) for one in read[name] or ())
        return cls(**read | scores)


OF_SCORING = ("scores", "robustness", "predictions")
LISTS: dict[str, type] = {
    "curve": CurvePoint,
    "layers": LayerSparsity,
    "vocabulary": Vocabulary,
    "devices": DeviceStretch,
}
"""Fields of a result that have values of a class of ours."""


def _frozen(values: Mapping[str, Any]) -> dict[str, Any]:
    """With tuples where JSON has lists."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
