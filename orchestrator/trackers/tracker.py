"""Bringing runs into a tracker, so that doing it again changes nothing."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from orchestrator.errors import SweepError
from orchestrator.trackers.runs import TrackedRun
from workers.storage import Location


class Tracker(Protocol):
    """A place that keeps runs, opened for writing. What it holds is looked up once."""

    def known(self) -> Mapping[str, Sequence[str]]:
        """Digests of the runs that are there, by the id of the trial: one each, but where somebody
        was killed while a run took another's place."""
        ...

    def put(self, run: TrackedRun) -> None:
        """Keep a run, in place of what there was of its trial."""
        ...


def bring(runs: Iterable[TrackedRun], tracker: Tracker) -> Counter[str]:
    """Bring runs into a tracker that lacks them or has others of the same trials.

    What is there of other trials stays.

    Returns:
        How many were `new`, how many there `changed`, and how many were there `unchanged`.
    """
    known = tracker.known()
    counts = Counter(new=0, changed=0, unchanged=0)
    for run in runs:
        if known.get(run.trial_id) == [run.digest]:
            counts["unchanged"] += 1
            continue
        counts["changed" if run.trial_id in known else "new"] += 1
        tracker.put(run)
    return counts


def folder_of(text: str) -> Location:
    """A folder of this machine, where trackers keep what they read.

    Raises:
        SweepError: it is no such folder, or a file.
    """
    try:
        folder = Location.parse(text)
    except ValueError as error:
        raise SweepError(str(error)) from error
    if not folder.is_local:
        raise SweepError(f"{text}: trackers read folders of this machine; give one")
    path = Path(folder.path)
    if path.exists() and not path.is_dir():
        raise SweepError(f"{path}: is a file; give a folder")
    return folder


def not_installed(tracker: str, error: ImportError) -> SweepError:
    """The error that says how to get what a tracker is written with."""
    return SweepError(f"{tracker}: {error.name} is not installed; pip install 'sparsweep[export]'")
