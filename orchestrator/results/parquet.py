"""Tables to the bytes of a Parquet file and back, with the checks that make a foreign or damaged
file an error.

Files of one trial are many and small: they carry the schema's version and little else. Compact
files are few and read by analysts: they carry unit and meaning of each column, for pyarrow as
metadata of the field, for everyone else as JSON in the footer (DuckDB: `select * from
parquet_kv_metadata('trials.parquet')`).
"""

import io
import json
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.errors import StoreError
from orchestrator.results.columns import Table
from orchestrator.results.schema import SCHEMA_VERSION

VERSION_KEY, TABLE_KEY, COLUMNS_KEY = (
    "sparsweep.schema_version",
    "sparsweep.table",
    "sparsweep.columns",
)


def encode_small(table: Table, rows: pa.Table) -> bytes:
    """The file of one trial. Without statistics, dictionaries and documentation it is five times
    smaller and faster."""
    return _write(
        rows.schema,
        [rows],
        _footer(table),
        use_dictionary=rows.num_rows > 1,
        write_statistics=False,
        store_schema=False,
    )


def encode_compact(table: Table, rows: pa.Table) -> bytes:
    """The file of all trials, with its documentation. Equal rows give equal bytes."""
    return encode_compact_parts(table, [rows.combine_chunks()])


def encode_compact_parts(table: Table, parts: Iterable[pa.Table]) -> bytes:
    """`encode_compact` of these rows, one row group a part."""
    columns = {
        column.name: {"unit": column.unit, "meaning": column.meaning} for column in table.columns
    }
    return _write(table.arrow_schema, parts, _footer(table) | {COLUMNS_KEY: json.dumps(columns)})


def decode(
    table: Table, data: bytes, where: object, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read what `encode_small` or `encode_compact` wrote.

    Args:
        table: what the file should hold.
        data: the whole file.
        where: its location, for messages.
        columns: the columns wanted; all when None.

    Raises:
        StoreError: it is not Parquet, is damaged, or is of another version or table.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        _check_footer(table, file.metadata.metadata or {}, where)
        rows = file.read(columns, use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:  # OSError: pyarrow's word for damaged pages
        reason = " ".join(str(error).split())
        raise StoreError(f"{where}: cannot be read as Parquet ({reason})") from error
    wanted = table.subset(columns)
    if rows.schema.equals(wanted):
        return rows
    for field in wanted:  # pyarrow returns what there is and leaves out the rest
        if field.name not in rows.schema.names or rows.schema.field(field.name) != field:
            raise StoreError(f"{where}: column {field.name} is missing or not {field.type}")
    return rows.select(wanted.names)


def _footer(table: Table) -> dict[str, str]:
    return {VERSION_KEY: str(SCHEMA_VERSION), TABLE_KEY: table.name}


def _check_footer(table: Table, footer: dict[bytes, bytes], where: object) -> None:
    version, name = (footer.get(key.encode(), b"none").decode() for key in (VERSION_KEY, TABLE_KEY))
    if version != str(SCHEMA_VERSION):
        raise StoreError(
            f"{where}: results of schema version {version}, this sparsweep knows {SCHEMA_VERSION}; "
            "use the sparsweep that wrote them, or another results location"
        )
    if name != table.name:
        raise StoreError(
            f"{where}: holds the table {name}, {table.name} belongs there; delete it, then run again"
        )


def _write(
    schema: pa.Schema, parts: Iterable[pa.Table], footer: dict[str, str], **options: bool
) -> bytes:
    buffer = io.BytesIO()
    with pq.ParquetWriter(
        buffer, schema, compression="zstd", write_page_checksum=True, **options
    ) as writer:
        for rows in parts:
            writer.write_table(rows)
        writer.add_key_value_metadata(footer)
    return buffer.getvalue()
