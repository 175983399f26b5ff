"""Curves of training beside those of the dense twin."""

import pandas as pd
import pytest

from orchestrator.report.figures import training
from orchestrator.report.figures.training import choose_points, draw_curves
from orchestrator.report.parts import choose_first
from tests.benchmarks.analysis import CURVE_POINTS


def test_the_first_choice_is_a_sparse_trial_and_its_dense_twin(material):
    drawing = draw_curves(material)
    table = drawing.table
    chosen = table[(table["series"] == "monolingual") & (table["embeddings"] != "pruned")]
    shown, rows = choose_first(chosen, drawing.choices)
    assert shown == {"Trained on": "de", "Sparsity": "0.5", "Seed": "0"}
    assert rows["trial_id"].nunique() == 2
    assert set(rows["target_sparsity"]) == {0.0, 0.5}
    assert (set(rows["language"]), set(rows["seed"])) == ({"de"}, {0})
    assert (
        rows.groupby("trial_id")["step"].agg(["min", "max", "size"]).values.tolist()
        == [[10, 10 * CURVE_POINTS, CURVE_POINTS]] * 2
    )


def test_trials_on_several_languages_belong_to_each(material):
    rows = draw_curves(material).table
    assert rows.loc[rows["series"] == "multilingual", "language"].isna().all()
    assert draw_curves(material).num_trials == 30


def trials(seeds: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of each seed a trial of 100 logged steps."""
    ids = [f"trial-{seed}" for seed in range(seeds)]
    rows = pd.DataFrame({"trial_id": ids, "seed": range(seeds)})
    steps = pd.DataFrame({"trial_id": ids}).merge(pd.DataFrame({"step": range(100)}), how="cross")
    return rows, steps


@pytest.mark.parametrize(("most", "seeds", "each"), [(1000, 3, 100), (150, 3, 51), (50, 2, 26)])
def test_points_are_thinned_out_before_seeds_are_left_out(monkeypatch, most, seeds, each):
    monkeypatch.setattr(training, "MOST_POINTS", most)
    kept, points = choose_points(*trials(3))
    assert kept["seed"].tolist() == list(range(seeds))
    for _, of_trial in points.groupby("trial_id"):
        assert len(of_trial) == each
        assert (of_trial["step"].min(), of_trial["step"].max()) == (0, 99)


def test_what_is_left_out_is_said(material, monkeypatch):
    assert draw_curves(material).notes == []
    monkeypatch.setattr(training, "MOST_POINTS", 400)
    drawing = draw_curves(material)
    assert len(drawing.table) <= 2 * 400
    assert [note.split()[0] for note in drawing.notes] == ["15", "Of"]
