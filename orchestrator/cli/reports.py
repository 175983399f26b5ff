"""The command that makes the report."""

import argparse

from cluster.contract import DONE
from orchestrator.analysis.tables import MARGIN
from orchestrator.cli.shared import open_console, open_store, read_number


def report(args: argparse.Namespace) -> int:
    """One HTML file with all figures, which opens in any browser without a network."""
    # It loads pandas, scipy and Altair, which few other commands need.
    from orchestrator.analysis.statistics.intervals import IntervalOptions
    from orchestrator.report.material import read_material
    from orchestrator.report.page import write_page
    from orchestrator.report.sections import FIGURES, needs

    margin = MARGIN if args.margin is None else read_number("--margin", args.margin)
    store = open_store(args.results)
    material = read_material(
        store,
        needs(FIGURES.values()),
        args.split,
        intervals=IntervalOptions(is_identical_one=args.identical_as_one),
        matching=args.matching,
        same_device=args.same_device,
        margin=margin,
    )
    file = write_page(material, args.out or str(store.location / "report.html"))
    open_console().print(f"Report: {file}", soft_wrap=True)
    return DONE
