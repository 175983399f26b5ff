"""The image from docker/Dockerfile, really built and run. `make test-image` runs these.

They take root on Debian with podman (debootstrap makes the base, where none is named), Debian's
mirror, pip's index and about 10 GB of disk. What a machine needs beside that is said by variables:

- SPARSWEEP_IMAGE_BASE: an image in podman's storage or a registry, instead of one by debootstrap.
- SPARSWEEP_IMAGE_INDEX: the further index that has torch for CPUs; else PyTorch's own.
- SPARSWEEP_IMAGE_BUILD: more words for `podman build`, such as `--volume` and `--build-arg` with a
  private authority's certificates.
"""

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

REQUIRED = "SPARSWEEP_IMAGE_TESTS"
"""Environment variable; 1: run these tests, and fail where they cannot run."""

ROOT = Path(__file__).resolve().parents[3]
BASE = os.environ.get("SPARSWEEP_IMAGE_BASE", "")
INDEX = os.environ.get("SPARSWEEP_IMAGE_INDEX", "https://download.pytorch.org/whl/cpu")
MORE = shlex.split(os.environ.get("SPARSWEEP_IMAGE_BUILD", ""))

SECRET = "file:///an-index-named-pa55word"
"""An index that holds nothing, whose name must not be found in the image."""

COMMITS = ("a" * 40, "b" * 40)
CHANGED = "orchestrator/spec/languages.py"
LARGE = 20 * 2**20
"""Bytes; the code's own layer must stay below."""

LARGEST = 4 * 2**30
"""Bytes; the whole image for CPUs must stay below."""

pytestmark = [
    pytest.mark.skipif(
        os.environ.get(REQUIRED) != "1", reason="builds an image: `make test-image` runs these"
    ),
    pytest.mark.timeout(5400),
]


