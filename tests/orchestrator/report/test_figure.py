"""What a figure is when there is nothing to draw."""

from orchestrator.report.figure import nothing


def test_nothing_has_no_rows_and_says_why():
    drawing = nothing("No trial has an F1 yet.")
    assert drawing.table.empty
    assert (drawing.chart, drawing.num_trials) == (None, 0)
    assert drawing.notes == ("No trial has an F1 yet.",)
