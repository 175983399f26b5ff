"""The tables: every column has a type and a meaning, and their description is that on file."""

import io
import json
import math
from dataclasses import fields, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.analysis.tables import AGGREGATES, ANALYSES, POWER
from orchestrator.errors import StoreError
from orchestrator.results.columns import TIME, Table
from orchestrator.results.parquet import decode, encode_compact, encode_small
from orchestrator.results.schema import (
    CURVES,
    NO_COLUMNS,
    SCHEMA_VERSION,
    SCORES,
    TABLES,
    TRIALS,
    describe,
)
from orchestrator.results.store import ResultStore
from tests.factories import make_circumstances, make_score, make_trial_result, make_trial_spec
from workers.trial import SECTIONS

GOLDEN = Path(__file__).parents[2] / "golden" / "results_schema.md"
POINT = {
    "trial_id": "0123456789abcdef",
    "regime": "monolingual",
    "language": "sw",
    "target_sparsity": 0.5,
    "embedding_sparsity": 0.0,
    "seed": 0,
    "step": 10,
    "loss": 1.5,
    "lr": 2e-5,
    "sparsity": 0.25,
    "grad_norm": 3.0,
}


def test_files_of_a_few_rows_are_written_by_the_codec_that_starts_faster():
    for number, codec in ((1, "SNAPPY"), (3000, "ZSTD")):
        rows = CURVES.build([POINT] * number)
        data = encode_small(CURVES, rows)
        assert pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0).compression == codec
        assert decode(CURVES, data, "here").rows == rows


def test_description_is_the_golden_file():
    described = describe([*TABLES.values(), AGGREGATES, *ANALYSES.values(), POWER])
    remedy = f"if the change is meant: sparsweep schema --results > {GOLDEN}"
    assert described == GOLDEN.read_text(), remedy


@pytest.mark.parametrize("table", [*TABLES.values(), AGGREGATES], ids=lambda table: table.name)
def test_every_column_has_a_meaning_and_is_listed_once(table):
    assert [column.name for column in table.columns if not column.meaning] == []
    assert len({column.name for column in table.columns}) == len(table.columns)
    assert {table.key, *table.sort_by} <= {column.name for column in table.columns}


def test_every_setting_of_a_trial_is_a_column_or_said_to_have_none():
    settings = {
        f"{name}_{field.name}" for name, section in SECTIONS.items() for field in fields(section)
    }
    columns = {*TRIALS.arrow_schema.names, *(f"pruning_{name}" for name in NO_COLUMNS)}
    assert settings - columns == {"robustness_pools"}


def test_types_and_nulls_of_settings_follow_from_the_trial_and_meanings_from_the_sweep_file():
    columns = {column.name: column for column in TRIALS.columns}
    assert (columns["corpus_seed"].type, columns["corpus_seed"].is_nullable) == (pa.int64(), True)
    assert (columns["training_lr"].type, columns["training_lr"].is_nullable) == (
        pa.float64(),
        False,
    )
    assert columns["evaluation_splits"].type == pa.list_(pa.string())
    assert columns["training_lr"].meaning == "Peak learning rate."
    assert (columns["pruning_begin"].unit, columns["pruning_begin"].is_nullable) == (
        "fraction",
        True,
    )
    assert columns["subwords_per_s"].unit == "1/s"


@pytest.mark.parametrize("encode", [encode_small, encode_compact])
def test_rows_read_back_equal(encode):
    rows = CURVES.build([POINT, POINT | {"step": 20}])
    assert decode(CURVES, encode(CURVES, rows), "here").rows.to_pylist() == rows.to_pylist()


def test_columns_come_in_the_order_asked_for():
    data = encode_small(CURVES, CURVES.build([POINT]))
    assert decode(CURVES, data, "here", ["loss", "step"]).rows.to_pydict() == {
        "loss": [1.5],
        "step": [10],
    }


def test_compact_files_explain_each_column_to_pyarrow_and_in_the_footer(tmp_path):
    (tmp_path / "curves.parquet").write_bytes(encode_compact(CURVES, CURVES.build([POINT])))
    file = pq.ParquetFile(tmp_path / "curves.parquet")
    assert file.schema_arrow.field("sparsity").metadata[b"unit"] == b"fraction"
    assert file.schema_arrow.field("lr").metadata[b"meaning"] == b"Learning rate of the step."
    footer = file.metadata.metadata
    assert footer[b"sparsweep.schema_version"] == str(SCHEMA_VERSION).encode()
    assert json.loads(footer[b"sparsweep.columns"])["lr"] == {
        "unit": "",
        "meaning": "Learning rate of the step.",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"loss": math.nan},
            r"curves\.loss: nan is not stored; give a finite number, or null for not measured",
        ),
        ({"grad_norm": math.inf}, r"curves\.grad_norm: inf is not stored; give a finite number"),
        ({"lr": None}, r"curves\.lr: null; every row needs a value"),
        ({"step": 1.5}, r"curves\.step: 1\.5 is not a whole number, .*; give an integer"),
        ({"step": "ten"}, r"curves: .*'ten'.*see its columns in"),
        ({"seed": 2**63}, r"curves: .*see its columns in"),
        ({"accuracy": 1.0}, r"curves: accuracy: column missing or unknown; its columns are in"),
    ],
)
def test_rows_that_do_not_fit_are_refused(change, message):
    with pytest.raises(StoreError, match=message):
        CURVES.build([POINT, POINT | change])


