"""Rows that figures are drawn from."""

import pandas as pd
import pyarrow as pa
import pytest

from orchestrator.errors import StoreError
from orchestrator.report.material import read_material, to_frame
from orchestrator.results.store import ResultStore


def test_tables_say_of_which_series_they_are(material):
    quality = material.table("quality")
    assert set(quality["series"]) == {"monolingual", "multilingual"}
    assert len(quality) == 2 * 2 * (1 + 2 * 2)


def test_a_frame_is_of_whoever_asks(material):
    material.table("quality").insert(0, "own", 1)
    assert "own" not in material.table("quality")


def test_columns_mean_what_the_first_table_says(material):
    alone = {name: material.meanings([name])["num_trials"] for name in ("groups", "worst")}
    assert alone["groups"] != alone["worst"]
    assert material.meanings(["groups", "worst"])["num_trials"] == alone["groups"]
    assert material.meanings(["worst", "groups"])["num_trials"] == alone["worst"]


def test_stored_rows_are_read_once(material):
    first = material.read("trials", ("trial_id", "status"))
    assert first is material.read("trials", ("trial_id", "status"))
    assert set(first["status"]) == {"completed"}


def test_whole_numbers_stay_whole_beside_null():
    frame = to_frame(pa.table({"number": pa.array([1, None], pa.int64())}))
    assert frame["number"].tolist() == [1, pd.NA]


def test_a_folder_without_anything_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no trials, run or planned"):
        read_material(ResultStore(str(tmp_path)), {"quality"})
