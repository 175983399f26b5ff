"""F1 by sparsity, and its change to dense."""

from orchestrator.report.figure import ROWS, Drawing, Figure, nothing
from orchestrator.report.material import Material

SPARSITY = "target_sparsity:Q"


def draw_f1_by_language(material: Material) -> Drawing:
    """F1 by sparsity, a panel a language, with intervals."""
    import altair as alt

    quality = material.table("quality")
    measured = quality[quality["f1_mean"].notna()]
    if measured.empty:
        return nothing("No trial has an F1 yet.")
    names = ["series", "language", "target_sparsity", "embeddings", "f1_mean", "f1_low", "f1_high"]
    table = quality[[*names, "num_seeds", "num_holes"]].copy()
    table.loc[table["target_sparsity"] == 0, "embeddings"] = None  # dense trials are of both
    panel = alt.Chart(width=130, height=90)
    x = alt.X(SPARSITY, title="sparsity", axis=alt.Axis(values=[0, 0.5, 1]))
    tooltip = ["language:N", SPARSITY, "f1_mean:Q", "f1_low:Q", "f1_high:Q", "num_seeds:Q"]
    band = panel.mark_rule(opacity=0.5).encode(x=x, y="f1_low:Q", y2="f1_high:Q")
    line = panel.mark_line(point=True).encode(
        x=x,
        y=alt.Y("f1_mean:Q", title="F1", scale=alt.Scale(domain=[0, 1])),
        tooltip=tooltip,
    )
    chart = alt.layer(band, line, data=alt.NamedData(name=ROWS)).facet(
        facet=alt.Facet("language:N", title=None), columns=6
    )
    return Drawing(
        table=table,
        chart=chart,
        num_trials=int(quality["num_seeds"].sum()),
        filters=("series", "embeddings", "language"),
        notes=material.notes("quality"),
    )


F1_BY_LANGUAGE = Figure(
    name="f1-by-language",
    title="F1 by sparsity, language by language",
    question="How does F1 of each language fall as the model gets sparser?",
    needs=("quality",),
    draw=draw_f1_by_language,
)

FIGURES = (F1_BY_LANGUAGE,)
