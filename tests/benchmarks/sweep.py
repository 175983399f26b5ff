"""Measure a whole sweep, from the command to its results, beside what people would write instead.

    python -m tests.benchmarks.sweep [--encoder FOLDER] [--against FOLDER]  # or: make bench-sweep

Trials on WikiANN: Yoruba, Javanese and Burmese, dense and at 70 % sparsity. The peer is the
script `tune_and_trainer.py`: Ray Tune, the Trainer of Hugging Face and torch.nn.utils.prune. All
have the same sentences, encoder, steps, learning rates and sparsity schedule, run as many trials at
a time on as many threads, and score the test splits. They take turns, and ratios are within a
round; before that each runs once with less to do, so that compiling and a cold disk are not
counted. On a machine that others use, too, the CPU seconds of all processes vary less than the
seconds. F1 tells that all do the same work; it differs as between two seeds, since batches and the
head are drawn otherwise.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import yaml
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from orchestrator.results.store import ResultStore
from tests.benchmarks.measurement import (
    ROOT,
    Measurement,
    device_name,
    exit_code,
    ratios,
    write_csv,
)
from tests.real_data import real_data

ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",
}
LOOK_EVERY_S = 0.25
PEER, OURS, OTHER = "peer", "sparsweep", "other sparsweep"


@dataclass(frozen=True, kw_only=True)
class Work:
    """The sweep that all are given."""

    corpus: Path
    encoder: Path
    init: str  # pretrained or random
    languages: tuple[str, ...] = ("yo", "jv", "my")
    sparsities: tuple[float, ...] = (0.0, 0.7)
    num_epochs: int = 3
    batch_size: int = 32
    eval_batch_size: int = 128
    max_length: int = 128
    lr: float = 5e-4
    pruning: dict[str, float] = field(
        default_factory=lambda: {"begin": 0.1, "end": 0.7, "update_every_steps": 4}
    )
    precision: str = "float32"

    def as_sweep(self, results: Path) -> dict[str, Any]:
        """In the words of a sweep file."""
        return {
            "name": "bench",
            "results": str(results),
            "corpus": {"path": str(self.corpus)},
            "model": {"name": str(self.encoder), "init": self.init},
            "languages": list(self.languages),
            "sparsities": list(self.sparsities),
            "seeds": [0],
            "pruning": self.pruning,
            "training": {
                "num_epochs": self.num_epochs,
                "batch_size": self.batch_size,
                "max_length": self.max_length,
                "lr": self.lr,
                "precision": self.precision,
            },
            "evaluation": {"splits": ["test"], "batch_size": self.eval_batch_size},
        }

    def as_settings(self, storage: Path) -> dict[str, Any]:
        """In the words of `tune_and_trainer.py`."""
        places = {"corpus": str(self.corpus), "encoder": str(self.encoder), "storage": str(storage)}
        return {**vars(self), **places, "seed": 0}

    @property
    def smallest(self) -> "Work":
        """Of the same kinds of trials the shortest."""
        return replace(self, languages=self.languages[:1], num_epochs=1)


@dataclass(frozen=True)
class Outcome:
    """What one command took, and F1 by language and sparsity."""

    seconds: float
    cpu_seconds: float
    peak_gib: float
    f1: dict[tuple[str, float], float]


def run_peer(work: Work, folder: Path) -> Outcome:
    """Ray Tune and the Trainer."""
    settings, results = folder / "settings.json", folder / "results.json"
    settings.write_text(json.dumps(work.as_settings(folder / "tune")))
    script = Path(__file__).with_name("tune_and_trainer.py")
    # -P: files beside the script have names of packages, such as `kernels`, that others look for.
    took = watched([sys.executable, "-P", str(script), str(settings), str(results)], folder)
    rows = json.loads(results.read_text())
    return outcome(work, took, [tuple(row.values()) for row in rows])


def run_sparsweep(root: Path, work: Work, folder: Path) -> Outcome:
    """The command of a checkout."""
    sweep, results = folder / "sweep.yaml", folder / "results"
    sweep.write_text(yaml.safe_dump(work.as_sweep(results)))
    command = [sys.executable, "-m", "orchestrator.cli", "run", str(sweep)]
    took = watched(command, folder, PYTHONPATH=str(root))
    store = ResultStore(str(results))
    columns = ["language", "target_sparsity", "f1", "split", "subset", "entity_type", "trial_id"]
    achieved = {
        row["trial_id"]: row["achieved_sparsity"]
        for row in store.read("trials", ["trial_id", "achieved_sparsity"]).to_pylist()
    }
    rows = [
        (row["language"], row["target_sparsity"], row["f1"], achieved[row["trial_id"]])
        for row in store.read("scores", columns).to_pylist()
        if (row["split"], row["subset"], row["entity_type"]) == ("test", "all", "micro")
    ]
    return outcome(work, took, rows)


def outcome(
    work: Work, took: tuple[float, float, float], rows: list[tuple[str, float, float, float]]
) -> Outcome:
    """From language, sparsity, F1 and achieved sparsity of each trial.

    Raises:
        RuntimeError: they are not the trials of the work.
    """
    f1 = {(language, sparsity): score for language, sparsity, score, _ in rows}
    wanted = {(language, sparsity) for language in work.languages for sparsity in work.sparsities}
    if f1.keys() != wanted:
        raise RuntimeError(f"trials {sorted(f1)} instead of {sorted(wanted)}")
    for language, sparsity, _, achieved in rows:
        if abs((achieved or 0.0) - sparsity) > 0.001:
            raise RuntimeError(f"{language} is pruned to {achieved} instead of {sparsity}")
    return Outcome(*took, f1)


def watched(command: list[str], folder: Path, **environment: str) -> tuple[float, float, float]:
    """Run a command; returns its seconds, the CPU seconds of all its processes, and the peak memory
    in GiB of the largest one, which trains.

    Args:
        command: to run.
        folder: where it runs, and what it writes beside its results goes.
        environment: variables to set.

    Raises:
        RuntimeError: it failed; with the end of what it wrote.
    """
    caches = {name: str(folder / name.lower()) for name in ("HF_DATASETS_CACHE", "SPARSWEEP_CACHE")}
    places = {"TMPDIR": str(folder), "RAY_TMPDIR": str(folder)}
    known = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    log, started = folder / "log", time.perf_counter()
    used: dict[int, tuple[float, float]] = {}  # by process: what it had used at the last look
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=known | ENVIRONMENT | caches | places | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        while process.poll() is None:
            for child in psutil.Process().children(recursive=True):
                cpu_s, peak_gib = used.get(child.pid, (0.0, 0.0))
                now_s, now_gib = used_by(child)
                used[child.pid] = max(cpu_s, now_s), max(peak_gib, now_gib)
            time.sleep(LOOK_EVERY_S)
    seconds = time.perf_counter() - started
    if process.returncode != 0:
        raise RuntimeError("\n".join([" ".join(command), *log.read_text().splitlines()[-20:]]))
    cpu_s, peaks_gib = zip(*used.values(), strict=True)
    return seconds, sum(cpu_s), max(peaks_gib)


def used_by(process: psutil.Process) -> tuple[float, float]:
    """CPU seconds and the largest resident memory of a process so far, in GiB; 0 when it has
    ended."""
    try:
        times = process.cpu_times()
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except (OSError, psutil.Error):
        return 0.0, 0.0
    sizes = (int(line.split()[1]) / 2**20 for line in lines if line.startswith("VmHWM:"))
    return times.user + times.system, next(sizes, 0.0)


FIGURES = {"seconds": "s", "cpu_seconds": "s", "peak_gib": "GiB"}
Command = Callable[[Work, Path], Outcome]


def compare(
    commands: dict[str, Command], work: Work, precisions: list[str], repeats: int
) -> dict[str, list[Outcome]]:
    """Let the commands take turns; outcomes by command and precision."""
    outcomes: dict[str, list[Outcome]] = {}
    for turn in range(repeats + 1):
        for precision in precisions:
            for name, command in commands.items():
                what = f"{name}, {precision}"
                sys.stderr.write(f"{f'round {turn} of {repeats}' if turn else 'warm-up'}: {what}\n")
                given = replace(work if turn else work.smallest, precision=precision)
                with tempfile.TemporaryDirectory(prefix="s") as folder:  # sockets need short paths
                    found = command(given, Path(folder))
                if turn:
                    outcomes.setdefault(what, []).append(found)
    return outcomes


def measurements(outcomes: dict[str, list[Outcome]]) -> Iterator[Measurement]:
    """All figures; seconds and memory also as ratios to the peer in the same precision."""
    for what, found in outcomes.items():
        name, _, precision = what.partition(", ")
        theirs = outcomes[f"{PEER}, {precision}"]
        for figure, unit in FIGURES.items():
            values = tuple(getattr(one, figure) for one in found)
            yield Measurement(what=f"{what}: {figure}", values=values, unit=unit)
            if name != PEER:
                to_peer = ratios(values, (getattr(one, figure) for one in theirs))
                at_most = 1.0 if name == OURS else None
                yield Measurement(
                    what=f"{what}: {figure} / the peer's", values=to_peer, unit="x", at_most=at_most
                )
        for language, sparsity in found[0].f1:
            scores = tuple(one.f1[language, sparsity] for one in found)
            yield Measurement(what=f"{what}: {language} {sparsity:g}", values=scores, unit="F1")


def make_table(outcomes: dict[str, list[Outcome]], measured: list[Measurement]) -> Table:
    """A row a command and precision; a ratio below 1 speaks for ours."""
    medians = {one.what: one.median for one in measured}
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, caption=device_name())
    table.add_column("command", no_wrap=True)
    trials = list(next(iter(outcomes.values()))[0].f1)
    titles = [f"{language} {sparsity:g}" for language, sparsity in trials]
    for title in ("s", "/ peer", "CPU s", "/ peer", "GiB", "/ peer", *titles):
        table.add_column(title, justify="right", no_wrap=True)
    for what in outcomes:
        cells = []
        for figure, unit in FIGURES.items():
            ratio = medians.get(f"{what}: {figure} / the peer's")
            cells.append(f"{medians[f'{what}: {figure}']:.{2 if unit == 'GiB' else 1}f}")
            cells.append("" if ratio is None else f"{ratio:.2f}")
        f1 = [f"{medians[f'{what}: {title}']:.3f}" for title in titles]
        table.add_row(what, *cells, *f1)
    return table


def main() -> int:
    """Compare whole sweeps; 1 where ours takes more than the peer."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.sweep", description=main.__doc__
    )
    parser.add_argument(
        "--encoder",
        type=Path,
        metavar="FOLDER",
        help="a pretrained encoder as Hugging Face saves it (default: mBERT's shape from "
        "SPARSWEEP_TEST_DATA, with random weights)",
    )
    parser.add_argument(
        "--against", type=Path, metavar="FOLDER", help="another checkout of sparsweep to compare"
    )
    parser.add_argument(
        "--languages",
        nargs="+",
        default=list(Work.languages),
        metavar="CODE",
        help="(default: yo jv my; their 100 sentences teach nothing in 3 epochs, those of sw do)",
    )
    parser.add_argument(
        "--precisions",
        nargs="+",
        choices=("float32", "bfloat16"),
        default=["float32", "bfloat16"],
        help="(default: both)",
    )
    parser.add_argument(
        "--repeats", type=int, default=2, metavar="N", help="rounds (default: %(default)s)"
    )
    parser.add_argument(
        "--csv", type=Path, default=Path("results/bench-sweep.csv"), help="(default: %(default)s)"
    )
    args = parser.parse_args()
    try:
        encoder = args.encoder or real_data("mbert")
        corpus = real_data("wikiann")
    except FileNotFoundError as error:
        parser.error(str(error))
    for option, folder, file in (
        ("--encoder", encoder, "config.json"),
        ("--against", args.against or ROOT, "orchestrator/__init__.py"),
    ):
        if not (folder / file).is_file():
            parser.error(f"{option}: {folder} has no {file}")
    work = Work(
        corpus=corpus.resolve(),
        encoder=encoder.resolve(),
        init="pretrained" if args.encoder else "random",
        languages=tuple(args.languages),
    )
    commands: dict[str, Command] = {PEER: run_peer, OURS: partial(run_sparsweep, ROOT)}
    if args.against:
        commands[OTHER] = partial(run_sparsweep, args.against.resolve())
    outcomes = compare(commands, work, args.precisions, args.repeats)
    measured = list(measurements(outcomes))
    Console(width=None if sys.stdout.isatty() else 120).print(make_table(outcomes, measured))
    rows = [("sweep", one) for one in measured]
    write_csv(args.csv, rows)
    return exit_code(rows)


if __name__ == "__main__":
    sys.exit(main())
