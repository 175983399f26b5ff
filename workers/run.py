"""Runs one trial from a shell or under a driver: data, model, training with pruning, scores.

    python -m workers.run trial.json      # a `spec` of `sparsweep plan SPEC --json`; the result
    goes to stdout

`run_trial` is a generator: it yields `Progress` between steps and returns a `TrialResult`, so its
caller decides when to report, when to stop (close it), and where results go. It reads top to bottom
in the order of events.
"""

import argparse
import contextlib
import json
import logging
import os
import platform
import resource
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar, cast

import torch

from workers.checkpoint import Checkpoint, State
from workers.data.align import EncodedSplit, join
from workers.data.corpus import fingerprint_folder, fingerprint_language
from workers.kernels import AUTO
from workers.model.encoder import make_model
from workers.model.folder import fingerprint_model_folder
from workers.result import LayerSparsity, Phase, Progress, TrialResult
from workers.scoring.robustness import load_donors
from workers.scoring.score import LanguageData, load_languages, score_trial, score_validation
from workers.scoring.selection import Selection
from workers.train import Training
from workers.trial import (
    BUILTIN_MODEL,
    TrialError,
    TrialSpec,
    combine_fingerprints,
    digest_bytes,
)

GIB = 2**30
Result = TypeVar("Result")

log = logging.getLogger(__name__)


