"""The image from docker/Dockerfile, really built and run. `make test-image` runs these.

They take root on Debian, whose podman, runc and debootstrap they install, about 10 GB of disk, and
the indexes that this machine's pip is configured with. The base is this release of Debian, and
torch the one for CPUs. Images lie in a storage of their own, which goes at the end.
"""

import ast
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

REQUIRED = "SPARSWEEP_REQUIRE_IMAGE"
"""Environment variable; 1: run these tests."""

ROOT = Path(__file__).resolve().parents[3]
SMOKE = "orchestrator/sweeps/smoke.yaml"
COMPOSE = ROOT / "docker" / "compose.yaml"
PROGRAMS = ("podman", "runc", "debootstrap")
TORCH_FOR_CPUS = "https://download.pytorch.org/whl/cpu"

SECRET = "file:///an-index-named-pa55word"
"""An index that holds nothing, whose name must not be found in the image."""

COMMITS = ("a" * 40, "b" * 40)
CHANGED = "orchestrator/spec/languages.py"
MOST = 16384
"""Open files, and processes and threads, of a container's user."""

LARGE = 20 * 2**20
"""Bytes; the code's own layer must stay below."""

LARGEST = 4 * 2**30
"""Bytes; the whole image for CPUs must stay below."""

pytestmark = [
    pytest.mark.skipif(
        os.environ.get(REQUIRED) != "1", reason="builds an image: `make test-image` runs these"
    ),
    pytest.mark.timeout(3600),
]


