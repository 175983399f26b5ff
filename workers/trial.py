"""What a trial is and what comes out of it: plain values that every other module passes around.

A `TrialSpec` holds all that can change a trial's numbers and nothing that cannot (no folder of results, no number of
GPUs). Its identity is the hash of its canonical JSON, so the same question asked on a laptop and on a cluster is the
same trial. Only the standard library is imported here: a login node without torch can plan a sweep.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

# Part of every trial's identity. Raise it when a change of the code changes the numbers of a trial that is otherwise
# the same, so that old and new rows are never averaged.
RECIPE_VERSION = 2

TAGS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
"""WikiANN's IOB2 tags; a tag's label is its index (the order of the corpus on the Hugging Face hub)."""

BUILTIN_MODEL = "builtin:small-bert"
"""Name of the model that needs no files: a small BERT with the vocabulary of the synthetic corpus."""

ENTITY_TYPES = ("PER", "ORG", "LOC")
SPLITS = ("train", "validation", "test")

ErrorKind = Literal["bad_data", "non_finite_loss", "out_of_memory", "storage", "worker_died", "stopped", "unexpected"]


class TrialError(Exception):
    """A trial could not go on, for a reason that is known and named.

    `kind` decides whether trying again makes sense: see `orchestrator.driver`.
    """

    def __init__(self, kind: ErrorKind, message: str):
        super().__init__(kind, message)  # both, so that the exception survives pickling between processes
        self.kind: ErrorKind = kind
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, kw_only=True)
class CorpusSpec:
    """Where sentences come from. `path` says where they lie and is no part of a trial's identity; `fingerprint` is."""

    kind: Literal["hub", "path", "synthetic"]
    name: str | None
    revision: str | None
    path: str | None
    seed: int | None
    fingerprint: str | None
    max_train_sentences: int | None
    max_eval_sentences: int | None

    def identity(self) -> dict[str, Any]:
        """What decides the sentences, wherever they lie."""
        return {key: value for key, value in asdict(self).items() if key != "path"}


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Which encoder. For a folder, `name` is its path and `fingerprint` (a hash of its files) is what identifies it."""

    name: str
    revision: str | None
    init: Literal["pretrained", "random"]
    fingerprint: str | None

    def identity(self) -> dict[str, Any]:
        """What decides the initial weights and the tokenizer, wherever they lie."""
        hidden = () if self.fingerprint is None else ("name",)
        return {key: value for key, value in asdict(self).items() if key not in hidden}


@dataclass(frozen=True, kw_only=True)
class PruningSpec:
    """How a trial goes from dense to `TrialSpec.target_sparsity`. Fields are explained in `orchestrator.sweep_spec`."""

    sparsity_schedule: Literal["cubic"]
    scope: Literal["global", "layer"]
    weights: Literal["encoder", "encoder_and_embeddings"]
    semantics: Literal["hard", "dense_shadow"]
    initial_sparsity: float
    begin: float
    end: float
    update_every_steps: int


@dataclass(frozen=True, kw_only=True)
class TrainingSpec:
    """How a trial is fine-tuned. Fields are explained in `orchestrator.sweep_spec`."""

    num_epochs: int | None  # None when num_steps is given
    num_steps: int | None
    batch_size: int
    lr: float
    lr_schedule: Literal["linear", "constant"]
    warmup: float
    weight_decay: float
    adam_epsilon: float
    max_grad_norm: float
    max_length: int
    precision: Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class EvaluationSpec:
    """What is scored and how. Fields are explained in `orchestrator.sweep_spec`."""

    splits: tuple[str, ...]
    batch_size: int
    matching: Literal["strict", "lenient"]


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """One training run: a language, a target sparsity in [0, 1), a seed, and all the settings that matter to it.

    `pruning` is None exactly for dense trials (`target_sparsity == 0`), which therefore are shared by sweeps that
    differ only in how they prune.
    """

    language: str
    target_sparsity: float
    seed: int
    corpus: CorpusSpec
    model: ModelSpec
    pruning: PruningSpec | None
    training: TrainingSpec
    evaluation: EvaluationSpec

    def __post_init__(self) -> None:
        if (self.pruning is None) != (self.target_sparsity == 0):
            raise ValueError(
                f"target_sparsity: {self.target_sparsity} with pruning {'off' if self.pruning is None else 'on'}; "
                "a dense trial has no pruning settings, any other needs them"
            )

    def identity(self) -> dict[str, Any]:
        """All that can change the numbers, as JSON values; places on a disk are replaced by fingerprints."""
        places = {"corpus": self.corpus.identity(), "model": self.model.identity()}
        return asdict(self) | places | {"recipe": RECIPE_VERSION}

    def trial_id(self) -> str:
        """16 hexadecimal digits: the start of the SHA-256 of `identity()` as canonical JSON."""
        return _digest(self.identity())

    def cell_id(self) -> str:
        """Like `trial_id`, without the seed: trials of one cell are repetitions of one another."""
        identity = self.identity()
        del identity["seed"]
        return _digest(identity)

    def dense_counterpart(self) -> "TrialSpec":
        """The dense trial that this one is compared with: same language, seed and settings, nothing pruned."""
        return replace(self, target_sparsity=0.0, pruning=None)

    def to_json(self) -> str:
        """The whole spec as one line of canonical JSON, readable by `from_json`."""
        return canonical_json(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "TrialSpec":
        """Read what `to_json` wrote.

        Raises:
            ValueError: the text is not JSON, or a field is missing or unknown.
        """
        try:
            fields = json.loads(text)
            evaluation = fields["evaluation"] | {"splits": tuple(fields["evaluation"]["splits"])}
            return cls(
                **fields
                | {
                    "corpus": CorpusSpec(**fields["corpus"]),
                    "model": ModelSpec(**fields["model"]),
                    "pruning": PruningSpec(**fields["pruning"]) if fields["pruning"] else None,
                    "training": TrainingSpec(**fields["training"]),
                    "evaluation": EvaluationSpec(**evaluation),
                }
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a trial spec: {error}; give the JSON that `sparsweep plan --json` prints") from error


def canonical_json(value: Any) -> str:
    """One line of JSON with sorted keys and no spaces; equal values give equal text. Refuses NaN and infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


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
    """Entity-level scores of one split. `entity_type` is PER, ORG, LOC or micro (all entities together).

    A value is None where it is not defined: precision when nothing was predicted, recall when there is nothing to
    find, F1 when both hold.
    """

    split: str
    entity_type: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    num_predicted: int
    num_correct: int


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """Training at one step: mean loss since the point before, learning rate and sparsity in force, gradient norm."""

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
class TrialResult:
    """What a finished trial leaves. Times are wall-clock seconds summed over all its resumptions."""

    achieved_sparsity: float
    overall_sparsity: float
    num_parameters: int
    num_prunable: int
    num_steps: int
    num_train_sentences: int
    num_train_subwords: int
    num_split_sentences: int
    num_unstarted_entities: int
    data_fingerprint: str
    model_commit: str | None
    num_resumes: int
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
    curve: tuple[CurvePoint, ...]
    layers: tuple[LayerSparsity, ...]
