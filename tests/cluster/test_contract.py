"""What cluster/contract.py says of the driver is true. Its workers' title is tested with these."""

import importlib.util
import tomllib
from pathlib import Path

import pytest

from cluster.contract import (
    BAD_INPUT,
    COMMAND,
    DONE,
    FAULT,
    INTERRUPTED,
    PROGRAM,
    SOME_FAILED,
    STOPPED,
    Counts,
    has_crashed,
)


def test_command_and_module_are_those_of_the_driver():
    assert importlib.util.find_spec(f"{PROGRAM}.__main__")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {COMMAND: f"{PROGRAM}.main:main"}


@pytest.mark.parametrize("code", [1, -9, -6, 128 + 11])
def test_a_driver_that_did_not_decide_to_end_has_crashed(code):
    assert has_crashed(code)


@pytest.mark.parametrize("code", [DONE, SOME_FAILED, BAD_INPUT, FAULT, STOPPED, INTERRUPTED])
def test_what_the_driver_exits_with_itself_is_no_crash(code):
    assert not has_crashed(code)


@pytest.mark.parametrize(
    "line", ["{}", "[{}]", "[{}, about 14 min left]", "{}, about 2 h left", "{}, 3 min so far"]
)
def test_counts_are_read_as_the_driver_writes_them(line: str) -> None:
    counts = Counts(done=12, total=32, failed=1, running=2, left=17)

    assert str(counts) == "12/32 done, 1 failed, 2 running, 17 left"
    assert Counts.read(line.format(counts)) == counts


@pytest.mark.parametrize("line", ["", "done     en sparsity 0", "x 1/2 done, 0 failed", "1/2 done"])
def test_other_lines_have_no_counts(line: str) -> None:
    assert Counts.read(line) is None
