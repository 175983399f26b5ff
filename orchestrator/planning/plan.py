"""From a sweep to its trials: the grid in order, longest first, and what of it is left.

Planning looks at what the sweep names (languages, corpus files, model folder) and refuses what
would fail later, before any job is queued. It imports neither torch nor ray.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import SpecError
from orchestrator.planning.entity_types import describe_reading, resolve_entity_types
from orchestrator.planning.pools import SHARED, Pools
from orchestrator.spec.languages import DESCRIBE, LANGUAGES, did_you_mean, wikiann_language
from orchestrator.spec.sweep_spec import Corpus, Pruning, SweepSpec
from orchestrator.wording import some_of
from workers.pruning.compatibility import refusals
from workers.pruning.schedule import SCHEDULES, num_candidates
from workers.trial import (
    BUILTIN_MODEL,
    SPLITS,
    CorpusSpec,
    EvaluationSpec,
    ModelSpec,
    PruningSpec,
    RobustnessSpec,
    TrainingSpec,
    TrialError,
    TrialSpec,
    combine_fingerprints,
    digest,
)
from workers.visits import visiting

if TYPE_CHECKING:
    from workers.data.corpus import CorpusFacts, Reading

FORWARD_COST = 1 / 3
"""Scoring a sentence costs a forward pass; training on it costs that and a backward pass of twice
the work."""


@dataclass(frozen=True)
class PlannedTrial:
    """A trial, its id, and its expected cost in sentences trained (scored ones count a third).

    Attributes:
        without_begin: what it scores, as "yo test", whose entities have no B- tag.
        num_steps: its optimizer steps; a few more where sentences are too long and are split. 0
            where the size of its corpus is not known.
        num_trained: its cost without scoring.
        num_train_sentences: of the train splits of its languages.
        read_as: what of its files is read otherwise than it stands there, a line each.
    """

    spec: TrialSpec
    trial_id: str
    cost: float
    without_begin: tuple[str, ...] = ()
    num_steps: int = 0
    num_trained: float = 0.0
    num_train_sentences: int = 0
    read_as: tuple[str, ...] = ()

    def cost_without(self, share: float) -> float:
        """The cost where this fraction of the steps was computed by another trial."""
        return self.cost - share * self.num_trained


def make_plan(
    sweep: SweepSpec, known_fingerprints: Collection[str | None] = ()
) -> list[PlannedTrial]:
    """All trials of a sweep, the longest first; equally long ones in the order of the file.

    Longest first keeps the last worker from starting the longest trial when the others are done.

    Args:
        sweep: what is asked.
        known_fingerprints: those of the data that the results are of. An earlier version looked at
            fewer files of a folder; where results know the folder by that fingerprint only, it is
            kept, so that their trials are found.

    Raises:
        SpecError: a language, the corpus or the model is not there or not usable; one line.
    """
    try:
        with visiting(sweep.model.name):
            model = _resolve_model(sweep)
        with visiting(sweep.corpus.path or sweep.corpus.name):
            data = _resolve_all_data(sweep, known_fingerprints)
    except TrialError as error:
        raise SpecError(str(error)) from error
    planned = [
        _plan_trial(_make_trial(sweep, of_group, sparsity, pruning, seed, model), of_group)
        for of_group in data
        for sparsity in sweep.sparsities
        for pruning in _prunings(sweep, sparsity)
        for seed in sweep.seeds
    ]
    return sorted(planned, key=lambda trial: -trial.cost)


def trials_left(
    planned: Iterable[PlannedTrial], statuses: Mapping[str, str], retry_failed: bool = False
) -> list[PlannedTrial]:
    """The planned trials that the results do not have; with `retry_failed` also those that
    failed."""
    done = {"completed"} if retry_failed else {"completed", "failed"}
    return [trial for trial in planned if statuses.get(trial.trial_id) not in done]


def describe_unfindable(planned: Iterable[PlannedTrial]) -> list[str]:
    """A line on scored splits in which strict matching finds no entity; nothing, as a rule.

    Args:
        planned: the trials of a sweep.
    """
    found = {
        where
        for trial in planned
        for where in trial.without_begin
        if trial.spec.evaluation.matching == "strict"
    }
    if not found:
        return []
    return [
        f"no B- tag in {', '.join(sorted(found))}: strict matching finds no entity there, so F1 is "
        "undefined; set corpus.scheme=iob1 or io, if that is how entities are marked, or "
        "evaluation.matching=lenient"
    ]


def describe_mended(planned: Iterable[PlannedTrial]) -> list[str]:
    """What of a corpus' files is read otherwise than it stands there; nothing, as a rule. What is
    the same of several files is one line.

    Args:
        planned: the trials of a sweep.
    """
    places: dict[str, list[str]] = {}
    for line in sorted({line for trial in planned for line in trial.read_as}):
        place, _, what = line.partition(": ")
        places.setdefault(what, []).append(place)
    return [f"{some_of(names)}: {what}" for what, names in places.items()]


def describe_replaced_head(planned: Sequence[PlannedTrial]) -> list[str]:
    """A line on a model folder that brings a head of its own; nothing, as a rule. Of a model on the
    hub that is known only to who loads it, and said in the worker's log.

    Args:
        planned: the trials of a sweep.
    """
    from workers.model.folder import task_class

    model = planned[0].spec.model if planned else None
    if model is None or model.init == "random" or model.name == BUILTIN_MODEL:
        return []
    task = task_class(Path(model.name)) if model.fingerprint is not None else None
    if task is None:
        return []
    return [f"model.name: {model.name} is a {task}; its head is replaced by one that seeds decide"]


def describe_unknown_languages(sweep: SweepSpec, planned: Iterable[PlannedTrial]) -> list[str]:
    """Lines on what does not apply to languages of which too little is known; nothing, as a rule.

    Args:
        sweep: what was asked.
        planned: its trials.
    """
    lacking: dict[tuple[str, str], list[str]] = {}
    for code in dict.fromkeys((*sweep.languages, *sweep.evaluation.languages)):
        known = sweep.find_language(code)
        facts = [name for name in ("script", "family") if not getattr(known, name)]
        without = [
            name
            for name in sweep.robustness.perturbations
            if name in SHARED and not SHARED[name][1](known)
        ]
        if facts:
            tables = f"tables by {' and '.join(facts)}"
            lacking.setdefault((" and ".join(facts), ", ".join([tables, *without])), []).append(
                code
            )
    lines = [
        f"{facts} of {', '.join(codes)}: not known, so they have no part in {without}; {DESCRIBE}"
        for (facts, without), codes in lacking.items()
    ]
    if unsized := sorted({trial.spec.language for trial in planned if not trial.num_trained}):
        lines.append(
            f"{', '.join(unsized)}: how many sentences {sweep.corpus.name} has is known when they "
            "are loaded; until then these trials count as if they took no time"
        )
    return lines


def plan_digest(planned: Sequence[PlannedTrial]) -> str:
    """16 hexadecimal digits that are the same exactly for plans of the same trials, in whatever
    order."""
    return digest(sorted(trial.trial_id for trial in planned))


@dataclass(frozen=True)
class _Data:
    """What trials on the same languages share; sentences that are used, of all languages that they
    are trained on, by split."""

    languages: tuple[str, ...]
    corpus: CorpusSpec
    robustness: RobustnessSpec | None
    num_sentences: dict[str, int]
    without_begin: tuple[str, ...]
    zero_shot: "_ZeroShot"
    read_as: tuple[str, ...] = ()


@dataclass(frozen=True)
class _ZeroShot:
    """What trials are scored on beside their languages; see `EvaluationSpec.languages`."""

    languages: tuple[str, ...] = ()
    fingerprints: tuple[str, ...] = ()
    num_sentences: int = 0
    without_begin: tuple[str, ...] = ()
    facts: Mapping[str, "CorpusFacts"] = field(default_factory=dict)


def _language_groups(sweep: SweepSpec) -> list[tuple[str, ...]]:
    """The languages of each trial; those of a multilingual one in alphabetical order, however they
    were listed."""
    if sweep.regime == "multilingual":
        return [tuple(sorted(sweep.languages))]
    return [(code,) for code in sweep.languages]


def _make_trial(
    sweep: SweepSpec,
    data: _Data,
    sparsity: float,
    pruning: PruningSpec | None,
    seed: int,
    model: ModelSpec,
) -> TrialSpec:
    training, evaluation = sweep.training.model_dump(), sweep.evaluation.model_dump()
    # What has no say must not make a difference to the trial's identity.
    if training["num_steps"] is not None:
        training["num_epochs"] = None
    if sweep.regime == "monolingual":
        training["sampling"] = None
    if evaluation["selection"] == "best_epoch" and evaluation["select_after"] is None:
        evaluation["select_after"] = sweep.pruning_ends_at
    evaluation["languages"] = data.zero_shot.languages
    evaluation["language_fingerprints"] = data.zero_shot.fingerprints
    scored = {*evaluation["splits"], *(["perturbed"] if data.robustness else [])}
    evaluation["splits"] = tuple(split for split in SPLITS if split in scored)
    stored = scored & set(evaluation["predictions"])
    evaluation["predictions"] = tuple(split for split in (*SPLITS, "perturbed") if split in stored)
    return TrialSpec(
        regime=sweep.regime,
        languages=data.languages,
        target_sparsity=sparsity + 0.0,  # -0.0 is 0.0
        seed=seed,
        corpus=data.corpus,
        model=model,
        pruning=pruning,
        training=TrainingSpec(**training),
        evaluation=EvaluationSpec(**evaluation),
        robustness=data.robustness,
    )


def _prunings(sweep: SweepSpec, sparsity: float) -> list[PruningSpec | None]:
    """The pruning of each trial at this sparsity: one an entry of `embedding_sparsity` that
    differs.

    Raises:
        SpecError: its settings do not go together.
    """
    if sparsity == 0:
        return [None]
    targets = {"off": None, "same": sparsity}
    resolved = [
        targets[value] if isinstance(value, str) else value
        for value in sweep.pruning.embedding_sparsity
    ]
    prunings = [_resolve_pruning(sweep.pruning, target) for target in dict.fromkeys(resolved)]
    for pruning in prunings:
        if reasons := refusals(pruning, sparsity):
            raise SpecError("\n".join(reasons))
    return list(prunings)


def _resolve_pruning(asked: Pruning, embedding_sparsity: float | None) -> PruningSpec:
    """Settings without lists; defaults that a choice does not use get the one value that it
    allows."""
    fields: dict[str, Any] = asked.model_dump(exclude={"kernels"}) | {
        "embedding_sparsity": embedding_sparsity
    }
    schedule, given = SCHEDULES[asked.sparsity_schedule], asked.model_fields_set
    if not schedule.uses_begin and "begin" not in given:
        fields["begin"] = 0.0
    if not schedule.uses_end and "end" not in given:
        fields["end"] = fields["begin"]
    if not schedule.uses_interval:
        fields |= {"update_every_steps": 1, "num_updates": None}
    if asked.granularity == "n_of_m" and "scope" not in given:
        fields["scope"] = "layer"  # every run of weights has the same share
    for name, value in fields.items():
        fields[name] = tuple(value) if isinstance(value, list) else value
    return PruningSpec(**fields)


def _plan_trial(spec: TrialSpec, data: _Data) -> PlannedTrial:
    training, num_sentences = spec.training, data.num_sentences
    steps_per_epoch = -(-num_sentences["train"] // training.batch_size)
    if training.num_steps is not None:
        num_steps, trained = training.num_steps, training.num_steps * training.batch_size
    else:
        num_epochs, num_train = training.num_epochs or 0, num_sentences["train"]
        num_steps = num_epochs * steps_per_epoch
        trained = num_epochs * num_train
    of_splits = sum(num_sentences[split] for split in spec.evaluation.splits)
    of_others = data.zero_shot.num_sentences
    num_passes = num_candidates(spec, num_steps, steps_per_epoch) if steps_per_epoch else 0
    of_candidates = num_passes * num_sentences["validation"]
    of_perturbed = _num_perturbed(spec, num_sentences["test"])
    scored = of_splits + of_others + of_candidates + of_perturbed
    return PlannedTrial(
        spec,
        spec.trial_id(),
        trained + FORWARD_COST * scored,
        (*data.without_begin, *data.zero_shot.without_begin),
        num_steps,
        trained,
        num_sentences["train"],
        data.read_as,
    )


def _num_perturbed(spec: TrialSpec, num_test: int) -> float:
    """Perturbed sentences that are scored; of several languages as if all had test splits of one
    size."""
    if spec.robustness is None:
        return 0.0
    num_sets = sum(bool(pool.donors) for pool in spec.robustness.pools) * spec.robustness.draws
    return num_test * num_sets / len(spec.languages)


def _resolve_model(sweep: SweepSpec) -> ModelSpec:
    from workers.model.folder import (
        fingerprint_model_folder,
        is_folder_name,
        refuse_model_without_linear_layers,
    )

    model = sweep.model
    if model.name.startswith("builtin:"):
        # Its vocabulary is trained on the spot, by a library that may change.
        fingerprint = f"{model.name}-tokenizers{version('tokenizers')}"
        return ModelSpec(name=model.name, revision=None, init=model.init, fingerprint=fingerprint)
    if not is_folder_name(model.name):
        return ModelSpec(
            name=model.name, revision=model.revision, init=model.init, fingerprint=None
        )
    folder = _absolute(model.name, "model.name")
    fingerprint = fingerprint_model_folder(folder, model.init)
    if any(sweep.sparsities):
        refuse_model_without_linear_layers(folder)
    return ModelSpec(name=str(folder), revision=None, init=model.init, fingerprint=fingerprint)


def _absolute(path: str, field: str) -> Path:
    try:
        return Path(path).expanduser().resolve()
    except (RuntimeError, ValueError, OSError) as error:
        # ~nobody, a null character, a loop of links
        raise SpecError(f"{field}: {path!r} is no path ({error}); give a folder") from error


def _resolve_all_data(sweep: SweepSpec, known_fingerprints: Collection[str | None]) -> list[_Data]:
    """The corpus of each group of languages."""
    is_folder = sweep.corpus.kind == "path"
    folder = _absolute(str(sweep.corpus.path), "corpus.path") if is_folder else None
    pools = Pools(sweep, folder)
    return [
        _resolve_data(sweep, codes, folder, pools, known_fingerprints)
        for codes in _language_groups(sweep)
    ]


def _resolve_data(
    sweep: SweepSpec,
    codes: tuple[str, ...],
    folder: Path | None,
    pools: Pools,
    known_fingerprints: Collection[str | None],
) -> _Data:
    """The corpus of one group of languages, who gives entities to them, and how many sentences will
    be used."""
    facts = {code: _examine_corpus(sweep, code, folder) for code in codes}
    sizes = {
        split: sum(
            _limited(of_code.num_sentences[split], split, sweep.corpus)
            for of_code in facts.values()
        )
        for split in SPLITS
    }
    zero_shot = _resolve_zero_shot(sweep, codes, folder)
    listed = sweep.corpus.entity_types
    types = resolve_entity_types(
        None if isinstance(listed, str) else listed, facts, zero_shot.facts
    )
    corpus = _make_corpus(sweep.corpus, facts, folder, known_fingerprints, types)
    without_begin = tuple(
        f"{code} {split}"
        for code, of_code in facts.items()
        for split in of_code.without_begin
        if split in sweep.evaluation.splits
    )
    read_as = tuple(
        line
        for of_codes in (facts, zero_shot.facts)
        for code, of_code in of_codes.items()
        for line in describe_reading(code, of_code)
    )
    robustness = pools.resolve(codes, types)
    return _Data(codes, corpus, robustness, sizes, without_begin, zero_shot, read_as)


def _make_corpus(
    corpus: Corpus,
    facts: Mapping[str, "CorpusFacts"],
    folder: Path | None,
    known_fingerprints: Collection[str | None],
    types: tuple[str, ...] | None,
) -> CorpusSpec:
    """The corpus as trials on these languages have it; what its kind does not use is None."""
    is_hub = corpus.kind == "hub"
    fingerprint = combine_fingerprints({code: one.fingerprint for code, one in facts.items()})
    if folder is not None and known_fingerprints and fingerprint not in known_fingerprints:
        fingerprint = _known_before(folder, tuple(facts), known_fingerprints) or fingerprint
    is_held_out = any(of_code.is_held_out for of_code in facts.values())
    return CorpusSpec(
        kind=corpus.kind,
        name=corpus.name if is_hub else None,
        revision=corpus.revision if is_hub else None,
        path=None if folder is None else str(folder),
        seed=corpus.seed if corpus.kind == "synthetic" else None,
        fingerprint=fingerprint,
        max_train_sentences=corpus.max_train_sentences,
        max_eval_sentences=corpus.max_eval_sentences,
        subset_seed=corpus.subset_seed,
        entity_types=types,
        scheme=corpus.scheme,
        validation_from_train=corpus.validation_from_train if is_held_out else None,
    )


def _resolve_zero_shot(sweep: SweepSpec, codes: tuple[str, ...], folder: Path | None) -> _ZeroShot:
    """The languages that trials on these are scored on and not trained on.

    Raises:
        SpecError: one is unknown, or the corpus does not have all of its scored splits.
    """
    others = tuple(sorted(set(sweep.evaluation.languages) - set(codes)))
    splits = sweep.evaluation.splits
    facts = {}
    for code in others:
        try:
            facts[code] = _examine_corpus(sweep, code, folder, is_trained=False)
        except (SpecError, TrialError) as error:
            message = str(error).removeprefix("languages: ")
            raise SpecError(
                f"evaluation.languages: {message}; remove {code} from evaluation.languages or give "
                f"it the splits {' and '.join(splits)}"
            ) from error
    return _ZeroShot(
        others,
        tuple(of_code.fingerprint for of_code in facts.values() if folder and of_code.fingerprint),
        sum(
            _limited(of_code.num_sentences[split], split, sweep.corpus)
            for of_code in facts.values()
            for split in splits
        ),
        tuple(f"{code} {split}" for code in others for split in facts[code].without_begin),
        facts,
    )


def _known_before(
    folder: Path, codes: tuple[str, ...], known_fingerprints: Collection[str | None]
) -> str | None:
    """The fingerprint by which an earlier version knew a folder and results still do, if any."""
    from workers.data.corpus import fingerprints_before

    return next(
        (
            fingerprint
            for fingerprint in fingerprints_before(folder, codes)
            if fingerprint in known_fingerprints
        ),
        None,
    )


def _examine_corpus(
    sweep: SweepSpec, code: str, folder: Path | None, is_trained: bool = True
) -> "CorpusFacts":
    """Fingerprint and sizes of one language's splits; of one that is only scored, its train split
    may be missing and is of no say."""
    from workers.data.corpus import (
        CorpusFacts,
        examine_folder,
        fingerprint_language,
        fingerprint_scored,
    )
    from workers.data.corpus_files import folder_of

    corpus = sweep.corpus
    if corpus.kind == "hub":
        return CorpusFacts(None, _sizes_on_hub(sweep, code))
    splits = [*(["train"] if is_trained else []), *sweep.evaluation.splits]
    if folder is not None:
        reading = reading_of(corpus)
        if not is_trained:
            reading = replace(reading, validation_from_train=None)
        try:
            facts = examine_folder(folder, code, splits, reading)
        except TrialError as error:
            if folder_of(folder, code).is_dir() or not folder.is_dir():
                raise
            hint = did_you_mean(code, [entry.name for entry in folder.iterdir() if entry.is_dir()])
            raise SpecError(f"{error}; {hint}".rstrip("; ")) from error
        fingerprint_files = fingerprint_language if is_trained else fingerprint_scored
        fingerprint = fingerprint_files(folder, code)
        sizes = dict.fromkeys(SPLITS, 0) | facts.num_sentences
        return replace(facts, fingerprint=fingerprint, num_sentences=sizes)
    from workers.data import synthetic

    try:
        sizes = {split: synthetic.num_sentences(code, split) for split in SPLITS}
    except ValueError as error:
        raise SpecError(str(error)) from error
    return CorpusFacts(synthetic.fingerprint(corpus.seed), sizes)


def _sizes_on_hub(sweep: SweepSpec, code: str) -> dict[str, int]:
    """How many sentences the splits of a language have; 0 where that is not known.

    Raises:
        SpecError: WikiANN lacks the language; or, of another data set, nothing at all is known of
            it, as of one that is mistyped.
    """
    if sweep.corpus.is_wikiann:
        known = wikiann_language(code)
        sizes = (known.num_train, known.num_validation, known.num_test)
        return {split: size or 0 for split, size in zip(SPLITS, sizes, strict=True)}
    if code not in sweep.language_table and not sweep.find_language(code).is_known:
        raise SpecError(
            f"languages: nothing is known of {code!r}; {did_you_mean(code, LANGUAGES)}if "
            f"{sweep.corpus.name} has it, {DESCRIBE}"
        )
    return dict.fromkeys(SPLITS, 0)


def reading_of(corpus: Corpus) -> "Reading":
    """How a sweep asks for the files of its corpus to be read."""
    from workers.data.corpus import Reading

    types = corpus.entity_types
    return Reading(
        scheme=corpus.scheme,
        entity_types=None if isinstance(types, str) else tuple(types),
        validation_from_train=corpus.validation_from_train,
    )


def _limited(size: int, split: str, corpus: Corpus) -> int:
    limit = corpus.max_train_sentences if split == "train" else corpus.max_eval_sentences
    return size if limit is None else min(size, limit)