def prepare_process(num_threads: int, use_gpu: bool | None = None) -> torch.device:
    """Make this process compute reproducibly on what it was given; call it before the first trial.

    Args:
        num_threads: CPU threads to compute with.
        use_gpu: whether to use the first visible GPU; None: if there is one.

    Raises:
        TrialError: a GPU shall be used and torch sees none.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
    )  # cuBLAS' condition for repeatable results
    torch.set_num_threads(num_threads)
    torch.use_deterministic_algorithms(True)
    # Deterministic mode fills new memory with NaN, which costs time; nothing here reads what it has
    # not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    has_gpu = use_gpu is not False and torch.cuda.is_available()
    if use_gpu and not has_gpu:
        raise TrialError(
            "unexpected", f"the trial was given a GPU, but torch {torch.__version__} sees none"
        )
    return torch.device("cuda", 0) if has_gpu else torch.device("cpu")


def run_trial(
    spec: TrialSpec, device: torch.device, checkpoint: Checkpoint | None = None, kernels: str = AUTO
) -> Generator[Progress, None, TrialResult]:
    """Run one trial.

    Args:
        spec: what to run.
        device: from `prepare_process`.
        checkpoint: where to go on from, and where to save to; None keeps nothing.
        kernels: who computes the optimizer's step and the masks: auto, reference, triton or numba.

    Yields:
        Where the trial is, after every step.

    Returns:
        Its numbers.

    Raises:
        TrialError: bad data, a loss that is not finite, or no memory.
    """
    try:
        return (yield from _run(spec, device, checkpoint, kernels))
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        hint = f"lower training.batch_size ({spec.training.batch_size}) or training.max_length"
        raise TrialError("out_of_memory", f"{error}; {hint}") from error


def _run(
    spec: TrialSpec, device: torch.device, checkpoint: Checkpoint | None, kernels: str
) -> Generator[Progress, None, TrialResult]:
    _reset_peak_memory(device)
    started = time.perf_counter()
    yield Progress(
        step=0, num_steps=0, loss=None, sparsity=0.0, subwords_per_s=0.0, phase="loading"
    )

    _refuse_changed_files(spec)

    # Data, then the model, whose head is drawn from the seed; from there on one stream of random
    # numbers (dropout).
    languages = load_languages(spec)
    if spec.robustness is not None:  # now rather than after hours of training
        load_donors(spec.corpus, spec.robustness)
    train = join([data.splits["train"] for data in languages])

    def make_training() -> Training:
        return Training(spec, make_model(spec.model, spec.seed, device), train, device, kernels)

    training = make_training()
    selection = Selection(training, spec.evaluation.selection)
    log.info("kernels: %s on %s", training.optimizer.kernels.name, device)
    _refuse_long_sequences(training)
    num_resumes, load_s, evaluate_s = 0, 0.0, 0.0
    if checkpoint is not None and (state := checkpoint.load()) is not None:
        try:
            num_resumes = _restore(training, selection, state)
            load_s, evaluate_s = (float(state[1][name]) for name in ("load_s", "evaluate_s"))
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            log.warning("%s: does not fit (%s); starting from step 0", checkpoint.location, error)
            training = make_training()
            selection = Selection(training, spec.evaluation.selection)
    load_s += time.perf_counter() - started

    def save() -> None:
        if checkpoint is not None:
            tensors, values = training.state()
            best_tensors, best_values = selection.state()
            spent = {"num_resumes": num_resumes, "load_s": load_s, "evaluate_s": evaluate_s}
            checkpoint.save((tensors | best_tensors, values | best_values | spent))

    def select() -> Generator[Progress, None, None]:
        """Look at the model as it is now, if it may be the one to be scored."""
        nonlocal evaluate_s
        if selection.is_due:
            started = time.perf_counter()
            looking = score_validation(training, languages)
            selection.take((yield from _with_progress(looking, training)))
            evaluate_s += time.perf_counter() - started

    try:
        # Training, with gradual pruning.
        yield from select()  # where a trial goes on that was stopped while it did this
        for _ in training.run():
            if checkpoint is not None and checkpoint.is_due:
                save()
            yield _progress(training, "training")
            yield from select()
        yield from select()
        selected_step = selection.restore_best()

        # Scores.
        started = time.perf_counter()
        found = yield from _with_progress(score_trial(training, languages), training)
        evaluate_s += time.perf_counter() - started
    except GeneratorExit:  # stopped from outside: lose nothing
        save()
        raise

    layers = training.pruner.count()
    embeddings = [layer for layer in layers if layer.name == training.pruner.embedding_name]
    num_zeros, num_prunable = _count(layers)
    num_embedding_zeros, num_embedding_weights = _count(embeddings)
    num_parameters = sum(parameter.numel() for parameter in training.model.parameters())
    return TrialResult(
        achieved_sparsity=(num_zeros - num_embedding_zeros)
        / (num_prunable - num_embedding_weights),
        achieved_embedding_sparsity=num_embedding_zeros / num_embedding_weights
        if embeddings
        else None,
        overall_sparsity=num_zeros / num_parameters,
        num_parameters=num_parameters,
        num_prunable=num_prunable,
        num_steps=training.num_steps,
        selected_step=selected_step,
        num_train_sentences=train.num_sentences,
        num_train_subwords=training.num_subwords,
        num_split_sentences=sum(split.num_split_sentences for split in _splits(languages)),
        num_unstarted_entities=sum(split.num_unstarted_entities for split in _splits(languages)),
        data_fingerprint=_fingerprint_data(languages),
        model_commit=getattr(training.model.config, "_commit_hash", None),
        num_resumes=num_resumes,
        load_s=load_s,
        train_s=training.train_s,
        evaluate_s=evaluate_s,
        subwords_per_s=training.subwords_per_s,
        peak_memory_gib=_peak_memory_gib(),
        peak_gpu_memory_gib=torch.cuda.max_memory_allocated(device) / GIB
        if device.type == "cuda"
        else None,
        device=device.type,
        device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        num_threads=torch.get_num_threads(),
        kernels=training.optimizer.kernels.name,
        scores=tuple(found.scores),
        robustness=tuple(found.robustness),
        predictions=tuple(found.predictions),
        curve=tuple(training.curve),
        layers=layers,
    )


def _count(layers: Sequence[LayerSparsity]) -> tuple[int, int]:
    """Zeros and weights of all together."""
    return sum(layer.num_zeros for layer in layers), sum(layer.num_weights for layer in layers)


def _splits(languages: Sequence[LanguageData]) -> list[EncodedSplit]:
    return [split for data in languages for split in data.splits.values()]


def _refuse_changed_files(spec: TrialSpec) -> None:
    """A trial's id names the content of its files; another content would be another trial."""
    if spec.corpus.kind == "path":
        folder = Path(str(spec.corpus.path))
        found = combine_fingerprints(
            {code: fingerprint_language(folder, code) for code in spec.languages}
        )
        _refuse_change(_files_of(folder, spec.languages), spec.corpus.fingerprint, found)
        if spec.robustness is not None:
            donors = spec.robustness.donor_languages
            found = combine_fingerprints(
                {code: fingerprint_folder(folder, code, ["train"]) for code in donors}
            )
            _refuse_change(_files_of(folder, donors), spec.robustness.donor_fingerprint, found)
    if spec.model.fingerprint is not None and spec.model.name != BUILTIN_MODEL:
        found = fingerprint_model_folder(Path(spec.model.name), spec.model.init)
        _refuse_change(f"model.name: {spec.model.name}", spec.model.fingerprint, found)