class Podman:
    """Podman with settings and a storage of its own.

    Args:
        folder: an empty one, for both.
    """

    def __init__(self, folder: Path):
        self.storage = ["--root", str(folder / "storage"), "--runroot", str(folder / "run")]
        # Containers get limits that are within this process's own: without CAP_SYS_RESOURCE, as in
        # a container, runc may not raise them, which podman would have it do.
        limits = {
            name: min(resource.getrlimit(which)[1], 16384)
            for name, which in (
                ("nofile", resource.RLIMIT_NOFILE),
                ("nproc", resource.RLIMIT_NPROC),
            )
        }
        listed = ", ".join(f'"{name}={limit}:{limit}"' for name, limit in limits.items())
        settings = folder / "containers.conf"
        settings.write_text(
            f"[containers]\ndefault_ulimits = [{listed}]\n"
            '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\n'
        )
        self.environment = {**os.environ, "CONTAINERS_CONF": str(settings)}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What a command did, whether it failed or not."""
        return subprocess.run(
            ["podman", *self.storage, *words], env=self.environment, capture_output=True, text=True
        )

    def __call__(self, *words: str) -> str:
        """What podman prints; its failure is the test's, in its words."""
        done = self.run(*words)
        if done.returncode != 0:
            pytest.fail(f"podman {' '.join(words)}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done.stdout


@dataclass(frozen=True)
class Built:
    """An image in podman's storage, and what podman says of it."""

    podman: Podman
    tag: str

    @property
    def said(self) -> dict:
        """What `podman image inspect` prints."""
        return json.loads(self.podman("image", "inspect", self.tag))[0]

    @property
    def layers(self) -> list[str]:
        """Digests, from the base up."""
        return self.said["RootFS"]["Layers"]

    def run(self, *command: str, mounts: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run a command as the image's user, as compose.yaml has it and without a network."""
        confined = as_composed(composed())
        return self.podman.run(
            "run", "--rm", "--network", "none", *confined, *mounts, self.tag, *command
        )


def composed() -> dict:
    """The service of compose.yaml that takes no GPU."""
    return yaml.safe_load(COMPOSE.read_text())["services"]["sweep-cpu"]


def as_composed(service: dict) -> list[str]:
    """Words for `podman run` that confine a container as a service does, and give it the service's
    volumes, but for what is the user's own."""
    words = ["--shm-size", service["shm_size"]]
    if service["read_only"]:
        words.append("--read-only")
    for capability in service["cap_drop"]:
        words += ["--cap-drop", capability]
    for option in service["security_opt"]:
        words += ["--security-opt", option]
    for volume in service["volumes"]:
        if volume["type"] == "tmpfs":
            words += ["--tmpfs", volume["target"]]
        elif volume["type"] == "volume":
            words += ["--volume", f"{volume['source']}:{volume['target']}"]
    return words


@dataclass(frozen=True)
class Builder:
    """What builds the image from a copy of the project; layers are taken up again.

    Attributes:
        podman: what it is built with.
        base: the image that it starts from.
        packages: words for `podman build` that say where packages come from.
    """

    podman: Podman
    base: str
    packages: Sequence[str]

    def build(self, source: Path, commit: str) -> Built:
        """The image of the source, which is told its commit."""
        tag = f"localhost/sparsweep-test:{commit[:7]}"
        arguments = [f"--build-arg=BASE={self.base}", f"--build-arg=COMMIT={commit}"]
        where = ["--file", str(source / "docker" / "Dockerfile"), "--tag", tag]
        # The host's network: a machine need not have one of its own to give.
        given = ["--layers", "--network", "host", *where, *arguments, *self.packages]
        self.podman("build", *given, str(source))
        return Built(self.podman, tag)


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """This release of Debian as a base, and this machine's sources of packages."""
    if any(shutil.which(name) is None for name in PROGRAMS):
        for words in (["update"], ["install", "--yes", "--no-install-recommends", *PROGRAMS]):
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(["apt-get", "--quiet", *words], env=environment, check=True)
    folder = tmp_path_factory.mktemp("podman")
    podman = Podman(folder)
    try:
        driver = podman("info", "--format", "{{.Store.GraphDriverName}}").strip()
        if driver == "vfs":  # a whole copy for each layer
            pytest.skip(f"{folder}: this file system takes no overlays, and images need 50 GB")
        base = debian(podman, folder)
        tried = podman.run("run", "--rm", "--network", "none", base, "true")
        if tried.returncode != 0:
            pytest.skip(f"this machine starts no containers: {tried.stderr[-500:]}")
        yield Builder(podman, base, sources_of_packages(folder))
    finally:
        podman.run("rmi", "--all", "--force")  # it knows what is mounted
        shutil.rmtree(folder)


def debian(podman: Podman, folder: Path) -> str:
    """The name of an image of this machine's release of Debian, made by debootstrap."""
    release = Path("/etc/os-release").read_text().partition("VERSION_CODENAME=")[2].splitlines()[0]
    root, archive = str(folder / "root"), str(folder / "root.tar")
    for words in (
        ["debootstrap", "--variant=minbase", release, root],
        ["tar", "-C", root, "-cf", archive, "."],
    ):
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    shutil.rmtree(root)
    name = "localhost/sparsweep-test-base:latest"
    podman("import", archive, name)
    return name


def sources_of_packages(folder: Path) -> list[str]:
    """Words for `podman build`: the index and the certificates that this machine's pip has, and
    torch for CPUs, fetched by that pip, as a further index."""
    given = pip_settings()
    page = folder / "index" / "torch"
    page.mkdir(parents=True)
    wheel = torch_for_cpus(page)
    (page / "index.html").write_text(f'<a href="{wheel}">{wheel}</a>')
    words = [
        *("--volume", f"{page.parent}:/index:ro"),
        f"--build-arg=PIP_EXTRA_INDEX_URL=file:///index {SECRET}",
    ]
    if index := given.get("index-url"):
        words.append(f"--build-arg=PIP_INDEX_URL={index}")
    if certificates := given.get("cert"):
        words += ["--volume", f"{certificates}:/certificates.pem:ro"]
        words.append("--build-arg=PIP_CERT=/certificates.pem")
    return words


def pip_settings() -> dict[str, str]:
    """What files and the environment set for pip, by option."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    lines = (line.partition("=") for line in listed.splitlines())
    return {name.rpartition(".")[2]: ast.literal_eval(value) for name, _, value in lines}


def torch_for_cpus(folder: Path) -> str:
    """The locked version in a folder, for this machine's own Python, which is the base's.

    Returns:
        The name of its file.
    """
    (version,) = re.findall("^torch==(.*)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    python = subprocess.run(
        ["/usr/bin/python3", "-c", "import platform; print(platform.python_version())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    fetched = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--dest",
                str(folder),
            ),
            *("--only-binary", ":all:", "--python-version", python),
            *("--extra-index-url", TORCH_FOR_CPUS, f"torch=={version}"),
        ],
        capture_output=True,
        text=True,
    )
    assert fetched.returncode == 0, fetched.stderr
    (wheel,) = folder.glob("torch-*.whl")
    return wheel.name


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
def image(builder: Builder, source: Path) -> Built:
    return builder.build(source, COMMITS[0])


def test_it_runs_as_its_user_whose_number_is_1000(image: Built) -> None:
    assert image.said["Config"]["User"] == "1000:1000"
    done = image.run("id", "-u")
    assert done.stdout == "1000\n", done.stderr


def test_its_size_is_that_of_torch_for_cpus(image: Built) -> None:
    assert image.said["Size"] < LARGEST


def test_nothing_of_the_build_is_left_in_it(image: Built) -> None:
    """Neither the indexes nor pip, which read them, nor the project's sources."""
    told = image.podman("history", "--no-trunc", image.tag) + json.dumps(image.said)
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
    mounts = ["--volume", f"{ROOT}/{SMOKE}:/sweep.yaml:ro", "--volume", f"{results}:/results"]
    smaller = ["languages=[hi]", "seeds=[0]", "sparsities=[0, 0.5]", "training.num_steps=40"]
    options = [word for setting in smaller for word in ("--set", setting)]
    done = image.run(*composed()["command"], *options, mounts=mounts)

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
    image: Built, builder: Builder, source: Path
) -> None:
    with (source / CHANGED).open("a") as file:
        file.write("\n# a change\n")
    changed = builder.build(source, COMMITS[1])
    (size,) = [
        made["size"]
        for made in _history(builder.podman, changed.tag)
        if "COPY" in made["CreatedBy"] and "/opt/sparsweep" in made["CreatedBy"]
    ]
    found = changed.run("tail", "-n", "1", f"/opt/sparsweep/{CHANGED}")

    assert [one for one in image.layers if one in changed.layers] == image.layers[:-1]
    assert len(changed.layers) == len(image.layers)
    assert size < LARGE
    assert found.stdout == "# a change\n"


def _history(podman: Podman, tag: str) -> list[dict]:
    """For each instruction, the newest first, its words (`CreatedBy`) and its bytes (`size`)."""
    return json.loads(podman("history", "--no-trunc", "--format", "json", tag))
