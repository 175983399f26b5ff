"""Disturb sweeps at random, and see whether they come to the same end.

    python -m tests.chaos [--seed N] [--minutes M | --rounds R]

A round has a seed of its own, from N upwards, by which it can be repeated: `--seed 17 --rounds 1`.
Exits with 1 if a trial was lost, a number is another, a run hung, or a user saw what none should.
"""

import argparse
import contextlib
import itertools
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from tests.chaos import faults
from tests.chaos.campaign import BAD, SWEEP, Report, Round, computed
from tests.chaos.places import (
    Place,
    in_a_folder,
    in_an_object_store,
    on_a_small_disk,
    why_no_disk,
)
from tests.real_sweeps import sparsweep, write_sweep
from tests.s3_server import run_server

MakePlace = Callable[[Path], contextlib.AbstractContextManager[Place]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--minutes", type=float, default=5, help="no round begins after so long")
    parser.add_argument("--rounds", type=int, help="so many rounds, however long they take")
    args = parser.parse_args()
    # A shell makes background jobs deaf to Ctrl-C, nohup to a hang-up; sweeps would inherit that.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))  # Ray's sockets need a short path
    reports: list[Report] = []
    began = time.monotonic()
    try:
        with contextlib.closing(campaign(folder, args.seed)) as rounds:
            for report in rounds:
                print(report, flush=True)
                reports.append(report)
                is_over = time.monotonic() - began > 60 * args.minutes
                if len(reports) >= args.rounds if args.rounds else is_over:
                    break
    except KeyboardInterrupt:
        print("stopped; the round that had begun is not counted")
    print_counts(reports)
    if any(report.failures for report in reports):
        print(f"what failed is kept in {folder}; a round again: --seed SEED --rounds 1")
        return 1
    shutil.rmtree(folder)
    return 0


def campaign(folder: Path, first_seed: int) -> Generator[Report]:
    """Round after round, without end."""
    with run_server() as server:
        places = choose_places(folder, server)
        expected = undisturbed(folder / "undisturbed")
        for seed in itertools.count(first_seed):
            yield play(seed, folder, places, expected)


def choose_places(folder: Path, server: str) -> list[tuple[str, MakePlace]]:
    """The kinds of places, which rounds take in turns."""
    places: list[tuple[str, MakePlace]] = [
        ("folder", in_a_folder),
        ("store", lambda own: in_an_object_store(own, server)),
    ]
    if (why := why_no_disk(folder / "disk")) is None:
        places.append(("disk", on_a_small_disk))
    else:
        print(f"no full disk: {why}", flush=True)
    return places


def undisturbed(folder: Path) -> dict[str, list[dict]]:
    """The numbers of the sweep, run in one go."""
    folder.mkdir()
    spec = write_sweep(folder / "tiny.yaml", folder / "results", **SWEEP)
    environment = {"SPARSWEEP_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    code, output = sparsweep("run", spec, **environment)
    if code != 0:
        sys.exit(f"an undisturbed sweep ends with {code}:\n{output}")
    return computed(str(folder / "results"))


def play(
    seed: int, folder: Path, places: list[tuple[str, MakePlace]], expected: dict[str, list[dict]]
) -> Report:
    """One round in a folder of its own, which is kept if it fails."""
    own = folder / str(seed)
    temporary = folder / "t"
    for each in (own, temporary):
        each.mkdir(exist_ok=True)
    name, make = places[seed % len(places)]
    with make(own) as place:
        report = Round(seed, own, temporary, name, place, expected).play()
        if report.failures and place.disk:  # which is about to go
            shutil.copytree(place.disk.folder, own / "copy of the disk")
    shutil.rmtree(temporary)
    if not report.failures:
        shutil.rmtree(own)
    return report


def print_counts(reports: list[Report]) -> None:
    """By kind of fault: how often it was tried, and how often something went wrong after it."""
    tried: Counter[str] = sum((report.tried for report in reports), Counter())
    failed = Counter(
        (failure.fault, failure.how) for report in reports for failure in report.failures
    )
    print(f"{'fault':<24}{'tried':>7}" + "".join(f"{how:>8}" for how in BAD))
    for name, kinds in sums():
        for kind in kinds:
            print_row(kind.name, [kind.name], tried, failed)
        print_row(f"all {name}", [kind.name for kind in kinds], tried, failed)
    print_row("none", ["none"], tried, failed)


def sums() -> Iterator[tuple[str, list[faults.Fault]]]:
    """Faults that are counted together."""
    yield "signals", list(faults.SIGNALS)
    yield "damaged files", list(faults.FILES)
    yield "disks and stores", [*faults.DISKS, *faults.STORES]


def print_row(
    name: str, kinds: list[str], tried: Counter[str], failed: Counter[tuple[str, str]]
) -> None:
    bad = [sum(failed[kind, how] for kind in kinds) for how in BAD]
    num_tried = sum(tried[kind] for kind in kinds)
    if num_tried or any(bad):
        print(f"{name:<24}{num_tried:>7}" + "".join(f"{number:>8}" for number in bad))


if __name__ == "__main__":
    sys.exit(main())
