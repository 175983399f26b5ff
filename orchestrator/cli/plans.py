"""The command that says what a sweep consists of and what is ahead of it."""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cluster.contract import DONE
from cluster.node.machine import (
    ask_gpus,
    available_memory_bytes,
    smallest_gpu_bytes,
    usable_cpus,
    visible_gpus,
)
from cluster.node.raylet import usable_offer
from cluster.profile_fields import ClusterProfile, Hardware
from orchestrator.analysis.inputs.comparable import embeddings_name
from orchestrator.cli.shared import (
    Loaded,
    are_elsewhere,
    count,
    counts_line,
    fetch_command,
    load,
    load_sweep,
    notes_on,
    open_console,
    print_lines,
    read_number,
    read_standing,
)
from orchestrator.errors import SweepError
from orchestrator.planning.estimate import Estimate, estimate
from orchestrator.planning.hub import (
    describe_files,
    files_lacking,
    look_where_jobs_do,
    say_what_lacks,
)
from orchestrator.planning.memory import (
    GIB,
    TrialMemory,
    describe_memory,
    memory_as_json,
    trial_memory,
)
from orchestrator.planning.model_room import describe_model_room
from orchestrator.planning.outlook import (
    Outlook,
    as_json,
    lines,
    on_hardware,
    refuse_useless_mps,
)
from orchestrator.planning.plan import PlannedTrial, trials_left
from orchestrator.planning.room import describe_room, has_gpus
from orchestrator.planning.sharing import Sharing, find_sharing
from orchestrator.planning.speed import Speeds
from orchestrator.planning.standing import Standing, describe_unused_checkpoints
from orchestrator.results.store import ResultStore
from orchestrator.spec.profiles import load_profile
from orchestrator.spec.sweep_spec import SweepSpec
from workers.trial import MULTILINGUAL, TrialError

if TYPE_CHECKING:
    from orchestrator.analysis.tables import AnalysisTable


def plan(args: argparse.Namespace) -> int:
    """Show what a sweep consists of, what of it is done, what would run, and how long that
    takes."""
    profile = load_profile(args.on, load_sweep(args).clusters) if args.on else None
    if profile is not None:
        look_where_jobs_do(profile)
    loaded = load(args)
    ahead = _look_ahead(loaded, profile)
    power = None if args.power is None else _find_power(loaded.store, args.power)
    if args.json:
        print(json.dumps(_as_json(loaded, ahead, power)))
    else:
        _show(args, loaded, ahead, power, open_console())
    return DONE


@dataclass(frozen=True, kw_only=True)
class _Ahead:
    """What is ahead of a sweep, and where.

    Attributes:
        standing: what of it is done.
        left: the trials that are left.
        estimate: how long they take.
        sharing: which of their steps are computed once for several.
        memory: what a trial takes.
        here: this machine.
        place: where they would run; None where nothing is known of it.
        on_cluster: how long they take there; None where no cluster is asked for.
        profile: of the cluster that is asked for; None: none is.
        besides: what else is to be said of the cluster.
        is_counted: whether the results can be seen from here.
    """

    standing: Standing
    left: Sequence[PlannedTrial]
    estimate: Estimate
    sharing: Sharing
    memory: TrialMemory
    here: Hardware
    place: Hardware | None
    on_cluster: Outlook | None = None
    profile: ClusterProfile | None = None
    besides: Sequence[str] = ()
    is_counted: bool = True


def _look_ahead(loaded: Loaded, profile: ClusterProfile | None) -> _Ahead:
    """What is left of a sweep and what that takes, here or on the cluster that is asked for."""
    sweep, planned, store = loaded.sweep, loaded.planned, loaded.store
    standing, rows = read_standing(loaded)
    left = trials_left(planned, standing.statuses)
    speeds = Speeds.from_rows(planned, rows, sweep.resources)
    sharing = find_sharing(left, sweep.resources.share_first_steps)
    here = _hardware_here()
    ahead = _Ahead(
        standing=standing,
        left=left,
        estimate=estimate(left, speeds, sweep.resources, sharing.shares),
        sharing=sharing,
        memory=trial_memory(left, rows, sweep.resources),
        here=here,
        place=here,
    )
    if profile is None:
        return ahead

    refuse_useless_mps(profile, sweep.resources)
    place = profile.hardware(here)
    return replace(
        ahead,
        place=place,
        profile=profile,
        on_cluster=on_hardware(ahead.estimate, place, sweep.resources, ahead.memory),
        besides=[f"on that cluster: {line}" for line in profile.besides()],
        is_counted=not are_elsewhere(profile, store),
    )


def _as_json(loaded: Loaded, ahead: _Ahead, power: "AnalysisTable | None") -> dict[str, Any]:
    """What `--json` prints."""
    standing = ahead.standing
    trials = [
        {
            "trial_id": trial.trial_id,
            "status": standing.statuses.get(trial.trial_id, "new"),
            "cost": trial.cost,
            "to_score_from_predictions": standing.lack(trial).of_predictions,
            "lacks": standing.lack(trial).of_training,
            "lacks_model": standing.lack(trial).is_without_model,
            "model_is_kept": trial.trial_id in standing.models,
            "spec": asdict(trial.spec),
        }
        for trial in loaded.planned
    ]
    sharing = ahead.sharing
    values = {
        "sweep": loaded.sweep.name,
        "results": str(loaded.store.location),
        "estimate": as_json(ahead.estimate, ahead.on_cluster),
        "memory": memory_as_json(ahead.memory),
        "steps_left": {"all": sharing.num_steps, "shared": sharing.num_shared},
    }
    if power is not None:
        values["power"] = power.rows.to_pylist()
    return values | {"trials": trials}


