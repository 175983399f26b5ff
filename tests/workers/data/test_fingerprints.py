"""Fingerprints of files: they follow contents and labels, and are remembered."""

import json
import os
import time

import pytest

from workers.data import fingerprints, kept
from workers.data.fingerprints import fingerprint_files


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(path, content: str):
    path.write_text(content)
    return path


def test_contents_and_labels_decide_and_places_and_order_do_not(tmp_path, own_cache):
    a, b = write(tmp_path / "a", "1"), write(tmp_path / "b", "2")
    (tmp_path / "moved").mkdir()
    moved = write(tmp_path / "moved" / "c", "1")
    fingerprint = fingerprint_files([("x", a), ("y", b)])
    assert len(fingerprint) == 16
    assert fingerprint_files([("y", b), ("x", moved)]) == fingerprint
    assert fingerprint_files([("y", a), ("x", b)]) != fingerprint
    write(b, "3")
    assert fingerprint_files([("x", a), ("y", b)]) != fingerprint


def test_a_fingerprint_does_not_change_with_versions(tmp_path, own_cache):
    """Planned trials have it in their ids."""
    file = write(tmp_path / "a", "habari\n")
    assert fingerprint_files([("train/a", file)]) == "2d6aa1fec156076a"


def settle(monkeypatch):
    """Files that the test has just written count as old."""
    monkeypatch.setattr(fingerprints, "UNSETTLED_S", -1.0)
    kept._said.clear()


def planted(own_cache, place, sha256: str) -> None:
    """Let the memory say that a file has this hash."""
    memory = own_cache / "fingerprints.json"
    files = json.loads(memory.read_text())["files"]
    files[str(place)][-1] = sha256
    memory.write_text(json.dumps({"digest": fingerprints._digest(files), "files": files}))
    fingerprints._open_memory.cache_clear()


def test_hash_of_a_file_is_remembered(tmp_path, own_cache, monkeypatch):
    settle(monkeypatch)
    file = write(tmp_path / "a", "1")
    fingerprint = fingerprint_files([("x", file)])
    planted(own_cache, file, "other")
    assert fingerprint_files([("x", file)]) != fingerprint, "it was read again"


def test_other_content_of_the_same_size_and_time_is_seen(tmp_path, own_cache, monkeypatch):
    settle(monkeypatch)
    file = write(tmp_path / "a", "1")
    fingerprint = fingerprint_files([("x", file)])
    state = file.stat()
    time.sleep(0.02)  # the file system's clock ticks every 4 to 10 ms
    write(file, "2")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert fingerprint_files([("x", file)]) != fingerprint


def test_hash_of_a_file_that_was_just_changed_is_not_remembered(tmp_path, own_cache):
    """It may change once more within one tick of the file system's clock."""
    fingerprint_files([("x", write(tmp_path / "a", "1"))])
    assert not own_cache.exists()


def test_what_another_process_has_remembered_stays(tmp_path, own_cache, monkeypatch):
    settle(monkeypatch)
    fingerprint_files([("x", write(tmp_path / "a", "1"))])
    fingerprints._open_memory.cache_clear()
    fingerprint_files([("x", write(tmp_path / "b", "1"))])
    files = json.loads((own_cache / "fingerprints.json").read_text())["files"]
    assert set(files) == {str(tmp_path / name) for name in "ab"}


@pytest.mark.parametrize(
    "text", ["", "[1, 2", "[]", "{}", '{"files": {"/a": 1}, "digest": "0"}', "\0", "[" * 10_000]
)
def test_a_damaged_memory_costs_time_only(text, tmp_path, own_cache, monkeypatch, caplog):
    settle(monkeypatch)
    file = write(tmp_path / "a", "1")
    fingerprint = fingerprint_files([("x", file)])
    (own_cache / "fingerprints.json").write_text(text)
    fingerprints._open_memory.cache_clear()
    assert fingerprint_files([("x", file)]) == fingerprint
    assert len(caplog.messages) == 1
    assert caplog.text.count(f"{own_cache}/fingerprints.json: damaged (") == 1


def test_memory_that_others_may_write_is_not_believed(tmp_path, own_cache, monkeypatch, caplog):
    settle(monkeypatch)
    file = write(tmp_path / "a", "1")
    fingerprint = fingerprint_files([("x", file)])
    planted(own_cache, file, "0" * 64)
    (own_cache / "fingerprints.json").chmod(0o666)
    assert fingerprint_files([("x", file)]) == fingerprint
    assert "fingerprints.json: others may write to it, so it is not used" in caplog.text
    assert (own_cache / "fingerprints.json").stat().st_mode & 0o777 == 0o600, "it was made anew"
