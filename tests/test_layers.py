"""Who may import whom, checked on the import statements.

Every import statement counts, wherever it stands: at the top of a file, inside a function, or
under `TYPE_CHECKING`. An import for types alone is a dependency as well: whoever changes the
imported file has to read the importing one.

A *room* is a folder of a package, or a file beside the folders. The rooms of a package lie on
floors; a file imports from its own room and from lower floors. What the rooms of `orchestrator`
know of the other two packages stands in `KNOWN_OUTSIDE`.
"""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from cluster import BACKENDS

ROOT = Path(__file__).parents[1]
PACKAGES = ("orchestrator", "workers", "cluster")

# From the top floor down. Rooms on one floor do not import each other.
FLOORS: dict[str, tuple[set[str], ...]] = {
    "orchestrator": (
        {"cli", "orchestrator"},  # orchestrator: __init__.py, which offers what analysts need
        {"report", "models"},
        {"submission", "running", "analysis", "trackers"},
        {"planning"},
        {"results"},
        {"spec"},
        {"errors", "provenance", "wording"},
    ),
    "workers": (
        {"run"},
        {"scoring", "prefix_file"},
        {"train"},
        {"model", "replay"},
        {"data", "pruning", "checkpoint", "devices"},
        {"kernels", "result", "tensor_file", "hub"},
        {"trial", "storage", "measured", "source", "digests"},
        {"leftovers", "visits", "tags"},
    ),
    "cluster": (
        {"cluster"},  # __init__.py: from a profile to its backend
        {package.rpartition(".")[2] for package in BACKENDS.values()},
        {"job_files", "node"},
        {"backend"},
        {"contract", "errors", "profile_fields", "user_folders"},
    ),
}

# The rooms of the largest room, from the top floor down.
ANALYSIS: tuple[set[str], ...] = (
    {"analyze", "show", "show_aggregate"},
    {"topics"},
    {"statistics"},
    {"inputs"},
    {"tables"},
)

# What each room of `orchestrator` imports of the packages beside it, which import nothing of it.
KNOWN_OUTSIDE: dict[str, set[str]] = {
    "cli": {
        *("workers.trial", "workers.data", "workers.kernels", "workers.model", "workers.scoring"),
        *("workers.hub", "workers.storage", "workers.visits"),
        "workers.devices",
        *("cluster", "cluster.backend", "cluster.contract", "cluster.errors", "cluster.node"),
        "cluster.profile_fields",
    },
    "report": {"workers.storage", "workers.tags", "workers.trial"},
    "models": {
        *("workers.data", "workers.model", "workers.scoring", "workers.tags", "workers.trial"),
    },
    "submission": {
        *("workers.storage", "workers.trial", "workers.visits"),
        *("cluster", "cluster.backend", "cluster.errors", "cluster.job_files"),
        *("cluster.profile_fields", "cluster.user_folders"),
    },
    "running": {
        *("workers.trial", "workers.result", "workers.run", "workers.checkpoint"),
        *("workers.prefix_file", "workers.pruning", "workers.model"),
        *("workers.scoring", "workers.tags", "workers.source", "workers.visits"),
        *("workers.hub", "cluster.contract", "cluster.node"),
    },
    "analysis": {
        *("workers.data", "workers.pruning", "workers.trial", "workers.tags", "workers.storage"),
    },
    "trackers": {"workers.storage", "workers.trial"},
    "planning": {
        *("workers.trial", "workers.tags", "workers.data", "workers.hub", "workers.model"),
        "workers.pruning",
        *("workers.visits", "cluster.contract", "cluster.profile_fields"),
    },
    "results": {"workers.trial", "workers.result", "workers.storage"},
    "spec": {
        *("workers.trial", "workers.tags", "workers.pruning", "workers.visits"),
        *("cluster", "cluster.profile_fields", "cluster.user_folders"),
    },
}


@cache
def modules() -> dict[str, Path]:
    """All source files by the names that they are imported by."""
    files: dict[str, Path] = {}
    for package in PACKAGES:
        for file in sources(package):
            parts = file.relative_to(ROOT).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return files


def place(file: Path) -> str:
    """A file's path below the root, as a test's id."""
    return str(file.relative_to(ROOT))


def sources(package: str) -> list[Path]:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"{package} has no sources"
    return files


@cache
def statements(file: Path) -> list[tuple[bool, ast.Import | ast.ImportFrom]]:
    """Import statements of a file, and whether each is executed when the file is loaded."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    at_the_top = set(map(id, tree.body))
    return [
        (id(node) in at_the_top, node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]


def imports(file: Path, only_at_the_top: bool = False) -> Iterator[str]:
    """Names of modules, of ours and of others."""
    for is_at_the_top, node in statements(file):
        if only_at_the_top and not is_at_the_top:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            continue
        assert node.level == 0, f"{file}: relative import"
        for alias in node.names:  # `from package import module` or `from module import name`
            inner = f"{node.module}.{alias.name}"
            yield inner if inner in modules() else f"{node.module}"


@cache
def arrows() -> dict[str, set[str]]:
    """Which of our modules each of them imports."""
    return {
        name: {module for module in imports(file) if module in modules() and module != name}
        for name, file in modules().items()
    }


def room(module: str) -> str:
    """`orchestrator.cli` of `orchestrator.cli.main`; a package's __init__ is a room as well."""
    return ".".join(module.split(".")[:2])


def floor(module: str) -> int:
    """0 is a package's top floor."""
    package, _, name = room(module).partition(".")
    for level, rooms in enumerate(FLOORS[package]):
        if (name or package) in rooms:
            return level
    pytest.fail(f"{package}/ has a room {name or package} that is on no floor; add it to FLOORS")


