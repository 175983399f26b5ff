"""What a trial is and what comes out of it: plain values that every other module passes around.

A `TrialSpec` holds all that can change a trial's numbers and nothing that cannot (no folder of
results, no number of GPUs). Its identity is the hash of its canonical JSON, so the same question
asked on a laptop and on a cluster is the same trial. Only the standard library is imported here: a
login node without torch can plan a sweep.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

# Part of every trial's identity. Raise it when a change of the code changes the numbers of a trial
# that is otherwise the same, so that old and new rows are never averaged.
RECIPE_VERSION = 2


BUILTIN_MODEL = "builtin:small-bert"
"""Name of the model that needs no files: a small BERT with the vocabulary of the synthetic
corpus."""

MICRO = "micro"
"""In place of an entity type: all entities together."""
SPLITS = ("train", "validation", "test")
MULTILINGUAL = "multilingual"
"""In place of a language: one model trained on several together."""

Regime = Literal["monolingual", "multilingual"]
Perturbation = Literal["within_language", "within_script", "within_family"]
PERTURBATIONS: tuple[Perturbation, ...] = get_args(Perturbation)
CLEAN = "none"
"""In place of a perturbation: the sentences as published."""
SUBSETS = ("all", "seen", "unseen")
"""Of a scored split: all sentences, those whose words are a sentence of the language's train split,
and the others."""

ErrorKind = Literal[
    "bad_data",
    "non_finite_loss",
    "out_of_memory",
    "storage",
    "worker_died",
    "stopped",
    "unexpected",
]


class TrialError(Exception):
    """A trial could not go on, for a reason that is known and named.

    `kind` decides whether trying again makes sense: see `orchestrator.running.driver`.
    """

    def __init__(self, kind: ErrorKind, message: str):
        super().__init__(
            kind, message
        )  # both, so that the exception survives pickling between processes
        self.kind: ErrorKind = kind
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, kw_only=True)
class CorpusSpec:
    """Where sentences come from. `path` says where they lie and is no part of a trial's identity;
    `fingerprint` is."""

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
        return {key: value for key, value in vars(self).items() if key != "path"}


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Which encoder. For a folder, `name` is its path and `fingerprint` (a hash of its files) is
    what identifies it."""

    name: str
    revision: str | None
    init: Literal["pretrained", "random"]
    fingerprint: str | None

    def identity(self) -> dict[str, Any]:
        """What decides the initial weights and the tokenizer, wherever they lie."""
        hidden = () if self.fingerprint is None else ("name",)
        return {key: value for key, value in vars(self).items() if key not in hidden}


@dataclass(frozen=True, kw_only=True)
class PruningSpec:
    """How a trial goes from dense to `TrialSpec.target_sparsity`. Fields are explained in
    `orchestrator.spec.sweep_spec`.

    `embedding_sparsity` is resolved: the target of the word embeddings, None where they stay dense.
    What a choice does not use has one value only, so that it cannot tell trials apart: `n_of_m` and
    `block_shape` are None without their granularity, `begin` and `end` are where the schedule puts
    them.
    """

    sparsity_schedule: str
    scope: str
    saliency: str
    granularity: str
    n_of_m: tuple[int, ...] | None
    block_shape: tuple[int, ...] | None
    semantics: Literal["hard", "dense_shadow"]
    embedding_sparsity: float | None
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    prune_head: bool
    initial_sparsity: float
    begin: float
    end: float
    update_every_steps: int


