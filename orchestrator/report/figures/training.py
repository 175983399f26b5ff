"""How trials trained: loss, gradient norm and sparsity, beside the dense trial of the same seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from orchestrator.analysis.inputs.aggregate import ZERO_SHOT
from orchestrator.report.charts import chart, colour, tooltip
from orchestrator.report.figure import Choice, Drawing, Figure, nothing
from orchestrator.report.material import Material
from orchestrator.wording import counted

if TYPE_CHECKING:
    import altair as alt

MOST_POINTS = 48_000
"""Points in the page, of all trials together: about 2 MB."""
LEAST_OF_TRIAL = 24
"""Where fewer would be left of each trial, the highest seeds are left out first."""
MOST_OF_TRIAL = 200
"""A panel is about so many pixels wide."""

MEASURED = {"loss": "loss", "grad_norm": "gradient norm", "sparsity": "sparsity"}
TRIALS_READ = (
    *("trial_id", "cell_id", "dense_trial_id", "status"),
    *("regime", "language", "target_sparsity", "embedding_sparsity", "seed"),
)
CURVES_READ = ("trial_id", "step", *MEASURED)
CHOICES = (
    Choice(column="language", label="Trained on"),
    Choice(column="pruned_to", label="Sparsity"),
    Choice(column="seed", label="Seed"),
)
KEY = ["series", "embeddings", "language", "target_sparsity", "seed"]


def draw_curves(material: Material) -> Drawing:
    """Loss, gradient norm and sparsity by step of a trial and of its dense twin."""
    trials = find_trials(material)
    curves = material.read("curves", CURVES_READ)
    logged = trials[trials["trial_id"].isin(curves["trial_id"])]
    if logged.empty:
        return nothing(
            "No trial has stored its loss by step: results of trials that have ended have it."
        )
    kept, points = choose_points(logged, curves)
    table = kept.merge(points, on="trial_id").sort_values([*KEY, "step"], ignore_index=True)
    table["pruned_to"] = table["target_sparsity"].where(table["target_sparsity"] > 0)
    table[list(MEASURED)] = table[list(MEASURED)].map(_shortened)
    return Drawing(
        table=table[[*KEY, "pruned_to", "trial_id", "step", *MEASURED]],
        chart=_panels(),
        num_trials=kept["trial_id"].nunique(),
        filters=("series", "embeddings", "language"),
        choices=CHOICES,
        text=[
            "Loss is the mean since the step that was logged before, the gradient norm that of one "
            "step, before clipping. Until pruning begins a trial takes the steps of its dense twin:"
            " both lines are one."
        ],
        notes=_notes(trials, logged, kept, curves, points),
    )


def find_trials(material: Material) -> pd.DataFrame:
    """Completed trials that are compared, with the columns `KEY`: a dense trial has a row in the
    series of each sparse trial that is compared with it, and null as embeddings."""
    trials = material.read("trials", TRIALS_READ)
    trials = trials[trials["status"] == "completed"]
    quality = material.table("quality")
    of_training = quality[~quality["regime"].str.startswith(ZERO_SHOT)]
    quality = of_training if len(of_training) else quality
    cells = quality[["cell_id", "series", "embeddings"]].drop_duplicates()
    rows = trials.merge(cells, on="cell_id")
    is_dense = rows["target_sparsity"] == 0
    sparse, dense = rows[~is_dense], rows[is_dense]
    twins = sparse[["series", "dense_trial_id"]].drop_duplicates()
    twins = twins.merge(dense.drop(columns=["series", "dense_trial_id"]), how="inner",
                        left_on="dense_trial_id", right_on="trial_id")  # fmt: skip
    alone = dense[~dense["trial_id"].isin(twins["trial_id"])]
    dense = pd.concat([twins, alone], ignore_index=True).assign(embeddings=None)
    found = pd.concat([dense, sparse], ignore_index=True)
    # A trial on several languages belongs to each of them.
    found["language"] = found["language"].mask(found["regime"] == "multilingual", None)
    return found.drop_duplicates([*KEY, "trial_id"])[[*KEY, "trial_id"]]


def choose_points(trials: pd.DataFrame, curves: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The trials of as many of the lowest seeds, and as many evenly spaced steps of each, as the
    page has room for.

    Args:
        trials: a row a trial and series.
        curves: logged steps of trials.

    Returns:
        The rows of both that are kept; each trial has its first and its last step.
    """
    seeds = sorted(trials["seed"].unique())
    kept = trials
    while len(seeds) > 1 and len(kept) * LEAST_OF_TRIAL > MOST_POINTS:
        seeds.pop()
        kept = trials[trials["seed"].isin(seeds)]
    most = min(max(MOST_POINTS // len(kept), 2), MOST_OF_TRIAL)
    curves = curves[curves["trial_id"].isin(kept["trial_id"])].sort_values(["trial_id", "step"])
    by_trial = curves.groupby("trial_id")
    place, size = by_trial.cumcount(), by_trial["step"].transform("size")
    every = np.ceil(size / most)
    return kept, curves[(place % every == 0) | (place == size - 1)]


def _shortened(value: float) -> float:
    """Five digits, which is more than can be seen."""
    return float(f"{value:.5g}")


def _notes(
    trials: pd.DataFrame,
    logged: pd.DataFrame,
    kept: pd.DataFrame,
    curves: pd.DataFrame,
    points: pd.DataFrame,
) -> list[str]:
    """What is not shown."""
    notes = []
    if without := trials["trial_id"].nunique() - logged["trial_id"].nunique():
        notes.append(f"{counted(without, 'trial')} stored no steps.")
    left_out = logged["trial_id"].nunique() - kept["trial_id"].nunique()
    if left_out:
        seeds = ", ".join(map(str, sorted(kept["seed"].unique())))
        notes.append(
            f"{counted(left_out, 'trial')} of other seeds than {seeds} are left out, so that the "
            "page stays small; the table `curves` of the results has them."
        )
    in_all = int(curves["trial_id"].isin(kept["trial_id"]).sum())
    if len(points) < in_all:
        notes.append(
            f"Of {in_all:,} logged steps of these trials {len(points):,} are in the page, evenly "
            "spaced, the first and the last among them."
        )
    return notes


def _panels() -> alt.TopLevelMixin:
    """A panel a measure; two lines, the trial that the reader chooses and its dense twin."""
    import altair as alt

    known = {"dense": "quiet", "sparse": "main"}
    lines = chart(width=330, height=220).encode(
        x=alt.X("step:Q", title="optimizer steps", axis=alt.Axis(format="~s", tickCount=5)),
        y=alt.Y("value:Q", title=None, axis=alt.Axis(format="~r", tickCount=5)),
        color=alt.Color(
            "trial:N",
            title=None,
            scale=alt.Scale(domain=list(known), range=[colour(one) for one in known.values()]),
            legend=alt.Legend(symbolType="stroke", symbolSize=300, symbolStrokeWidth=2),
        ),
        strokeDash=alt.StrokeDash(
            "trial:N", title=None, scale=alt.Scale(domain=list(known), range=[[5, 4], [1, 0]])
        ),
    )
    told = tooltip(
        trial="trial:0", language="trained on:0", target_sparsity="target sparsity:0",
        seed="seed:0", step="step:0", value="value",
    )  # fmt: skip
    panels: alt.FacetChart = (
        alt.layer(
            lines.mark_line(),
            lines.mark_point(filled=True, size=22, opacity=1).encode(tooltip=told),
        )
        .transform_fold(list(MEASURED), as_=["measured", "value"])
        .transform_calculate(
            trial="datum.target_sparsity > 0 ? 'sparse' : 'dense'",
            panel="datum.measured === 'grad_norm' ? 'gradient norm' : datum.measured",
        )
        .facet(facet=alt.Facet("panel:N", title=None, sort=list(MEASURED.values())), columns=3)
        .resolve_scale(y="independent")
    )
    return panels


CURVES = Figure(
    name="training-curves",
    title="Training, step by step",
    question="How did a trial learn, beside the dense trial of its seed?",
    needs=("quality",),
    draw=draw_curves,
)

FIGURES = (CURVES,)
