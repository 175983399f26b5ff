"""A running trial's state on disk: one safetensors file, replaced as a whole.

It holds weights, moments, packed masks, saliencies that are summed over steps, the weights of the
best epoch, the random generators' states, the step and the curve so far. The order of the data
needs no place in it: it is a function of seed and epoch. The file is deleted when the trial is
done. Trials with the same first steps leave one another such a file, see `workers.prefix_file`.

It carries a digest of all this, since a file that was damaged would go on to other numbers. Whose
it is does not count: who may write into the results may write rows there as well.
"""

import json
import logging
import time
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from workers.storage import Location
from workers.tensor_file import Header, digest_of, read_header, write_tensors

FORMAT = "sparsweep-checkpoint-2"
"""In the header of each file; another one when what a file holds changes."""

WITHOUT_DIGEST = "sparsweep-checkpoint-1"
"""The format before: the same, but nothing tells whether it is damaged. Trials that were stopped
before an upgrade go on from it."""

State = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors by name, and JSON values."""

log = logging.getLogger(__name__)


class StateFile:
    """A trial's state in a file.

    Args:
        location: the file, in a folder or an object store.
        owner: whose state it is, stored in the file, so that nobody takes it for another's: the id
            of a trial, or of first steps that trials share.
    """

    def __init__(self, location: Location, owner: str):
        self.location, self.owner = location, owner

    def write(self, state: State) -> None:
        """Replace the file by this state.

        Raises:
            OSError: that failed; what was there is as before.
        """
        tensors, values = state
        header = Header(FORMAT, self.owner, json.dumps(values))
        self.location.write_atomic_by(lambda file: write_tensors(file, header, tensors))

    def load(self) -> State | None:
        """Read the state that was written last.

        Returns:
            The state, its tensors on the CPU; None where nothing was written, or nothing that this
            owner can use, which is logged.

        Raises:
            OSError: there is a file, and it cannot be read.
        """
        try:
            data = self.location.read_bytes()
        except FileNotFoundError:
            return None
        try:
            header, digest = read_header(data)
            if header.trial_id == self.owner and header.format in (FORMAT, WITHOUT_DIGEST):
                tensors = load(data)
                is_old = header.format == WITHOUT_DIGEST
                if is_old or digest == digest_of(header, tensors):
                    return tensors, json.loads(header.values)
                reason = "it is damaged"
            else:
                reason = f"it is {header.format} of trial {header.trial_id}"
        except (SafetensorError, ValueError) as error:
            reason = f"it cannot be read ({error})"
        log.warning(
            "%s: not this trial's checkpoint, %s; starting from step 0", self.location, reason
        )
        return None

    def delete(self) -> None:
        """Remove the file, if there is one."""
        self.location.delete()


class Checkpoint(StateFile):
    """Where one trial keeps its state while it runs.

    Args:
        location: the file, in a folder or an object store.
        trial_id: of the trial.
        every_s: seconds between two saves; 0 saves at every step, None never.

    Attributes:
        unsaved: why the last save failed and what that means, in a line; None where it did not.
    """

    def __init__(self, location: Location, trial_id: str, every_s: float | None):
        super().__init__(location, trial_id)
        self.every_s = every_s
        self.unsaved: str | None = None
        self._last_save = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether the last save is longer ago than the interval."""
        return self.every_s is not None and time.monotonic() - self._last_save >= self.every_s

    def save(self, state: State) -> None:
        """Replace the file by this state; nothing happens where the interval is None.

        Where the file cannot be written, that is logged and told in `unsaved`, and the trial goes
        on: it would rather lose time, if it is stopped, than all its work now.
        """
        if self.every_s is None:
            return
        self.unsaved = None
        try:
            self.write(state)
        except OSError as error:
            log.warning("%s: no checkpoint, training goes on without: %s", self.location, error)
            self.unsaved = _describe_unsaved(self.location, error)
        self._last_save = time.monotonic()


def _describe_unsaved(location: Location, error: OSError) -> str:
    """The same line for all trials that cannot be saved for the same reason."""
    reason = error.strerror or " ".join(str(error).split()).removeprefix(f"{location}: ")
    return (
        f"{location.folder}: checkpoints cannot be written ({reason}); make room or mend the "
        "place; trials go on, but one that is stopped starts anew, or from what was saved before"
    )