@dataclass(frozen=True, kw_only=True)
class TrainingSpec:
    """How a trial is fine-tuned. Fields are explained in `orchestrator.spec.sweep_spec`."""

    num_epochs: int | None  # None when num_steps is given
    num_steps: int | None
    sampling: Literal["proportional", "temperature"] | None  # None for one language
    sampling_temperature: float | None  # None without temperature sampling
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
    """What is scored and how. Fields are explained in `orchestrator.spec.sweep_spec`."""

    splits: tuple[str, ...]
    batch_size: int
    matching: Literal["strict", "lenient"]
    selection: Literal["last", "best_epoch"]
    predictions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DonorPool:
    """Whose entities take the place of a language's own: the languages whose train splits give
    them.

    No donors: the perturbation does not apply to the language, and `reason` says why (it is no part
    of an identity).
    """

    language: str
    perturbation: Perturbation
    donors: tuple[str, ...]
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class RobustnessSpec:
    """Which perturbed test sets are scored. Fields are explained in `orchestrator.spec.sweep_spec`.

    `pools` has one entry a language and perturbation. `donor_fingerprint` identifies the donors'
    train splits in a folder, and elsewhere the donors; None where no language gives entities to
    another one.
    """

    perturbations: tuple[Perturbation, ...]
    draws: int
    seed: int
    donor_fingerprint: str | None
    pools: tuple[DonorPool, ...]

    @property
    def donor_languages(self) -> list[str]:
        """All languages that give entities to another one."""
        return sorted(
            {code for pool in self.pools for code in pool.donors if code != pool.language}
        )

    def identity(self) -> dict[str, Any]:
        """What decides the perturbed sentences."""
        pools = [[pool.language, pool.perturbation, list(pool.donors)] for pool in self.pools]
        return vars(self) | {"pools": pools}


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """One training run: its languages, a target sparsity in [0, 1), a seed, and all the settings
    that matter to it.

    `languages` has one code under `monolingual`, and all that are trained on together, sorted,
    under `multilingual`. `pruning` is None exactly for dense trials (`target_sparsity == 0`), which
    therefore are shared by sweeps that differ only in how they prune. `robustness` is None where
    nothing is perturbed.
    """

    regime: Regime
    languages: tuple[str, ...]
    target_sparsity: float
    seed: int
    corpus: CorpusSpec
    model: ModelSpec
    pruning: PruningSpec | None
    training: TrainingSpec
    evaluation: EvaluationSpec
    robustness: RobustnessSpec | None

    def __post_init__(self) -> None:
        if self.regime == "monolingual" and len(self.languages) != 1:
            raise ValueError(
                f"languages: {list(self.languages)} under regime monolingual, which takes exactly one"
            )
        if list(self.languages) != sorted(set(self.languages)) or not self.languages:
            raise ValueError(
                f"languages: {list(self.languages)}; give one or more, sorted, each once"
            )
        if (self.pruning is None) != (self.target_sparsity == 0):
            raise ValueError(
                f"target_sparsity: {self.target_sparsity} with pruning {'off' if self.pruning is None else 'on'}; "
                "a dense trial has no pruning settings, any other needs them"
            )

    @property
    def language(self) -> str:
        """The code of the one language trained on, or `multilingual`."""
        return self.languages[0] if self.regime == "monolingual" else MULTILINGUAL

    @property
    def embedding_sparsity(self) -> float:
        """Target sparsity of the word embeddings; 0 where they stay dense."""
        return (self.pruning.embedding_sparsity if self.pruning else None) or 0.0

    def describe(self) -> str:
        """Its place in the grid in words, as in `sw sparsity 0.5 embeddings 0.5 seed 0`."""
        return describe_place(
            self.language, self.target_sparsity, self.embedding_sparsity, self.seed
        )

    def identity(self) -> dict[str, Any]:
        """All that can change the numbers, as JSON values; places on a disk are replaced by
        fingerprints."""
        parts = {  # not `asdict`, which copies all values: planning makes thousands of these
            "corpus": self.corpus.identity(),
            "model": self.model.identity(),
            "pruning": vars(self.pruning) if self.pruning else None,
            "training": vars(self.training),
            "evaluation": vars(self.evaluation),
            "robustness": self.robustness.identity() if self.robustness else None,
        }
        return vars(self) | parts | {"recipe": RECIPE_VERSION}

    def trial_id(self) -> str:
        """16 hexadecimal digits: the start of the SHA-256 of `identity()` as canonical JSON."""
        return digest(self.identity())

    def cell_id(self) -> str:
        """Like `trial_id`, without the seed: trials of one cell are repetitions of one another."""
        identity = self.identity()
        del identity["seed"]
        return digest(identity)

    def dense_counterpart(self) -> "TrialSpec":
        """The dense trial that this one is compared with: same languages, seed and settings,
        nothing pruned."""
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
            fields = {name: _frozen(value) for name, value in json.loads(text).items()}
            robustness = fields["robustness"]
            if robustness:
                robustness["pools"] = tuple(
                    DonorPool(**_frozen(pool)) for pool in robustness["pools"]
                )
            return cls(
                **fields
                | {
                    "corpus": CorpusSpec(**fields["corpus"]),
                    "model": ModelSpec(**fields["model"]),
                    "pruning": PruningSpec(**fields["pruning"]) if fields["pruning"] else None,
                    "training": TrainingSpec(**fields["training"]),
                    "evaluation": EvaluationSpec(**fields["evaluation"]),
                    "robustness": RobustnessSpec(**robustness) if robustness else None,
                }
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"not a trial spec: {error}; give the JSON that `sparsweep plan --json` prints"
            ) from error


def describe_place(
    language: str, target_sparsity: float, embedding_sparsity: float, seed: int
) -> str:
    """See `TrialSpec.describe`."""
    embeddings = f" embeddings {embedding_sparsity:g}" if embedding_sparsity else ""
    return f"{language} sparsity {target_sparsity:g}{embeddings} seed {seed}"


def combine_fingerprints(fingerprints: Mapping[str, str | None]) -> str | None:
    """What identifies the data of several languages, from that of each; None where none has a
    fingerprint.

    That of one language is its own, so a language's data has the same name in every trial on it
    alone.
    """
    distinct = set(fingerprints.values())
    return distinct.pop() if len(distinct) == 1 else digest(fingerprints) if distinct else None


def canonical_json(value: Any) -> str:
    """One line of JSON with sorted keys and no spaces; equal values give equal text. Refuses NaN
    and infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _frozen(value: Any) -> Any:
    """A JSON value with tuples for its lists, one level into objects: what the fields of a spec
    hold."""
    if isinstance(value, dict):
        return {
            key: tuple(inner) if isinstance(inner, list) else inner for key, inner in value.items()
        }
    return tuple(value) if isinstance(value, list) else value


def digest(value: Any) -> str:
    """16 hexadecimal digits: the start of the SHA-256 of a value as canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]