@dataclass(frozen=True)
class Built:
    """An image in podman's storage, and what podman says of it."""

    tag: str

    @property
    def said(self) -> dict:
        """What `podman image inspect` prints."""
        return json.loads(podman("image", "inspect", self.tag))[0]

    @property
    def layers(self) -> list[str]:
        """Digests, from the base up."""
        return self.said["RootFS"]["Layers"]

    def run(self, *command: str, mounts: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run a command as the image's user, as compose.yaml has it and without a network."""
        confined = [
            *("--rm", "--network", "none", "--read-only", "--cap-drop", "all"),
            *("--security-opt", "no-new-privileges", "--shm-size", "1g"),
            *("--tmpfs", "/tmp", "--tmpfs", "/home/sparsweep:mode=1777"),
        ]
        words = ["podman", "run", *confined, *mounts, self.tag, *command]
        return subprocess.run(words, capture_output=True, text=True)


def podman(*words: str) -> str:
    """What podman prints; its failure is the test's, in its words."""
    done = subprocess.run(["podman", *words], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(f"podman {' '.join(words)}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def build(source: Path, base: str, commit: str) -> Built:
    """The image of a copy of the project, whose layers later builds may take up again."""
    tag = f"localhost/sparsweep-test:{commit[:7]}"
    arguments = {
        "BASE": base,
        "COMMIT": commit,
        "PIP_EXTRA_INDEX_URL": f"{INDEX} {SECRET}",
    }
    given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    where = ["--file", str(source / "docker" / "Dockerfile"), "--tag", tag]
    podman("build", "--layers", *where, *given, *MORE, str(source))
    return Built(tag)


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """The named base, or this machine's release of Debian by debootstrap."""
    for program in ("podman",) if BASE else ("podman", "debootstrap"):
        if shutil.which(program) is None:
            pytest.fail(f"{program} is not there; on Debian: apt-get install {program}")
    if BASE:
        yield BASE
        return
    release = Path("/etc/os-release").read_text().partition("VERSION_CODENAME=")[2].splitlines()[0]
    tag = "localhost/sparsweep-test-base:latest"
    with tempfile.TemporaryDirectory(prefix="sparsweep-base-") as folder:
        made = ["debootstrap", "--variant=minbase", release, f"{folder}/root"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
        archive = f"{folder}/root.tar"
        subprocess.run(["tar", "-C", f"{folder}/root", "-cf", archive, "."], check=True)
        podman("import", archive, tag)
    yield tag
    podman("rmi", "--force", tag)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project's tracked files, which a test may change."""
    folder = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def image(source: Path, base: str) -> Iterator[Built]:
    """The image; it goes at the end."""
    built = build(source, base, COMMITS[0])
    yield built
    podman("rmi", "--force", built.tag)


def test_it_runs_as_its_user_whose_number_is_1000(image: Built) -> None:
    assert image.said["Config"]["User"] == "1000:1000"
    done = image.run("id", "-u")
    assert done.stdout == "1000\n", done.stderr


def test_its_size_is_that_of_torch_for_cpus(image: Built) -> None:
    assert image.said["Size"] < LARGEST


def test_nothing_of_the_build_is_left_in_it(image: Built) -> None:
    """Neither the indexes nor pip, which read them, nor the project's sources."""
    told = podman("history", "--no-trunc", image.tag) + json.dumps(image.said)
    assert "pa55word" not in told
    assert "PIP_" not in told
    found = image.run(
        *("sh", "-c", "ls -d /src /opt/pip /opt/venv/bin/pip; grep -rlI pa55word /opt /etc /home"),
    )
    assert found.stdout == ""


def test_doctor_knows_the_machine_and_the_commit(image: Built) -> None:
    done = image.run("sparsweep", "doctor")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "torch" in done.stdout
    assert f"results name the commit that SPARSWEEP_COMMIT tells, {COMMITS[0][:12]}" in " ".join(
        done.stdout.split()
    )


def test_a_sweep_runs_without_a_network_and_its_rows_say_the_commit(
    image: Built, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    results.mkdir()
    os.chown(results, 1000, 1000)
    smaller = [
        *("--set", "results=/results", "--set", "languages=[hi]", "--set", "seeds=[0]"),
        *("--set", "sparsities=[0, 0.5]", "--set", "training.num_steps=40"),
    ]
    done = image.run("sparsweep", "run", "smoke", *smaller, mounts=["-v", f"{results}:/results"])

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    columns = ["status", "provenance_commit"]
    rows = [
        row
        for file in (results / "trials").glob("*.parquet")
        for row in pq.read_table(file, columns=columns).to_pylist()
    ]
    assert rows
    assert all(row == {"status": "completed", "provenance_commit": COMMITS[0]} for row in rows)


def test_a_changed_source_file_makes_one_small_layer_anew(
    image: Built, source: Path, base: str
) -> None:
    with (source / CHANGED).open("a") as file:
        file.write("\n# a change\n")
    changed = build(source, base, COMMITS[1])
    try:
        same = [one for one in image.layers if one in changed.layers]
        (size,) = [
            int(line.split()[0])
            for line in podman(*_history(changed.tag)).splitlines()
            if "COPY" in line and "/opt/sparsweep" in line
        ]
        found = changed.run("tail", "-n", "1", f"/opt/sparsweep/{CHANGED}")
    finally:
        podman("rmi", "--force", changed.tag)

    assert same == image.layers[:-1]
    assert len(changed.layers) == len(image.layers)
    assert size < LARGE
    assert found.stdout == "# a change\n"


def test_compose_file_parses() -> None:
    if shutil.which("podman-compose") is None:
        pytest.skip("needs podman-compose: apt-get install podman-compose")
    done = subprocess.run(
        ["podman-compose", "-f", str(ROOT / "docker" / "compose.yaml"), "config"],
        env={**os.environ, "SWEEP": "/sweep.yaml", "RESULTS": "/results"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert "sweep-cpu" in done.stdout


def _history(tag: str) -> list[str]:
    """Words for podman that print a line for each instruction: its bytes, and what it copied to."""
    return ["history", "--no-trunc", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", tag]
