"""Entries of the cache are the user's own and whole; a cache that is neither costs time only."""

import os
from pathlib import Path

import pytest

from tests.users import needs_users
from workers.data import kept
from workers.data.kept import cache_folder, clear, measure, read_entry, write_entry


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SPARSWEEP_CACHE", str(tmp_path / "cache"))
    kept._said.clear()
    return tmp_path / "cache"


def test_the_cache_lies_where_the_user_wants_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSWEEP_CACHE", "/elsewhere")
    assert str(cache_folder()) == "/elsewhere"
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SPARSWEEP_CACHE", "~/x")
    assert str(cache_folder()) == "/home/me/x"
    monkeypatch.delenv("SPARSWEEP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "sparsweep"


def test_what_is_written_is_read(own_cache):
    assert read_entry("encoded/a") is None
    write_entry("encoded/a", b"content")
    assert read_entry("encoded/a") == b"content"


def test_entries_are_the_users_alone_whatever_the_umask(own_cache):
    before = os.umask(0o002)
    try:
        write_entry("a", b"content")
    finally:
        os.umask(before)
    assert (own_cache / "a").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o660, 0o602])
def test_entry_that_others_may_write_is_made_again(mode, own_cache, caplog):
    write_entry("a", b"content")
    (own_cache / "a").chmod(mode)
    assert read_entry("a") is None
    assert f"{own_cache}/a: others may write to it, so it is not used" in caplog.text
    write_entry("a", b"new")
    assert read_entry("a") == b"new"


@needs_users
def test_entry_of_another_user_is_made_again(own_cache, caplog):
    write_entry("a", b"content")
    os.chown(own_cache / "a", 65534, 65534)
    assert read_entry("a") is None
    assert f"{own_cache}/a: belongs to another user, so it is not used; made" in caplog.text


def test_links_and_pipes_are_no_entries(own_cache, tmp_path, caplog):
    own_cache.mkdir()
    (tmp_path / "elsewhere").write_text("content")
    (own_cache / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(own_cache / "pipe", mode=0o600)
    (own_cache / "folder").mkdir(mode=0o700)
    assert [read_entry(name) for name in ("link", "pipe", "folder")] == [None] * 3
    assert f"the cache cannot be read ({own_cache}/link: " in caplog.text
    assert f"{own_cache}/pipe: not a file; made again" in caplog.text


def test_cache_that_cannot_be_written_is_said_once(own_cache, caplog):
    own_cache.write_text("a file where the folder should be")
    for name in ("a", "encoded/b"):
        assert read_entry(name) is None
        write_entry(name, b"content")
    lines = [line for line in caplog.messages if "the cache cannot be written" in line]
    assert len(lines) == 1, caplog.messages
    assert str(own_cache) in lines[0]
    assert "SPARSWEEP_CACHE names another folder" in lines[0]


def test_disk_that_is_full_costs_time_only(monkeypatch, caplog):
    monkeypatch.setenv("SPARSWEEP_CACHE", "/dev/full/cache")
    write_entry("a", b"content")
    assert "the cache cannot be written (/dev/full" in caplog.text


def test_user_without_a_home_has_no_cache(homeless, caplog):
    assert read_entry("a") is None
    write_entry("a", b"content")
    assert "no home folder is known" in caplog.text
    assert "set HOME or SPARSWEEP_CACHE" in caplog.text


def test_cache_is_measured_and_cleared_and_what_else_lies_there_stays(own_cache):
    assert [(part.num_files, part.num_bytes) for part in measure()] == [(0, 0)] * 2
    clear()
    write_entry("encoded/a.safetensors", b"12345")
    write_entry("encoded/b.safetensors", b"12345")
    write_entry("fingerprints.json", b"{}")
    (own_cache / "encoded" / ".c.safetensors.0123.tmp").write_text("half")
    (own_cache / "notes.txt").write_text("mine")
    assert [(part.name, part.num_files, part.num_bytes) for part in measure()] == [
        ("encoded splits", 3, 14),
        ("hashes of files", 1, 2),
    ]
    clear()
    assert [path.name for path in own_cache.iterdir()] == ["notes.txt"]
