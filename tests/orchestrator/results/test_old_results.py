"""Results that earlier versions wrote, as files in tests/golden: every version reads them."""

import json
import shutil
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import StoreError
from orchestrator.results.schema import CHILD_TABLES, TABLES
from orchestrator.results.store import ResultStore
from orchestrator.results.versions import add_settings_as_before, upgrade_spec
from tests.factories import make_trial_result, make_trial_spec
from tests.golden_results import GOLDEN, unpack
from tests.orchestrator.cli.command import run
from tests.orchestrator.results.committing import commit, fail
from workers.trial import TrialSpec

pytestmark = pytest.mark.slow  # it reads all that every version wrote, time and again

TINY = str(GOLDEN / "results" / "tiny.yaml")
NUM_ROWS = {
    "results/v1": (6, 40, 0, 0, 0, 5, 61, 0, 6, 4),
    "results/v2": (7, 48, 0, 0, 0, 6, 74, 0, 7, 7),
    "results/v3": (7, 144, 30, 48, 8, 6, 74, 0, 7, 7),
    "results/v4": (7, 144, 30, 48, 8, 6, 74, 0, 7, 7),
    "results/v5": (8, 84, 35, 56, 8, 7, 86, 0, 8, 8),
    "results/v6": (9, 132, 40, 72, 16, 8, 98, 8, 9, 9),
    "results/v1 results/v2 results/v3": (15, 200, 30, 48, 8, 13, 161, 0, 20, 9),
    "results/v3 results/v4": (14, 288, 60, 96, 8, 12, 148, 0, 14, 7),
    "paper-mini-6": (47, 564, 561, 19000, 1700, 1410, 3384, 47, 49, 72),
    "paper-mini-6 paper-mini-7": (201, 3672, 2898, 86700, 1700, 6240, 14535, 306, 208, 219),
    "paper-mini": (89, 1908, 1824, 38050, 1700, 768, 6446, 0, 95, 147),
}
"""Rows of each table in the order of `TABLES`, by the golden folders that lie in one location."""
SMALL = [names for names in NUM_ROWS if not names.startswith("paper-mini")]
ALL = list(NUM_ROWS)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """From the names of golden folders to a location with their files, which stays as it is."""

    @cache
    def unpack_once(names: str) -> Path:
        folder = tmp_path_factory.mktemp("golden")
        for name in names.split():
            unpack(folder, name)
        return folder

    return unpack_once


@pytest.fixture
def unpack_all(unpacked, tmp_path):
    """From the names of golden folders to a store of the test's own."""

    def copy(names: str) -> ResultStore:
        shutil.copytree(unpacked(names), tmp_path, dirs_exist_ok=True)  # with the files' times
        return ResultStore(str(tmp_path))

    return copy


def without_compact(store: ResultStore) -> ResultStore:
    for file in Path(store.location.path, "compact").glob("*.parquet"):
        file.unlink()
    return store


def contents(store: ResultStore) -> dict[str, pa.Table]:
    return {name: store.read(name) for name in TABLES}


@pytest.mark.parametrize("names", ALL)
def test_every_table_has_all_rows_with_and_without_compact_files_old_and_new(
    unpack_all, tmp_path, names
):
    store = unpack_all(names)
    rows = contents(store)
    assert tuple(table.num_rows for table in rows.values()) == NUM_ROWS[names]
    store.compact()
    assert contents(ResultStore(str(tmp_path))) == rows
    without_compact(store)
    assert contents(ResultStore(str(tmp_path))) == rows


@pytest.mark.parametrize("names", ALL)
def test_trials_have_the_ids_that_their_specs_have_today(unpack_all, names):
    store = unpack_all(names)
    columns = ["trial_id", "cell_id", "dense_trial_id", "recipe_version", "spec_json", "status"]
    trials = store.read("trials", columns).to_pylist()
    for row in trials:
        spec, recipe = TrialSpec.from_json(row["spec_json"]), row["recipe_version"]
        assert row["trial_id"] == spec.trial_id(recipe)
        assert row["cell_id"] == spec.cell_id(recipe)
        if row["dense_trial_id"] is not None:
            assert row["dense_trial_id"] == spec.dense_counterpart().trial_id(recipe)
    ids = {row["trial_id"] for row in trials}
    assert len(ids) == len(trials)
    completed = {row["trial_id"] for row in trials if row["status"] == "completed"}
    for name in CHILD_TABLES:
        assert set(store.read(name, ["trial_id"])["trial_id"].to_pylist()) <= completed
    if names in SMALL:  # the others have trials that never came to an end
        for name in ("attempts", "plans"):
            assert set(store.read(name, ["trial_id"])["trial_id"].to_pylist()) <= ids
    assert all(store.is_completed(trial_id) for trial_id in completed)
    assert not any(store.is_completed(trial_id) for trial_id in ids - completed)
    problems = store.verify(ids)
    assert {problem.trial_id for problem in problems} == ids - completed


