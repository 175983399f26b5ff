"""The tables of an analysis from small results worked by hand, and from results where something is
missing."""

import csv
import io
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import polars
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from orchestrator.analysis.analyze import analyze, write_tables
from orchestrator.analysis.bootstrap import Bootstrap
from orchestrator.analysis.show import show
from orchestrator.analysis.tables import ANALYSES
from orchestrator.errors import StoreError
from orchestrator.results.store import ResultStore
from tests.benchmarks.analysis import make_results
from tests.factories import (
    PRUNING,
    STARTED_AT,
    make_circumstances,
    make_not_applicable,
    make_predicted_set,
    make_robustness_score,
    make_score,
    make_trial_result,
    make_trial_spec,
)
from workers.trial import RobustnessSpec

ROBUSTNESS = RobustnessSpec(
    perturbations=("within_language", "within_family"),
    draws=1,
    seed=0,
    donor_fingerprint=None,
    pools=(),
)


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "results"))


def commit(store, language, sparsity, seed, f1, *, num_train=100, **changes):
    """A monolingual trial that was scored on test, and on nothing else."""
    results = {name: changes.pop(name, ()) for name in ("robustness_scores", "predictions")}
    spec = make_trial_spec(language=language, target_sparsity=sparsity, seed=seed, **changes)
    result = make_trial_result(
        scores=(make_score(language=language, f1=f1),),
        robustness=results["robustness_scores"],
        predictions=results["predictions"],
        num_train_sentences=num_train,
    )
    store.commit_completed(spec, result, **make_circumstances())
    return spec


def commit_together(store, sparsity, seed, f1s):
    languages = tuple(sorted(f1s))
    spec = make_trial_spec(
        regime="multilingual", languages=languages, target_sparsity=sparsity, seed=seed
    )
    scores = tuple(make_score(language=language, f1=f1) for language, f1 in f1s.items())
    store.commit_completed(
        spec,
        make_trial_result(scores=scores, robustness=(), predictions=()),
        **make_circumstances(),
    )


def tables_of(store, split="test", **options):
    return {
        table.name: table
        for table in analyze(store, split, Bootstrap(num_replicates=20, **options))
    }


def rows_of(store, name, *columns):
    rows = tables_of(store)[name].rows
    return [tuple(row.values()) for row in rows.select(columns or rows.column_names).to_pylist()]


def shown(tables):
    terminal = io.StringIO()
    Console(file=terminal, width=100, markup=False, highlight=False).print(show(tables))
    return terminal.getvalue()


# Tables by hand


def test_what_is_known_of_a_language_stands_beside_its_f1(store):
    commit(store, "sw", 0.5, 0, 0.5, num_train=640)
    commit(store, "xx", 0.5, 0, 0.5, num_train=30)
    commit_together(store, 0.5, 0, {"de": 0.5, "sw": 0.5})
    names = ("regime", "language", "num_train_sentences", "tier", "script", "family")
    assert rows_of(store, "quality", *names) == [
        ("monolingual", "sw", 640, "up to 1,000", "Latn", "Niger-Congo"),
        ("monolingual", "xx", 30, None, None, None),
        ("multilingual", "de", 20_000, "over 10,000", "Latn", "Indo-European"),
        ("multilingual", "sw", 1_000, "up to 1,000", "Latn", "Niger-Congo"),
    ]
    assert (
        "No tier, script and family are known of xx: group is null."
        in tables_of(store)["groups"].notes
    )


def test_sentences_of_a_multilingual_trial_are_counted_up_to_its_limit(store):
    corpus = replace(make_trial_spec().corpus, max_train_sentences=5_000)
    spec = make_trial_spec(regime="multilingual", languages=("de", "sw"), corpus=corpus)
    scores = tuple(make_score(language=language) for language in ("de", "sw"))
    store.commit_completed(
        spec, make_trial_result(scores=scores, predictions=()), **make_circumstances()
    )
    assert rows_of(store, "quality", "language", "num_train_sentences") == [
        ("de", 5_000),
        ("sw", 1_000),
    ]


def test_groups_are_means_of_languages_however_many_seeds_they_have(store):
    for language, seed, dense, sparse in (
        ("de", 0, 0.5, 0.25),
        ("de", 1, 0.5, 0.25),
        ("fr", 0, 0.75, 0.25),
    ):
        commit(store, language, 0.0, seed, dense)
        commit(store, language, 0.5, seed, sparse)
    found = rows_of(
        store,
        "groups",
        "grouping",
        "group",
        "target_sparsity",
        "f1_mean",
        "delta_dense_mean",
        "num_trials",
    )
    assert ("family", "Indo-European", 0.0, 0.625, None, 3) in found
    assert ("family", "Indo-European", 0.5, 0.25, -0.375, 3) in found  # -0.25 of de and -0.5 of fr


