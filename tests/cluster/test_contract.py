"""What cluster/contract.py says of the driver is true. Its workers' title is tested with these."""

import importlib.util
import tomllib
from pathlib import Path

from cluster.contract import COMMAND, PROGRAM


def test_command_and_module_are_those_of_the_driver():
    assert importlib.util.find_spec(f"{PROGRAM}.__main__")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {COMMAND: f"{PROGRAM}.main:main"}
