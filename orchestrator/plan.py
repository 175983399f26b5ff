"""From a sweep to its trials: the grid in order, longest first, and what of it is left.

Planning looks at what the sweep names (languages, corpus files, model folder) and refuses what would fail later, before
any job is queued. It imports neither torch nor ray.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestrator.errors import SpecError
from orchestrator.languages import language
from orchestrator.sweep_spec import Corpus, SweepSpec
from workers.trial import (
    CorpusSpec,
    EvaluationSpec,
    ModelSpec,
    PruningSpec,
    TrainingSpec,
    TrialError,
    TrialSpec,
)

FORWARD_COST = 1 / 3
"""Scoring a sentence costs a forward pass; training on it costs that and a backward pass of twice the work."""


@dataclass(frozen=True)
class PlannedTrial:
    """A trial, its id, and its expected cost in sentences trained (scored ones count a third)."""

    spec: TrialSpec
    trial_id: str
    cost: float


def make_plan(sweep: SweepSpec) -> list[PlannedTrial]:
    """All trials of a sweep, the longest first; equally long ones in the order of the file.

    Longest first keeps the last worker from starting the longest trial when the others are done.

    Raises:
        SpecError: a language, the corpus or the model is not there or not usable; one line.
    """
    try:
        model = _resolve_model(sweep)
        corpora = {code: _resolve_corpus(sweep, code) for code in sweep.languages}
    except TrialError as error:
        raise SpecError(str(error)) from error
    planned = [
        _plan_trial(_make_trial(sweep, code, sparsity, seed, corpora[code][0], model), corpora[code][1])
        for code in sweep.languages
        for sparsity in sweep.sparsities
        for seed in sweep.seeds
    ]
    return sorted(planned, key=lambda trial: -trial.cost)


def trials_left(
    planned: Iterable[PlannedTrial], statuses: Mapping[str, str], retry_failed: bool = False
) -> list[PlannedTrial]:
    """The planned trials that the results do not have; with `retry_failed` also those that failed."""
    done = {"completed"} if retry_failed else {"completed", "failed"}
    return [trial for trial in planned if statuses.get(trial.trial_id) not in done]


def _make_trial(
    sweep: SweepSpec, code: str, sparsity: float, seed: int, corpus: CorpusSpec, model: ModelSpec
) -> TrialSpec:
    training, evaluation = sweep.training.model_dump(), sweep.evaluation.model_dump()
    if training["num_steps"] is not None:
        training["num_epochs"] = None  # it has no say, so it must not make a difference to the trial's identity
    return TrialSpec(
        language=code,
        target_sparsity=sparsity + 0.0,  # -0.0 is 0.0
        seed=seed,
        corpus=corpus,
        model=model,
        pruning=PruningSpec(**sweep.pruning.model_dump(exclude={"kernels"})) if sparsity > 0 else None,
        training=TrainingSpec(**training),
        evaluation=EvaluationSpec(**evaluation | {"splits": tuple(evaluation["splits"])}),
    )


def _plan_trial(spec: TrialSpec, num_sentences: Mapping[str, int]) -> PlannedTrial:
    training = spec.training
    if training.num_steps is not None:
        trained = training.num_steps * training.batch_size
    else:
        trained = (training.num_epochs or 0) * num_sentences["train"]
    scored = sum(num_sentences[split] for split in spec.evaluation.splits)
    return PlannedTrial(spec, spec.trial_id(), trained + FORWARD_COST * scored)


def _resolve_model(sweep: SweepSpec) -> ModelSpec:
    from workers.model_folder import fingerprint_model_folder, is_folder_name

    model = sweep.model
    if model.name.startswith("builtin:"):  # its vocabulary is trained on the spot, by a library that may change
        fingerprint = f"{model.name}-tokenizers{version('tokenizers')}"
        return ModelSpec(name=model.name, revision=None, init=model.init, fingerprint=fingerprint)
    if not is_folder_name(model.name):
        return ModelSpec(name=model.name, revision=model.revision, init=model.init, fingerprint=None)
    folder = _absolute(model.name, "model.name")
    fingerprint = fingerprint_model_folder(folder, model.init)
    return ModelSpec(name=str(folder), revision=None, init=model.init, fingerprint=fingerprint)


def _absolute(path: str, field: str) -> Path:
    try:
        return Path(path).expanduser().resolve()
    except (RuntimeError, ValueError, OSError) as error:  # ~nobody, a null character, a loop of links
        raise SpecError(f"{field}: {path!r} is no path ({error}); give a folder") from error


def _resolve_corpus(sweep: SweepSpec, code: str) -> tuple[CorpusSpec, dict[str, int]]:
    """The corpus of one language, and the sentences of each split that will be used."""
    corpus = sweep.corpus
    fields: dict[str, Any] = {"name": None, "revision": None, "path": None, "seed": None, "fingerprint": None}
    splits = ("train", *sweep.evaluation.splits)
    if corpus.kind == "hub":
        known = language(code)
        sizes = {"train": known.num_train, "validation": known.num_validation, "test": known.num_test}
        fields |= {"name": corpus.name, "revision": corpus.revision}
    elif corpus.kind == "path":
        from workers.data.corpus import examine_folder

        folder = _absolute(str(corpus.path), "corpus.path")
        facts = examine_folder(folder, code, splits)
        sizes = facts.num_sentences
        fields |= {"path": str(folder), "fingerprint": facts.fingerprint}
    else:
        from workers.data import synthetic

        try:
            sizes = {split: synthetic.num_sentences(code, split) for split in splits}
        except ValueError as error:
            raise SpecError(str(error)) from error
        fields |= {"seed": corpus.seed, "fingerprint": synthetic.fingerprint(corpus.seed)}
    fields |= {"max_train_sentences": corpus.max_train_sentences, "max_eval_sentences": corpus.max_eval_sentences}
    spec = CorpusSpec(kind=corpus.kind, **fields)
    return spec, {split: _limited(sizes[split], split, corpus) for split in splits}


def _limited(size: int, split: str, corpus: Corpus) -> int:
    limit = corpus.max_train_sentences if split == "train" else corpus.max_eval_sentences
    return size if limit is None else min(size, limit)
