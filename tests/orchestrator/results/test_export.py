"""Tables written to files that somebody names."""

import errno
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import StoreError
from orchestrator.results.columns import REAL, TEXT, Column, Table
from orchestrator.results.export import write_csv, write_parquet

TABLE = Table(
    "means",
    "One row a language.",
    key="language",
    sort_by=("language",),
    columns=(
        Column("language", TEXT, "The language's code."),
        Column("f1", REAL, "Mean F1.", True, "fraction"),
    ),
)
ROWS = TABLE.build([{"language": "sw", "f1": 1 / 3}, {"language": "yo", "f1": None}])


def test_csv_has_all_digits_and_leaves_null_empty(tmp_path):
    write_csv(ROWS, str(tmp_path / "new" / "means.csv"))
    written = (tmp_path / "new" / "means.csv").read_text()
    assert written == '"language","f1"\n"sw",0.3333333333333333\n"yo",\n'


def test_parquet_says_what_each_column_means(tmp_path):
    file = write_parquet(TABLE, ROWS, str(tmp_path), "means.parquet")
    assert str(file) == str(tmp_path / "means.parquet")
    rows = pq.read_table(str(file))
    assert rows.equals(ROWS)
    assert rows.schema.field("f1").metadata == {b"unit": b"fraction", b"meaning": b"Mean F1."}


@pytest.mark.parametrize("name", [None, "means.csv"])
def test_a_path_that_cannot_be_written_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("")
    path = str(tmp_path / "file" / "x")
    what = "folder" if name else "path"
    message = rf"file/x(/means\.csv)?: cannot be written .*give a {what} where you may write"
    with pytest.raises(StoreError, match=message):
        write_csv(pa.table({"a": [1]}), path, name)


def test_what_is_no_path_is_refused():
    with pytest.raises(StoreError, match=r"hdfs://x/y: cannot be written .*not a location"):
        write_csv(pa.table({"a": [1]}), "hdfs://x/y")


def test_a_full_disk_is_no_wrong_path(tmp_path, monkeypatch):
    def fsync(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/means.csv'"):
        write_csv(ROWS, str(tmp_path), "means.csv")
