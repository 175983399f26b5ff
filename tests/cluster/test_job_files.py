"""Files of a job: written whole for their owner; logs as lines; what exit codes say."""

import errno
import os
import stat

import pytest

from cluster.backend import JobState
from cluster.job_files import exit_state, last_line, lines_of, write_whole


def test_lines_are_cut_where_they_end_wherever_the_parts_do():
    parts = [b"on", b"e\ntwo\n", b"", b"thr\xc3", b"\xa9e\n\nlast"]
    assert list(lines_of(parts)) == ["one", "two", "thr\u00e9e", "", "last"]
    assert list(lines_of([b"whole\n"])) == ["whole"]
    assert list(lines_of([])) == []
    assert list(lines_of([b"\xff\n"])) == ["\ufffd"]


def test_file_is_replaced_as_a_whole_and_is_the_owners_alone(tmp_path):
    file = tmp_path / "job.json"
    for text in ("old", "n\u00e9w"):
        assert write_whole(file, text).read_text(encoding="utf-8") == text
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(UnicodeEncodeError):
        write_whole(file, "\ud800")
    assert file.read_text(encoding="utf-8") == "n\u00e9w"
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]


def test_last_line_is_the_last_that_says_something(tmp_path):
    log = tmp_path / "log"
    assert last_line(log) == ""
    log.write_text("x" * 5000 + "\nwhy\n \n")
    assert last_line(log) == "why"


@pytest.mark.parametrize(
    ("code", "state", "detail"),
    [
        (0, JobState.COMPLETED, ""),
        (1, JobState.FAILED, "why"),
        (2, JobState.FAILED, "why"),
        (3, JobState.COMPLETED, "some trials failed"),
        (75, JobState.CANCELLED, "stopped with trials left"),
        (130, JobState.CANCELLED, "stopped with trials left"),
        (-12, JobState.CANCELLED, "stopped before trials began"),
        (128 + 15, JobState.CANCELLED, "stopped before trials began"),
        (-9, JobState.FAILED, "killed by SIGKILL, as happens where memory runs out"),
        (137, JobState.FAILED, "killed by SIGKILL, as happens where memory runs out"),
    ],
)
def test_exit_code_of_python_or_a_shell_says_how_the_job_ended(code, state, detail):
    assert exit_state(code, "why") == (state, detail)


def test_exit_code_without_output_is_told_itself():
    assert exit_state(70, "") == (JobState.FAILED, "exit code 70, and no output")


def test_a_full_disk_is_told_with_the_file_and_leaves_what_was_there(tmp_path, monkeypatch):
    def fsync(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = write_whole(tmp_path / "job.json", "old")
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=f"No space left on device: '{file}'"):
        write_whole(file, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]
    assert file.read_text() == "old"
