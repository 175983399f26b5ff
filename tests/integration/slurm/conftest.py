"""A real Slurm with two nodes, and what tests do to it. `slurm-cluster` beside this file makes it.

It takes root on Debian and installs Debian's packages of Slurm, so it runs only when asked for:
`make test-slurm`. Each of pytest's processes has a Slurm of its own, with networks and processes of
its own, so tests run side by side without meeting.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

REQUIRED = "SPARSWEEP_REQUIRE_SLURM"
"""Environment variable; 1: run these tests, and fail where they cannot run."""

SLURM_CLUSTER = Path(__file__).with_name("slurm-cluster")
CHECKOUT = Path(__file__).resolve().parents[3]
TIMEOUT_S = 60


class SlurmCluster:
    """A running Slurm: `node1` and `node2`, each with 4 CPUs, 8 GB and 2 GPUs as far as Slurm
    knows.

    The GPUs are null devices. Root's client commands are on PATH; jobs see the checkout, the
    virtual environment and `shared`, but nothing else that lies in /tmp.

    Args:
        folder: of the cluster, SLURM_CLUSTER_DIR.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.shared = folder / "shared"

    def crash(self, node: str) -> None:
        """Cut a node's power."""
        self._control("crash", node)

    def start(self, node: str) -> None:
        """Boot a node that has crashed, and wait until Slurm has it back."""
        self._control("start", node)
        self.wait_until(lambda: self._is_up(node))

    def scontrol(self, *words: str) -> str:
        """What `scontrol` prints, a line for each object."""
        return _run("scontrol", "-o", *words)

    def job_fields(self, job_id: str) -> dict[str, str]:
        """What Slurm says of a job; of an array, what it says of one task."""
        fields = self.scontrol("show", "job", job_id).splitlines()[0].split()
        return dict(field.split("=", 1) for field in fields if "=" in field)

    def job_state(self, job_id: str) -> str:
        """In Slurm's words, such as RUNNING."""
        return self.job_fields(job_id)["JobState"]

    def live_jobs(self, *options: str) -> list[str]:
        """Ids of jobs that are not over, one for each task of an array, by options of squeue."""
        return _run("squeue", "-h", "-r", "-o", "%i", *options).split()

    def command_as(self, user: str, *words: str) -> list[str]:
        """The words that run a command as `ann` or `ben`, just logged in on the cluster."""
        return [str(SLURM_CLUSTER), "exec", "--user", user, *words]

    def run_as(self, user: str, *words: str) -> tuple[int, str]:
        """Run a command as such a user: exit code and all output."""
        done = subprocess.run(
            self.command_as(user, *words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=180,
        )
        return done.returncode, done.stdout

    def wait_until(
        self,
        condition: Callable[[], object],
        timeout_s: float = TIMEOUT_S,
        story: Callable[[], str] = str,
    ) -> None:
        """Wait for something to happen.

        Args:
            condition: whether it has happened.
            timeout_s: when to give up.
            story: gives text that a failure shows beside the queue.
        """
        until = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > until:
                pytest.fail(
                    f"it did not happen within {timeout_s:g} s\n{_run('squeue', '-l')}\n{story()}"
                )
            time.sleep(0.2)

    def clean(self) -> None:
        """Back to an empty queue and two nodes that are up."""
        if live := self.live_jobs():
            _run("scancel", *live)
            self.wait_until(lambda: not self.live_jobs())
        for node in ("node1", "node2"):
            if not self._is_up(node):
                # Not checked: it may be booting.
                subprocess.run([SLURM_CLUSTER, "start", node], check=False, capture_output=True)
                self.wait_until(lambda node=node: self._is_up(node))

    def _is_up(self, node: str) -> bool:
        state = self.scontrol("show", "node", node).partition("State=")[2].split()[0]
        return state in ("IDLE", "MIXED", "ALLOCATED")

    def _control(self, *words: str) -> str:
        return _run(str(SLURM_CLUSTER), *words)


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, (
        f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    )
    return done.stdout


@pytest.fixture(scope="session")
def _slurm(request: pytest.FixtureRequest, for_all: Path) -> Iterator[SlurmCluster]:
    if os.environ.get(REQUIRED) != "1":
        pytest.skip("`make test-slurm` runs these")
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.fail("a Slurm of one's own takes root on Linux")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        shared = {
            CHECKOUT,
            Path(sys.prefix),
            Path(sys.base_prefix),
            Path(sys.executable).resolve().parents[1],
        }
        patch.setenv("SLURM_CLUSTER_DIR", str(folder))
        patch.setenv("SLURM_CLUSTER_ACCOUNTING", "1")
        patch.setenv("SLURM_CLUSTER_SHARED", ":".join(map(str, shared)))
        patch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")
        with FileLock(for_all / "packages.lock"):  # the first one may have to install them
            started = subprocess.run(
                [SLURM_CLUSTER, "up", "2"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        if started.returncode != 0:
            pytest.fail(f"slurm-cluster up: {started.stdout}")
        # Root's own settings stay out of the tests, and jobs do not see root's home.
        home = folder / "home" / "root"
        home.mkdir(mode=0o700)
        patch.setenv("HOME", str(home))
        for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
            patch.delenv(name, raising=False)
        yield SlurmCluster(folder)
        subprocess.run([SLURM_CLUSTER, "down"], check=True, stdout=subprocess.DEVNULL)
    if request.session.testsfailed:
        print(f"logs and results are kept in {folder}")
    else:
        shutil.rmtree(folder)


@pytest.fixture
def slurm(_slurm: SlurmCluster) -> Iterator[SlurmCluster]:
    """A real Slurm with idle nodes and an empty queue."""
    yield _slurm
    _slurm.clean()


@pytest.fixture
def folder(slurm: SlurmCluster, request: pytest.FixtureRequest) -> Path:
    """A folder of the test's own that all nodes see; every user may write into it."""
    name = request.node.originalname.removeprefix("test_")
    made = Path(tempfile.mkdtemp(prefix=f"{name[:30]}-", dir=slurm.shared))
    made.chmod(0o777)
    return made
