"""`sparsweep report` of as many results as the paper's grid gives: what it takes beyond `analyze`,
the size of the page, and how long a reader waits for it in Chromium.

    python -m tests.benchmarks.report [--sentences N] [--keep FOLDER]

The results are those of `tests.benchmarks.analysis`. Analysis and report run in a process each, so
that their memory is their own.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.results.store import ResultStore
from orchestrator.spec.languages import XTREME
from tests.benchmarks.analysis import NUM_LANGUAGES, NUM_SENTENCES, make_results
from tests.benchmarks.measurement import Measurement, in_own_process
from tests.browser import CHROMIUM, open_browser

CHOICES = 6
"""How often a reader chooses, at each figure that is looked at."""

UPDATED = """async name => {
  const select = document.querySelector(`select[name=${name}]`);
  select.selectedIndex = (select.selectedIndex + 1) % select.options.length;
  const started = performance.now();
  select.dispatchEvent(new Event("input", { bubbles: true }));
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  return (performance.now() - started) / 1000;
}"""
"""Chooses the next value; gives the seconds until the page shows it."""


def main() -> int:
    """Make results, a report of them, and open it; print what that takes."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.report", description=main.__doc__
    )
    parser.add_argument("--sentences", type=int, default=NUM_SENTENCES)
    parser.add_argument(
        "--keep", metavar="FOLDER", help="make the results here, or use those that are here"
    )
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "FOLDER"), help="print JSON")
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(*args.measure)))
    else:
        for one in report(args.sentences, args.keep):
            print(f"{one.what}: {one.median:.3g} {one.unit}, {one.target}")
    return 0


def report(num_sentences: int | None = None, keep: str | None = None) -> Iterator[Measurement]:
    """Seconds, memory and size of a report of 1,845 trials, and how quick it is in Chromium, where
    that is."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or temporary
        if not ResultStore(folder).planned_sweeps():
            languages = XTREME[:NUM_LANGUAGES]
            make_results(folder, languages, num_sentences=num_sentences or NUM_SENTENCES)
            ResultStore(folder).compact()
        analysis, page = (
            in_own_process("tests.benchmarks.report", "--measure", what, folder)
            for what in ("analysis", "page")
        )
        size = Path(page["file"]).stat().st_size / 1e6
        waits = open_page(page["file"]) if CHROMIUM.exists() else None
    beyond = page["seconds"] - analysis["seconds"]
    what = f"CPU time of report beyond analyze, {page['num_trials']:,} trials"
    yield Measurement(what=what, values=(beyond,), unit="s", at_most=20)
    peak = page["peak_mib"] - analysis["peak_mib"]
    yield Measurement(what="its memory beyond analyze", values=(peak,), unit="MiB", at_most=2_048)
    yield Measurement(what="the page", values=(size,), unit="MB", at_most=8)
    if waits is not None:
        opened, chosen = waits
        yield Measurement(what="it opens in Chromium", values=(opened,), unit="s", at_most=2)
        yield Measurement(what="it shows another choice", values=chosen, unit="s", at_most=0.2)


def measure(what: str, folder: str) -> dict[str, Any]:
    """Analyze, or analyze and make the page, imports included: CPU time, and peak memory."""
    started = time.process_time()
    store = ResultStore(folder)
    file = f"{folder}/report.html"
    if what == "analysis":
        from orchestrator.analysis.analyze import analyze

        analyze(store)
    else:
        from orchestrator.report.material import read_material
        from orchestrator.report.page import write_page
        from orchestrator.report.sections import FIGURES, needs

        write_page(read_material(store, needs(FIGURES.values())), file)
    seconds = time.process_time() - started
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": seconds,
        "peak_mib": peak_mib,
        "num_trials": len(store.statuses()),
        "file": file,
    }


def open_page(file: str) -> tuple[float, tuple[float, ...]]:
    """Seconds until the first chart is drawn, and until each of several choices is shown."""
    with open_browser() as browser:
        page = browser.new_context(offline=True).new_page()
        page.set_default_timeout(300_000)
        started = time.perf_counter()
        page.goto(f"file://{file}")
        page.wait_for_selector("[data-drawn]")
        opened = time.perf_counter() - started
        chosen = []
        for name in ("f1-by-language", "f1-by-group", "change", "tolerance"):
            page.locator(f"#{name}").scroll_into_view_if_needed()
            page.wait_for_selector(f"#{name}[data-drawn]")
            page.wait_for_timeout(1_000)  # what comes near the view is drawn, too
            times = [page.evaluate(UPDATED, "embeddings") for _ in range(CHOICES)]
            chosen.append(statistics.median(times))
    return opened, tuple(chosen)


if __name__ == "__main__":
    sys.exit(main())
