"""Where tests stand: beside each other as the sources do, under the same names."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("orchestrator", "workers", "cluster")

# Sources that are tested by another file than one of their name: reason, tests, sources.
ELSEWHERE: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "means over seeds are tested by the tables that they make up",
        "tests/orchestrator/analysis/topics/test_breakdown.py",
        ("orchestrator/analysis/statistics/over_seeds.py",),
    ),
    (
        "they are parts of one estimate",
        "tests/orchestrator/planning/test_estimate.py",
        ("orchestrator/planning/assumed_speed.py", "orchestrator/planning/outlook.py"),
    ),
    (
        "pools are planned with the trials that are scored on them",
        "tests/orchestrator/planning/test_plan.py",
        ("orchestrator/planning/pools.py",),
    ),
    (
        "columns are tested by the tables that they make up",
        "tests/orchestrator/results/test_schema.py",
        ("orchestrator/results/columns.py",),
    ),
    (
        "rows and files are tested by what the store reads back",
        "tests/orchestrator/results/test_store.py",
        (
            *("orchestrator/results/parquet.py", "orchestrator/results/rows.py"),
            "orchestrator/results/table_files.py",
        ),
    ),
    (
        "old versions are tested by reading stored folders of theirs",
        "tests/orchestrator/results/test_reading.py",
        ("orchestrator/results/versions.py",),
    ),
    (
        "dropout is compared with its meaning",
        "tests/workers/kernels/test_dropout.py",
        ("workers/kernels/numba_dropout.py",),
    ),
    (
        "faults of the hub are told where it is asked and where files come from it",
        "tests/workers/hub/test_snapshots.py",
        ("workers/hub/faults.py",),
    ),
    (
        "YAML is tested by the sweeps and profiles that are read from it",
        "tests/orchestrator/spec/test_sweep_spec.py",
        ("orchestrator/spec/yaml_models.py",),
    ),
    (
        "records are what jobs write and read",
        "tests/orchestrator/submission/test_jobs.py",
        ("orchestrator/submission/records.py",),
    ),
    (
        "the parts of a job's life on this machine are tested with the backend",
        "tests/cluster/local/test_backend.py",
        ("cluster/backend.py", "cluster/local/job.py"),
    ),
    (
        "profiles are tested by what users may write, for all backends in one table",
        "tests/orchestrator/spec/test_profiles.py",
        (
            *("cluster/kubernetes/profile.py", "cluster/local/profile.py"),
            *("cluster/rayjobs/profile.py", "cluster/slurm/profile.py"),
            "cluster/profile_fields.py",
        ),
    ),
    (
        "the backend of Kubernetes is tested by its commands: submit, cancel, logs",
        "tests/cluster/kubernetes/test_submit.py",
        ("cluster/kubernetes/backend.py", "cluster/kubernetes/explain.py"),
    ),
    (
        "the backend of Slurm is tested by what it asks the queue and is told",
        "tests/cluster/slurm/test_queue.py",
        ("cluster/slurm/backend.py",),
    ),
    (
        "files that a job's parts share are tested by those who write and read them",
        "tests/cluster/slurm/test_job.py",
        ("cluster/slurm/shared_files.py",),
    ),
    (
        "leaving is tested with real nodes",
        "tests/integration/test_leaving_nodes.py",
        ("cluster/node/leave.py",),
    ),
    (
        "all kernels are compared with the reference",
        "tests/workers/kernels/test_kernels.py",
        (
            *("workers/kernels/numba_cpu.py", "workers/kernels/numba_loops.py"),
            *("workers/kernels/packed.py", "workers/kernels/reference.py"),
            *("workers/kernels/triton_gpu.py", "workers/kernels/triton_launch.py"),
            *("workers/kernels/triton_masks.py", "workers/kernels/triton_step.py"),
        ),
    ),
    (
        "it is a part of every trial",
        "tests/workers/test_run.py",
        ("workers/model/folder.py",),
    ),
)


def defines_functions(source: Path) -> bool:
    """Whether there is something to test; tables and types are tested by those who use them."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and not is_stub(node) for node in ast.walk(tree))


def is_stub(function: ast.FunctionDef) -> bool:
    """Whether a function is a docstring or `...`, as those of a Protocol."""
    return all(
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        for statement in function.body
    )


def place(file: Path) -> str:
    return str(file.relative_to(ROOT))


SOURCES = {
    place(file): file
    for package in PACKAGES
    for file in sorted((ROOT / package).rglob("*.py"))
    if file.name not in ("__init__.py", "__main__.py") and defines_functions(file)
}


def named_for(source: str) -> list[Path]:
    """`test_store.py` and `test_store_s3.py` of `store.py`, in the folder of the same name."""
    file = Path("tests", source)
    folder = ROOT / file.parent
    return [*folder.glob(f"test_{file.stem}.py"), *folder.glob(f"test_{file.stem}_*.py")]


@pytest.mark.parametrize("source", SOURCES)
def test_source_has_tests_of_its_name_or_a_reason_for_another(source):
    listed = [tests for _, tests, sources in ELSEWHERE if source in sources]
    if named_for(source):
        assert listed == [], "it has tests of its name: delete it from ELSEWHERE"
    else:
        assert listed, f"add tests/{Path(source).parent}/test_{Path(source).name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_folders_of_tests_are_those_of_sources(package):
    files = (ROOT / "tests" / package).rglob("test_*.py")
    folders = sorted({file.parent.relative_to(ROOT / "tests") for file in files})
    assert [str(folder) for folder in folders if not (ROOT / folder).is_dir()] == []


@pytest.mark.parametrize(("reason", "tests", "sources"), ELSEWHERE)
def test_tests_and_sources_that_are_listed_are_there(reason, tests, sources):
    assert (ROOT / tests).exists()
    assert [source for source in sources if source not in SOURCES] == []


@pytest.mark.parametrize("tests", sorted((ROOT / "tests").rglob("test_*.py")), ids=place)
def test_tests_say_what_they_are_about(tests):
    assert ast.get_docstring(ast.parse(tests.read_text(encoding="utf-8"))), "give it a docstring"
