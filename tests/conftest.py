"""What all tests share: caches, the folder of real data, an S3 server; and what is slow."""

import gc
import os
import pwd
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real_data import real_data

TOGETHER = (
    "tests/orchestrator/analysis",
    "tests/orchestrator/report",
    "tests/workers/pruning",
)
"""Folders whose tests are run by one process: what they share is made once."""
ON_ONE_RAY = {
    f"tests/integration/test_{name}.py"
    for name in ("cluster", "kept_models", "questions", "scoring_later", "shared_steps", "sweep")
}
"""Files of tests whose sweeps share a Ray that runs; one process starts it."""
ON_GPUS = {f"tests/workers/test_{name}.py" for name in ("gpu", "gpu_trials", "replay")}
INTEGRATION = Path(__file__).parent / "integration"
QUICK = "not slow"
"""What `make check` asks pytest for."""
IN_MEMORY, ROOM_BYTES = Path("/dev/shm"), 2 * 2**30
"""Where quick tests have their folders, if that much is free there: each file that is written for
good would wait for a disk, which takes a tenth of their time."""
SLOW_FIXTURES = {"device", "s3_server", "compiled", "whole"}
"""Who takes one of these trains a model, waits for a server, compiles kernels for GPUs, or makes
all tables of results."""


def pytest_configure(config: pytest.Config) -> None:
    """Caches of this run's own, no hub, interpreted Triton: before a test module imports what reads
    these variables.
    """
    # A shell makes its background jobs deaf to Ctrl-C, and nohup to a hang-up; tests send both.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    cache = tempfile.TemporaryDirectory(prefix="sparsweep-tests-")
    config.add_cleanup(cache.cleanup)
    # Frozen by `pytest_collection_finish`; libraries whose modules outlive Python report leaks.
    config.add_cleanup(gc.unfreeze)
    if not config.getoption("numprocesses", None):  # with `-n`, the first process runs no tests
        gc.disable()  # until `pytest_collection_finish`: it would walk through what is loaded
        import torch
        from hypothesis import HealthCheck, settings

        # No test fails because the machine is busy.
        untimed = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
        settings.register_profile("untimed", **untimed)
        settings.load_profile("untimed")
        if not torch.cuda.is_available():
            # Triton's kernels then run on CPUs, to be compared with the reference.
            os.environ["TRITON_INTERPRET"] = "1"
    os.environ |= {
        "SPARSWEEP_CACHE": cache.name,
        "HF_HOME": f"{cache.name}/huggingface",
        "HF_HUB_OFFLINE": "1",
        "RAY_ENABLE_AUTO_CONNECT": "0",  # a call of Ray without one that runs would start one
    }
    if config.option.markexpr == QUICK and _has_room(IN_MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))


def _has_room(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= ROOM_BYTES


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not load tests only to leave them out, with all that they import."""
    return True if collection_path == INTEGRATION and config.option.markexpr == QUICK else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark as slow what starts Ray, trains, or needs a server, wherever that shows by itself; the
    rest of what takes seconds is marked where it stands.
    """
    fixtures = SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ()))
    if INTEGRATION in item.path.parents or fixtures:
        item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """What the modules hold now stays: spare the garbage collector a walk through a million objects
    time and again, here as while they are loaded.
    """
    gc.freeze()
    gc.enable()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many inputs at random were tried, in a long run of those."""
    made = sys.modules.get("tests.any_input")
    if made is not None and made.EXAMPLES > made.FEW:
        kinds = ", ".join(f"{kind} {number:,}" for kind, number in sorted(made.TRIED.items()))
        terminalreporter.write_line(f"inputs tried: {made.TRIED.total():,} ({kinds})")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `-n 2`, a file is run by one process, which makes its fixtures once, and so are some
    folders and groups of files. Tests on Slurm and of trials on GPUs wait a lot, so each stands for
    itself.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            folder = file.rpartition("/")[0]
            if file in ON_ONE_RAY:
                return "on one Ray"
            if folder == "tests/integration/slurm" or file in ON_GPUS:
                return nodeid
            return next((one for one in TOGETHER if folder.startswith(one)), file)

    config.option.loadscopereorder = False  # not the files with the most tests first
    return Scheduling(config, log)


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without an entry in passwd and without HOME, as containers have them."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "SPARSWEEP_CACHE", "USER", "LOGNAME", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("CACHE", "CONFIG", "STATE"):
        monkeypatch.delenv(f"XDG_{name}_HOME", raising=False)


@pytest.fixture(scope="session")
def wikiann() -> Path:
    """The real corpus in the hub's layout, <language>/<split>-*.parquet."""
    return _real_data("wikiann")


@pytest.fixture(scope="session")
def mbert() -> Path:
    """mBERT's real vocabulary, tokenizer and config, without weights."""
    return _real_data("mbert")


@pytest.fixture(scope="session")
def kuberay() -> Path:
    """KubeRay's definitions of its resources."""
    return _real_data("kuberay")


def _real_data(name: str) -> Path:
    try:
        return real_data(name)
    except FileNotFoundError as error:
        if os.environ.get("SPARSWEEP_TEST_DATA"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of a real S3 server."""
    from tests.s3_server import run_server

    with run_server() as address:
        yield address


@pytest.fixture(scope="module")
def s3_bucket(s3_server: str) -> Iterator[str]:
    """A bucket of the module's own on that server, to which AWS' environment variables lead."""
    from tests.s3_server import make_bucket

    with make_bucket(s3_server) as address:
        yield address


@pytest.fixture
def s3_location(s3_bucket: str, tmp_path: Path) -> str:
    """A folder of the test's own in that bucket."""
    return f"{s3_bucket}/{tmp_path.name}/results"
