"""What was run: sweeps, and what became of their trials."""

from orchestrator.report.figure import ROWS, Drawing, Figure
from orchestrator.report.material import Material
from orchestrator.report.theme import STATES


def draw_trials(material: Material) -> Drawing:
    """How many trials of each sweep are completed, failed and missing."""
    import altair as alt

    planned = material.read("plans", ("sweep", "trial_id"))
    status = material.read("trials", ("trial_id", "status"))
    rows = planned.merge(status, on="trial_id", how="left").fillna({"status": "missing"})
    table = rows.groupby(["sweep", "status"]).size().rename("num_trials").reset_index()
    chart = (
        alt.Chart(alt.NamedData(name=ROWS), width="container")
        .mark_bar()
        .encode(
            x=alt.X("num_trials:Q", title="trials"),
            y=alt.Y("sweep:N", title=None),
            color=alt.Color(
                "status:N",
                title=None,
                scale=alt.Scale(domain=list(STATES), range=list(STATES.values())),
            ),
            tooltip=["sweep:N", "status:N", "num_trials:Q"],
        )
    )
    num_trials = int((rows["status"] == "completed").sum())
    return Drawing(table=table, chart=chart, num_trials=num_trials)


TRIALS = Figure(
    name="trials",
    title="Trials of each sweep",
    question="What was planned, and what became of it?",
    draw=draw_trials,
)

FIGURES = (TRIALS,)
