"""Files and folders on a disk and in an object store: read, replaced as a whole, locked."""

import errno
import multiprocessing
import os
import re
import stat
import threading
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.chaos.store import FailingWay
from workers import storage
from workers.storage import Location


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.slow)])
def folder(request, tmp_path):
    """An empty folder of each kind."""
    if request.param == "local":
        return Location.parse(str(tmp_path / "folder"))
    return Location.parse(f"{request.getfixturevalue('s3_bucket')}/{tmp_path.name}")


def test_a_file_reads_back_and_is_replaced_as_a_whole(folder):
    file = folder / "deep" / "a.bin"
    file.write_atomic(b"a longer first content")
    file.write_atomic(b"second")
    assert file.read_bytes() == b"second"
    assert [(entry.name, entry.size) for entry in (folder / "deep").entries()] == [("a.bin", 6)]


def test_content_larger_than_one_part_of_an_upload_reads_back(folder):
    content = os.urandom(11 * 2**20)
    (folder / "large").write_atomic(content)
    assert (folder / "large").read_bytes() == content


def test_content_that_is_written_in_any_order_reads_back(folder):
    def write(file: BinaryIO) -> None:
        file.seek(2**20)
        file.write(b"end")
        file.seek(0)
        file.write(b"begin")

    (folder / "a").write_atomic_by(write)
    assert (folder / "a").read_bytes() == b"begin" + bytes(2**20 - 5) + b"end"


def test_what_is_prepared_is_there_once_it_is_published(folder):
    (folder / "a").write_atomic(b"before")
    prepared = (folder / "a").prepare_by(lambda file: file.write(b"after"))
    assert prepared.num_bytes == 5
    assert (folder / "a").read_bytes() == b"before"
    (folder / "a").prepare_by(lambda file: file.write(b"never")).discard()
    prepared.publish()
    assert (folder / "a").read_bytes() == b"after"
    assert folder.names() == ["a"]


def test_a_file_is_told_from_a_folder_and_from_nothing(folder):
    (folder / "in" / "a").write_atomic(b"")
    found = [(folder / name).is_file() for name in ("in/a", "in", "b", "in/a/b")]
    assert found == [True, False, False, False]


def test_content_that_cannot_be_made_leaves_what_was_there(folder):
    (folder / "a").write_atomic(b"before")
    with pytest.raises(ZeroDivisionError):
        (folder / "a").write_atomic_by(lambda file: file.write(b"half") / 0)
    assert (folder / "a").read_bytes() == b"before"
    assert folder.names() == ["a"]


def test_missing_files_and_folders(folder):
    file = folder / "nothing" / "here"
    with pytest.raises(FileNotFoundError, match="nothing/here"):
        file.read_bytes()
    assert (folder / "nothing").entries() == []
    file.delete()


def test_a_deleted_file_is_gone(folder):
    (folder / "a").write_atomic(b"a")
    (folder / "a").delete()
    assert folder.entries() == []


def test_entries_are_files_of_that_folder_alone_in_order_of_name(folder):
    for name in ("b", "a", ".hidden"):
        (folder / name).write_atomic(name.encode())
    (folder / "below" / "c").write_atomic(b"c")
    entries = folder.entries()
    assert [entry.name for entry in entries] == ["a", "b"]
    assert all(entry.mtime_ns > 1.6e18 for entry in entries)


def test_a_writable_folder_is_left_empty_by_the_check(folder):
    folder.check_writable()
    assert folder.entries() == []


def test_a_place_below_a_file_is_not_writable(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        OSError, match=r"file/results: cannot be written .*give a place where you may write"
    ):
        Location.parse(str(tmp_path / "file" / "results")).check_writable()


def test_a_missing_bucket_is_not_writable(s3_bucket):
    with pytest.raises(
        OSError, match=r"s3://no-such-bucket/x: cannot be written .*bucket does not exist"
    ):
        Location.parse("s3://no-such-bucket/x").check_writable()


def test_writing_leaves_no_temporary_file_when_it_fails(tmp_path):
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="taken"):
        Location.parse(str(tmp_path / "taken")).write_atomic(b"a file cannot replace a folder")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_deleting_removes_what_a_killed_writer_left(tmp_path):
    for name in (".state.0123abcd.tmp", ".state.99999999.tmp", "state", ".state2.0123abcd.tmp"):
        (tmp_path / name).write_text("")
    long_ago = time.time() - 3600
    os.utime(tmp_path / ".state.0123abcd.tmp", (long_ago, long_ago))
    Location.parse(str(tmp_path / "state")).delete()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".state.99999999.tmp", ".state2.0123abcd.tmp"], (
        "another writer's and another file's stay"
    )