def _files_of(folder: Path, languages: Sequence[str]) -> str:
    names = languages[0] if len(languages) == 1 else "{" + ",".join(languages) + "}"
    return f"corpus.path: {folder}/{names}"


def _refuse_change(where: str, planned: str | None, found: str | None) -> None:
    if found != planned:
        raise TrialError(
            "bad_data",
            f"{where} has changed since the sweep was planned ({planned}, now {found}); run it again",
        )


def _refuse_long_sequences(training: Training) -> None:
    limit = getattr(training.model.config, "max_position_embeddings", None)
    length = training.spec.training.max_length
    if isinstance(limit, int) and length > limit:
        raise TrialError(
            "bad_data", f"training.max_length: {length} is more than the model's {limit} positions"
        )


def _restore(training: Training, selection: Selection, state: State) -> int:
    """Go on from a checkpoint; returns how often the trial has been resumed."""
    tensors, values = state
    training.restore(tensors, values)
    selection.restore(tensors, values)
    log.info("resumed at step %d of %d", training.step, training.num_steps)
    return int(values["num_resumes"]) + 1


def _with_progress(
    work: Generator[None, None, Result], training: Training
) -> Generator[Progress, None, Result]:
    """Do the work, yielding where the trial is whenever the work yields."""
    while True:
        try:
            next(work)
        except StopIteration as finished:
            return cast(Result, finished.value)
        yield _progress(training, "evaluating")


def _fingerprint_data(languages: Sequence[LanguageData]) -> str:
    """16 hexadecimal digits that stand for what the model saw, whatever a revision of the hub has
    become since."""
    return digest_bytes(
        part
        for data in languages
        for name, split in data.splits.items()
        for part in (
            f"{data.language} {name} {len(split.input_ids)}".encode(),
            split.input_ids.astype("<i4").tobytes(),
            split.labels.astype("<i8").tobytes(),
        )
    )


def _is_out_of_memory(error: Exception) -> bool:
    """A GPU's or Python's own error, or what torch says when the operating system gives it no
    memory."""
    return isinstance(
        error, MemoryError | torch.OutOfMemoryError
    ) or "can't allocate memory" in str(error)


def _progress(training: Training, phase: Phase) -> Progress:
    return Progress(
        step=training.step,
        num_steps=training.num_steps,
        loss=training.last_loss,
        sparsity=training.pruner.sparsity,
        subwords_per_s=training.subwords_per_s,
        phase=phase,
    )


def _reset_peak_memory(device: torch.device) -> None:
    """Start the process' and the GPU's memory peaks anew, so that they are this trial's."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(
        OSError
    ):  # not Linux, or not permitted: the peak is then that of the process so far
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory_gib() -> float:
    """Peak resident memory of this process."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / GIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / GIB if sys.platform == "darwin" else peak * 1024 / GIB


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    """Run the trial in a JSON file and print its result as JSON; progress goes to standard
    error."""
    parser = argparse.ArgumentParser(prog="python -m workers.run", description=main.__doc__)
    parser.add_argument(
        "spec", type=Path, help="file with one trial: a `spec` of `sparsweep plan SPEC --json`"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    parser.add_argument(
        "--kernels", default=AUTO, help="auto, reference, triton or numba (default: %(default)s)"
    )
    args = parser.parse_args()
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.INFO)
    spec = TrialSpec.from_json(args.spec.read_text())
    running = run_trial(spec, prepare_process(args.threads), kernels=args.kernels)
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


if __name__ == "__main__":
    main()
