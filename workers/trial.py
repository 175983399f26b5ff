"""What a trial is: plain values that every other module passes around, and the trial's identity.

A `TrialSpec` holds all that a worker needs to know to run a trial, and nothing that could not
change its numbers (no folder of results, no number of GPUs). Its identity is the hash of those
settings that can change how the model is trained, so the same question asked on a laptop and on a
cluster is the same trial, and asking for more scores of it does not train it again. What comes out
of a trial is in `workers.result`. Only the standard library is imported here: a login node without
torch can plan a sweep.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, get_args

from workers.tags import WIKIANN, TagSet

RECIPE_VERSION = 4
"""Part of every trial's identity. Raise it when a change of the code changes the numbers of a trial
that is otherwise the same, so that old and new rows are never averaged."""

AS_BEFORE: dict[str, Any] = {
    "pruning.num_updates": None,
    "evaluation.select_after": None,
    "corpus.subset_seed": None,
    "robustness.donor_split": "train",
    "evaluation.languages": (),
    "evaluation.language_fingerprints": (),
    "corpus.entity_types": None,
    "corpus.scheme": "auto",
    "corpus.validation_from_train": None,
}
"""Settings that are younger than the stored results, by dotted name, as in
`"training.label_smoothing": 0.0`, each with the value that means "as before the setting existed".

At that value a setting is left out of the identity, and a stored spec without the setting is read
as having it: so a new setting leaves the ids of all trials alone. Every field that is added to a
spec below needs an entry here; an entry is never changed or removed.
"""

SCORED_AS_BEFORE: dict[str, Any] = {
    "evaluation": {
        "splits": ["validation", "test"],
        "batch_size": 128,
        "matching": "strict",
        "predictions": ["test"],
    },
    "robustness": None,
}
"""What stands in the identity in place of how a trial is scored: one constant, so that trials that
were scored with the defaults keep the ids that they had when scoring was part of the identity."""

BUILTIN_MODEL = "builtin:small-bert"
"""Name of the model that needs no files: a small BERT with the vocabulary of the synthetic
corpus."""

MICRO = "micro"
"""In place of an entity type: all entities together."""
SPLITS = ("train", "validation", "test")
MULTILINGUAL = "multilingual"
"""In place of a language: one model trained on several together."""

Regime = Literal["monolingual", "multilingual"]
Scheme = Literal["auto", "iob2", "iob1", "bioes", "io"]
"""How the tags of files are read."""
Perturbation = Literal["within_language", "within_script", "within_family", "within_branch"]
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
    "device",
    "worker_died",
    "stopped",
    "unexpected",
]


class TrialError(Exception):
    """A trial could not go on, for a reason that is known and named.

    `kind` decides whether trying again makes sense: see `orchestrator.running.outcomes`.
    """

    def __init__(self, kind: ErrorKind, message: str):
        super().__init__(kind, message)  # both: the exception is pickled between processes
        self.kind: ErrorKind = kind
        self.message = message

    def __str__(self) -> str:
        return self.message


def first_line(error: Exception) -> str:
    """What to quote of a library's error, which may go on for pages; its class where it says
    nothing."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


