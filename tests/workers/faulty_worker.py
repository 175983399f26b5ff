"""A worker that meets a fault which stays with its process, once a sweep."""

from collections.abc import Generator
from pathlib import Path

import torch

from orchestrator.running.trainable import TrialTrainable
from workers.devices import name_fault
from workers.result import Progress, TrialResult
from workers.trial import TrialSpec


def break_gpu() -> None:
    """Read beyond the data of a kernel, after which nothing computes on the GPU in this process any
    more; where there is none, raise the same error.

    Raises:
        TrialError: what a trial makes of it.
    """
    try:
        if not torch.cuda.is_available():
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")
        weight = torch.zeros(4, device="cuda")
        weight[torch.tensor([9], device="cuda")].sum().item()
    except Exception as error:
        raise name_fault(error, "") or error from error


class FaultyWorker(TrialTrainable):
    """Runs trials; the first step of the sweep breaks the GPU."""

    def make_run(self, spec: TrialSpec) -> Generator[Progress, None, TrialResult]:
        """As its parent, but for the fault."""
        running = super().make_run(spec)
        while True:
            try:
                progress = next(running)
            except StopIteration as finished:
                return finished.value
            yield progress
            if progress.step > 0 and self.is_first():
                break_gpu()

    def is_first(self) -> bool:
        """Whether nobody has been asked before."""
        try:
            (Path(self.store.location.path) / "broken").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True
