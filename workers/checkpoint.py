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
from collections.abc import Iterator
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from workers.digests import DIGEST_LENGTH, Part, digest_in_order, read_metadata
from workers.storage import Location

FORMAT = "sparsweep-checkpoint-2"
"""In the header of each file; another one when what a file holds changes."""

WITHOUT_DIGEST = "sparsweep-checkpoint-1"
"""The format before: the same, but nothing tells whether it is damaged. Trials that were stopped
before an upgrade go on from it."""

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.complex64: "C64",
}
"""What safetensors calls the types that states have."""

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
        header = {"format": FORMAT, "trial_id": self.owner, "values": json.dumps(values)}
        self.location.write_atomic_by(lambda file: _write(file, header, tensors))

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
            header = read_metadata(data)
            is_ours = header.get("trial_id") == self.owner
            if is_ours and header.get("format") in (FORMAT, WITHOUT_DIGEST):
                tensors = load(data)
                is_old = header["format"] == WITHOUT_DIGEST
                if is_old or header.get("digest") == _digest_of(header, tensors):
                    return tensors, json.loads(header["values"])
                reason = "it is damaged"
            else:
                reason = f"it is {header.get('format')} of trial {header.get('trial_id')}"
        except (SafetensorError, ValueError, KeyError) as error:
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


def _write(file: BinaryIO, header: dict[str, str], tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file, one tensor after the other.

    Not by safetensors itself, which wants all of them in the memory of the host at once: gigabytes,
    for each of the workers of a node.

    Args:
        file: new.
        header: all that it says, but for the digest.
        tensors: on any device.
    """
    places: dict[str, tuple[int, int]] = {}
    end = 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].element_size(), name)):  # aligned
        begin, end = end, end + tensors[name].numel() * tensors[name].element_size()
        places[name] = (begin, end)

    def beginning(digest: str) -> bytes:
        described = {
            name: {
                "dtype": DTYPES[tensors[name].dtype],
                "shape": list(tensors[name].shape),
                "data_offsets": places[name],
            }
            for name in places
        }
        text = json.dumps({"__metadata__": header | {"digest": digest}} | described).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    start = len(beginning("0" * DIGEST_LENGTH))

    def written() -> Iterator[Part]:
        for name in sorted(tensors):
            part = _part(name, tensors[name])
            file.seek(start + places[name][0])
            file.write(part[-1])
            yield part

    digest = digest_in_order(_texts(header), written())
    file.seek(0)
    file.write(beginning(digest))


def _digest_of(header: dict[str, str], tensors: dict[str, Tensor]) -> str:
    """Of all that the file says: header and tensors."""
    return digest_in_order(_texts(header), (_part(name, tensors[name]) for name in sorted(tensors)))


def _texts(header: dict[str, str]) -> list[str]:
    return [header[name] for name in ("format", "trial_id", "values")]


def _part(name: str, tensor: Tensor) -> Part:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    return name, str(tensor.dtype), tensor.shape, data