def test_tally_holds_what_changes_by_a_point_at_most(store):
    changes = {
        "de": 0.81,
        "fr": 0.79,
        "sw": 0.8,
        "yo": 0.8101,
        "my": 0.7899,
        "jv": 0.9,
    }  # 0.81 - 0.8 > 0.01 in floats
    for language, f1 in changes.items():
        commit(store, language, 0.0, 0, 0.8)
        commit(store, language, 0.5, 0, f1)
    commit(store, "ko", 0.5, 0, 0.5)
    names = (
        "num_improved",
        "num_held",
        "num_dropped",
        "num_missing",
        "num_languages",
        "num_trials",
    )
    assert rows_of(store, "tally", *names) == [(2, 3, 1, 1, 6, 6)]


def test_the_worst_language_and_groups(store):
    for language, sparse in (("de", 0.5), ("yo", 0.25), ("sw", 0.75)):
        commit(store, language, 0.0, 0, 0.75)
        commit(store, language, 0.5, 0, sparse)
    names = ("kind", "name", "delta_dense_mean", "num_languages", "num_compared")
    assert rows_of(store, "worst", *names) == [
        (
            "family",
            "Indo-European",
            -0.25,
            1,
            2,
        ),  # Niger-Congo: -0.5 and 0; of equals the first in the alphabet
        ("language", "yo", -0.5, 1, 3),
        ("script", "Latn", -0.25, 3, 1),
        ("tier", "up to 100", -0.5, 1, 3),
    ]


@pytest.mark.parametrize(
    ("f1s", "expected"),
    [
        ({0.5: 0.8, 0.7: 0.792, 0.9: 0.7}, (0.7, 0.9)),
        ({0.5: 0.7, 0.7: 0.8, 0.9: 0.8}, (0.0, 0.5)),  # what is lost below is not found again above
        ({0.5: 0.8, 0.7: 0.9}, (0.7, None)),
        ({0.7: None}, (None, None)),
    ],
)
def test_a_sparsity_is_tolerated_if_all_below_it_are(store, f1s, expected):
    commit(store, "sw", 0.0, 0, 0.8)
    for sparsity, f1 in f1s.items():
        commit(store, "sw", sparsity, 0, f1)
    assert rows_of(store, "tolerance", "tolerated_sparsity", "exceeded_at") == [expected]


def test_pruned_embeddings_are_compared_by_seed(store):
    pruned = replace(PRUNING, embedding_sparsity=0.5)
    for seed, (dense, sparse) in enumerate(((0.5, 0.25), (0.75, 0.75), (0.875, None))):
        commit(store, "sw", 0.5, seed, dense)
        commit(store, "sw", 0.5, seed, sparse, pruning=pruned)
    commit(store, "sw", 0.5, 3, 0.5)
    names = (
        "embeddings",
        "f1_pruned_mean",
        "f1_dense_mean",
        "delta_embeddings_mean",
        "num_pairs",
        "num_holes",
    )
    assert rows_of(store, "embeddings", *names) == [("pruned", 0.5, 0.625, -0.125, 2, 2)]


def test_robustness_is_dense_against_sparse_and_names_what_does_not_apply(store):
    for sparsity, clean, perturbed in ((0.0, 0.75, (0.25, 0.25)), (0.5, 0.5, (0.5, 0.25))):
        scores = tuple(make_robustness_score(draw=draw, f1=f1) for draw, f1 in enumerate(perturbed))
        scores += (make_robustness_score(entity_type="PER", f1=1.0), make_not_applicable())
        commit(store, "sw", sparsity, 0, clean, robustness_scores=scores, robustness=ROBUSTNESS)
    names = (
        "target_sparsity",
        "perturbation",
        "status",
        "reason",
        "f1_perturbed_mean",
        "drop_mean",
        "delta_drop_mean",
    )
    assert rows_of(store, "robustness", *names) == [
        (0.0, "within_family", "not_applicable", "sw is alone in its family", None, None, None),
        (0.5, "within_family", "not_applicable", "sw is alone in its family", None, None, None),
        (0.0, "within_language", "scored", None, 0.25, 0.5, None),
        (0.5, "within_language", "scored", None, 0.375, 0.125, -0.375),
    ]
    assert "n/a: sw within_family: sw is alone in its family" in shown(tables_of(store).values())


