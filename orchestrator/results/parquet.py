"""Tables to the bytes of a Parquet file and back, with the checks that make a foreign or damaged
file an error.

Files of one trial are many and small: they carry the schema's version and little else. Compact
files are few and read by analysts: they carry unit and meaning of each column, for pyarrow as
metadata of the field, for everyone else as JSON in the footer (DuckDB: `select * from
parquet_kv_metadata('trials.parquet')`).
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.errors import StoreError
from orchestrator.provenance import package_version
from orchestrator.results.columns import Table
from orchestrator.results.schema import SCHEMA_VERSION
from orchestrator.results.versions import columns_to_read
from workers.storage import PARQUET_DAMAGE

VERSION_KEY = "sparsweep.schema_version"
TABLE_KEY = "sparsweep.table"
COLUMNS_KEY = "sparsweep.columns"
WRITER_KEY = "sparsweep.version"
"""Version of the sparsweep that wrote the file; files before schema version 4 do not say."""
SUPERSEDED_KEY = "sparsweep.superseded"
"""In compact files, see `Stored.superseded`."""

UNKNOWN = "unknown"

ZSTD_FROM_BYTES = 32 * 2**10
"""Rows in memory from which on zstd is worth its start in each column: below it, Snappy's files
are of about the same size, and are written 1.7 times and read 1.8 times as fast."""


class NewerVersionError(StoreError):
    """A file was written by a later version, which deleting it would not mend."""


@dataclass(frozen=True)
class Stored:
    """What a file holds, as the version that wrote it put it.

    Attributes:
        version: the schema version of the file.
        rows: its rows with columns of that version.
        superseded: of a compact file: keys of files whose trial another file has, too, and which
            are not among the rows; with the key of that other file.
    """

    version: int
    rows: pa.Table
    superseded: dict[str, str] = field(default_factory=dict)


def encode_small(table: Table, rows: pa.Table) -> bytes:
    """The file of one trial, with all columns of the table.

    Without statistics, dictionaries and documentation it is five times smaller and faster.
    """
    return _write(
        rows.schema,
        [rows],
        _footer(table),
        compression="snappy" if rows.nbytes < ZSTD_FROM_BYTES else "zstd",
        use_dictionary=rows.num_rows > 1,
        write_statistics=False,
        store_schema=False,
    )


def encode_compact(
    table: Table, rows: pa.Table, superseded: Mapping[str, str] | None = None
) -> bytes:
    """The file of all trials, with its documentation. Equal rows give equal bytes.

    Args:
        table: what the rows are of.
        rows: with all columns of the table.
        superseded: see `Stored`.
    """
    return encode_compact_parts(table, [rows.combine_chunks()], superseded)


def encode_compact_parts(
    table: Table, parts: Iterable[pa.Table], superseded: Mapping[str, str] | None = None
) -> bytes:
    """`encode_compact` of these rows, one row group a part."""
    columns = {
        column.name: {"unit": column.unit, "meaning": column.meaning} for column in table.columns
    }
    footer = _footer(table) | {COLUMNS_KEY: json.dumps(columns)}
    if superseded:
        footer[SUPERSEDED_KEY] = json.dumps(superseded, sort_keys=True)
    return _write(table.arrow_schema, parts, footer)


def decode(
    table: Table, data: bytes, where: object, columns: Sequence[str] | None = None
) -> Stored:
    """Read what `encode_small` or `encode_compact` wrote, in this or an earlier version.

    Args:
        table: what the file should hold.
        data: the whole file.
        where: its location, for messages.
        columns: today's columns that are wanted; all when None.

    Returns:
        Rows of today's version with exactly these columns in this order; of an earlier one with
        those that `versions.upgrade` needs to make them.

    Raises:
        StoreError: it is not Parquet, is damaged, or is of a later version or another table.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        footer = {
            key.decode(errors="replace"): value.decode(errors="replace")
            for key, value in (file.metadata.metadata or {}).items()
        }
        version = _check_footer(table, footer, where)
        if version == SCHEMA_VERSION:
            read = None if columns is None else list(columns)
        else:
            wanted = None if columns is None else list(columns)
            read = columns_to_read(table.name, wanted, file.schema_arrow.names)
        rows = file.read(read, use_threads=False)
        rows.validate(full=True)  # also that texts are UTF-8
        _refuse_impossible_times(rows)
        if version == SCHEMA_VERSION:
            rows = _checked(rows, table.subset(columns), where)
        superseded = json.loads(footer.get(SUPERSEDED_KEY, "{}"))
    except (pa.ArrowException, *PARQUET_DAMAGE) as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"{where}: cannot be read as Parquet ({reason})") from error
    return Stored(version, rows, superseded)


def _refuse_impossible_times(rows: pa.Table) -> None:
    """Raises ValueError for times before the year 1 or after 9999, which Python does not have."""
    for column in rows.columns:
        if pa.types.is_timestamp(column.type):
            for bound in pc.min_max(column).values():
                try:
                    bound.as_py()
                except OverflowError as error:
                    raise ValueError(f"the time {bound.value} {column.type.unit}") from error


def _checked(rows: pa.Table, wanted: pa.Schema, where: object) -> pa.Table:
    """The rows with these columns in their order, which are all there in a file of today."""
    if rows.schema.equals(wanted):
        return rows
    for column in wanted:  # pyarrow returns what there is and leaves out the rest
        if column.name not in rows.schema.names or rows.schema.field(column.name) != column:
            raise StoreError(f"{where}: column {column.name} is missing or not {column.type}")
    return rows.select(wanted.names)


def _footer(table: Table) -> dict[str, str]:
    writer = package_version("sparsweep") or UNKNOWN
    return {VERSION_KEY: str(SCHEMA_VERSION), WRITER_KEY: writer, TABLE_KEY: table.name}


def _check_footer(table: Table, footer: Mapping[str, str], where: object) -> int:
    """The schema version of a file that holds rows of the table."""
    version, name = footer.get(VERSION_KEY), footer.get(TABLE_KEY)
    if version is None or not version.isdecimal() or int(version) == 0:
        raise StoreError(
            f"{where}: is no file of sparsweep: its schema version is {version or 'not there'}"
        )
    if int(version) > SCHEMA_VERSION:
        writer = footer.get(WRITER_KEY, UNKNOWN)
        needed = "a newer sparsweep" if writer == UNKNOWN else f"sparsweep {writer} or a newer one"
        raise NewerVersionError(
            f"{where}: has schema version {version}, written by sparsweep {writer}; this one reads "
            f"versions 1 to {SCHEMA_VERSION}, {needed} reads it: use that, or other results"
        )
    if name != table.name:
        raise StoreError(f"{where}: holds the table {name}, {table.name} belongs there")
    return int(version)


def _write(
    schema: pa.Schema,
    parts: Iterable[pa.Table],
    footer: dict[str, str],
    compression: str = "zstd",
    **options: bool,
) -> bytes:
    buffer = io.BytesIO()
    with pq.ParquetWriter(
        buffer, schema, compression=compression, write_page_checksum=True, **options
    ) as writer:
        for rows in parts:
            writer.write_table(rows)
        writer.add_key_value_metadata(footer)
    return buffer.getvalue()