@pytest.mark.parametrize("names", ALL)
def test_nothing_that_is_stored_is_rewritten(unpack_all, tmp_path, names):
    store = unpack_all(names)
    stored = {
        file: (file.read_bytes(), file.stat().st_mtime_ns)
        for file in tmp_path.rglob("*.parquet")
        if file.parent.name != "compact"
    }
    commit(store, make_trial_spec(language="yo"))
    contents(store)
    store.compact()
    assert stored == {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in stored}


def test_numbers_of_version_1_are_those_that_it_stored(unpack_all):
    store = unpack_all("results/v1")
    trials = {row["file_key"]: row for row in store.read("trials").to_pylist()}
    dense, pruned = trials["4d4c3deed959fad8"], trials["02be2f33f7ca2b8f"]
    assert (dense["recipe_version"], dense["num_scores"], dense["num_robustness_scores"]) == (
        1,
        8,
        0,
    )
    assert (dense["regime"], dense["languages"], dense["embedding_sparsity"]) == (
        "monolingual",
        ["ka"],
        0.0,
    )
    assert (pruned["pruning_semantics"], pruned["pruning_saliency"]) == ("hard", "magnitude")
    assert (dense["pruning_semantics"], dense["pruning_saliency"]) == (None, None)
    assert pruned["data_fingerprint"] is None  # its commit did not know that column yet
    assert trials["5da523ab3715fd98"]["data_fingerprint"] == "948e23f0a2971569"
    assert pruned["dense_trial_id"] == dense["trial_id"]
    assert dense["devices"] == [{"name": dense["device_name"], "from_step": 0}]
    assert {row["num_vocabularies"] for row in trials.values()} == {0}
    failed = [row["devices"] for row in trials.values() if row["status"] == "failed"]
    assert failed == [None] * len(failed) != []
    scores = store.read("scores").to_pylist()
    assert {row["subset"] for row in scores} == {"all"}
    assert {row["matching"] for row in scores} == {"strict"}
    assert {row["num_sentences"] for row in scores} == {None}


def test_the_number_of_mask_updates_was_in_the_spec_before_it_had_a_column(unpack_all):
    columns = ["sweep", "target_sparsity", "pruning_update_every_steps", "pruning_num_updates"]
    rows = unpack_all("results/v5").read("trials", columns).to_pylist()
    assert {tuple(row.values()) for row in rows} == {
        ("tiny", 0.0, None, None),
        ("tiny", 0.5, 1, None),
        ("updates", 0.5, None, 3),
        ("failing", 0.0, None, None),
    }
    alone = unpack_all("results/v5").read("trials", ["pruning_num_updates"])
    assert sorted(alone["pruning_num_updates"].to_pylist(), key=str) == [3, *[None] * 7]


def test_predictions_had_no_probabilities_and_were_of_languages_trained_on(unpack_all):
    rows = unpack_all("results/v5").read("predictions", ["confidence", "is_zero_shot"])
    assert rows.num_rows == rows["confidence"].null_count == 56
    assert set(rows["is_zero_shot"].to_pylist()) == {False}


def test_probabilities_where_a_version_stored_none_are_a_fault(unpack_all, tmp_path):
    store = unpack_all("results/v5")
    trial_id = store.read("predictions", ["trial_id"])["trial_id"][0].as_py()
    assert store.verify([trial_id]) == []
    file = tmp_path / "predictions" / f"{trial_id}.parquet"
    rows = pq.read_table(file)
    given = pa.array([[255]] * rows.num_rows, pa.list_(pa.uint8()))
    pq.write_table(rows.append_column("confidence", given), file)
    (problem,) = store.verify([trial_id])
    assert "has 1 of the probabilities of its" in problem.what
    assert "schema version 5 stores none; delete trials/" in problem.what


def test_what_ranked_embeddings_with_the_encoder_is_no_trial_that_can_be_asked_for(unpack_all):
    store = unpack_all("results/v2")
    columns = ["sweep", "pruning_scope", "embedding_sparsity", "pruning_embedding_sparsity"]
    rows = {
        row["sweep"]: tuple(row.values())[1:] for row in store.read("trials", columns).to_pylist()
    }
    assert rows["embeddings"] == ("global_with_embeddings", 0.5, 0.5)
    assert rows["layers"] == ("layer", 0.5, 0.5)
    curves = store.read("curves", ["embedding_sparsity"])["embedding_sparsity"].to_pylist()
    assert sorted(curves) == [0.0, 0.0, 0.0, 0.0, 0.5, 0.5]


