"""The commands that read: results, what they and sweep files are made of, test sets, sweeps to
copy."""

import argparse
import json
import sys

from rich import filesize

from cluster import profile_type
from cluster.contract import DONE
from orchestrator.analysis.inputs.aggregate import aggregate as aggregate_results
from orchestrator.analysis.show_aggregate import render
from orchestrator.analysis.tables import AGGREGATES, ANALYSES, MARGIN, POWER
from orchestrator.cli.shared import open_console, open_store, read_number
from orchestrator.errors import SweepError
from orchestrator.planning.plan import make_plan
from orchestrator.results.export import write_csv, write_parquet
from orchestrator.results.schema import TABLES, describe
from orchestrator.spec.sweep_spec import SweepSpec, builtin_sweeps, load_sweep_spec
from orchestrator.wording import counted
from workers.data import kept
from workers.trial import TrialError

ANALYSIS_WIDTH = 100
"""Columns that the tables of `analyze` are made for; used where there is no terminal."""


def aggregate(args: argparse.Namespace) -> int:
    """Mean, spread and difference to dense of F1, by language and sparsity; what is missing is
    named."""
    result = aggregate_results(
        open_store(args.results), args.split, args.matching, args.same_device
    )
    if args.csv is not None:
        write_csv(result.table, args.csv)
    if args.parquet is not None:
        write_parquet(AGGREGATES, result.table, args.parquet)
    open_console().print(render(result))
    return DONE


def analyze(args: argparse.Namespace) -> int:
    """Quality, robustness and disagreement by language and sparsity, with tests: as tables, Parquet
    and CSV."""
    # It loads pandas and scipy, which no other command needs.
    from orchestrator.analysis.analyze import analyze as analyze_results
    from orchestrator.analysis.analyze import write_tables
    from orchestrator.analysis.show import show
    from orchestrator.analysis.statistics.intervals import IntervalOptions

    margin = MARGIN if args.margin is None else read_number("--margin", args.margin)
    store = open_store(args.results)
    tables = analyze_results(
        store,
        args.split,
        IntervalOptions(is_identical_one=args.identical_as_one),
        matching=args.matching,
        same_device=args.same_device,
        margin=margin,
    )
    folder = args.out or str(store.location / "analysis")
    write_tables(tables, folder)
    console = open_console(width=None if sys.stdout.isatty() else ANALYSIS_WIDTH)
    console.print(show(tables))
    console.print(
        f"All columns, with what they mean: {folder}/<table>.parquet, and .csv", soft_wrap=True
    )
    return DONE


def compact(args: argparse.Namespace) -> int:
    """Write each table of the results as one Parquet file."""
    for location in open_store(args.results).compact():
        print(location)
    return DONE


def cache(args: argparse.Namespace) -> int:
    """Show what this machine keeps since it can be made again, or remove it."""
    if args.clear:
        kept.clear()
    console = open_console()
    for part in kept.measure():
        size = filesize.decimal(part.num_bytes)
        console.print(f"{part.place}: {counted(part.num_files, 'file')}, {size}", soft_wrap=True)
    return DONE


def perturb(args: argparse.Namespace) -> int:
    """Write a perturbed test set of a sweep to a file, to look at it."""
    from workers.scoring.robustness import load_perturbed, write_perturbed

    overrides = [
        *args.set,
        f"languages=[{args.language}]",
        f"robustness.perturbations=[{args.perturbation}]",
    ]
    sweep = load_sweep_spec(args.spec, overrides)
    spec = make_plan(sweep)[0].spec
    assert spec.robustness is not None
    (pool,) = spec.robustness.pools
    if not pool.donors:
        raise SweepError(f"{args.language} {args.perturbation}: not applicable, {pool.reason}")
    try:
        perturbed = load_perturbed(spec.corpus, spec.robustness, pool, args.draw)
        write_perturbed(args.file, perturbed)
    except (TrialError, ValueError) as error:
        raise SweepError(str(error)) from error
    replaced = int(perturbed.num_replaced.sum())
    print(
        f"{args.file}: {len(perturbed.sentences.tokens)} sentences, {replaced} entities replaced, "
        f"from {perturbed.num_donors} of {', '.join(pool.donors)}"
    )
    return DONE


def schema(args: argparse.Namespace) -> int:
    """Print the JSON schema of sweep files or cluster profiles, or with --results the tables and
    columns of results."""
    if args.results:
        print(describe([*TABLES.values(), AGGREGATES, *ANALYSES.values(), POWER]), end="")
        return DONE
    model = profile_type(args.cluster) if args.cluster else SweepSpec
    print(json.dumps(model.model_json_schema(), indent=2))
    return DONE


def sweeps(args: argparse.Namespace) -> int:
    """List the built-in sweeps, or print one to copy."""
    known = builtin_sweeps()
    if args.name is None:
        width = max(map(len, known))
        for name, file in known.items():
            print(f"{name:<{width}} {file.read_text().splitlines()[0].removeprefix('# ')}")
    elif args.name in known:
        print(known[args.name].read_text(), end="")
    else:
        raise SweepError(f"{args.name}: no such built-in sweep; there are: {', '.join(known)}")
    return DONE