def _show(
    args: argparse.Namespace,
    loaded: Loaded,
    ahead: _Ahead,
    power: "AnalysisTable | None",
    console: Console,
) -> None:
    """What is printed for people."""
    sweep, planned, store = loaded.sweep, loaded.planned, loaded.store
    statuses = ahead.standing.statuses
    console.print(_plan_table(sweep, planned, statuses))
    if args.weights or sweep.pruning.include or sweep.pruning.exclude:
        _print_weights(planned, console)
    console.print("\n".join(_cost_lines(args, sweep, ahead)))
    if ahead.is_counted:
        console.print(counts_line(sweep, store, count(planned, statuses)), soft_wrap=True)
    else:
        where = f"results in {store.location}, which is on the cluster"
        what = "what of it is done is not counted here"
        console.print(f"{sweep.name}: {len(planned)} trials; {what}; {where}", soft_wrap=True)
    notes = [*ahead.standing.lines(), *notes_on(loaded), *_describe_fetch(args, ahead)]
    notes += describe_unused_checkpoints(sweep.name, planned, store)
    print_lines(notes, console)
    if power is not None:
        from orchestrator.analysis.show import show

        console.print(show([power]))


def _cost_lines(args: argparse.Namespace, sweep: SweepSpec, ahead: _Ahead) -> list[str]:
    """Time, steps, memory and room on disks."""
    costs = [
        *lines(ahead.estimate, ahead.on_cluster),
        *ahead.besides,
        *ahead.sharing.lines(),
        *_memory_lines(ahead.memory, sweep, ahead.here, ahead.place),
    ]
    if sweep.keeps_models:
        costs += describe_model_room(ahead.left)
    if not args.on and has_gpus(ahead.here, sweep.resources):
        costs += describe_room(ahead.memory, ahead.here, sweep.resources)
    return costs


def _find_power(store: ResultStore, text: str) -> "AnalysisTable":
    """What `--power` asks for."""
    # It loads pandas and scipy, which a plan does not need.
    from orchestrator.analysis.analyze import plan_power

    return plan_power(store, read_number("--power", text))


def _describe_fetch(args: argparse.Namespace, ahead: _Ahead) -> list[str]:
    """What trials that are left read of the hub and this machine, or the cluster, lacks; nothing,
    as a rule."""
    profile, fetch = ahead.profile, fetch_command(args, ahead.profile)
    try:
        if profile is not None:
            return say_what_lacks(ahead.left, args.on, profile, fetch)
        lacking = files_lacking(ahead.left)
    except SweepError as error:
        return [str(error)]
    if not lacking:
        return []
    return [f"not in the hub's cache yet: {describe_files(lacking)}; `{fetch}` brings it"]


def _plan_table(
    sweep: SweepSpec, planned: Sequence[PlannedTrial], statuses: Mapping[str, str]
) -> Table:
    """Languages down, sparsities across, in each cell the trials that are done of all seeds."""
    cells: dict[tuple[str, str], dict[float, list[str]]] = {}
    for trial in planned:
        spec, status = trial.spec, statuses.get(trial.trial_id, "new")
        embeddings = embeddings_name(spec.target_sparsity, spec.embedding_sparsity)
        row = cells.setdefault((spec.language, embeddings), {})
        row.setdefault(spec.target_sparsity, []).append(status)
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


def _cell(statuses: Sequence[str]) -> Text:
    """For example `3/5 1 failed`; nothing where no trial is planned."""
    if not statuses:
        return Text("")
    failed = f" {statuses.count('failed')} failed" if "failed" in statuses else ""
    return Text.assemble(f"{statuses.count('completed')}/{len(statuses)}", (failed, "red"))


def _memory_lines(
    memory: TrialMemory, sweep: SweepSpec, here: Hardware, place: Hardware | None
) -> list[str]:
    """What a trial takes of memory, beside what this machine has free, and what a share of a GPU is
    where trials would run: here, or at a place of which nothing may be known."""
    gpu_gib, where = None if place is None else place.gpu_gib, "here" if place is here else "there"
    free_bytes, cpus = available_memory_bytes(), usable_cpus()
    return describe_memory(memory, sweep.resources, free_bytes, cpus, gpu_gib, where)


def _hardware_here() -> Hardware:
    """This machine, as far as it is ours."""
    visible, gpu_bytes = visible_gpus(os.environ), smallest_gpu_bytes()
    offer = usable_offer(gpus=len(ask_gpus("uuid") if visible is None else visible))
    return Hardware(
        num_machines=1,
        cpus=offer.cpus,
        gpus=offer.gpus,
        gpu_gib=None if gpu_bytes is None else gpu_bytes / GIB,
        memory_gib=offer.memory_bytes / GIB,
    )


def _print_weights(planned: Sequence[PlannedTrial], console: Console) -> None:
    """The names of the weights that would be pruned, once for each choice of them."""
    try:
        from workers.model.encoder import describe_prunable
    except ImportError as error:
        console.print(
            f"weights: not shown, since {error.name} is not installed here", soft_wrap=True
        )
        return
    choices = {
        trial.spec.pruning: trial.spec for trial in planned if trial.spec.pruning is not None
    }
    shown = set()
    for spec in choices.values():
        try:
            lines = tuple(describe_prunable(spec.model, spec.pruning, len(spec.corpus.tags)))
        except TrialError as error:
            if error.kind != "storage":
                raise SweepError(str(error)) from error
            console.print(f"weights: not shown; {error}", soft_wrap=True)
            return
        if lines not in shown:
            shown.add(lines)
            console.print("\n".join(["weights that are pruned:", *lines]), soft_wrap=True)
