"""Runs one trial from a shell or under a driver: data, model, training with pruning, scores.

    python -m workers.run trial.json

The file holds a `spec` of `sparsweep plan SPEC --json`; the result goes to stdout.

`run_trial` is a generator: it yields `Progress` between steps and returns a `TrialResult`, so its
caller decides when to report, when to stop (close it), and where results go. It reads top to bottom
in the order of events.
"""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import nn

from workers.checkpoint import Checkpoint, State
from workers.data.align import EncodedSplit, join
from workers.data.cache import LOADED, limit_for
from workers.data.languages import (
    LanguageData,
    TrialData,
    check_files,
    load_trial_data,
    refuse_change,
)
from workers.data.tokenizer import load_tokenizer
from workers.devices import give_back_memory, name_fault, open_gpu, refuse_precision
from workers.kernels import AUTO
from workers.measured import (
    name_device,
    peak_gpu_memory_gib,
    peak_memory_gib,
    reset_peak_memory,
    share_of_memory,
)
from workers.model.encoder import encoder_weights, make_model, num_embeddings
from workers.model.folder import fingerprint_model_folder
from workers.model.kept_model import REMEDY, KeptModel, ModelFile
from workers.model.positions import num_positions
from workers.prefix_file import PrefixFile
from workers.pruning.used_rows import embedding_rows, num_parameters
from workers.result import (
    OF_SCORING,
    DeviceStretch,
    LayerSparsity,
    Phase,
    Progress,
    TrialResult,
    Vocabulary,
)
from workers.scoring.score import Scores, score_trial, score_validation
from workers.scoring.selection import Selection
from workers.train import Training, row_use
from workers.trial import BUILTIN_MODEL, ModelSpec, TrialError, TrialSpec, digest_bytes

Result = TypeVar("Result")

LOADING = Progress(
    step=0, num_steps=0, loss=None, sparsity=0.0, subwords_per_s=0.0, phase="loading"
)
"""Where a trial is until it has its data and its model."""

MISFITS = (KeyError, RuntimeError, TypeError, ValueError)
"""What a state that is another trial's, or another version's, raises when it is taken over."""

log = logging.getLogger(__name__)


