"""Rows of other recipes are kept, named and not compared."""

import pyarrow.compute as pc
import pytest

from orchestrator.analysis.inputs.aggregate import aggregate
from orchestrator.analysis.inputs.reading import choose_recipe, read_rows
from orchestrator.analysis.show_aggregate import render
from orchestrator.results.rows import child_rows, plan_rows, spec_columns, trial_row
from orchestrator.results.table_files import TableFiles
from tests.factories import make_circumstances, make_score, make_trial_result, make_trial_spec
from tests.orchestrator.analysis.committing import (
    commit,
    fail,
    rows_of,
    shown,
    shown_tables,
    tables_of,
)
from workers.trial import RECIPE_VERSION

OLDER = RECIPE_VERSION - 1


def commit_of_recipe(store, recipe, sparsity, seed, f1):
    """The files of a trial of Swahili as code with that recipe leaves them; returns its id."""
    spec = make_trial_spec(target_sparsity=sparsity, seed=seed)
    result = make_trial_result(scores=(make_score(f1=f1),), robustness=(), predictions=())
    columns = spec_columns(spec, recipe)
    trial_id = columns["trial_id"]
    row = trial_row(spec, result, make_circumstances(), num_attempts=1, file_key=trial_id)
    files = TableFiles(store.location)
    for name, rows in child_rows(spec, result).items():
        files.write((name, trial_id, [child | {"trial_id": trial_id} for child in rows]))
    files.write(("trials", trial_id, [row | columns]))
    return trial_id


def plan_of_recipe(store, sweep, recipe, specs):
    """The plan that code with that recipe leaves."""
    rows = plan_rows(sweep, specs)
    ids = [spec_columns(spec, recipe) for spec in specs]
    rows = [
        row | {name: values[name] for name in ("trial_id", "cell_id")}
        for row, values in zip(rows, ids, strict=True)
    ]
    TableFiles(store.location).write(("plans", sweep, rows))


@pytest.fixture
def of_two_recipes(store):
    """Of the running recipe F1 falls by 0.25, of the older one it rises by 0.125."""
    for sparsity, new, old in ((0.0, 0.75, 0.25), (0.5, 0.5, 0.375)):
        commit(store, "sw", sparsity, 0, new)
        commit_of_recipe(store, OLDER, sparsity, 0, old)
        commit_of_recipe(store, OLDER, sparsity, 1, old)
    return store


def test_rows_of_the_running_recipe_are_compared(of_two_recipes):
    rows = aggregate(of_two_recipes).table.select(["f1_mean", "num_seeds", "delta_dense_mean"])
    assert [tuple(row.values()) for row in rows.to_pylist()] == [(0.75, 1, None), (0.5, 1, -0.25)]
    names = ("f1_mean", "settings", "delta_dense_mean")
    assert rows_of(of_two_recipes, "quality", *names) == [(0.75, None, None), (0.5, None, -0.25)]


@pytest.mark.slow
def test_both_commands_name_the_rest_in_one_line(of_two_recipes):
    line = f"4 trials of recipe {OLDER} are kept and not compared."
    assert line in shown(render(aggregate(of_two_recipes))).splitlines()
    assert f"· {line}" in shown_tables(tables_of(of_two_recipes).values()).splitlines()


@pytest.mark.slow
def test_nothing_is_deleted(of_two_recipes):
    aggregate(of_two_recipes)
    tables_of(of_two_recipes)
    versions = of_two_recipes.read("trials", ["recipe_version"])["recipe_version"].to_pylist()
    assert sorted(versions) == [OLDER] * 4 + [RECIPE_VERSION] * 2


def test_without_the_running_recipe_the_newest_is_compared(store):
    for recipe, f1 in ((OLDER - 1, 0.25), (OLDER, 0.5)):
        commit_of_recipe(store, recipe, 0.5, 0, f1)
    found = aggregate(store)
    assert found.table["f1_mean"].to_pylist() == [0.5]
    assert found.notes == [
        f"1 trial of recipe {OLDER - 1} is kept and not compared.",
        "Entities count by the strict rule of matching.",
    ]