def test_sentences_whose_mode_changes_and_what_they_are(store):
    one = make_predicted_set()
    other = replace(
        one,
        predicted=[["O", "B-LOC"], ["B-PER", "O", "B-LOC"]],
        num_correct=[1, 2],
        num_predicted=[1, 2],
    )
    for seed, sparse in enumerate((other, other, one)):
        commit(store, "sw", 0.0, seed, 0.8, predictions=(one,))
        commit(store, "sw", 0.5, seed, 0.8, predictions=(sparse,))
    names = ("num_pies", "num_sentences", "pie_share", "num_undecided", "seed_share", "num_pairs")
    assert rows_of(store, "disagreement", *names) == [(1, 2, 0.5, 0, 0.0, 3)]
    names = ("property", "pies_mean", "others_mean", "difference", "num_pies", "num_others")
    assert rows_of(store, "pies_profile", *names) == [
        ("words", 3.0, 2.0, 1.0, 1, 1),
        ("entities", 2.0, 1.0, 1.0, 1, 1),
        ("unseen_entities", 1.0, 0.0, 1.0, 1, 1),
        ("subwords_per_word", 5 / 3, 1.5, 5 / 3 - 1.5, 1, 1),
    ]


def test_settings_are_never_mixed(store):
    training = make_trial_spec().training
    for lr, dense, sparse in ((1e-5, 0.5, 0.25), (2e-5, 0.75, 0.875)):
        for language in ("de", "fr"):
            for sparsity, f1 in ((0.0, dense), (0.5, sparse)):
                commit(store, language, sparsity, 0, f1, training=replace(training, lr=lr))
    found = rows_of(store, "tally", "settings", "num_improved", "num_dropped", "num_languages")
    assert found == [("training.lr=1e-05", 0, 2, 2), ("training.lr=2e-05", 2, 0, 2)]
    assert {row[0] for row in rows_of(store, "groups", "settings")} == {
        "training.lr=1e-05",
        "training.lr=2e-05",
    }


# What is missing


def assert_whole(store, **options):
    """Every table is there, can be shown, and says why where it is empty."""
    tables = tables_of(store, **options)
    assert list(tables) == list(ANALYSES)
    assert all(table.rows.num_rows or table.notes for table in tables.values())
    assert max(len(line) for line in shown(tables.values()).splitlines()) <= 100
    return tables


def notes_of(tables, name):
    return " ".join(tables[name].notes)


def test_without_dense_trials_there_is_no_change(store):
    for seed in range(3):
        commit(store, "sw", 0.5, seed, 0.5)
    tables = assert_whole(store)
    assert (
        "No change to dense of 3 sparse trials: the same seed's dense trial has no F1"
        in notes_of(tables, "quality")
    )
    assert tables["worst"].rows["name"].to_pylist() == [None] * 4
    assert tables["tally"].rows["num_missing"].to_pylist() == [1]
    assert tables["significance"].rows["resampled"].to_pylist() == ["nothing"]
    assert tables["tests"].rows["p"].to_pylist() == [None]
    assert "no model of 0 languages; it takes 3 or more" in notes_of(tables, "model")


def test_with_dense_trials_only_nothing_is_compared(store):
    commit(store, "sw", 0.0, 0, 0.5)
    tables = assert_whole(store)
    assert tables["quality"].rows.num_rows == 1
    assert "No sparse trials" in notes_of(tables, "tests")
    assert "No sparse trials" in notes_of(tables, "model")


def test_one_seed_and_no_predictions_have_no_spread_and_no_interval(store):
    commit(store, "sw", 0.0, 0, 0.5)
    commit(store, "sw", 0.5, 0, 0.25)
    tables = assert_whole(store)
    assert "No cell has two seeds" in notes_of(tables, "quality")
    assert "No interval of 1 change" in notes_of(tables, "significance")
    assert "1 of 1 cells and languages have no predictions" in notes_of(tables, "disagreement")
    assert "No perturbed sentences were scored" in notes_of(tables, "robustness")
    assert "Out of reach of p = 0.05 with the languages there are: 1 test" in notes_of(
        tables, "tests"
    )
    assert "cannot go below p = 1 with 1 seed" in notes_of(tables, "tests")


