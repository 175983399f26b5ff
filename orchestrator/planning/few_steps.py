"""Whether trials have the steps that their question needs: to learn, to be pruned gradually, to
recover. Where they have not, a difference between languages may be one of their numbers of steps,
so a person is told before a sweep runs."""

from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.planning.plan import PlannedTrial
from orchestrator.wording import counted
from workers.pruning.schedule import SCHEDULES, Schedule

MIN_UPDATES = 20
"""Mask updates that prune, of a gradual schedule. On the cubic curve the first of n updates goes
1 - (1 - 1/n)³ of the way: 14 % of it with 20 updates, 70 % with 3, which is no gradual pruning."""

MIN_RECOVERY_STEPS = 100
"""Steps after the last mask update, in which the weights that are left make up for the last ones
that went. Under the linear decay of the learning rate the last steps of a training change little:
those after the end at 0.7 have 15 % of its rate on average. The number is a rule of thumb."""

MIN_DENSE_STEPS = 300
"""Steps of a dense trial, which all sparse ones are compared with. A small train split goes wrong
for want of steps more than of sentences (Mosbach et al. 2021; Zhang et al. 2021, on BERT): after 40
steps, 10 epochs of 100 sentences, an encoder may predict no entity at all, and then pruning cannot
lose anything. The number is a rule of thumb."""


class _Found(NamedTuple):
    """A trial that has too few of something, and how many it has."""

    trial: PlannedTrial
    number: int


def describe_few_steps(planned: Sequence[PlannedTrial]) -> list[str]:
    """At most three lines on trials with too few mask updates, steps of recovery or steps; nothing
    where all have enough.

    Args:
        planned: the trials of a sweep. Of one with `num_steps` 0 nothing is known.
    """
    sparse: list[tuple[PlannedTrial, Schedule]] = []
    dense: list[PlannedTrial] = []
    for trial in planned:
        schedule = Schedule.from_spec(trial.spec, trial.num_steps)
        if trial.num_steps and schedule is None:
            dense.append(trial)
        elif trial.num_steps and schedule is not None:
            sparse.append((trial, schedule))
    languages = {trial.spec.language for trial in planned}

    jumping = [
        (trial, schedule)
        for trial, schedule in sparse
        if SCHEDULES[schedule.curve].uses_interval and schedule.num_prunings < MIN_UPDATES
    ]
    short = [
        _Found(trial, after)
        for trial, schedule in sparse
        if (after := trial.num_steps - schedule.end_step) < MIN_RECOVERY_STEPS
    ]
    untrained = [
        _Found(trial, trial.num_steps) for trial in dense if trial.num_steps < MIN_DENSE_STEPS
    ]
    return [
        *_line(
            [_Found(trial, schedule.num_prunings) for trial, schedule in jumping],
            counted(len(sparse), "sparse trial"),
            f"fewer than {MIN_UPDATES} mask updates that prune",
            f"their sparsity rises in jumps; {_more_updates([one for _, one in jumping])}",
            languages,
        ),
        *_line(
            short,
            counted(len(sparse), "sparse trial"),
            f"fewer than {MIN_RECOVERY_STEPS} steps after the last mask update",
            "too few to recover; set a smaller pruning.end or train for more steps",
            languages,
        ),
        *_line(
            untrained,
            counted(len(dense), "dense trial"),
            f"fewer than {MIN_DENSE_STEPS} steps",
            "they may have learned too little to lose anything; set training.num_steps="
            f"{MIN_DENSE_STEPS} or more",
            languages,
        ),
    ]


def _line(
    found: Sequence[_Found], of_all: str, what: str, then: str, languages: set[str]
) -> list[str]:
    """One line on these trials; nothing where there are none."""
    if not found:
        return []
    fewest: dict[str, int] = {}
    for trial, number in found:
        code = trial.spec.language
        fewest[code] = min(number, fewest.get(code, number))
    where = ", ".join(sorted(fewest, key=lambda code: (fewest[code], code)))
    if fewest.keys() == languages and len(languages) > 1:
        where = f"all {len(languages)} languages"
    have = "has" if len(found) == 1 else "have"
    return [
        f"{len(found):,} of {of_all} {have} {what}, the fewest {min(fewest.values())} ({where}): "
        f"{then}"
    ]


def _more_updates(schedules: Sequence[Schedule]) -> str:
    """How these schedules get enough updates: of one that lasts fewer steps no setting makes
    more."""
    remedies = []
    if any(_asks_for_few(schedule) for schedule in schedules):
        remedies.append(f"set pruning.num_updates={MIN_UPDATES}")
    if any(schedule.end_step - schedule.begin_step < MIN_UPDATES for schedule in schedules):
        remedies.append("train for more steps")
    return " and ".join(remedies)


def _asks_for_few(schedule: Schedule) -> bool:
    """Whether a schedule with too few updates has fewer than its steps allow, or asks for no
    more."""
    if schedule.num_updates is not None:
        return schedule.num_updates < MIN_UPDATES
    return schedule.num_prunings < schedule.end_step - schedule.begin_step
