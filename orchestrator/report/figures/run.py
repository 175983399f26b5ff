"""What was run: sweeps and what became of their trials, time, settings, versions."""

import json
from collections.abc import Iterable
from typing import Any

import pandas as pd

from orchestrator.analysis.inputs.reading import choose_recipe
from orchestrator.report.charts import (
    FULL,
    chart,
    colour,
    count_axis,
    named,
    share_dense,
    tooltip,
)
from orchestrator.report.figure import Drawing, Figure, nothing
from orchestrator.report.material import Material
from orchestrator.results.schema import PROVENANCE, SETTINGS
from orchestrator.wording import counted, duration

STATES = {"completed": "good", "failed": "bad", "missing": "missing"}
"""What becomes of a planned trial, with its colour."""

PHASES = {
    "load_s": "loading data and model",
    "train_s": "training",
    "evaluate_s": "scoring",
    "rest_s": "the rest of the trial",
    "lost_s": "attempts that failed or were stopped",
}
"""What time goes into."""

GRID_NAMES = ("regime", "language", "target_sparsity", "embedding_sparsity", "seed")
MANY = 8
"""So many values of a setting are listed; of more, the first ones."""

NO_SETTINGS = (
    "corpus_fingerprint",
    "evaluation_language_fingerprints",
    "robustness_donor_fingerprint",
    "pruning_embedding_sparsity",
)
"""Columns of settings that differ by their nature: between languages, or as the grid has it."""


def draw_trials(material: Material) -> Drawing:
    """How many trials of each sweep are completed, failed and missing."""
    import altair as alt

    trials = _planned(material)
    if trials.empty:
        return nothing("No sweep has a plan here.")
    table = trials.groupby(["sweep", "status"]).size().rename("num_trials").reset_index()
    table["place"] = table["status"].map(list(STATES).index)
    domain = alt.Scale(domain=list(STATES), range=[colour(name) for name in STATES.values()])
    bars = (
        chart(width=FULL, height=alt.Step(28))
        .mark_bar(stroke=colour("quiet"), strokeWidth=0.5)
        .encode(
            x=alt.X(
                "num_trials:Q",
                title="trials",
                axis=count_axis(table.groupby("sweep")["num_trials"].sum().max()),
            ),
            y=alt.Y("sweep:N", title=None),
            color=alt.Color("status:N", title=None, scale=domain),
            order="place:Q",
            tooltip=tooltip(sweep="sweep:0", status="trials are:0", num_trials="trials:0"),
        )
    )
    return Drawing(
        table=table.drop(columns="place").assign(place=table["place"]),
        chart=bars,
        num_trials=_count_run(material),
        text=_tell_trials(trials),
        notes=_tell_failures(material),
    )


def _planned(material: Material) -> pd.DataFrame:
    """A row a trial and sweep that planned or ran it, with its status."""
    planned = material.read("plans", ("sweep", "trial_id"))
    stored = material.read("trials", ("trial_id", "status", "sweep"))
    status = dict(zip(stored["trial_id"], stored["status"], strict=True))
    unplanned = stored[~stored["trial_id"].isin(planned["trial_id"])]
    rows = pd.concat([planned, unplanned[["sweep", "trial_id"]]], ignore_index=True)
    return rows.assign(status=[status.get(one, "missing") for one in rows["trial_id"]])


def _count_run(material: Material) -> int:
    return len(material.read("trials", ("trial_id", "status", "sweep")))


def _tell_trials(trials: pd.DataFrame) -> list[str]:
    """What became of all trials; one of several sweeps counts once."""
    status = trials.drop_duplicates("trial_id")["status"].value_counts()
    told = ", ".join(f"{status.get(name, 0):,} {name}" for name in STATES)
    sweeps = counted(trials["sweep"].nunique(), "sweep")
    verb = "consists" if trials["sweep"].nunique() == 1 else "consist"
    return [f"{sweeps} {verb} of {counted(int(status.sum()), 'trial')}: {told}."]


def _tell_failures(material: Material) -> list[str]:
    """How trials failed, the most frequent kinds first."""
    rows = material.read("trials", ("trial_id", "status", "error_kind"))
    kinds = rows.loc[rows["status"] == "failed", "error_kind"].value_counts()
    if kinds.empty:
        return []
    told = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items())
    return [f"Trials failed by kind: {told}. `sparsweep status SPEC` shows each one's message."]


