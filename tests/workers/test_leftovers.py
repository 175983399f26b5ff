"""What dead writers left is removed, and what may still be written is not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workers.leftovers import LEFTOVER_AGE_S, remove_leftovers, temporary_beside
from workers.storage import Location

DIE = """
import os, sys
from pathlib import Path
from workers.leftovers import temporary_beside
path = temporary_beside(Path(sys.argv[1]))
path.write_text("half")
print(path)
"""


def left_by_a_dead_process(path: Path) -> Path:
    words = [sys.executable, "-c", DIE, str(path)]
    return Path(subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip())


def age(path: Path) -> Path:
    before = time.time() - LEFTOVER_AGE_S - 60
    os.utime(path, (before, before))
    return path


def written(path: Path) -> Path:
    path.write_text("half")
    return path


def test_of_a_dead_writer_at_once_and_of_a_living_one_never_within_an_hour(tmp_path):
    dead = left_by_a_dead_process(tmp_path / "a")
    living = written(temporary_beside(tmp_path / "a"))
    assert remove_leftovers(tmp_path) == 1
    assert (dead.exists(), living.exists()) == (False, True)
    age(living)
    assert remove_leftovers(tmp_path) == 1


@pytest.mark.parametrize("name", [".a.01234567.tmp", ".a.89abcdef-1-01234567.tmp"])
def test_of_a_writer_elsewhere_or_of_an_earlier_version_after_an_hour(name, tmp_path):
    path = written(tmp_path / name)
    assert remove_leftovers(tmp_path) == 0
    age(path)
    assert remove_leftovers(tmp_path) == 1


def test_files_that_are_called_otherwise_stay(tmp_path):
    names = (".notes.tmp", "a.01234567.tmp", ".a.01234567.tmp.parquet", ".a.0123.tmp", ".lock")
    for name in names:
        age(written(tmp_path / name))
    assert remove_leftovers(tmp_path) == 0
    assert remove_leftovers(tmp_path / "nowhere") == 0


def test_a_deletion_looks_for_its_own_file_alone(tmp_path):
    ours = left_by_a_dead_process(tmp_path / "a[1].safetensors")
    theirs = left_by_a_dead_process(tmp_path / "b.safetensors")
    Location.parse(str(tmp_path / "a[1].safetensors")).delete()
    assert (ours.exists(), theirs.exists()) == (False, True)
    Location.parse(str(tmp_path)).remove_leftovers()
    assert not theirs.exists()