def test_files_are_readable_as_the_umask_says(tmp_path):
    before = os.umask(0o022)
    try:
        Location.parse(str(tmp_path / "shared")).write_atomic(b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o644


def test_paths_become_absolute_and_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(Location.parse("a/../results/")) == f"{tmp_path}/results"
    assert str(Location.parse("~/results")) == "/home/somebody/results"
    assert str(Location.parse("odd?name#1") / "x") == f"{tmp_path}/odd?name#1/x"


def test_addresses_keep_their_options_and_their_characters():
    location = Location.parse("s3://bucket/some#folder%20x/?region=eu-west-1&scheme=http")
    assert str(location / "trials" / "a.parquet") == (
        "s3://bucket/some#folder%20x/trials/a.parquet?region=eu-west-1&scheme=http"
    )
    assert location.name == "some#folder%20x"
    assert not location.is_local


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"'': a location is empty; give a folder, s3://bucket/folder or gs://"),
        ("  ", r"'  ': a location is empty"),
        ("ftp://host/x", r"ftp://host/x: not a location that is known; give a folder, s3://"),
        ("s3:///folder", r"s3:///folder: not a location that is known"),
        ("s3:bucket/folder", r"not a location that is known"),
        ("s3:/bucket/folder", r"not a location that is known"),
        (
            "s3://bucket/x?secret=1",
            r"s3://bucket/x: unknown option 'secret'; s3 takes region, scheme",
        ),
        ("gs://bucket/x?region=eu", r"gs://bucket/x: unknown option 'region'; gs takes scheme"),
    ],
)
def test_what_is_no_location_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Location.parse(text)


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_credentials_in_an_address_are_refused_and_not_repeated(scheme):
    with pytest.raises(
        ValueError, match=r"//bucket/x: the location contains credentials.*AWS_ACCESS_KEY_ID"
    ) as refusal:
        Location.parse(f"{scheme}://an-access-key:a-secret@bucket/x?region=eu")
    assert "secret" not in str(refusal.value).replace("AWS_SECRET_ACCESS_KEY", "")
    assert "an-access-key" not in str(refusal.value)


def _add_one_a_hundred_times(folder: str) -> None:
    location = Location.parse(folder)
    for _ in range(100):
        with location.locked():
            count = Path(folder, "count")
            count.write_text(str(int(count.read_text()) + 1))


@pytest.mark.slow
def test_one_process_at_a_time_holds_the_lock(tmp_path):
    (tmp_path / "count").write_text("0")
    spawn = multiprocessing.get_context("spawn")
    workers = [
        spawn.Process(target=_add_one_a_hundred_times, args=(str(tmp_path),)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "count").read_text() == "200"


def test_object_stores_have_no_lock_and_go_on_without(s3_bucket):
    location = Location.parse(f"{s3_bucket}/unlocked")
    with location.locked():
        (location / "a").write_atomic(b"a")
    assert [entry.name for entry in location.entries()] == ["a"]


def test_a_full_disk_is_told_with_the_file(tmp_path, monkeypatch):
    def fsync(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    file = tmp_path / "row.parquet"
    with pytest.raises(OSError, match=re.escape(f"No space left on device: '{file}'")):
        Location.parse(str(file)).write_atomic(b"row")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "is_passing"),
    [
        ("AWS Error UNKNOWN (HTTP status 500) during ListObjectsV2 operation", True),
        ("AWS Error NETWORK_CONNECTION during\nPutObject operation: curlCode: 56", True),
        ("google::cloud::Status(UNAVAILABLE: Retry policy exhausted)", True),
        ("AWS Error ACCESS_DENIED during PutObject operation: HTTP status 403", False),
        ("bucket does not exist", False),
    ],
)
def test_a_store_that_fails_is_told_apart_from_one_that_refuses(said, is_passing):
    def ask() -> None:
        raise OSError(said)

    with pytest.raises(OSError, match=r"s3://bucket/x: \w") as caught:
        Location.parse("s3://bucket/x")._asked(ask)
    assert storage.may_pass(caught.value) == is_passing
    assert str(caught.value).endswith("or try again later") == is_passing
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["errs", "refuses"])
def test_a_store_that_errs_is_told_within_half_a_minute(mode, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    with FailingWay("http://127.0.0.1:1") as way, way.failing(mode):
        began_s = time.monotonic()
        address = (
            f"s3://bucket/x?scheme=http&endpoint_override={way.address.removeprefix('http://')}"
        )
        with pytest.raises(storage.StoreFailedError, match=r"s3://bucket/x.* or try again later"):
            Location.parse(address).entries()
    assert time.monotonic() - began_s < 60


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.ESTALE])
def test_a_disk_that_is_full_or_fails_is_no_wrong_place(tmp_path, monkeypatch, number):
    def fsync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=re.escape(os.strerror(number))) as caught:
        Location.parse(str(tmp_path)).check_writable()
    assert caught.value.errno == number
    assert storage.may_pass(caught.value)


def test_a_call_that_waits_for_ever_is_left_behind_and_others_give_what_they_give(monkeypatch):
    monkeypatch.setattr(storage, "LEFT_WAITING", [])
    done = threading.Event()
    assert storage.interruptible(lambda: 5) == 5
    with pytest.raises(FileNotFoundError, match="gone"):
        storage.interruptible(lambda: Path("/gone").read_text(), 9)
    assert storage.LEFT_WAITING == []
    with pytest.raises(TimeoutError):
        storage.interruptible(done.wait, 0.01)
    done.set()
    assert storage.LEFT_WAITING == [1]
