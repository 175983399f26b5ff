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