def test_three_seeds_cannot_tell_within_a_language(store):
    for seed in range(3):
        commit(store, "sw", 0.0, seed, 0.5)
        commit(store, "sw", 0.5, seed, 0.25)
    tables = assert_whole(store)
    assert "cannot go below p = 0.25 with 3 seeds" in notes_of(tables, "tests")
    assert "With 3 seeds" in notes_of(tables, "significance")
    assert "at most 75%" in notes_of(tables, "significance")


def test_multilingual_results_alone_say_that_their_languages_share_a_model(store):
    for seed in range(2):
        commit_together(store, 0.0, seed, {"de": 0.75, "my": 0.5, "sw": 0.5, "yo": 0.5})
        for sparsity in (0.5, 0.9):
            f1s = {
                "de": 0.75,
                "my": 0.4 - sparsity / 10,
                "sw": 0.5 - sparsity / 20,
                "yo": 0.4 + seed / 100,
            }
            commit_together(store, sparsity, seed, f1s)
    tables = assert_whole(store)
    assert "share its model and are not independent" in notes_of(tables, "tests")
    assert set(tables["tests"].rows["num_trials"].to_pylist()) == {2}
    assert "embeddings_pruned does not vary and is left out of the model" in notes_of(
        tables, "model"
    )


def test_what_is_only_planned_is_a_hole(store):
    store.write_plan("demo", [make_trial_spec(target_sparsity=sparsity) for sparsity in (0.0, 0.5)])
    tables = assert_whole(store)
    assert (
        tables["quality"].rows.select(["f1_mean", "num_seeds", "num_holes"]).to_pylist()
        == [{"f1_mean": None, "num_seeds": 0, "num_holes": 1}] * 2
    )
    assert "2 of 2 trials lack an F1 (2 not run yet)" in notes_of(tables, "quality")


def test_failures_are_holes_that_are_counted_by_kind(store):
    commit(store, "sw", 0.0, 0, 0.5)
    for seed in (1, 2):
        spec = make_trial_spec(target_sparsity=0.0, seed=seed)
        store.commit_failed(
            spec, kind="bad_data", message="no", traceback=None, **make_circumstances()
        )
    tables = assert_whole(store)
    assert "2 of 3 trials lack an F1 (2 failed)" in notes_of(tables, "quality")


def test_the_validation_split_is_analyzed_with_robustness_on_test(store):
    result = make_trial_result(
        scores=(make_score(split="validation", f1=0.25), make_score(f1=0.75)), predictions=()
    )
    store.commit_completed(make_trial_spec(robustness=ROBUSTNESS), result, **make_circumstances())
    tables = tables_of(store, "validation")
    assert tables["quality"].rows.select(["split", "f1_mean"]).to_pylist() == [
        {"split": "validation", "f1_mean": 0.25}
    ]
    assert tables["robustness"].rows["f1_clean_mean"].to_pylist() == [None, 0.75]


def test_empty_results_are_refused(store):
    with pytest.raises(
        StoreError, match="results: no trials, run or planned; give the results of a sweep"
    ):
        analyze(store)


def test_a_split_that_is_never_scored_is_refused(store):
    commit(store, "sw", 0.5, 0, 0.5)
    with pytest.raises(
        StoreError, match="split: 'train' is never scored; give one of validation, test"
    ):
        analyze(store, "train")


def test_a_missing_file_of_predictions_is_refused(store, tmp_path):
    spec = commit(store, "sw", 0.5, 0, 0.5, predictions=(make_predicted_set(),))
    (tmp_path / "results" / "predictions" / f"{spec.trial_id()}.parquet").unlink()
    with pytest.raises(
        StoreError,
        match=rf"{spec.trial_id()}.parquet: missing; delete .*, then run the sweep again",
    ):
        analyze(store)


def test_a_missing_set_of_sentences_is_refused(store, tmp_path):
    for sparsity in (0.0, 0.5):
        commit(store, "sw", sparsity, 0, 0.5, predictions=(make_predicted_set(),))
    (tmp_path / "results" / "sentences" / "00112233445566ff.parquet").unlink()
    with pytest.raises(StoreError, match="sentences: the set 00112233445566ff is missing"):
        analyze(store)


# Files and the terminal


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("results"))
    sparsities = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
    make_results(folder, ("de", "my"), sparsities=sparsities, seeds=(0, 1), num_sentences=20)
    return analyze(ResultStore(folder), bootstrap=Bootstrap(num_replicates=20))


