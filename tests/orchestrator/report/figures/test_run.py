"""Figures of what was run."""

from orchestrator.report.figures.run import draw_trials


def test_trials_are_counted_by_sweep_and_status(material):
    drawing = draw_trials(material)
    assert drawing.table.to_dict("records") == [
        {"sweep": "bench", "status": "completed", "num_trials": 30}
    ]
    assert drawing.num_trials == 30
