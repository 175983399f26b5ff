"""Who may import whom, checked on the import statements."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"orchestrator", "workers", "cluster"}


def sources(package: str) -> list[Path]:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"{package} has no sources"
    return files


def imports(file: Path, only_at_the_top: bool = False) -> Iterator[str]:
    tree = ast.parse(file.read_text())
    for node in tree.body if only_at_the_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield f"{node.module}"


def top_names(file: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(file)}


@pytest.mark.parametrize("file", sources("workers"), ids=str)
def test_workers_know_neither_ray_nor_the_other_packages(file):
    assert not top_names(file) & {"ray", "orchestrator", "cluster"}


@pytest.mark.parametrize("file", sources("cluster"), ids=str)
def test_cluster_knows_neither_ray_nor_torch_nor_the_other_packages(file):
    allowed = {"ray.job_submission", "ray.exceptions"} if "rayjobs" in file.parts else set()
    names = {name.partition(".")[0] for name in set(imports(file)) - allowed}
    assert not names & {"ray", "torch", "orchestrator", "workers"}


@pytest.mark.parametrize("file", sources("cluster"), ids=str)
def test_cluster_loads_without_what_only_some_backends_need(file):
    at_the_top = {name.partition(".")[0] for name in imports(file, only_at_the_top=True)}
    assert not at_the_top & {"ray", "requests", "kubernetes"}


def test_trials_need_the_standard_library_only():
    assert top_names(ROOT / "workers" / "trial.py") <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("file", sources("orchestrator"), ids=str)
def test_only_the_trainable_runs_trials(file):
    runs = "workers.run" in set(imports(file))
    assert runs == (file.name == "trainable.py")


# Loaded where Ray runs trials, and nowhere else.
USES_RAY = {"events.py", "nodes.py", "searcher.py", "trainable.py"}


@pytest.mark.parametrize("file", sources("orchestrator"), ids=str)
def test_the_command_line_starts_without_heavy_imports(file):
    heavy = {"torch", "ray", "transformers", "datasets", "faker", "seqeval", "kubernetes"}
    at_the_top = {name.partition(".")[0] for name in imports(file, True)}
    assert bool(at_the_top & heavy) == (file.name in USES_RAY)
