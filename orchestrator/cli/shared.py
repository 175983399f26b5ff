"""What the commands share: a sweep with its trials and results, a console, and how these are
shown."""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import SweepError
from workers.trial import MULTILINGUAL, describe_place

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from orchestrator.planning.plan import PlannedTrial
    from orchestrator.results.store import ResultStore
    from orchestrator.spec.sweep_spec import SweepSpec


def load_sweep(args: argparse.Namespace) -> "SweepSpec":
    """The sweep that a command names, with what `--set` changes."""
    from orchestrator.spec.sweep_spec import load_sweep_spec

    return load_sweep_spec(args.spec, args.set)


def load(args: argparse.Namespace) -> "tuple[SweepSpec, list[PlannedTrial], ResultStore]":
    """The sweep, its trials in order, and the store of its results."""
    from orchestrator.planning.plan import make_plan

    sweep = load_sweep(args)
    return sweep, make_plan(sweep), open_store(sweep.results, must_exist=False)


def open_store(location: str, must_exist: bool = True) -> "ResultStore":
    """The results at a location; where they must exist, a sweep has been run there."""
    from orchestrator.results.store import ResultStore

    store = ResultStore(location)
    path = Path(store.location.path)
    if store.location.is_local and path.exists() and not path.is_dir():
        raise SweepError(f"results: {location} is a file; give a folder")
    if must_exist and not store.planned_sweeps():
        raise SweepError(
            f"{location}: holds no results; give the results of a sweep that has been run"
        )
    return store


def count(planned: "Sequence[PlannedTrial]", statuses: Mapping[str, str]) -> dict[str, int]:
    """Trials by status."""
    found = Counter(statuses.get(trial.trial_id, "new") for trial in planned)
    return {state: found[state] for state in ("completed", "failed", "new")}


def counts_line(sweep: "SweepSpec", store: "ResultStore", counts: Mapping[str, int]) -> str:
    """The state of a sweep in one line."""
    shown = ", ".join(f"{number} {state}" for state, number in counts.items())
    return f"{sweep.name}: {sum(counts.values())} trials, {shown}; results in {store.location}"


def plan_table(
    sweep: "SweepSpec", planned: "Sequence[PlannedTrial]", statuses: Mapping[str, str]
) -> "Table":
    """Languages down, sparsities across, in each cell the trials that are done of all seeds."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from orchestrator.analysis.comparable import embeddings_name

    cells: dict[tuple[str, str], dict[float, list[str]]] = {}
    for trial in planned:
        spec, state = trial.spec, statuses.get(trial.trial_id, "new")
        row = cells.setdefault(
            (spec.language, embeddings_name(spec.target_sparsity, spec.embedding_sparsity)), {}
        )
        row.setdefault(spec.target_sparsity, []).append(state)
    has_embeddings = any(embeddings != "dense" for _, embeddings in cells)
    caption = f"completed trials of {len(sweep.seeds)} seeds, by sparsity"
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption=caption, caption_justify="left")
    table.add_column("language", no_wrap=True)
    if has_embeddings:
        table.add_column("embeddings", no_wrap=True)
    for sparsity in sweep.sparsities:
        table.add_column(f"{sparsity:g}", justify="right")
    order: list[str] = [MULTILINGUAL] if sweep.regime == MULTILINGUAL else sweep.languages
    last = None
    for language, embeddings in sorted(cells, key=lambda place: (order.index(place[0]), place[1])):
        row = cells[language, embeddings]
        names = [language if language != last else "", *([embeddings] if has_embeddings else [])]
        table.add_row(*names, *(_cell(row.get(sparsity, [])) for sparsity in sweep.sparsities))
        last = language
    return table


def _cell(states: list[str]) -> "Text":
    from rich.text import Text

    if not states:
        return Text("")
    failed = f" {states.count('failed')} failed" if "failed" in states else ""
    return Text.assemble(f"{states.count('completed')}/{len(states)}", (failed, "red"))


def find_failures(planned: "Sequence[PlannedTrial]", store: "ResultStore") -> list[dict[str, Any]]:
    """Which trials failed, and why."""
    columns = ["trial_id", "language", "target_sparsity", "embedding_sparsity", "seed"]
    columns += ["status", "error_kind", "error_message"]
    ids = {trial.trial_id for trial in planned}
    rows = store.read("trials", columns).to_pylist()
    failed = [row for row in rows if row["status"] == "failed" and row["trial_id"] in ids]
    return [{key: value for key, value in row.items() if key != "status"} for row in failed]


def print_failures(failures: list[dict[str, Any]], console: "Console") -> None:
    """A line each."""
    for row in failures:
        place = (
            row[name] for name in ("language", "target_sparsity", "embedding_sparsity", "seed")
        )
        text = f"failed: {describe_place(*place)}: {row['error_kind']}: {row['error_message']}"
        console.print(text, soft_wrap=True)


def open_console(width: int | None = None) -> "Console":
    """For tables and lines that are taken as they are."""
    from rich.console import Console

    class PlainConsole(Console):
        """Takes text as it is, and leaves a reader that went away to `main`."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return PlainConsole(markup=False, highlight=False, width=width)