def test_files_hold_all_digits_and_the_meaning_of_each_column(whole, tmp_path):
    files = write_tables(whole, str(tmp_path / "new"))
    assert [file.name for file in files[:2]] == ["quality.parquet", "quality.csv"]
    assert len(files) == 2 * len(ANALYSES)
    for table in whole:
        stored = polars.read_parquet(tmp_path / "new" / f"{table.name}.parquet")
        assert stored.to_dicts() == table.rows.to_pylist()
        for column in table.table.columns:
            field = pq.read_schema(tmp_path / "new" / f"{table.name}.parquet").field(column.name)
            assert field.metadata[b"meaning"].decode() == column.meaning
        with (tmp_path / "new" / f"{table.name}.csv").open() as lines:
            assert len(list(csv.reader(lines))) == 1 + table.rows.num_rows
    with (tmp_path / "new" / "quality.csv").open() as lines:
        row = next(csv.DictReader(lines))
    first = whole[0].rows.to_pylist()[0]
    assert (float(row["f1_mean"]), row["settings"]) == (first["f1_mean"], "")


def test_files_that_cannot_be_written_are_refused(whole, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StoreError,
        match=r"file/quality\.parquet: cannot be written .*give a folder where you may write",
    ):
        write_tables(whole, str(tmp_path / "file"))


def test_the_terminal_shows_every_table_at_a_hundred_columns(whole):
    text = shown(whole)
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    for name, table in ANALYSES.items():
        assert f"{name}: {table.meaning[:20]}" in text
    first = whole[0].rows.to_pylist()[0]
    cell = f"{first['f1_mean']:.3f}({1000 * first['f1_std']:.0f})".removeprefix("0")
    line = next(line for line in text.splitlines() if line.strip().startswith("de "))
    assert line.split()[:3] == ["de", "dense", cell]
    assert line.split()[-1] == "2"


def test_a_count_that_differs_is_written_above(store):
    for sparsity, seeds in ((0.0, 2), (0.5, 2), (0.9, 1)):
        for seed in range(seeds):
            commit(store, "sw", sparsity, seed, 0.5)
    line = next(
        line
        for line in shown(tables_of(store).values()).splitlines()
        if line.strip().startswith("sw ")
    )
    assert line.split() == ["sw", "dense", ".500(0)", ".500(0)", ".500¹", "2"]


def test_columns_are_documented_without_pandas():
    code = "import sys, orchestrator.analysis.tables, orchestrator.analysis.show; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
    for table in ANALYSES.values():
        names = [column.name for column in table.columns]
        assert len(set(names)) == len(names)
        assert all(column.meaning.endswith(".") for column in table.columns)


def test_data_that_changed_for_one_language_does_not_part_the_others(store):
    """The present data of all languages are compared, whether a language's ever changed or not."""
    old, new = (replace(make_trial_spec().corpus, fingerprint=name) for name in ("old", "new"))
    for language, corpus, f1, hours in (
        ("sw", old, 0.9, 0),
        ("sw", new, 0.7, 1),
        ("yo", old, 0.5, 2),
    ):
        for sparsity, change in ((0.0, 0.0), (0.5, -0.25)):
            spec = make_trial_spec(language=language, target_sparsity=sparsity, corpus=corpus)
            times = {
                "started_at": STARTED_AT + timedelta(hours=hours),
                "ended_at": STARTED_AT + timedelta(hours=hours + 1),
            }
            result = make_trial_result(scores=(make_score(language=language, f1=f1 + change),))
            store.commit_completed(spec, result, **make_circumstances(**times))
    rows = rows_of(
        store, "groups", "grouping", "settings", "target_sparsity", "f1_mean", "num_languages"
    )
    overall = [row for row in rows if row[0] == "all" and row[2] == 0.0]
    assert overall == [
        ("all", "data=1", 0.0, pytest.approx(0.6), 2),
        ("all", "data=2", 0.0, pytest.approx(0.9), 1),
    ]


def test_a_fixed_target_of_the_embeddings_is_one_row(store):
    commit(store, "sw", 0.0, 0, 0.8)
    for sparsity, f1 in ((0.5, 0.8), (0.9, 0.4)):
        pruning = replace(PRUNING, embedding_sparsity=0.5)
        spec = make_trial_spec(language="sw", target_sparsity=sparsity, pruning=pruning)
        result = make_trial_result(scores=(make_score(f1=f1),))
        store.commit_completed(spec, result, **make_circumstances())
    names = ("embeddings", "tolerated_sparsity", "exceeded_at")
    assert rows_of(store, "tolerance", *names) == [("pruned to 0.5", 0.5, 0.9)]
