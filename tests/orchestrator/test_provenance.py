"""Where results come from: the commit, the versions and the machine, and nothing of the user."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from orchestrator import provenance
from orchestrator.provenance import COMMIT_VARIABLE, collect_provenance, git_state


def git(folder: Path, *arguments: str) -> str:
    identity = (
        "-c",
        "user.name=nobody",
        "-c",
        "user.email=nobody@example.org",
        "-c",
        "commit.gpgsign=false",
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", *identity, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A committed source file in a checkout of its own."""
    file = tmp_path / "package" / "module.py"
    file.parent.mkdir()
    file.write_text("x = 1\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "package/module.py")
    git(tmp_path, "commit", "--quiet", "--no-verify", "-m", "first")
    return file


def test_a_clean_checkout_gives_its_commit(source):
    commit, is_dirty = git_state(source)
    assert commit == git(source.parent, "rev-parse", "HEAD").strip()
    assert re.fullmatch(r"[0-9a-f]{40}", commit)
    assert is_dirty is False


def test_a_changed_file_makes_the_checkout_dirty(source):
    source.write_text("x = 2\n")
    assert git_state(source)[1] is True


def test_results_beside_the_source_do_not_make_it_dirty(source):
    (source.parent.parent / "trials.parquet").write_text("rows")
    assert git_state(source)[1] is False


@pytest.fixture
def anew() -> Iterator[None]:
    """What this process has found out is found out again, in the test and after it."""
    collect_provenance.cache_clear()
    yield
    collect_provenance.cache_clear()


def test_a_copy_inside_somebody_elses_checkout_has_no_commit(source):
    installed = source.parent.parent / "site-packages" / "module.py"
    installed.parent.mkdir()
    installed.write_text("x = 1\n")
    assert git_state(installed) == (None, None)


def test_outside_a_checkout_nothing_is_claimed(tmp_path):
    (tmp_path / "module.py").write_text("x = 1\n")
    assert git_state(tmp_path / "module.py") == (None, None)


def test_before_the_first_commit_nothing_is_claimed(tmp_path):
    (tmp_path / "module.py").write_text("x = 1\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "module.py")
    assert git_state(tmp_path / "module.py") == (None, None)


def test_without_git_nothing_is_claimed(source, monkeypatch):
    monkeypatch.setenv("PATH", str(source.parent))
    assert git_state(source) == (None, None)


def test_the_repository_of_a_running_git_hook_is_not_mistaken_for_ours(
    source, tmp_path_factory, monkeypatch
):
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "--quiet")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    commit, _ = git_state(source)
    assert commit == git(source.parent, "rev-parse", "HEAD").strip()


def test_provenance_names_commit_versions_and_place():
    found = collect_provenance()
    assert set(found) == {
        *(
            "commit",
            "is_dirty",
            "sparsweep",
            "python",
            "torch",
            "transformers",
            "tokenizers",
            "ray",
            "numpy",
        ),
        *("host", "platform"),
    }
    assert found["numpy"] == version("numpy")
    assert found["python"] == platform.python_version()
    assert found["host"] == platform.node()


@pytest.mark.parametrize(
    ("told", "commit"), [("0123abc", "0123abc"), ("unknown", None), ("", None), ("0123", None)]
)
def test_an_image_tells_the_commit_that_git_does_not_know(
    anew, monkeypatch, tmp_path, told, commit
):
    monkeypatch.setenv(COMMIT_VARIABLE, told)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert collect_provenance()["commit"] == commit


def test_where_git_knows_the_code_nobody_else_is_asked(anew, monkeypatch):
    expected = git_state(Path(provenance.__file__))[0]
    monkeypatch.setenv(COMMIT_VARIABLE, "0123abc")
    assert collect_provenance()["commit"] == (expected or "0123abc")


def test_provenance_is_taken_once_a_process(monkeypatch):
    first = collect_provenance()
    monkeypatch.setenv("PATH", "")
    assert collect_provenance() is first


def test_taking_it_imports_none_of_the_packages():
    code = (
        "import sys; from orchestrator.provenance import collect_provenance; collect_provenance();"
        "names = ('torch', 'transformers', 'tokenizers', 'ray', 'numpy');"
        "print([name for name in names if name in sys.modules])"
    )
    repository = Path(__file__).resolve().parents[2]
    assert (
        subprocess.check_output([sys.executable, "-c", code], cwd=repository, text=True) == "[]\n"
    )


def test_it_tells_nothing_about_the_user(monkeypatch):
    monkeypatch.setenv("USER", "somebody-in-particular")
    monkeypatch.setenv("LOGNAME", "somebody-in-particular")
    collect_provenance.cache_clear()
    values = " ".join(str(value) for value in collect_provenance().values())
    assert "somebody-in-particular" not in values
    assert str(Path.home()) not in values.split()
