"""Benchmarks are run seldom: what they take from the sources has to be there nevertheless."""

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).with_name("benchmarks")
PACKAGES = ("orchestrator", "workers", "cluster", "tests")


@pytest.mark.parametrize("file", sorted(FOLDER.glob("[a-z]*.py")), ids=lambda file: file.name)
def test_what_a_benchmark_takes_is_there(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    modules = {}
    for node in ast.walk(tree):  # also inside functions
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in PACKAGES:
            for alias in node.names:
                taken = take(node.module, alias.name)
                if isinstance(taken, ModuleType):
                    modules[alias.asname or alias.name] = taken
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = modules.get(node.value.id)
            assert module is None or hasattr(module, node.attr), f"{module} has no {node.attr}"


def take(module: str, name: str) -> object:
    """As `from module import name` does."""
    loaded = importlib.import_module(module)
    if not hasattr(loaded, name):
        return importlib.import_module(f"{module}.{name}")
    return getattr(loaded, name)
