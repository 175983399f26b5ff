"""Files for people: tables as CSV and Parquet, and pages, at a path or an address that somebody
gave."""

import io

import pyarrow as pa
import pyarrow.csv

from orchestrator.errors import StoreError
from orchestrator.results.columns import Table
from orchestrator.results.parquet import encode_compact
from workers.storage import Location, may_pass


def write_csv(rows: pa.Table, path: str, name: str | None = None) -> Location:
    """Write rows as CSV with all their digits; null is an empty field.

    Args:
        rows: the rows, with a header line of their column names.
        path: a file, or the folder for `name`, on this machine or in an object store; folders are
            made.
        name: name of the file in that folder; None when `path` is the file.

    Returns:
        Where the file is.

    Raises:
        StoreError: it cannot be written there.
        OSError: the disk is full.
    """
    buffer = io.BytesIO()
    pyarrow.csv.write_csv(rows, buffer)
    return write_bytes(buffer.getvalue(), path, name)


def write_parquet(table: Table, rows: pa.Table, path: str, name: str | None = None) -> Location:
    """Write rows of a table as Parquet, with unit and meaning of each column in the file.

    Args:
        table: the table; its columns are those of `rows`.
        rows: the rows.
        path: a file, or the folder for `name`, on this machine or in an object store; folders are
            made.
        name: name of the file in that folder; None when `path` is the file.

    Returns:
        Where the file is.

    Raises:
        StoreError: it cannot be written there.
        OSError: the disk is full or fails.
    """
    return write_bytes(encode_compact(table, rows), path, name)


def write_text(text: str, path: str) -> Location:
    """Write a text, such as a page, as UTF-8.

    Args:
        text: the text.
        path: a file on this machine or in an object store; folders are made.

    Returns:
        Where the file is.

    Raises:
        StoreError: it cannot be written there.
        OSError: the disk is full or fails.
    """
    return write_bytes(text.encode(), path)


def write_bytes(data: bytes, path: str, name: str | None = None) -> Location:
    """Write a file, such as a picture.

    Args:
        data: what is in it.
        path: a file, or the folder for `name`, on this machine or in an object store; folders are
            made.
        name: name of the file in that folder; None when `path` is the file.

    Returns:
        Where the file is.

    Raises:
        StoreError: it cannot be written there.
        OSError: the disk is full or fails.
    """
    try:
        file = Location.parse(path)
        file = file / name if name else file
        file.write_atomic(data)
    except (OSError, ValueError) as error:
        if may_pass(error):
            raise  # the place is right, and says so
        where = f"{path}/{name}" if name else path
        kind = "folder" if name else "path"
        reason = " ".join(str(error).split())
        message = f"{where}: cannot be written ({reason}); give a {kind} where you may write"
        raise StoreError(message) from error
    return file