def prepare_process(
    num_threads: int,
    use_gpu: bool | None = None,
    memory_bytes: int | None = None,
    kernels: str = AUTO,
    gpu_share: float = 1.0,
) -> torch.device:
    """Make this process compute reproducibly on what it was given; call it before the first trial.

    Args:
        num_threads: CPU threads to compute with.
        use_gpu: whether to use the first visible GPU; None: if there is one.
        memory_bytes: memory that the process may use; None: the share of the machine's that falls
            to so many threads. It decides how much loaded data is kept for the next trial.
        kernels: those that trials will compute with, which are tried on a GPU.
        gpu_share: of the GPU's memory that the process may fill.

    Returns:
        Where trials compute.

    Raises:
        TrialError: kind `device`, when a GPU shall be used and cannot be.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # cuBLAS repeats its results only with this.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(num_threads)
    torch.use_deterministic_algorithms(True)
    # Deterministic mode fills new memory with NaN, which costs time; nothing here reads what it has
    # not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    LOADED.limit_bytes = limit_for(
        share_of_memory(num_threads) if memory_bytes is None else memory_bytes
    )

    if use_gpu or (use_gpu is None and torch.cuda.is_available()):
        return open_gpu(kernels, gpu_share)
    return torch.device("cpu")


def run_trial(
    spec: TrialSpec,
    device: torch.device,
    checkpoint: Checkpoint | None = None,
    kernels: str = AUTO,
    prefix: PrefixFile | None = None,
    model_file: ModelFile | None = None,
    kept: KeptModel | None = None,
) -> Generator[Progress, None, TrialResult]:
    """Run one trial.

    Args:
        spec: what to run.
        device: from `prepare_process`.
        checkpoint: where to go on from, and where to save to; None keeps nothing.
        kernels: who computes the optimizer's step and the masks: auto, reference, triton or numba.
        prefix: where trials with the same first steps leave their state; None: there are no others.
        model_file: where the model goes that is scored, which the caller has to publish; None: it
            is not kept.
        kept: the model of this trial as it was kept, which is scored, and nothing trained; None:
            the trial is trained.

    Yields:
        Where the trial is: between two languages while it loads, after every step, and after every
        forward pass while it is scored.

    Returns:
        Its numbers.

    Raises:
        TrialError: kind `bad_data`, `non_finite_loss`, `out_of_memory` or `device`.
    """
    refuse_precision(device, spec.training.precision)
    try:
        if kept is not None:
            result = yield from _score_kept(spec, device, kernels, kept)
        else:
            result = yield from _run(spec, device, checkpoint, kernels, prefix, model_file)
        give_back_memory(device)
        return result
    except Exception as error:
        hint = f"lower training.batch_size ({spec.training.batch_size}) or training.max_length"
        if (fault := name_fault(error, hint)) is None:
            raise
        raise fault from error


def _run(
    spec: TrialSpec,
    device: torch.device,
    checkpoint: Checkpoint | None,
    kernels: str,
    prefix: PrefixFile | None,
    model_file: ModelFile | None,
) -> Generator[Progress, None, TrialResult]:
    reset_peak_memory(device)
    started = time.perf_counter()
    yield LOADING

    # Data, then the model, whose head is drawn from the seed; from there on one stream of random
    # numbers (dropout).
    _refuse_changed_model(spec.model)
    loading = load_trial_data(spec, check_files(spec))
    data = yield from _with_progress(loading, lambda: LOADING)
    trial = _start(spec, data, device, checkpoint, kernels, prefix)
    trial.spent.load_s += time.perf_counter() - started

    try:
        # Training, with gradual pruning. A trial that was stopped while it scored a candidate goes
        # on there, hence `select` before the first step.
        yield from trial.select()
        for _ in trial.training.run():
            if prefix is not None:
                prefix.leave(trial.training)
            if checkpoint is not None and checkpoint.is_due:
                trial.save(checkpoint)
            yield trial.progress("training")
            yield from trial.select()
        yield from trial.select()
        selected_step = trial.selection.restore_best()

        scores = yield from trial.score()
    except GeneratorExit:  # stopped from outside: lose nothing
        if checkpoint is not None:
            trial.save(checkpoint)
        raise
    result = _make_result(trial, selected_step, scores)
    if model_file is not None:
        training = trial.training
        known = result.without_scores()
        model_file.prepare(training.model, spec, training.model_commit, known)
    return result


def _score_kept(
    spec: TrialSpec, device: torch.device, kernels: str, kept: KeptModel
) -> Generator[Progress, None, TrialResult]:
    """What the trial asks for, of the model that it left. The same modules read the same weights as
    at the end of training, so scores are the same, to the bit on the same device.

    Raises:
        TrialError: kind `bad_data`, when the model is not this trial's, or its encoder has changed.
    """
    kept.refuse_other_recipe()
    if kept.trial_id != spec.trial_id():
        raise TrialError(
            "bad_data",
            f"{kept.location}: it is the model of trial {kept.trial_id}, not of {spec.trial_id()}; "
            f"{REMEDY}",
        )
    yield LOADING
    _refuse_changed_model(spec.model)
    loading = load_trial_data(spec, check_files(spec))
    data = yield from _with_progress(loading, lambda: LOADING)
    train = join([language.train for language in data.languages])
    num_labels = len(spec.corpus.tags)
    model = make_model(spec.model, spec.seed, device, num_labels=num_labels)
    training = Training(spec, model, train, device, kernels)
    kept.refuse_other_commit(training.model_commit)
    training.load_model_state(kept.weights(encoder_weights(spec.model, num_labels)))
    trial = _RunningTrial(data, training, Selection(training), [])
    _refuse_unreadable(training, data)
    scores = yield from trial.score()
    return TrialResult.from_values(
        kept.result
        | _of_data(data)
        | {"evaluate_s": trial.spent.evaluate_s, "scored_from_model": True}
        | {"model_bytes": kept.num_bytes, "model_digest": kept.digest},
        **_of_scores(scores),
    )


@dataclass
class _Spent:
    """What a trial has taken so far, over all its resumptions."""

    num_resumes: int = 0
    load_s: float = 0.0
    evaluate_s: float = 0.0


@dataclass
class _RunningTrial:
    """A trial that has its data and its model."""

    data: TrialData
    training: Training
    selection: Selection
    devices: list[DeviceStretch]
    spent: _Spent = field(default_factory=_Spent)

    def progress(self, phase: Phase) -> Progress:
        training = self.training
        return Progress(
            step=training.step,
            num_steps=training.num_steps,
            loss=training.last_loss,
            sparsity=training.pruner.sparsity,
            subwords_per_s=training.subwords_per_s,
            phase=phase,
        )

    def select(self) -> Generator[Progress, None, None]:
        """Score the model as it is now on validation, if it is a candidate for the best one."""
        if self.selection.is_due:
            scoring = score_validation(self.training, self.data.languages)
            self.selection.take((yield from self._evaluate(scoring)))

    def score(self) -> Generator[Progress, None, Scores]:
        """Score the model as it is now."""
        return (yield from self._evaluate(score_trial(self.training, self.data)))

    def _evaluate(
        self, evaluation: Generator[None, None, Result]
    ) -> Generator[Progress, None, Result]:
        started = time.perf_counter()
        result = yield from _with_progress(evaluation, lambda: self.progress("evaluating"))
        self.spent.evaluate_s += time.perf_counter() - started
        return result

    def save(self, checkpoint: Checkpoint) -> None:
        tensors, values = self.training.state()
        best_tensors, best_values = self.selection.state()
        values = values | best_values | asdict(self.spent)
        values["devices"] = [asdict(stretch) for stretch in self.devices]
        checkpoint.save((tensors | best_tensors, values))

    def restore(self, state: State) -> None:
        """Go on from a checkpoint.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: the checkpoint does not fit.
        """
        tensors, values = state
        self.training.restore(tensors, values)
        self.selection.restore(tensors, values)
        # Checkpoints of earlier versions do not say.
        saved = values.get("devices", [asdict(DeviceStretch(name="unknown", from_step=0))])
        self._go_on_from([DeviceStretch(**stretch) for stretch in saved])
        self.spent = _Spent(
            num_resumes=int(values["num_resumes"]) + 1,
            load_s=float(values["load_s"]),
            evaluate_s=float(values["evaluate_s"]),
        )

    def _go_on_from(self, earlier: Sequence[DeviceStretch]) -> None:
        """Add this device to those that computed the steps so far, if it is another one."""
        (here,) = self.devices
        before = [stretch for stretch in earlier if stretch.from_step < self.training.step]
        names = [stretch.name for stretch in before]
        if names and names[-1] != here.name:
            log.warning("computed on %s until now, goes on on %s", names[-1], here.name)
        if not names or names[-1] != here.name:
            before.append(replace(here, from_step=self.training.step))
        self.devices = before


def _start(
    spec: TrialSpec,
    data: TrialData,
    device: torch.device,
    checkpoint: Checkpoint | None,
    kernels: str,
    prefix: PrefixFile | None,
) -> _RunningTrial:
    """The trial at the step of its checkpoint, or else of what other trials left it, or else at
    its first one."""
    train = join([language.train for language in data.languages])

    def start_anew() -> _RunningTrial:
        model = make_model(
            spec.model, spec.seed, device, row_use(spec, train), len(spec.corpus.tags)
        )
        training = Training(spec, model, train, device, kernels)
        selection = Selection(training)
        devices = [DeviceStretch(name=name_device(device), from_step=0)]
        return _RunningTrial(data, training, selection, devices)

    trial = start_anew()
    log.info("kernels: %s on %s", trial.training.optimizer.kernels.name, device)
    _refuse_unreadable(trial.training, data)
    if checkpoint is not None and (state := checkpoint.load()) is not None:
        try:
            trial.restore(state)
            log.info("resumed at step %d of %d", trial.training.step, trial.training.num_steps)
            return trial
        except MISFITS as error:
            log.warning("%s: does not fit (%s); starting from step 0", checkpoint.location, error)
            trial = start_anew()
    if prefix is not None and (state := prefix.load(trial.training)) is not None:
        try:
            trial.training.start_from(*state)
            log.info("starts at step %d, which it shares with others", trial.training.step)
        except MISFITS as error:
            log.warning("%s: does not fit (%s); starting from step 0", prefix.location, error)
            trial = start_anew()
    return trial


def _make_result(trial: _RunningTrial, selected_step: int, scores: Scores) -> TrialResult:
    training, spent, device = trial.training, trial.spent, trial.training.device
    parameters = num_parameters(training.model)

    # Word embeddings have a target of their own, and so a sparsity of their own.
    layers = training.pruner.count()
    embeddings = [layer for layer in layers if layer.name == training.pruner.embedding_name]
    encoder = [layer for layer in layers if layer.name != training.pruner.embedding_name]

    return TrialResult(
        achieved_sparsity=_sparsity(encoder),
        achieved_embedding_sparsity=_sparsity(embeddings) if embeddings else None,
        overall_sparsity=sum(layer.num_zeros for layer in layers) / parameters,
        num_parameters=parameters,
        num_prunable=sum(layer.num_weights for layer in layers),
        num_steps=training.num_steps,
        selected_step=selected_step,
        num_train_sentences=training.split.num_sentences,
        num_train_subwords=training.num_subwords,
        model_commit=training.model_commit,
        num_resumes=spent.num_resumes,
        shared_steps=training.shared_steps,
        load_s=spent.load_s,
        train_s=training.train_s,
        evaluate_s=spent.evaluate_s,
        subwords_per_s=training.subwords_per_s,
        peak_memory_gib=peak_memory_gib(),
        peak_gpu_memory_gib=peak_gpu_memory_gib(device),
        device=device.type,
        device_name=name_device(device),
        num_threads=torch.get_num_threads(),
        kernels=training.optimizer.kernels.name,
        curve=tuple(training.curve),
        layers=layers,
        vocabulary=tuple(
            describe_vocabulary(training.model, data) for data in trial.data.languages
        ),
        devices=tuple(trial.devices),
        **_of_data(trial.data),
        **_of_scores(scores),
    )


def _of_data(data: TrialData) -> dict[str, Any]:
    """What a result says of the data that were read."""
    splits = _splits(data.languages)
    return {
        "num_split_sentences": sum(split.num_split_sentences for split in splits),
        "num_unstarted_entities": sum(split.num_unstarted_entities for split in splits),
        "data_fingerprint": digest_bytes(_bytes_of(data.languages)),
    }


def _of_scores(scores: Scores) -> dict[str, Any]:
    return {name: tuple(getattr(scores, name)) for name in OF_SCORING}


def _sparsity(layers: Sequence[LayerSparsity]) -> float:
    """Fraction of zeros in all of them together."""
    return sum(layer.num_zeros for layer in layers) / sum(layer.num_weights for layer in layers)


def describe_vocabulary(model: nn.Module, data: LanguageData) -> Vocabulary:
    """Count a language's sub-words and the zeros in the rows that they have in the embeddings.

    Args:
        model: the trained one, as it is scored.
        data: a language that it was trained on.
    """
    ids, unknown_id = data.train.word_input_ids, data.train.unknown_id
    pieces = np.unique(ids)
    rows = embedding_rows(model, pieces)
    return Vocabulary(
        language=data.language,
        num_words=len(data.train.word_labels),
        num_subwords=len(ids),
        num_unknown=0 if unknown_id is None else int((ids == unknown_id).sum()),
        num_pieces=len(pieces),
        num_weights=None if rows is None else rows.numel(),
        num_zeros=None if rows is None else rows.numel() - int(torch.count_nonzero(rows)),
    )


def _splits(languages: Sequence[LanguageData]) -> list[EncodedSplit]:
    return [split for data in languages for split in data.splits.values()]


def _bytes_of(languages: Sequence[LanguageData]) -> Iterator[bytes]:
    """What the model saw, whatever a revision of the hub has become since."""
    for data in languages:
        for name, split in data.splits.items():
            yield f"{data.language} {name} {len(split.input_ids)}".encode()
            yield split.input_ids.astype("<i4").tobytes()
            yield split.labels.astype("<i8").tobytes()


def _refuse_changed_model(model: ModelSpec) -> None:
    """A trial's id names the content of a model folder; another content would be another trial."""
    if model.fingerprint is not None and model.name != BUILTIN_MODEL:
        present = fingerprint_model_folder(Path(model.name), model.init)
        refuse_change(f"model.name: {model.name}", model.fingerprint, present)


