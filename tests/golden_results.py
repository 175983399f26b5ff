"""Results of a real sweep (`make paper-mini`) as test data: one small Parquet file a table.

    python -m tests.golden_results RESULTS      # replaces tests/golden/paper-mini

Names of folders and machines are taken out, on which no identity depends, and so are the words of
the sentences: the corpus is not ours to hand on, and no analysis reads words. Tests lay the files
out as a results location again, since readers trust only trials that have files of their own.
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.results.parquet import decode, encode_compact, encode_small
from orchestrator.results.schema import TABLES
from orchestrator.results.store import ResultStore
from orchestrator.results.table_files import TableFiles
from workers.storage import Location

GOLDEN = Path(__file__).parent / "golden" / "paper-mini"
PLACES = {
    "corpus_path": "wikiann",
    "model_name": "multilingual-e5-small",
    "provenance_host": "machine",
    "provenance_platform": "Linux",
}
WORD = "·"
"""In place of each word."""


def pack(results: str) -> None:
    """Write the golden files from results."""
    store = ResultStore(results)
    GOLDEN.mkdir(exist_ok=True)
    trials = store.read("trials", list(PLACES))
    names = {
        real: PLACES[column]
        for column in PLACES
        for real in pc.unique(trials[column]).to_pylist()
        if real
    }
    names[str(store.location)] = "results"
    for name, table in TABLES.items():
        rows = without_names(store.read(name), names)
        if name == "sentences":
            words = [[WORD] * len(tokens) for tokens in rows["tokens"].to_pylist()]
            position = rows.schema.get_field_index("tokens")
            rows = rows.set_column(
                position,
                rows.schema.field(position),
                pa.array(words, rows.schema.field(position).type),
            )
        (GOLDEN / f"{name}.parquet").write_bytes(encode_compact(table, rows))


def without_names(rows: pa.Table, names: dict[str, str]) -> pa.Table:
    """The rows with other names for folders and machines, also inside texts."""
    for position, field in enumerate(rows.schema):
        if field.type == pa.string():
            column = rows[field.name]
            for real, shown in names.items():
                column = pc.replace_substring(column, real, shown)
            rows = rows.set_column(position, field, column)
    return rows


def unpack(folder: Path) -> Path:
    """Lay the golden files out as a results location in `folder`."""
    files = TableFiles(Location.parse(str(folder)))
    for name, table in TABLES.items():
        data = (GOLDEN / f"{name}.parquet").read_bytes()
        rows = decode(table, data, name)
        for key in pc.unique(rows[table.key]).to_pylist():
            of_key = rows.filter(pc.equal(rows[table.key], key))
            files.path(name, key).write_atomic(encode_small(table, of_key))
    return folder


if __name__ == "__main__":
    pack(sys.argv[1])
