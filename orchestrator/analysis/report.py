"""Aggregates for people: a table on the terminal, and CSV or Parquet files."""

import io

import pyarrow.csv
from rich.box import SIMPLE_HEAD
from rich.table import Table

from orchestrator.analysis.aggregate import Aggregates
from orchestrator.analysis.tables import AGGREGATES
from orchestrator.errors import StoreError
from orchestrator.results.parquet import encode_compact
from workers.storage import Location


def f1_table(aggregates: Aggregates) -> Table:
    """One line a cell and language: mean and sample standard deviation of F1 and of the paired
    difference to dense."""
    rows = aggregates.table.to_pylist()
    has_regimes = len({row["regime"] for row in rows}) > 1
    has_embeddings = any(row["embedding_sparsity"] for row in rows)
    has_settings = any(row["settings"] for row in rows)
    caption = "F1: mean ± sample standard deviation over seeds\nΔ dense: difference to the same seed's dense trial"
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption=caption, caption_justify="left")
    if has_regimes:
        table.add_column("regime", no_wrap=True)
    table.add_column("language", no_wrap=True)
    table.add_column("sparsity", justify="right", no_wrap=True)
    if has_embeddings:
        table.add_column("embeddings", justify="right", no_wrap=True)
    if has_settings:
        table.add_column("settings", overflow="fold")
    for title in (
        f"{rows[0]['split'] if rows else 'test'} F1",
        "seeds",
        "Δ dense",
        "pairs",
        "missing",
    ):
        table.add_column(title, justify="right", no_wrap=True)
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
        )
        last = place
    return table


def hole_table(aggregates: Aggregates) -> Table:
    """One line a hole."""
    title = f"{len(aggregates.holes)} trials without F1"
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for title in ("language", "sparsity", "embeddings", "seed", "sweep", "trial"):
        table.add_column(title, no_wrap=True)
    table.add_column("why", overflow="fold")
    for hole in aggregates.holes:
        place = (
            hole.language,
            f"{hole.target_sparsity:g}",
            f"{hole.embedding_sparsity:g}",
            str(hole.seed),
        )
        table.add_row(*place, hole.sweep, hole.trial_id, hole.why)
    return table


def write_csv(aggregates: Aggregates, path: str) -> None:
    """The aggregates with all digits; null is an empty field.

    Raises:
        StoreError: it cannot be written there.
    """
    buffer = io.BytesIO()
    pyarrow.csv.write_csv(aggregates.table, buffer)
    _write(path, buffer.getvalue())


def write_parquet(aggregates: Aggregates, path: str) -> None:
    """The aggregates with the meaning of each column in the file. Raises as `write_csv`."""
    _write(path, encode_compact(AGGREGATES, aggregates.table))


def _write(path: str, data: bytes) -> None:
    try:
        Location.parse(path).write_atomic(data)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path}: cannot be written ({error}); give a path where you may write"
        ) from error


def _mean_and_std(mean: float | None, std: float | None, sign: str) -> str:
    if mean is None:
        return "–"
    return f"{mean:{sign}z.3f}" + ("" if std is None else f" ± {std:.3f}")