def test_several_other_recipes_are_counted_apart(store):
    commit(store, "sw", 0.5, 0, 0.5)
    for recipe in (OLDER, OLDER - 1):
        commit_of_recipe(store, recipe, 0.5, 0, 0.25)
    assert read_rows(store).notes == [
        f"1 trial of recipe {OLDER - 1} and 1 trial of recipe {OLDER} are kept and not compared."
    ]


def test_one_recipe_is_not_spoken_of(store):
    commit(store, "sw", 0.5, 0, 0.5)
    assert read_rows(store).notes == []


def test_a_plan_of_another_recipe_leaves_no_holes(of_two_recipes):
    """A plan of the older recipe, half run with it: its other half was never run and never will."""
    specs = [make_trial_spec(target_sparsity=0.5, seed=seed) for seed in range(4)]
    plan_of_recipe(of_two_recipes, "old", OLDER, specs)
    of_two_recipes.write_plan("new", specs[:2])
    found = aggregate(of_two_recipes)
    assert [(hole.sweep, hole.seed, hole.why) for hole in found.holes] == [
        ("new", 1, "not run yet")
    ]
    assert pc.unique(read_rows(of_two_recipes).plans["sweep"]).to_pylist() == ["new"]


@pytest.mark.parametrize(
    ("versions", "compared"),
    [
        ([OLDER, RECIPE_VERSION, RECIPE_VERSION + 1], RECIPE_VERSION),
        ([OLDER, RECIPE_VERSION + 1], RECIPE_VERSION + 1),
        ([], RECIPE_VERSION),
    ],
)
def test_the_running_recipe_comes_before_a_newer_one(versions, compared):
    assert choose_recipe(versions) == compared


@pytest.fixture
def of_two_devices(store):
    """Pairs of seeds 0 to 3: the same GPU twice, the same two in another turn, a GPU more, and
    another one; F1 falls by 0.25, and by 0.5 in the last two. The dense trial of seed 4 failed."""
    for seed, (sparse, dense) in enumerate((("A", "A"), ("AB", "BA"), ("A", "AB"), ("B", "A"))):
        commit(store, "sw", 0.0, seed, 0.75, devices=dense)
        commit(store, "sw", 0.5, seed, 0.5 if seed < 2 else 0.25, devices=sparse)
    commit(store, "sw", 0.5, 4, 0.5)
    fail(store, make_trial_spec(target_sparsity=0.0, seed=4), "worker_died", "killed")
    return store


@pytest.mark.slow
def test_pairs_of_different_devices_are_counted_in_a_line(of_two_devices):
    line = "2 pairs of sparse and dense trial (of 4): computed on different models of device"
    found = aggregate(of_two_devices)
    assert found.table["delta_dense_mean"].to_pylist() == [None, -0.375]
    assert found.notes[0].startswith(f"{line}, which may change F1 as another seed does; --same-")
    tables = tables_of(of_two_devices)
    assert f"· {line}" in shown_tables(tables.values())


@pytest.mark.slow
def test_pairs_of_different_devices_are_left_out_where_that_is_asked(of_two_devices):
    found = aggregate(of_two_devices, same_device=True)
    pairs = found.table.select(["f1_mean", "num_seeds", "delta_dense_mean", "num_pairs"])
    assert [tuple(row.values()) for row in pairs.to_pylist()] == [
        (0.75, 4, None, 0),
        (0.4, 5, -0.25, 2),
    ]
    assert found.notes[0].endswith("of device, left out.")
    tables = tables_of(of_two_devices, same_device=True)
    quality = tables["quality"]
    assert quality.rows["delta_dense_mean"].to_pylist() == [None, -0.25]
    assert [note for note in quality.notes if note.startswith("No change to dense")] == [
        "No change to dense of 1 sparse trial: the same seed's dense trial has no F1."
    ]
    assert tables["significance"].rows["num_pairs"].to_pylist() == [2]


def test_devices_that_are_the_same_are_not_spoken_of(store):
    commit(store, "sw", 0.0, 0, 0.5)
    commit(store, "sw", 0.5, 0, 0.25)
    assert read_rows(store).notes == read_rows(store, same_device=True).notes == []
