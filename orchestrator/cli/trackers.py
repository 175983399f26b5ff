"""The command that brings trials into a tracker."""

import argparse
import importlib
from typing import Any

from cluster.contract import DONE
from orchestrator.cli.shared import open_console, open_store
from orchestrator.errors import SweepError, check_name
from orchestrator.wording import counted

TRACKERS = {
    "tensorboard": "orchestrator.trackers.tensorboard:TensorBoard",
    "mlflow": "orchestrator.trackers.mlflow:MLflow",
}
"""Where each tracker's class stands; it is loaded when it is asked for."""


def export(args: argparse.Namespace) -> int:
    """Bring curves, settings and scores of all trials into a tracker's folder."""
    from orchestrator.trackers.runs import read_runs
    from orchestrator.trackers.tracker import bring

    check_name("--to", args.to, TRACKERS, "tracker")
    store = open_store(args.results)
    if not store.statuses():
        raise SweepError(f"{args.results}: no trial has ended yet; export again when one has")
    tracker = _open(args.to, args.folder)
    with tracker.location.locked():
        counts = bring(read_runs(store), tracker)
    told = ", ".join(f"{number} {what}" for what, number in counts.items())
    console = open_console()
    console.print(f"{tracker.location}: {counted(counts.total(), 'trial')}, {told}", soft_wrap=True)
    console.print(f"Look at them: {tracker.look}", soft_wrap=True)
    return DONE


def _open(name: str, folder: str) -> Any:
    module, _, class_name = TRACKERS[name].partition(":")
    return getattr(importlib.import_module(module), class_name)(folder)
