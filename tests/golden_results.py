"""Results of real sweeps as test data: for each schema version, one small Parquet file a table.

    python -m tests.golden_results pack RESULTS NAME      # makes tests/golden/NAME
    python -m tests.golden_results unpack NAME RESULTS    # the other way

packs the results of a sweep that this version of sparsweep ran; files of earlier versions beside
them are left out, since they are packed already. `paper-mini` (schema version 3) came from
`make paper-mini`, `paper-mini-6` and `paper-mini-7`, the trials of one run, too, and `results/v1`
to `results/v6` from the versions before; what each holds is in results/README.md. They stay as they
are: later versions must read them.
A sweep goes on from results that are unpacked where it looks for its own, one after another.

Before the schema version rises, run `results/tiny.yaml` or a variant of it with the version that
there is, pack it as `results/v<version>`, and name it in test_old_results.py and the README.

Names of folders and machines are taken out, on which no identity depends, and so are the words of
sentences of a corpus in a folder: it is not ours to hand on, and words decide nothing but which
sentences are the same (there all of one length). Tests lay the files out as a results location
again, since readers trust only trials that have files of their own.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

GOLDEN = Path(__file__).parent / "golden"
PLACES = {
    "corpus_path": "wikiann",
    "model_name": "multilingual-e5-small",
    "provenance_host": "machine",
    "provenance_platform": "Linux",
}
BUILTIN = "builtin:"
"""Start of the names of models that are no places."""
WORD = "·"
"""In place of each word."""
KEYS = {"attempts": "attempt_id", "plans": "sweep", "sentences": "set_id"}
"""Columns that the files of a table are named for; of all other tables `trial_id`."""


def pack(results: Path, golden: Path) -> None:
    """Write the golden files from the files of single trials in a local folder.

    The files are taken as they are, whichever version wrote them: nothing of sparsweep is asked.
    """
    golden.mkdir(parents=True, exist_ok=True)
    newest = max(map(_version, (results / "trials").glob("*.parquet")))
    trials = _read_all(results / "trials", newest)
    names = {
        real: shown
        for column, shown in PLACES.items()
        for real in trials[column].unique().to_pylist()
        if real and not real.startswith(BUILTIN)
    }
    names[str(results.absolute())] = "results"
    has_words_of_others = any(trials["corpus_path"].to_pylist())
    for folder in _tables(results, newest):
        rows = _without_traces(without_names(_read_all(folder, newest), names))
        if folder.name == "sentences" and has_words_of_others:
            words = [[WORD] * len(tokens) for tokens in rows["tokens"].to_pylist()]
            position = rows.schema.get_field_index("tokens")
            column = rows.schema.field(position)
            rows = rows.set_column(position, column, pa.array(words, column.type))
        pq.write_table(rows, golden / f"{folder.name}.parquet", compression="zstd")
    if trials.num_rows < sum(1 for _ in (results / "trials").glob("*.parquet")):
        return  # compact files hold what earlier versions wrote, too
    for file in sorted((results / "compact").glob("*.parquet")):
        (golden / "compact").mkdir(exist_ok=True)
        rows = _without_traces(without_names(pq.read_table(file), names))
        _write(golden / "compact" / file.name, rows, _footer(file))


def without_names(rows: pa.Table, names: dict[str, str]) -> pa.Table:
    """The rows with other names for folders and machines, also inside texts."""
    for position, field in enumerate(rows.schema):
        if field.type == pa.string():
            column = rows[field.name]
            for real, shown in names.items():
                column = pc.replace_substring(column, real, shown)
            rows = rows.set_column(position, field, column)
    return rows


def _without_traces(rows: pa.Table) -> pa.Table:
    """The rows without Python's tracebacks, which name files of a machine."""
    if "error_traceback" not in rows.column_names:
        return rows
    position = rows.schema.get_field_index("error_traceback")
    return rows.set_column(
        position, rows.schema.field(position), pa.nulls(rows.num_rows, pa.string())
    )


def unpack(folder: Path, golden: str = "paper-mini", tables: Iterable[str] = ()) -> Path:
    """Lay golden files out as a results location, with files of the version that they are of.

    Args:
        folder: the location; other files there stay.
        golden: which of the golden folders.
        tables: those wanted; all when there are none.

    Returns:
        The location.
    """
    trials = pq.read_table(GOLDEN / golden / "trials.parquet", columns=["trial_id", "status"])
    completed = trials.filter(pc.equal(trials["status"], "completed"))["trial_id"].to_pylist()
    for file in sorted((GOLDEN / golden).glob("*.parquet")):
        if tables and file.stem not in tables:
            continue
        rows = pq.read_table(file)
        footer = _footer(file)
        footer.pop(b"sparsweep.columns", None)
        (folder / file.stem).mkdir(parents=True, exist_ok=True)
        keys = rows[KEYS.get(file.stem, "trial_id")]
        # A trial that was not perturbed has a file, too, without rows.
        without = [] if file.stem in KEYS else completed
        for key in dict.fromkeys([*keys.unique().to_pylist(), *without]):
            of_key = rows.filter(pc.equal(keys, key)).replace_schema_metadata(None)
            _write(folder / file.stem / f"{key}.parquet", of_key, footer)
    # Last: compact files are newer than what they were made of.
    for file in sorted((GOLDEN / golden / "compact").glob("*.parquet")):
        if not tables or file.stem in tables:
            (folder / "compact").mkdir(exist_ok=True)
            (folder / "compact" / file.name).write_bytes(file.read_bytes())
    return folder


def _tables(results: Path, version: int) -> list[Path]:
    return sorted(
        folder
        for folder in results.iterdir()
        if folder.name != "compact" and _files(folder, version)
    )


def _files(folder: Path, version: int) -> list[Path]:
    return [file for file in sorted(folder.glob("*.parquet")) if _version(file) == version]


def _read_all(folder: Path, version: int) -> pa.Table:
    """The rows of all files of a table and version, with the keys of sparsweep that their footers
    share."""
    files = _files(folder, version)
    rows = pa.concat_tables(
        [pq.ParquetFile(file).read() for file in files], promote_options="default"
    )
    return rows.replace_schema_metadata(_footer(files[0]))


def _version(file: Path) -> int:
    return int(_footer(file)[b"sparsweep.schema_version"])


def _footer(file: Path) -> dict[bytes, bytes]:
    """What sparsweep says in a file of itself."""
    footer = pq.read_metadata(file).metadata
    return {key: value for key, value in footer.items() if key.startswith(b"sparsweep.")}


def _write(file: Path, rows: pa.Table, footer: dict[bytes, bytes]) -> None:
    options = {"compression": "zstd", "write_page_checksum": True, "store_schema": False}
    with pq.ParquetWriter(file, rows.schema, **options) as writer:
        writer.write_table(rows)
        writer.add_key_value_metadata(footer)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["pack", results, name]:
            pack(Path(results), GOLDEN / name)
        case ["unpack", name, results]:
            unpack(Path(results), name)
        case _:
            sys.exit(__doc__)