LOSSES = {
    ("1890cdfaa53f0e25", "a53d49610b7d17e8"): 1.608768065770467,
    ("a9d80eb433060da7", "def22bb9ba0eb4d7"): 1.6085590521494548,
    ("afdb27c2f7d810a9", "538fb9277a35f2f6"): 1.6170666217803955,
    ("13c811843d796d4f", "8bc81f42c003f5bf"): 1.6156586805979412,
}
"""Mean training loss by the file keys that a trial has in v2 and in v3."""


def test_a_trial_that_two_versions_ran_is_shown_once_with_more_scores(unpack_all, tmp_path):
    store = unpack_all("results/v2 results/v3")
    keys = dict(
        zip(
            *(column.to_pylist() for column in store.read("trials", ["file_key", "trial_id"])),
            strict=True,
        )
    )
    losses = store.read("curves", ["trial_id", "loss"]).to_pylist()
    for (old, new), loss in LOSSES.items():
        assert old not in keys
        assert [row["loss"] for row in losses if row["trial_id"] == keys[new]] == [loss]
        counts = store.read("scores").to_pylist()
        assert len([row for row in counts if row["trial_id"] == keys[new]]) == 24
        tries = store.read("attempts").to_pylist()
        of_trial = {
            row["attempt_id"][:16]: row["status"] for row in tries if row["trial_id"] == keys[new]
        }
        assert of_trial == {old: "duplicate", new: "completed"}

    # Whichever file is deleted, the other one is there, with a compact file and without.
    store.compact()
    (tmp_path / "trials" / "a53d49610b7d17e8.parquet").unlink()
    found = ResultStore(str(tmp_path)).read("trials", ["file_key", "trial_id"]).to_pylist()
    (row,) = [row for row in found if row["trial_id"] == keys["a53d49610b7d17e8"]]
    assert row["file_key"] == "1890cdfaa53f0e25"
    scores = ResultStore(str(tmp_path)).read("scores", ["trial_id"])["trial_id"].to_pylist()
    assert scores.count(row["trial_id"]) == 8


def test_what_failed_under_an_old_id_is_run_under_the_new_one(recipe_2, unpack_all, tmp_path):
    store = unpack_all("results/v2")
    (old,) = [row for row in store.read("trials").to_pylist() if row["status"] == "failed"]
    spec = TrialSpec.from_json(old["spec_json"])
    assert old["file_key"] != old["trial_id"] == spec.trial_id()
    fail(store, spec, message="again", started_at=old["started_at"].replace(year=2027),
         ended_at=old["ended_at"].replace(year=2027))  # fmt: skip
    (row,) = [row for row in store.read("trials").to_pylist() if row["status"] == "failed"]
    assert (row["error_message"], row["num_attempts"], row["file_key"]) == (
        "again",
        2,
        spec.trial_id(),
    )
    assert commit(store, spec)
    assert not commit(ResultStore(str(tmp_path)), spec, make_trial_result(f1=1.0))
    assert store.statuses()[spec.trial_id()] == "completed"
    assert store.verify([spec.trial_id()]) == []
    tries = [
        row for row in store.read("attempts").to_pylist() if row["trial_id"] == spec.trial_id()
    ]
    assert [(row["attempt"], row["status"]) for row in tries] == [
        (1, "failed"),
        (2, "failed"),
        (3, "completed"),
        (4, "duplicate"),
    ]


def test_what_is_completed_under_an_old_id_is_not_overwritten(recipe_2, unpack_all, tmp_path):
    store = unpack_all("results/v3")
    before = contents(store)
    for row in before["trials"].to_pylist():
        if row["status"] == "completed":
            assert not commit(ResultStore(str(tmp_path)), TrialSpec.from_json(row["spec_json"]))
    after = contents(store)
    for name in TABLES:
        if name != "attempts":
            assert after[name] == before[name]


def test_a_damaged_row_stops_each_commit_and_not_the_first_alone(unpack_all, tmp_path):
    store = unpack_all("results/v3")
    rows = [row for row in store.read("trials").to_pylist() if row["status"] == "completed"]
    without_compact(store)
    damaged = tmp_path / "trials" / f"{rows[0]['file_key']}.parquet"
    damaged.write_bytes(b"damaged")
    store = ResultStore(str(tmp_path))
    for row in rows[1:3]:  # it may hold either trial, under an earlier id
        with pytest.raises(StoreError, match=f"{damaged.name}: cannot be read as Parquet"):
            commit(store, TrialSpec.from_json(row["spec_json"]))


def test_trials_of_two_recipes_lie_in_one_folder(unpack_all):
    store = unpack_all("results/v1 results/v2")
    recipes = store.read("trials", ["recipe_version"])["recipe_version"].to_pylist()
    assert {recipe: recipes.count(recipe) for recipe in recipes} == {1: 6, 2: 7}
    assert len(store.statuses()) == 6 + 7


