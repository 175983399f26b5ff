"""Fingerprints of files: they follow contents and labels, and are remembered."""

import json
import os

import pytest

from workers.data.fingerprints import cache_folder, fingerprint_files


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(path, content: str):
    path.write_text(content)
    return path


def test_the_cache_lies_where_the_user_wants_it(tmp_path, monkeypatch):
    monkeypatch.delenv("SPARSWEEP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "sparsweep"
    monkeypatch.setenv("SPARSWEEP_CACHE", "/elsewhere")
    assert str(cache_folder()) == "/elsewhere"


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


def test_hashes_of_a_file_are_remembered_by_size_and_time(tmp_path, own_cache):
    file = write(tmp_path / "a", "1")
    fingerprint = fingerprint_files([("x", file)])
    state = file.stat()
    write(file, "2")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert fingerprint_files([("x", file)]) == fingerprint, "it was not read again"
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert fingerprint_files([("x", file)]) != fingerprint


def test_what_another_process_has_remembered_stays(tmp_path, own_cache):
    fingerprint_files([("x", write(tmp_path / "a", "1"))])
    memory = own_cache / "fingerprints.json"
    memory.write_text(json.dumps(json.loads(memory.read_text()) | {"/theirs": [1, 2, 3, "hash"]}))
    fingerprint_files([("x", write(tmp_path / "b", "1"))])
    assert set(json.loads(memory.read_text())) == {
        "/theirs",
        *(str(tmp_path / name) for name in "ab"),
    }


def test_a_damaged_memory_costs_time_only(tmp_path, own_cache):
    own_cache.mkdir()
    (own_cache / "fingerprints.json").write_text("[1, 2")
    assert len(fingerprint_files([("x", write(tmp_path / "a", "1"))])) == 16
