"""Small trials for tests, and what tests do with a running one."""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import torch

from tests.factories import PRUNING, make_trial_spec
from workers.checkpoint import Checkpoint
from workers.data import synthetic
from workers.data.corpus import fingerprint_folder
from workers.result import TrialResult
from workers.run import run_trial
from workers.storage import Location
from workers.trial import CorpusSpec, ModelSpec, TrialSpec

TIMES = {
    *("load_s", "train_s", "evaluate_s", "subwords_per_s", "num_resumes", "shared_steps"),
    *("peak_memory_gib", "peak_gpu_memory_gib"),
}


def small_trial(**changes) -> TrialSpec:
    """Georgian, 100 sentences, the built-in model, 23 steps: through 5 epochs and into a sixth."""
    spec = make_trial_spec(language="ka", pruning=replace(PRUNING, update_every_steps=4))
    training = replace(spec.training, num_steps=23, lr=1e-3, weight_decay=0.01)
    corpus = replace(spec.corpus, fingerprint=synthetic.fingerprint(0))
    return replace(spec, **{"training": training, "corpus": corpus} | changes)


def training_of(spec: TrialSpec, **changes) -> TrialSpec:
    return replace(spec, training=replace(spec.training, **changes))


def evaluation_of(spec: TrialSpec, **changes) -> TrialSpec:
    return replace(spec, evaluation=replace(spec.evaluation, **changes))


def two_languages(**changes) -> TrialSpec:
    """Bengali and Georgian, 23 steps."""
    spec = small_trial(regime="multilingual", languages=("bn", "ka"), **changes)
    return training_of(spec, sampling="proportional")


def finish(running) -> TrialResult:
    while True:
        try:
            next(running)
        except StopIteration as finished:
            return finished.value


@cache
def undisturbed(spec: TrialSpec, device: torch.device) -> TrialResult:
    """The result of a trial in one go. It is trained once a process: it would come out the same."""
    return finish(run_trial(spec, device))


def run_steps(running, num_steps: int) -> None:
    for progress in running:
        if progress.phase == "training" and progress.step == num_steps:
            return


def stop_and_resume(
    spec: TrialSpec, device: torch.device, folder, num_steps: int, every_s: float | None = 0
) -> TrialResult:
    """The result of a trial that was stopped after so many steps and resumed from its checkpoint.

    Args:
        spec: the trial.
        device: where it computes.
        folder: of the checkpoint.
        num_steps: after which it is stopped.
        every_s: seconds between checkpoints until then, see `Checkpoint`.
    """
    interrupted = run_trial(spec, device, checkpoint_at(folder, spec, every_s))
    run_steps(interrupted, num_steps)
    interrupted.close()
    return finish(run_trial(spec, device, checkpoint_at(folder, spec)))


def numbers(result: TrialResult) -> dict:
    """All that must be equal, to the last bit."""
    return {key: value for key, value in vars(result).items() if key not in TIMES}


def checkpoint_at(tmp_path, spec: TrialSpec, every_s: float | None = 0) -> Checkpoint:
    return Checkpoint(Location.parse(str(tmp_path / "trial.safetensors")), spec.trial_id(), every_s)


def real_trial(wikiann, model: ModelSpec, **changes) -> TrialSpec:
    corpus = CorpusSpec(
        kind="path",
        name=None,
        revision=None,
        path=str(wikiann),
        seed=None,
        fingerprint=fingerprint_folder(wikiann, "ka", ("train", "validation", "test")),
        max_train_sentences=40,
        max_eval_sentences=20,
    )
    return small_trial(corpus=corpus, model=model, **changes)


@contextlib.contextmanager
def waits_are(mode: str) -> Iterator[None]:
    """What happens where the host waits for the GPU: warn or error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that it does not find all of them
        torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
