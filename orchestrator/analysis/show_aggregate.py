"""Aggregates on a terminal."""

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.analysis.inputs.aggregate import Aggregates

CAPTION = (
    "F1: mean ± sample standard deviation over seeds\n"
    "Δ dense: difference to the same seed's dense trial"
)


def render(aggregates: Aggregates) -> RenderableType:
    """All that aggregates say: F1, what is missing, and what was left out."""
    parts: list[RenderableType] = [f1_table(aggregates)]
    if aggregates.holes:
        parts.append(hole_table(aggregates))
    parts += [Text(note, overflow="fold") for note in aggregates.notes]
    return Group(*parts)


def f1_table(aggregates: Aggregates) -> Table:
    """One line a cell and language: mean and sample standard deviation of F1 and of the paired
    difference to dense."""
    rows = aggregates.table.to_pylist()
    has_regimes = len({row["regime"] for row in rows}) > 1
    has_embeddings = any(row["embedding_sparsity"] for row in rows)
    has_settings = any(row["settings"] for row in rows)

    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption=CAPTION, caption_justify="left")
    if has_regimes:
        table.add_column("regime", no_wrap=True)
    table.add_column("language", no_wrap=True)
    table.add_column("sparsity", justify="right", no_wrap=True)
    if has_embeddings:
        table.add_column("embeddings", justify="right", no_wrap=True)
    if has_settings:
        table.add_column("settings", overflow="fold")
    split = rows[0]["split"] if rows else "test"
    has_silent = any(row["num_silent"] for row in rows)
    for title in (f"{split} F1", "seeds", "Δ dense", "pairs", "missing"):
        table.add_column(title, justify="right", no_wrap=True)
    if has_silent:
        table.add_column("silent", justify="right", no_wrap=True)
        table.caption = f"{CAPTION}\nsilent: seeds that predict no entity at all"

    last = None
    for row in rows:
        place = (row["regime"], row["language"])
        table.add_row(
            *([row["regime"]] if has_regimes else []),
            row["language"] if place != last else "",
            f"{row['target_sparsity']:g}",
            *([f"{row['embedding_sparsity']:g}"] if has_embeddings else []),
            *([row["settings"] or ""] if has_settings else []),
            _mean_and_std(row["f1_mean"], row["f1_std"], ""),
            str(row["num_seeds"]),
            _mean_and_std(row["delta_dense_mean"], row["delta_dense_std"], "+"),
            str(row["num_pairs"]) if row["num_pairs"] else "",
            str(row["num_holes"]) if row["num_holes"] else "",
            *([str(row["num_silent"] or "")] if has_silent else []),
        )
        last = place
    return table


def hole_table(aggregates: Aggregates) -> Table:
    """A table with one row for each hole: the trial's place in the grid, and why it has no F1."""
    title = f"{len(aggregates.holes)} trials without F1"
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for heading in ("language", "sparsity", "embeddings", "seed", "sweep", "trial"):
        table.add_column(heading, no_wrap=True)
    table.add_column("why", overflow="fold")
    for hole in aggregates.holes:
        table.add_row(
            hole.language,
            f"{hole.target_sparsity:g}",
            f"{hole.embedding_sparsity:g}",
            str(hole.seed),
            hole.sweep,
            hole.trial_id,
            hole.why,
        )
    return table


def _mean_and_std(mean: float | None, std: float | None, sign: str) -> str:
    if mean is None:
        return "–"
    return f"{mean:{sign}z.3f}" + ("" if std is None else f" ± {std:.3f}")