def is_allowed(importer: str, imported: str) -> bool:
    """Whether an import runs within a room, down a floor, or outside to what the room may know."""
    package, _, name = room(importer).partition(".")
    if imported.split(".")[0] != package:
        return package == "orchestrator" and room(imported) in KNOWN_OUTSIDE.get(name, ())
    return room(importer) == room(imported) or floor(importer) < floor(imported)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Files that import each other, directly or through others."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for module in graph[waiting.pop()] - seen:
                seen.add(module)
                waiting.append(module)
        return seen

    reach = {module: reachable(module) for module in graph}
    tied = {
        tuple(sorted({module, *(other for other in reach[module] if module in reach[other])}))
        for module in graph
        if module in reach[module]
    }
    return [list(circle) for circle in sorted(tied)]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_runs_upward_or_to_a_room_that_it_may_not_know(package):
    wrong = [
        f"{importer} -> {imported}"
        for importer, targets in arrows().items()
        for imported in sorted(targets)
        if importer.split(".")[0] == package and not is_allowed(importer, imported)
    ]
    assert wrong == [], "move what is imported down, or hand it in as an argument"


def test_no_import_runs_upward_inside_the_analysis():
    floors = {room: level for level, rooms in enumerate(ANALYSIS) for room in rooms}
    inside = {
        module: module.split(".")[2]
        for module in modules()
        if module.startswith("orchestrator.analysis.")
    }
    assert set(inside.values()) == set(floors)
    wrong = [
        f"{importer} -> {imported}"
        for importer, name in inside.items()
        for imported in sorted(arrows()[importer])
        if imported in inside and inside[imported] != name
        if floors[inside[imported]] <= floors[name]
    ]
    assert wrong == []


def test_no_files_import_each_other():
    assert circles(arrows()) == []


def test_circles_are_found_through_several_files_and_in_types():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"a"}}
    assert circles(graph) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": set()}) == []


@pytest.mark.parametrize("name", KNOWN_OUTSIDE)
def test_what_a_room_may_know_outside_it_does_know(name):
    known = {
        room(imported)
        for importer, targets in arrows().items()
        if room(importer) == f"orchestrator.{name}"
        for imported in targets
        if imported.split(".")[0] != "orchestrator"
    }
    assert KNOWN_OUTSIDE[name] - known == set(), "delete it from KNOWN_OUTSIDE"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_has_one_floor_and_every_floor_its_rooms(package):
    of_package = [module for module in modules() if module.split(".")[0] == package]
    rooms = {
        room(module).rpartition(".")[2]
        for module in of_package
        if module != package or arrows()[package]  # an __init__.py that imports nothing is no room
    }
    listed = [name for level in FLOORS[package] for name in sorted(level)]
    assert sorted(rooms) == sorted(listed), f"FLOORS and the rooms of {package}/ differ"


def top_names(file: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(file)}


@pytest.mark.parametrize("file", sources("workers"), ids=place)
def test_workers_know_neither_ray_nor_the_other_packages(file):
    assert not top_names(file) & {"ray", "orchestrator", "cluster"}


@pytest.mark.parametrize("file", sources("cluster"), ids=place)
def test_cluster_knows_neither_ray_nor_torch_nor_the_other_packages(file):
    allowed = {"ray.job_submission", "ray.exceptions"} if "rayjobs" in file.parts else set()
    names = {name.partition(".")[0] for name in set(imports(file)) - allowed}
    assert not names & {"ray", "torch", "orchestrator", "workers"}


@pytest.mark.parametrize("file", sources("cluster"), ids=place)
def test_cluster_loads_without_what_only_some_backends_need(file):
    at_the_top = {name.partition(".")[0] for name in imports(file, only_at_the_top=True)}
    assert not at_the_top & {"ray", "requests", "kubernetes"}


def test_trials_need_the_standard_library_only():
    known = set(sys.stdlib_module_names)
    trial, tags = (ROOT / "workers" / name for name in ("trial.py", "tags.py"))
    assert top_names(trial) <= known | {"workers"}
    assert {name for name in imports(trial) if name.startswith("workers")} == {"workers.tags"}
    assert top_names(tags) <= known


@pytest.mark.parametrize("file", sources("orchestrator"), ids=place)
def test_only_the_trainable_runs_trials(file):
    runs = "workers.run" in set(imports(file))
    assert runs == (file.name == "trainable.py")


# Loaded where Ray runs trials, and nowhere else.
USES_RAY = {"events.py", "nodes.py", "scheduler.py", "searcher.py", "trainable.py"}


@pytest.mark.parametrize("file", sources("orchestrator"), ids=place)
def test_the_command_line_starts_without_heavy_imports(file):
    heavy = {"torch", "ray", "transformers", "datasets", "faker", "seqeval", "kubernetes"}
    heavy |= {"tensorboardX", "mlflow", "sqlalchemy", "alembic"}
    at_the_top = {name.partition(".")[0] for name in imports(file, True)}
    assert bool(at_the_top & heavy) == (file.name in USES_RAY)


def test_a_driver_loads_nothing_that_computes():
    """Its workers do; torch takes more than a second of each command that runs trials."""
    driver = "orchestrator.running.driver"
    waiting, seen = {driver, *arrows()[driver]}, set()
    while waiting:
        seen |= waiting
        at_the_top = {name for one in waiting for name in imports(modules()[one], True)}
        waiting = (at_the_top & modules().keys()) - seen
    loaded = {name.partition(".")[0] for one in seen for name in imports(modules()[one], True)}
    assert {"ray", "pyarrow"} <= loaded
    assert not loaded & {"torch", "transformers", "safetensors", "numba", "faker"}
