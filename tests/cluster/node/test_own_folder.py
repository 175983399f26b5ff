"""Temporary folders end with their process, at the latest with the next one."""

import contextlib
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cluster.node import own_folder
from cluster.node.own_folder import make_own_folder, remove_leftovers, remove_own_folder

KEEPER = """
import sys
from cluster.node import own_folder
from cluster.node.own_folder import make_own_folder
print(make_own_folder("ray-", sys.argv[1]), flush=True)
sys.stdin.read()
"""


def test_only_the_user_can_enter_it_and_it_is_removed_with_all_that_is_in_it(tmp_path):
    folder = make_own_folder("ray-", tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / "deep").mkdir()
    remove_own_folder(folder)
    assert list(tmp_path.iterdir()) == []


def test_the_next_process_removes_what_a_killed_one_left_and_nothing_else(tmp_path):
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with keeper:
        kept = Path(keeper.stdout.readline().strip())
        mine = make_own_folder("sparsweep-tune-", tmp_path)
        assert kept.exists(), "its process lives"
        keeper.kill()
    strange = tmp_path / "ray-of-somebody-else"
    strange.mkdir()
    (tmp_path / "ray-link").symlink_to(mine)
    second = make_own_folder("ray-", tmp_path)
    assert not kept.exists()
    assert mine.exists()
    assert strange.exists()
    remove_own_folder(mine)
    remove_own_folder(second)


def test_a_folder_that_others_still_write_into_goes_when_they_end(tmp_path, monkeypatch):
    monkeypatch.setattr(own_folder, "EMPTY_WITHIN_S", 0.2)
    folder = make_own_folder("ray-", tmp_path)
    for number in range(300):  # removing them takes a while
        (folder / f"log-{number}").touch()
    has_ended = threading.Event()

    def write() -> None:
        number = 0
        while not has_ended.is_set():
            with contextlib.suppress(FileNotFoundError):
                (folder / str(number := number + 1)).touch()
            time.sleep(0.001)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        remove_own_folder(folder)
    finally:
        has_ended.set()
        writer.join()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["ray-file", "sparsweep-tune-file"])
def test_files_of_such_names_are_left_alone(tmp_path, name):
    (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert (tmp_path / name).exists()
