"""What a Slurm job decides: is its folder shared, does it come back, what becomes of workers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.contract import BAD_INPUT, DONE, SOME_FAILED, STOPPED
from cluster.slurm import shared_files
from cluster.slurm.driver import SHORTEST_RUN_S
from cluster.slurm.job import (
    MAX_RETURNS,
    SHORT_RUN_S,
    check_folder,
    goes_back,
    let_workers_go,
    main,
    parse,
)
from cluster.slurm.signals import StopRequest

TIME_LIMIT = StopRequest("the time limit is near", comes_back=True)
CANCEL = StopRequest("sparsweep cancel", comes_back=False)
PROBE = "sw-tiny-0123abcd-20260102"


def words_of(folder: Path, role: str) -> list[str]:
    return [role, "--folder", str(folder), "--temp-root", "/tmp", "--probe", PROBE]


@pytest.mark.parametrize(
    ("code", "request_", "ran_s", "num_returns", "expected"),
    [
        (STOPPED, TIME_LIMIT, 1.0, 99, True),
        (STOPPED, CANCEL, 1000.0, 0, False),
        (STOPPED, None, SHORTEST_RUN_S, MAX_RETURNS - 1, True),
        (STOPPED, None, SHORTEST_RUN_S, MAX_RETURNS, False),
        (STOPPED, None, SHORT_RUN_S, 99, True),
        (STOPPED, None, SHORTEST_RUN_S - 1, 0, False),  # it would only stop again
        (DONE, TIME_LIMIT, 1000.0, 0, False),
        (SOME_FAILED, TIME_LIMIT, 1000.0, 0, False),
        (BAD_INPUT, None, 1000.0, 0, False),
        (1, None, 1000.0, 0, True),  # Ray ended the driver
        (-6, TIME_LIMIT, 1.0, 99, True),  # Ray's way to be stopped while it starts
        (-9, CANCEL, 1000.0, 0, False),
        (1, None, SHORTEST_RUN_S - 1, 0, False),
        (1, None, 1000.0, MAX_RETURNS, False),
    ],
)
def test_job_comes_back_while_trials_are_left_unless_it_was_cancelled(
    code, request_, ran_s, num_returns, expected
):
    assert goes_back(code, request_, ran_s, num_returns) is expected


def test_job_of_a_short_limit_comes_back_when_its_driver_stopped_near_it():
    assert goes_back(STOPPED, None, 80.0, MAX_RETURNS, short_run_s=60.0)
    assert not goes_back(STOPPED, None, 80.0, MAX_RETURNS, short_run_s=90.0)


def test_options_of_sparsweep_are_not_those_of_the_job(tmp_path):
    args = parse([*words_of(tmp_path, "block"), "--", "run", "x.json", "--folder", "y", "--", "z"])
    assert (args.role, args.folder) == ("block", tmp_path)
    assert args.words == ["run", "x.json", "--folder", "y", "--", "z"]
    assert parse(words_of(tmp_path, "worker")).words == []


def test_node_that_sees_the_folder_of_the_submission_says_so(slurm_job):
    (slurm_job / shared_files.PROBE).write_text(PROBE)
    check_folder(parse(words_of(slurm_job, "block")))
    assert (slurm_job / shared_files.SEEN).read_text() == "node1"


@pytest.mark.parametrize("content", ["sw-tiny-0123abcd-20250101", None])
def test_folder_that_is_not_shared_ends_the_job(slurm_job, capsys, content):
    if content:
        (slurm_job / shared_files.PROBE).write_text(content)
    with pytest.raises(SystemExit) as ended:
        check_folder(parse(words_of(slurm_job, "block")))
    assert ended.value.code == BAD_INPUT
    told = capsys.readouterr().out
    why = content or "No such file or directory"
    assert told == (
        f"[job 12] results: {slurm_job} on node1 is not the folder of the submission ({why}); all "
        "nodes must see it\n"
    )
    assert not (slurm_job / shared_files.SEEN).exists()


def test_head_that_ends_lets_its_workers_go(slurm_job, says):
    cancelled = says("scancel", "")
    (slurm_job / shared_files.WORKERS).write_text("13\n")
    let_workers_go(parse(words_of(slurm_job, "block")))
    assert not cancelled.exists()
    let_workers_go(parse(words_of(slurm_job, "head")))
    assert (slurm_job / shared_files.OVER).exists()
    assert cancelled.read_text() == "13\n"


def test_head_without_workers_or_folder_ends_as_quietly(slurm_job, says):
    cancelled = says("scancel", "")
    let_workers_go(parse(words_of(slurm_job, "head")))
    let_workers_go(parse(words_of(slurm_job / "gone", "head")))
    assert not cancelled.exists()


def test_head_that_does_not_see_the_folder_takes_its_workers_along(slurm_job, says, signals):
    cancelled = says("scancel", "")
    (slurm_job / shared_files.WORKERS).write_text("13\n")
    with pytest.raises(SystemExit) as ended:
        main(words_of(slurm_job, "head"))
    assert ended.value.code == BAD_INPUT
    assert cancelled.read_text() == "13\n"


def test_exit_code_of_a_role_is_that_of_the_process(slurm_job):
    (slurm_job / shared_files.OVER).touch()
    words = [sys.executable, "-P", "-m", "cluster.slurm.job", *words_of(slurm_job, "worker")]
    ended = subprocess.run(words, capture_output=True, text=True, env=os.environ)
    assert (ended.returncode, ended.stdout) == (DONE, "[job 12] the sweep is over\n")
