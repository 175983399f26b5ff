"""What cluster/contract.py says of the driver and its workers is what these are."""

import importlib.util
import inspect
import tomllib
from pathlib import Path

from ray import tune

from cluster.contract import COMMAND, PROGRAM, TRIAL_TITLE
from orchestrator.running import trainable


def test_workers_that_run_trials_are_known_by_the_name_of_their_class():
    classes = [
        value
        for _, value in inspect.getmembers(trainable, inspect.isclass)
        if issubclass(value, tune.Trainable) and value.__module__ == trainable.__name__
    ]
    assert classes
    assert all(TRIAL_TITLE in value.__name__ for value in classes)


def test_command_and_module_are_those_of_the_driver():
    assert importlib.util.find_spec(f"{PROGRAM}.__main__")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {COMMAND: f"{PROGRAM}.main:main"}