def test_a_row_without_a_column_is_refused():
    with pytest.raises(StoreError, match="curves: loss: column missing or unknown"):
        CURVES.build([{name: value for name, value in POINT.items() if name != "loss"}])


def test_null_stands_where_a_score_is_not_defined():
    row = {
        name: POINT[name]
        for name in ("trial_id", "regime", "target_sparsity", "embedding_sparsity", "seed")
    }
    score = make_score(precision=None, f1=0.0, num_predicted=0, num_correct=0)
    row |= {"matching": "strict", "is_zero_shot": False}
    assert SCORES.build([row | vars(score)])["precision"].to_pylist() == [None]


def _with_footer(version: str, table: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, CURVES.arrow_schema) as writer:
        writer.write_table(CURVES.build([POINT]))
        writer.add_key_value_metadata(
            {"sparsweep.schema_version": version, "sparsweep.table": table}
        )
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"language,f1\nsw,0.5\n", r"here: cannot be read as Parquet"),
        (b"", r"here: cannot be read as Parquet"),
        (
            _with_footer("0", "curves"),
            r"here: is no file of sparsweep: its schema version is 0",
        ),
        (
            _with_footer(str(SCHEMA_VERSION), "layers"),
            r"here: holds the table layers, curves belongs there",
        ),
    ],
)
def test_files_that_are_not_of_the_table_are_refused(data, message):
    with pytest.raises(StoreError, match=message):
        decode(CURVES, data, "here")


def test_a_parquet_file_of_others_is_refused(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    with pytest.raises(
        StoreError, match="is no file of sparsweep: its schema version is not there"
    ):
        decode(CURVES, (tmp_path / "a.parquet").read_bytes(), "here")


def test_a_flipped_bit_is_noticed():
    data = bytearray(encode_small(CURVES, CURVES.build([POINT] * 100)))
    data[60] ^= 1
    with pytest.raises(StoreError, match="here: cannot be read as Parquet"):
        decode(CURVES, bytes(data), "here")


def _other_curves(name: str, kind: pa.DataType) -> Table:
    """The table with one column of another type."""
    columns = tuple(
        replace(column, type=kind) if column.name == name else column for column in CURVES.columns
    )
    return replace(CURVES, columns=columns)


def test_a_column_of_another_type_is_refused():
    other = _other_curves("step", pa.float64())
    data = encode_small(other, other.build([POINT]))
    with pytest.raises(StoreError, match="here: column step is missing or not int64"):
        decode(CURVES, data, "here")


def test_a_time_that_python_does_not_have_is_refused():
    rows = CURVES.build([POINT])
    place = rows.schema.get_field_index("step")
    times = pa.array([2**62], pa.int64()).cast(TIME)
    data = encode_small(CURVES, rows.set_column(place, "step", times))
    with pytest.raises(StoreError, match=rf"here: cannot be read as Parquet \(the time {2**62} us"):
        decode(CURVES, data, "here")


def test_a_missing_column_is_refused_even_when_others_are_asked_for():
    fewer = replace(
        CURVES, columns=tuple(column for column in CURVES.columns if column.name != "loss")
    )
    data = encode_small(
        fewer, fewer.build([{name: POINT[name] for name in POINT if name != "loss"}])
    )
    with pytest.raises(StoreError, match="here: column loss is missing or not double"):
        decode(CURVES, data, "here", ["step", "loss"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"provenance": {"user": "me"}},
            r"provenance: unknown key user; known are commit, is_dirty, sparsweep",
        ),
        (
            {"started_at": make_circumstances()["ended_at"].replace(tzinfo=None)},
            r"started_at: 2026-.* has no time zone",
        ),
    ],
)
def test_circumstances_that_have_no_column_are_refused(tmp_path, change, message):
    store = ResultStore(str(tmp_path))
    with pytest.raises(StoreError, match=message):
        store.commit_completed(
            make_trial_spec(), make_trial_result(), **make_circumstances(**change)
        )
    assert store.statuses() == {}
