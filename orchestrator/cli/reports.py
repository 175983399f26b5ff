"""The command that makes the report: a page, figures for a paper, or a page that is served."""

import argparse
import math
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cluster.contract import DONE
from orchestrator.analysis.tables import MARGIN
from orchestrator.cli.shared import open_console, open_store, read_number
from orchestrator.errors import SweepError, check_name
from orchestrator.results.store import ResultStore

if TYPE_CHECKING:
    from orchestrator.report.figure import Figure
    from orchestrator.report.material import Material

EVERY_S = 30.0
"""How often it is looked whether results have changed."""


def report(args: argparse.Namespace) -> int:
    """One HTML file with all figures, each figure in files of its own, or the page served."""
    _refuse_what_does_not_go_together(args)
    if args.figures is not None:
        return _write_figures(args)
    if args.live:
        return _serve(args)
    from orchestrator.report.page import write_page
    from orchestrator.report.sections import FIGURES

    store = open_store(args.results)
    material = _read(args, store, FIGURES.values())
    file = write_page(material, args.out or str(store.location / "report.html"))
    open_console().print(f"Report: {file}", soft_wrap=True)
    return DONE


def _refuse_what_does_not_go_together(args: argparse.Namespace) -> None:
    """Options that would not be heeded."""
    made = {"--figures FOLDER": args.figures is not None, "--live": args.live}
    if all(made.values()):
        raise SweepError("--live: serves the page; give it or --figures FOLDER, not both")
    needs = {"only": "--figures FOLDER", "theme": "--figures FOLDER"}
    needs |= {"port": "--live", "every": "--live"}
    for option, needed in needs.items():
        if getattr(args, option) is not None and not made[needed]:
            raise SweepError(f"--{option}: is for {needed}; give that, too, or leave it out")
    if args.out is not None and any(made.values()):
        raise SweepError("--out: is for a page that is written; leave out it or the other option")


def _read(args: argparse.Namespace, store: ResultStore, figures: "Iterable[Figure]") -> "Material":
    """What figures are drawn from."""
    # It loads pandas, scipy and Altair, which few other commands need.
    from orchestrator.analysis.statistics.intervals import IntervalOptions
    from orchestrator.report.material import read_material
    from orchestrator.report.sections import needs

    return read_material(
        store,
        needs(figures),
        args.split,
        intervals=IntervalOptions(is_identical_one=args.identical_as_one),
        matching=args.matching,
        same_device=args.same_device,
        margin=MARGIN if args.margin is None else read_number("--margin", args.margin),
    )


def _write_figures(args: argparse.Namespace) -> int:
    from orchestrator.report.export import write_figures
    from orchestrator.report.paper import THEMES
    from orchestrator.report.sections import FIGURES

    theme = args.theme or "paper"
    check_name("--theme", theme, THEMES, "theme")
    for name in args.only or ():
        check_name("--only", name, FIGURES, "figure")
    figures = [one for name, one in FIGURES.items() if args.only is None or name in args.only]
    material = _read(args, open_store(args.results), figures)
    console = open_console()
    for one in write_figures(material, figures, args.figures, theme):
        if one.why_not:
            console.print(f"{one.name}: no file; {one.why_not}", soft_wrap=True)
        else:
            console.print(f"{args.figures}/{one.name}: {', '.join(one.endings)}", soft_wrap=True)
    return DONE


def _serve(args: argparse.Namespace) -> int:
    from orchestrator.report.live import LivePage, LiveServer
    from orchestrator.report.page import make_page
    from orchestrator.report.sections import FIGURES

    port = args.port or "0"
    if not port.isdecimal():
        raise SweepError(
            f"--port: {port!r} is no port; give a number, or none for one that is free"
        )
    every_s = EVERY_S if args.every is None else read_number("--every", args.every)
    if not 1 <= every_s < math.inf:
        raise SweepError(f"--every: {args.every}; give seconds, at least 1")

    def make(state: str) -> str:
        store = open_store(args.results)  # what another one remembers may have changed
        return make_page(_read(args, store, FIGURES.values()), state)

    console = open_console()
    live = LivePage(
        open_store(args.results),
        make,
        every_s,
        lambda problem: console.print(f"The page was not made again: {problem}", soft_wrap=True),
    )
    with LiveServer(live, int(port)) as server, live:
        threading.Thread(target=server.serve_forever, daemon=True, name="server").start()
        told = f"Report: {server.address} (for browsers of this machine; Ctrl-C ends it)"
        console.print(told, soft_wrap=True)
        try:
            threading.Event().wait()
        finally:
            server.shutdown()
    return DONE
