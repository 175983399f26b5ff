"""Runs as event files that TensorBoard reads, written by tensorboardX, which Ray Tune brings."""

import contextlib
import re
import shlex
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.errors import SweepError
from orchestrator.trackers.runs import TrackedRun
from orchestrator.trackers.tracker import folder_of, not_installed

EVENTS = "events.out.tfevents"
"""What the names of files begin with that TensorBoard reads."""

_OURS = re.compile(rf"-(?P<trial_id>[0-9a-f]{{16}})/{re.escape(EVENTS)}\.\d+\.[0-9a-f]{{16}}$")
"""The end of the path of a run that was exported."""


class TensorBoard:
    """A folder for `tensorboard --logdir`: a folder a sweep, and in it one a trial.

    Each trial has one file, which is put there as a whole, named for the end of the trial and the
    digest of the run.

    Args:
        folder: on this machine; made when there is none.

    Raises:
        SweepError: it is something else, or tensorboardX is not installed.
        OSError: it cannot be written.
    """

    def __init__(self, folder: str) -> None:
        self._writer = _load_writer()
        self.location = folder_of(folder)
        self._folder = Path(self.location.path)
        _refuse_other_things(self._folder)
        self.location.check_writable()

    @property
    def look(self) -> str:
        """The command that shows what is there."""
        return f"tensorboard --logdir {shlex.quote(str(self._folder))}"

    def known(self) -> dict[str, list[str]]:
        """See `Tracker`."""
        return {
            trial_id: [file.name.rpartition(".")[2] for file in files]
            for trial_id, files in self._files.items()
        }

    def put(self, run: TrackedRun) -> None:
        """See `Tracker`."""
        name = f"{run.name.replace(' ', '-')}-{run.trial_id}"
        folder = self.location / run.facts["sweep"] / name
        kept = folder / f"{EVENTS}.{int(run.ended_s)}.{run.digest}"
        kept.write_atomic(self._events(run))
        for file in self._files.get(run.trial_id, ()):
            if file != Path(kept.path):
                file.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # it holds the new file, or somebody's
                    file.parent.rmdir()

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        """The files of each trial that were there at first."""
        found: dict[str, list[Path]] = {}
        for file in self._folder.glob(f"*/*/{EVENTS}.*"):
            if match := _OURS.search(file.as_posix()):
                found.setdefault(match["trial_id"], []).append(file)
        return found

    def _events(self, run: TrackedRun) -> bytes:
        """What is in the file of a run."""
        with tempfile.TemporaryDirectory() as folder:
            with self._writer(folder) as writer:
                _write(run, writer)
            (file,) = Path(folder).iterdir()
            return file.read_bytes()


def _load_writer() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise not_installed("tensorboard", error) from error
    return SummaryWriter


def _refuse_other_things(folder: Path) -> None:
    levels = ("", "*/", "*/*/")
    is_logs = any(next(folder.glob(f"{level}*tfevents*"), None) for level in levels)
    if folder.is_dir() and not is_logs and any(folder.glob("[!.]*")):
        raise SweepError(
            f"{folder}: holds other things than TensorBoard's logs; give a new folder, or one of "
            "such logs"
        )


def _write(run: TrackedRun, writer: Any) -> None:
    from tensorboardX import summary

    # Without a list of all settings, which is the first of three: TensorBoard makes it from all
    # runs, while it would take one run's for that of all, and dense trials have fewer settings.
    _, settings, _ = summary.hparams(dict(run.settings), {})
    writer.file_writer.add_summary(settings, walltime=run.started_s)
    for point in run.curve:
        for name, value in point.values.items():
            writer.add_scalar(name, value, point.step, walltime=point.time_s)
    for name, value in run.numbers.items():
        writer.add_scalar(name, value, run.last_step, walltime=run.ended_s)
    writer.file_writer.add_summary(_end_of(run), walltime=run.ended_s)


def _end_of(run: TrackedRun) -> Any:
    """Whether a trial was completed, in the form of TensorBoard's page of settings."""
    from tensorboardX.proto.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionEndInfo
    from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

    status = STATUS_SUCCESS if run.is_completed else STATUS_FAILURE
    end = SessionEndInfo(status=status, end_time_secs=run.ended_s)
    content = HParamsPluginData(session_end_info=end).SerializeToString()
    data = SummaryMetadata.PluginData(plugin_name="hparams", content=content)
    metadata = SummaryMetadata(plugin_data=data)
    return Summary(value=[Summary.Value(tag="_hparams_/session_end_info", metadata=metadata)])