def draw_coverage(material: Material) -> Drawing:
    """Of how many seeds each language and sparsity has an F1."""
    import altair as alt

    quality = share_dense(material.table("quality"))
    names = ["series", "language", "embeddings", "target_sparsity", "num_seeds", "num_holes"]
    table = quality[names].copy()
    table["language_name"] = named(table["language"])
    table["num_planned"] = table["num_seeds"] + table["num_holes"]
    table["share"] = (table["num_seeds"] / table["num_planned"]).astype(float)
    table["seeds"] = [
        f"{done} of {all_}"
        for done, all_ in zip(table["num_seeds"], table["num_planned"], strict=True)
    ]
    base = chart(width=FULL, height=alt.Step(24)).encode(
        x=alt.X("language:N", title="language", axis=alt.Axis(labelOverlap=True, labelAngle=0)),
        y=alt.Y("target_sparsity:O", title="sparsity"),
        tooltip=tooltip(
            language_name="language:0", target_sparsity="sparsity:0", seeds="seeds with an F1:0"
        ),
    )
    shade = alt.Color(
        "share:Q",
        title="seeds with an F1, of those planned",
        scale=alt.Scale(domain=[0, 1], range=[colour("missing"), colour("main")]),
        legend=alt.Legend(format=".0%", tickCount=3),
    )
    lacking = "datum.num_holes > 0"
    count = base.transform_filter(lacking).mark_text(fontSize=11)
    cells = base.mark_rect(stroke=colour("paper")).encode(color=shade)
    holes = count.encode(
        text=alt.Text("num_seeds:Q"),
        color=alt.condition(
            "datum.share > 0.5", alt.value(colour("paper")), alt.value(colour("ink"))
        ),
    )
    is_whole = (table["num_holes"] == 0).all()
    return Drawing(
        table=table,
        chart=alt.layer(cells, holes),
        num_trials=material.num_scored,
        filters=("series", "embeddings"),
        text=[
            "Every seed that was planned has an F1."
            if is_whole
            else "Where seeds are missing, the number says how many are there."
        ],
        notes=[note for note in material.notes("quality") if "lack an F1" in note],
    )


def draw_time(material: Material) -> Drawing:
    """What the time of the trials went into, by sweep."""
    import altair as alt

    names = ("sweep", "duration_s", *list(PHASES)[:3], "device", "num_threads", "asked_json")
    trials = material.read("trials", names)
    trials = trials[trials["duration_s"].notna()]
    if trials.empty:
        return nothing("No trial has ended yet.")
    phases = trials[list(PHASES)[:3]].fillna(0)
    spent = phases.assign(
        sweep=trials["sweep"], rest_s=(trials["duration_s"] - phases.sum(axis=1)).clip(lower=0)
    )
    by_sweep = spent.groupby("sweep").sum()
    by_sweep = by_sweep.join(_find_lost(material), how="outer").fillna(0)
    long = by_sweep.rename(columns=PHASES).rename_axis(columns="phase").stack() / 3600
    table = long.rename("hours").reset_index()
    table["place"] = table["phase"].map(list(PHASES.values()).index)
    axis = alt.Axis(format=",~r", tickCount=10)
    bars = (
        chart(width=FULL, height=alt.Step(28))
        .mark_bar()
        .encode(
            x=alt.X("hours:Q", title="hours of all trials, one after another", axis=axis),
            y=alt.Y("sweep:N", title=None),
            color=alt.Color(
                "phase:N",
                title=None,
                sort=list(PHASES.values()),
                legend=alt.Legend(columns=3),
            ),
            order="place:Q",
            tooltip=tooltip(sweep="sweep:0", phase="went into:0", hours="hours"),
        )
    )
    return Drawing(
        table=table,
        chart=bars,
        num_trials=len(trials),
        text=_tell_hours(trials),
        notes=[
            "An attempt that died with its driver left no time behind. Core-hours count the threads"
            " of a trial; GPU-hours the share of a GPU that its sweep gave it."
        ],
    )


def _find_lost(material: Material) -> pd.Series:
    """Seconds of attempts that did not complete a trial, by sweep."""
    attempts = material.read("attempts", ("sweep", "status", "started_at", "ended_at"))
    lost = attempts[attempts["status"] != "completed"]
    seconds = (lost["ended_at"] - lost["started_at"]).dt.total_seconds()
    return seconds.groupby(lost["sweep"]).sum().rename("lost_s")


def _tell_hours(trials: pd.DataFrame) -> list[str]:
    """Core-hours of trials on CPUs and GPU-hours of the others."""
    seconds = trials["duration_s"]
    is_cpu = trials["device"] == "cpu"
    cores = (seconds * trials["num_threads"].astype(float).fillna(1))[is_cpu].sum() / 3600
    shares = {text: _gpus_per_trial(text) for text in trials["asked_json"].dropna().unique()}
    gpus = (seconds * trials["asked_json"].map(shares).fillna(1))[~is_cpu].sum() / 3600
    hours = {"core-hours": cores, "GPU-hours": gpus}
    parts = [f"{number:,.1f} {name}" for name, number in hours.items() if number > 0]
    each = duration(float(seconds.median()))
    return [
        f"The trials took {duration(float(seconds.sum()))} one after another, "
        f"{' and '.join(parts) or 'no time'}; half of them took {each} or more."
    ]