@dataclass(frozen=True, kw_only=True)
class CorpusSpec:
    """Where sentences come from.

    `path` says where the files lie and is no part of a trial's identity. `fingerprint`, which is,
    stands for their content: that of the splits train, validation and test as far as they are
    there, whichever of them are scored. `entity_types` is None for WikiANN's; `scheme` is how tags
    are read, see `orchestrator.spec.sweep_spec`; `validation_from_train` is the fraction of train
    that is the validation split of a language that has none, None where all of the trial's have
    one or none is asked for.
    """

    kind: Literal["hub", "path", "synthetic"]
    name: str | None
    revision: str | None
    path: str | None
    seed: int | None
    fingerprint: str | None
    max_train_sentences: int | None
    max_eval_sentences: int | None
    subset_seed: int | None = None
    entity_types: tuple[str, ...] | None = None
    scheme: Scheme = "auto"
    validation_from_train: float | None = None

    @property
    def tags(self) -> TagSet:
        """The entity types, and the labels of their tags."""
        return WIKIANN if self.entity_types is None else TagSet(self.entity_types)

    def identity(self) -> dict[str, Any]:
        """What decides the sentences, wherever they lie."""
        return {key: value for key, value in vars(self).items() if key != "path"}


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Which encoder.

    For a folder, `name` is its path, and `fingerprint` (a hash of its files) identifies it.
    """

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
    Of `update_every_steps` and `num_updates` one is None. What a choice does not use has one value
    only, so that it cannot tell trials apart: `n_of_m` and `block_shape` are None without their
    granularity, `begin` and `end` are where the schedule puts them.
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
    update_every_steps: int | None
    num_updates: int | None


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
    """What is scored and how. Fields are explained in `orchestrator.spec.sweep_spec`.

    `select_after` is resolved: a fraction, None where the last model is scored. Trials that were
    stored before it existed have None with best_epoch, too: a dense one chose among all epochs.
    `languages` are those that the trial is not trained on, sorted. In a folder each of them has an
    entry in `language_fingerprints`, which identifies its validation and test splits; elsewhere
    that is empty.
    """

    splits: tuple[str, ...]
    languages: tuple[str, ...]
    language_fingerprints: tuple[str, ...]
    batch_size: int
    matching: Literal["strict", "lenient"]
    selection: Literal["last", "best_epoch"]
    select_after: float | None
    predictions: tuple[str, ...]

    @property
    def zero_shot(self) -> dict[str, str | None]:
        """By language that is scored and not trained on, what identifies its files; None where they
        are in no folder."""
        prints: tuple[str | None, ...] = self.language_fingerprints
        return dict(zip(self.languages, prints or (None,) * len(self.languages), strict=True))


@dataclass(frozen=True, kw_only=True)
class DonorPool:
    """Whose entities take the place of a language's own: the languages whose splits give them.

    No donors: the perturbation does not apply to the language, and `reason` says why.
    """

    language: str
    perturbation: Perturbation
    donors: tuple[str, ...]
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class RobustnessSpec:
    """Which perturbed test sets are scored. Fields are explained in `orchestrator.spec.sweep_spec`.

    `pools` has one entry a language and perturbation. `donor_fingerprint` identifies, in a folder,
    the donors' splits that matter (`donor_splits`), and elsewhere the donors; None where no
    language gives entities to another one.
    """

    perturbations: tuple[Perturbation, ...]
    draws: int
    seed: int
    donor_fingerprint: str | None
    donor_split: Literal["train", "validation", "test"]
    pools: tuple[DonorPool, ...]

    @property
    def donor_splits(self) -> tuple[str, ...]:
        """What decides which entities a language gives: what is trained on, and what is not."""
        return tuple(dict.fromkeys(("train", self.donor_split)))

    @property
    def donor_languages(self) -> list[str]:
        """All languages that give entities to another one."""
        return sorted(
            {code for pool in self.pools for code in pool.donors if code != pool.language}
        )


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
                f"languages: {list(self.languages)} under regime monolingual, which takes exactly "
                "one"
            )
        if list(self.languages) != sorted(set(self.languages)) or not self.languages:
            raise ValueError(
                f"languages: {list(self.languages)}; give one or more, sorted, each once"
            )
        if (self.pruning is None) != (self.target_sparsity == 0):
            raise ValueError(
                f"target_sparsity: {self.target_sparsity} with pruning "
                f"{'off' if self.pruning is None else 'on'}; a dense trial has no pruning "
                "settings, any other needs them"
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

    def identity(self, recipe: int | None = None) -> dict[str, Any]:
        """All that can change the numbers of training, as JSON values.

        Places on a disk are replaced by fingerprints. How the trained model is scored is left out,
        with one exception: where the best epoch is selected, the scores of validation choose the
        model.

        Args:
            recipe: the version of the code's recipe that makes the numbers; None: today's.
        """
        parts = {  # not `asdict`, which copies all values: planning makes thousands of these
            "corpus": self.corpus.identity(),
            "model": self.model.identity(),
            "pruning": vars(self.pruning) if self.pruning else None,
            "training": vars(self.training),
            "recipe": RECIPE_VERSION if recipe is None else recipe,
        }
        scoring = SCORED_AS_BEFORE | {"evaluation": self._identity_of_evaluation()}
        return without_settings_as_before(vars(self) | parts | scoring, AS_BEFORE)

    def _identity_of_evaluation(self) -> dict[str, Any]:
        """The constant that stands for scoring, with what chooses the model that is scored.

        A forward pass of another batch size rounds differently, which may turn a tie between two
        epochs; so the batch size belongs to the selection, too.
        """
        evaluation: dict[str, Any] = SCORED_AS_BEFORE["evaluation"] | {
            "selection": self.evaluation.selection
        }
        if self.evaluation.selection == "best_epoch":
            for name in ("matching", "batch_size", "select_after"):
                evaluation[name] = getattr(self.evaluation, name)
        return evaluation

    def trial_id(self, recipe: int | None = None) -> str:
        """16 hexadecimal digits: the start of the SHA-256 of `identity()` as canonical JSON.

        Args:
            recipe: that of the code that made the numbers; for a stored trial, its row says which.
                None: today's.
        """
        return digest(self.identity(recipe))

    def cell_id(self, recipe: int | None = None) -> str:
        """Like `trial_id`, without the seed: trials of one cell are repetitions of one another."""
        identity = self.identity(recipe)
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
        """Read what `to_json` wrote, also before the settings of `AS_BEFORE` existed.

        Raises:
            ValueError: the text is not JSON, a field is missing, or this version does not know it.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{NOT_A_SPEC}: no JSON ({error}); {GIVE_A_SPEC}") from error
        if not isinstance(values, dict):
            raise ValueError(f"{NOT_A_SPEC}: {text[:60]} is no JSON object; {GIVE_A_SPEC}")
        values = with_settings_as_before(values, AS_BEFORE)
        for name, section in SECTIONS.items():
            if name not in OPTIONAL_SECTIONS or values.get(name) is not None:
                values[name] = _read_section(section, values.get(name), name)
        spec: TrialSpec = _build(cls, {name: _frozen(value) for name, value in values.items()})
        return spec


