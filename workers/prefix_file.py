"""The state that trials with the same first steps leave for one another.

It is a file like a checkpoint, beside the results, which the first of them to come so far writes
and the others start from. None needs it: where it is missing, damaged, or was made in another way
than this process computes, the trial takes these steps itself, to the same bits.
"""

import logging

import torch

from workers.checkpoint import State, StateFile
from workers.measured import name_device
from workers.pruning.prefix import SharedPrefix
from workers.source import code_identity
from workers.storage import Location
from workers.train import Training

WORTH_BYTES_PER_S = 500e6
"""A state is left only where its steps took longer than it takes to write or read at this speed:
that of a disk, or of a shared file system that others use, too."""

log = logging.getLogger(__name__)


class PrefixFile:
    """Where trials with the same first steps find their state after these.

    Args:
        location: the file.
        prefix: what the trials have in common.
    """

    def __init__(self, location: Location, prefix: SharedPrefix):
        self.location, self.prefix = location, prefix
        self._file = StateFile(location, prefix.prefix_id)

    def load(self, training: Training) -> State | None:
        """The state to start from.

        Args:
            training: the trial, at step 0.

        Returns:
            None where there is none that this trial would have come to as well; one that is there
            and does not serve is logged.
        """
        try:
            state = self._file.load()
        except OSError as error:
            log.warning("%s: not read, its steps are computed: %s", self.location, error)
            return None
        if state is None:
            return None
        _, values = state
        maker, here = values.get("maker"), _maker(training)
        if maker != here:
            log.info("%s: of %s, computed anew on %s", self.location, maker, here)
            return None
        step = values.get("step", 0)
        if not 0 < step <= training.num_unpruned_steps:
            log.info("%s: of step %s, where this trial has pruned", self.location, step)
            return None
        return state

    def leave(self, training: Training) -> None:
        """Leave the trial's state to others, if it is at the last step that they share, and has
        computed all of them.

        Where that fails, it is logged: others compute these steps then.

        Args:
            training: the trial, between two steps.
        """
        num_steps = min(self.prefix.num_steps, training.num_unpruned_steps)
        if training.step != num_steps or training.shared_steps:
            return
        tensors, values = training.unpruned_state()
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        if training.train_s < size / WORTH_BYTES_PER_S:
            return
        try:
            self._file.write((tensors, values | {"maker": _maker(training)}))
        except OSError as error:
            log.warning("%s: not written, others compute its steps: %s", self.location, error)


def _maker(training: Training) -> list[str]:
    """All beside the trial that its bits depend on. The same words, the same bits."""
    device = training.device
    threads = f"{torch.get_num_threads()} threads" if device.type == "cpu" else "one GPU"
    kernels = training.optimizer.kernels.name
    versions = [f"torch {torch.__version__}", f"sparsweep {code_identity()}"]
    return [name_device(device), threads, kernels, *versions]