def _refuse_unreadable(training: Training, data: TrialData) -> None:
    """Refuse what the model has no position or no embedding for, before it is met in training."""
    limit, length = num_positions(training.model), training.spec.training.max_length
    if limit is not None and length > limit:
        raise TrialError(
            "bad_data",
            f"training.max_length: {length} is more than the model's {limit} positions; "
            f"give at most {limit}",
        )
    rows = num_embeddings(training.model)
    splits = [*_splits(data.languages), *(text.encoded for text in data.zero_shot)]
    highest = max(int(split.input_ids.max()) for split in splits)
    if rows is not None and highest >= rows:
        tokenizer = load_tokenizer(training.spec.model, training.spec.corpus)
        raise TrialError(
            "bad_data",
            f"model.name: the tokenizer of {training.spec.model.name} has {len(tokenizer)} "
            f"sub-words and the model {rows} embeddings, none for id {highest}, which the data "
            "need; give a folder whose model was resized (resize_token_embeddings)",
        )


def _with_progress(
    work: Generator[None, None, Result], progress: Callable[[], Progress]
) -> Generator[Progress, None, Result]:
    """Do the work, yielding where the trial is whenever the work yields."""
    while True:
        try:
            next(work)
        except StopIteration as finished:
            return cast(Result, finished.value)
        yield progress()


def main() -> None:
    """Run the trial in a JSON file and print its result as JSON; progress goes to standard
    error."""
    args = _parse_arguments()
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.INFO)
    spec = TrialSpec.from_json(args.spec.read_text())
    device = prepare_process(args.threads, kernels=args.kernels)
    running = run_trial(spec, device, kernels=args.kernels)
    while True:
        try:
            progress = next(running)
        except StopIteration as finished:
            result = finished.value
            break
        sys.stderr.write(
            f"\r{progress.phase} {progress.step}/{progress.num_steps} loss {progress.loss}   "
        )
    sys.stderr.write("\n")
    print(json.dumps(asdict(result)))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workers.run", description=main.__doc__)
    parser.add_argument(
        "spec", type=Path, help="file with one trial: a `spec` of `sparsweep plan SPEC --json`"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    parser.add_argument(
        "--kernels", default=AUTO, help="auto, reference, triton or numba (default: %(default)s)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