SECTIONS: dict[str, type] = {
    "corpus": CorpusSpec,
    "model": ModelSpec,
    "pruning": PruningSpec,
    "training": TrainingSpec,
    "evaluation": EvaluationSpec,
    "robustness": RobustnessSpec,
}
"""The parts of a `TrialSpec` that are specs themselves."""

OPTIONAL_SECTIONS = ("pruning", "robustness")
"""Those that are None in some trials."""

NOT_A_SPEC = "not a trial spec"
GIVE_A_SPEC = "give the JSON of a `spec` that `sparsweep plan --json` prints"


def without_settings_as_before(
    identity: dict[str, Any], as_before: Mapping[str, Any]
) -> dict[str, Any]:
    """An identity without the settings that are as they were before these settings existed.

    Args:
        identity: JSON values by name, those of a section in a mapping of their own; not changed.
        as_before: see `AS_BEFORE`.
    """
    kept = dict(identity)
    for path, value in as_before.items():
        section, _, name = path.rpartition(".")
        if not section and name in kept and kept[name] == value:
            del kept[name]
        elif (settings := kept.get(section)) and name in settings and settings[name] == value:
            kept[section] = {key: settings[key] for key in settings if key != name}
    return kept


def with_settings_as_before(
    values: Mapping[str, Any], as_before: Mapping[str, Any]
) -> dict[str, Any]:
    """The values of a stored spec, with those of settings that did not exist when it was stored.

    Args:
        values: by name, those of a section in a mapping of their own; not changed.
        as_before: see `AS_BEFORE`.
    """
    filled = dict(values)
    for path, value in as_before.items():
        section, _, name = path.rpartition(".")
        if not section:
            filled.setdefault(name, value)
        elif isinstance(filled.get(section), dict):
            filled[section] = {name: value} | filled[section]
    return filled


def _read_section(section: type, values: Any, name: str) -> Any:
    """One of `SECTIONS` from its JSON values."""
    if values is None:
        raise ValueError(f"{NOT_A_SPEC}: {name} is missing; {GIVE_A_SPEC}")
    if not isinstance(values, dict):
        raise ValueError(f"{NOT_A_SPEC}: {name} is {values!r}, not an object; {GIVE_A_SPEC}")
    read = {key: _frozen(value) for key, value in values.items()}
    if section is RobustnessSpec and isinstance(read.get("pools"), tuple):
        pools = (_read_section(DonorPool, pool, "robustness.pools") for pool in read["pools"])
        read["pools"] = tuple(pools)
    return _build(section, read, f"{name}.")


def _build(section: type, values: Mapping[str, Any], prefix: str = "") -> Any:
    """A spec from values for exactly its fields.

    Raises:
        ValueError: a field is missing, or there is none of that name.
    """
    known = [field.name for field in fields(section)]
    for name in values:
        if name not in known:
            close = get_close_matches(name, known, cutoff=0.75)
            hint = f", did you mean {' or '.join(close)}" if close else ""
            raise ValueError(
                f"{NOT_A_SPEC}: {prefix}{name} is unknown{hint}; a newer sparsweep may know it, "
                f"this is {own_version()}"
            )
    for name in known:
        if name not in values:
            raise ValueError(f"{NOT_A_SPEC}: {prefix}{name} is missing; {GIVE_A_SPEC}")
    return section(**values)


def own_version() -> str:
    """The version of sparsweep that runs, for messages about what another one may know."""
    try:
        return version("sparsweep")
    except PackageNotFoundError:  # run from a source folder that is not installed
        return "an uninstalled copy"


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
    """A JSON value as a field of a spec holds it: a tuple where JSON has a list."""
    return tuple(value) if isinstance(value, list) else value


def digest(value: Any) -> str:
    """16 hexadecimal digits: the start of the SHA-256 of a value as canonical JSON."""
    return digest_bytes([canonical_json(value).encode()])


def digest_bytes(parts: Iterable[bytes]) -> str:
    """16 hexadecimal digits: the start of the SHA-256 of these parts, one after another."""
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(part)
    return sha256.hexdigest()[:16]