def test_a_compact_file_of_one_version_and_files_of_others_are_read_together(unpack_all, tmp_path):
    store = unpack_all("results/v3")  # with its compact files
    unpack(tmp_path, "results/v1")
    commit(store, make_trial_spec(language="yo"))
    rows = contents(store)
    assert rows["trials"].num_rows == 7 + 6 + 1
    assert rows["scores"].num_rows == 144 + 40 + 24
    assert contents(without_compact(store)) == rows


# Commands


def _has_its_tokenizer(store: ResultStore) -> bool:
    """Whether the built-in model is what it was when these trials ran: another version of the
    library may train another vocabulary, and is another model."""
    fingerprints = store.read("trials", ["model_fingerprint"])["model_fingerprint"].to_pylist()
    return set(fingerprints) == {f"builtin:small-bert-tokenizers{version('tokenizers')}"}


@pytest.mark.parametrize(
    ("names", "num_completed"), [("results/v1", 0), ("results/v2", 4), ("results/v3", 4)]
)
def test_plan_status_and_verify_know_the_trials_of_a_sweep(
    recipe_2, capsys, unpack_all, tmp_path, names, num_completed
):
    store = unpack_all(names)
    num_completed = num_completed if _has_its_tokenizer(store) else 0
    words = (TINY, "--set", f"results={tmp_path}")
    code, out, _ = run(capsys, "status", *words, "--json")
    assert (code, json.loads(out)["completed"]) == (0, num_completed)
    code, out, _ = run(capsys, "plan", *words)
    assert code == 0
    assert f"4 trials, {num_completed} completed" in out
    out = run(capsys, "verify", *words, str(tmp_path))[1]
    assert f"{num_completed} of 4 trials are valid" in out
    if num_completed == 4:  # nothing is left to run, so nothing is started
        code, out, _ = run(capsys, "run", *words)
        assert (code, "4 completed, 0 failed, 0 new" in out) == (0, True)


def test_trials_of_an_earlier_recipe_are_counted_and_asked_for_again(capsys, unpack_all, tmp_path):
    num_kept = 4 if _has_its_tokenizer(unpack_all("results/v3")) else 0
    words = (TINY, "--set", f"results={tmp_path}")
    for command in ("plan", "status"):
        code, out, _ = run(capsys, command, *words)
        assert (code, "4 trials, 0 completed" in out) == (0, True), out
        assert ("4 trials of recipe 2 are kept and not compared" in out) == (num_kept == 4)


@pytest.mark.parametrize("names", SMALL)
def test_commands_read_what_earlier_versions_wrote(capsys, unpack_all, tmp_path, names):
    unpack_all(names)
    for words in (("aggregate",), ("compact",), ("aggregate",), ("analyze",)):
        code, out, err = run(capsys, *words, str(tmp_path))
        assert (code, err) == (0, ""), out


# Specs


def test_a_setting_that_is_younger_than_a_row_stands_there_as_it_was_before(unpack_all):
    rows = unpack_all("results/v3").read("trials")
    as_before = {"training.label_smoothing": 0.0, "pruning.regrow": "no", "training.lr": 1.0}
    columns = add_settings_as_before(rows, as_before)
    assert columns["training_label_smoothing"].to_pylist() == [0.0] * rows.num_rows
    regrow = zip(
        columns["pruning_regrow"].to_pylist(), rows["pruning_scope"].to_pylist(), strict=True
    )
    assert set(regrow) == {(None, None), ("no", "global")}  # dense trials have no such settings
    assert columns["training_lr"].equals(rows["training_lr"])


def test_a_spec_that_its_version_could_not_have_written_is_refused():
    with pytest.raises(ValueError, match=r"not a trial spec of schema version 2: KeyError\('lang"):
        upgrade_spec('{"training": {}, "evaluation": {}}', 2)


def test_a_damaged_spec_is_named_with_its_file(unpack_all, tmp_path):
    store = without_compact(unpack_all("results/v2"))
    file = tmp_path / "trials" / "a9d80eb433060da7.parquet"
    rows, footer = pq.read_table(file), pq.read_metadata(file).metadata
    position = rows.schema.get_field_index("spec_json")
    rows = rows.set_column(position, "spec_json", [["{"]])
    with pq.ParquetWriter(file, rows.schema) as writer:
        writer.write_table(rows)
        writer.add_key_value_metadata(footer)
    message = rf"{file}: spec_json of trial a9d80eb433060da7: .*; delete {file}, then run the sweep"
    with pytest.raises(StoreError, match=message):
        store.statuses()
