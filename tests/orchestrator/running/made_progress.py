"""Sweeps in progress, for tests to tell things to."""

from typing import Any

from orchestrator.planning.plan import PlannedTrial
from orchestrator.running.progress import SweepProgress
from tests.factories import make_trial_spec
from workers.result import Phase, Progress


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def planned(language: str, seed: int = 0, cost: float = 1.0) -> PlannedTrial:
    spec = make_trial_spec(language=language, seed=seed, target_sparsity=0.0)
    return PlannedTrial(spec, f"{language}-{seed}", cost)


def at(
    step: int, num_steps: int = 100, phase: Phase = "training", loss: float | None = 0.5
) -> Progress:
    return Progress(
        step=step, num_steps=num_steps, loss=loss, sparsity=0.0, subwords_per_s=12345.6, phase=phase
    )


def sweep(trials: list[PlannedTrial], clock: Clock | None = None, **given: Any) -> SweepProgress:
    return SweepProgress("smoke", "results/smoke", trials, clock=clock or Clock(), **given)