def _gpus_per_trial(asked: str) -> float:
    """The share of a GPU that a sweep gave each trial."""
    given = json.loads(asked).get("resources", {}).get("gpus_per_trial")
    return float(given or 1)


def draw_settings(material: Material) -> Drawing:
    """Every setting with its values, those that differ first."""
    names = tuple(column.name for column in SETTINGS)
    trials = material.read("trials", ("trial_id", "sweep", "target_sparsity", *names))
    if trials.empty:
        return nothing("No trial has run yet.")
    rows = [_setting(column.name, column.meaning, trials[column.name]) for column in SETTINGS]
    table = pd.DataFrame([row for row in rows if row is not None])
    table = table.sort_values("differs", ascending=False, kind="stable", ignore_index=True)
    differing = table.loc[table["differs"], "setting"].tolist()
    text = (
        f"{counted(len(differing), 'setting')} differ between trials: {', '.join(differing)}."
        if len(differing) > 1
        else f"One setting differs between trials: {differing[0]}."
        if differing
        else "All trials have the same settings, but for language, sparsity and seed."
    )
    return Drawing(
        table=table.assign(differs=table["differs"].map({True: "yes", False: "no"})),
        num_trials=len(trials),
        text=[text],
        notes=["Settings of pruning are those of sparse trials; dense ones have none."],
    )


def _setting(name: str, meaning: str, column: pd.Series) -> dict[str, Any] | None:
    """A row of the table of settings; None for one that no trial has."""
    values = column.dropna().map(_shown)
    if name in NO_SETTINGS or values.empty:
        return None
    numbers = values.value_counts()
    parts = [
        f"{value} ({counted(number, 'trial')})" if len(numbers) > 1 else str(value)
        for value, number in numbers.head(MANY).items()
    ]
    more = [f"and {len(numbers) - MANY} more"] if len(numbers) > MANY else []
    return {
        "setting": name,
        "values": ", ".join([*parts, *more]),
        "differs": len(numbers) > 1,
        "meaning": meaning,
    }


def _shown(value: Any) -> str:
    """A setting's value as a text."""
    if isinstance(value, str | bool):
        return str(value)
    if isinstance(value, Iterable):
        return f"[{', '.join(map(_shown, value))}]"
    return f"{value:g}"


VERSIONS = (
    {"recipe_version": "recipe", "device_name": "device"}
    | {column.name: column.name.removeprefix("provenance_") for column in PROVENANCE}
    | {"provenance_is_dirty": "uncommitted changes"}
)
"""Columns of `trials` that say with what a trial was computed, and what the report calls them."""


def draw_versions(material: Material) -> Drawing:
    """With what trials were computed, and which of them are compared."""
    trials = material.read("trials", ("trial_id", "started_at", *VERSIONS))
    if trials.empty:
        return nothing("No trial has run yet.")
    compared = choose_recipe(trials["recipe_version"])
    rows = [
        {
            "what": name,
            "value": str(value),
            "num_trials": len(of_value),
            "num_compared": int((of_value["recipe_version"] == compared).sum()),
            "first": of_value["started_at"].min().strftime("%Y-%m-%d %H:%M"),
            "last": of_value["started_at"].max().strftime("%Y-%m-%d %H:%M"),
        }
        for column, name in VERSIONS.items()
        for value, of_value in trials.groupby(column)
    ]
    others = trials[trials["recipe_version"] != compared]
    told = (
        f"{counted(len(others), 'trial')} of another recipe than {compared}, which is compared, "
        "stay in the results and in no other figure but those of this section."
        if len(others)
        else f"All trials are of recipe {compared}."
    )
    return Drawing(table=pd.DataFrame(rows), num_trials=len(trials), text=[told])


FIGURES = (
    Figure(
        name="trials",
        title="Trials of each sweep",
        question="What was planned, and what became of it?",
        draw=draw_trials,
    ),
    Figure(
        name="coverage",
        title="What is there, and what is missing",
        question="Of how many seeds does each language have an F1 at each sparsity?",
        draw=draw_coverage,
        needs=("quality", "groups"),
    ),
    Figure(
        name="time",
        title="Time",
        question="How long did the trials take, and what did the time go into?",
        draw=draw_time,
    ),
    Figure(
        name="settings",
        title="Settings",
        question="With which settings were trials run, and which of them differ?",
        draw=draw_settings,
    ),
    Figure(
        name="versions",
        title="Versions and machines",
        question="With which code, libraries and machines were trials computed, and when?",
        draw=draw_versions,
    ),
)
