"""From training step to sparsity, by hand and for every curve."""

from dataclasses import replace

import pytest

from tests.factories import PRUNING, make_trial_spec
from tests.workers.pruning.pruners import settings
from workers.pruning.schedule import SCHEDULES, Schedule, num_candidates
from workers.trial import PruningSpec


def schedule(**changes) -> Schedule:
    fields = {
        "initial": 0.2,
        "target": 0.8,
        "begin_step": 10,
        "end_step": 30,
        "update_every_steps": 7,
    }
    return Schedule(**{"curve": "cubic"} | fields | changes)


def due_steps(made: Schedule) -> list[int]:
    return [step for step in range(250) if made.is_due(step)]


def schedule_of(pruning: PruningSpec) -> Schedule:
    """To 0.9 within 40 steps."""
    spec = replace(make_trial_spec(target_sparsity=0.9), pruning=pruning)
    return Schedule.from_spec(spec, num_steps=40)


def test_cubic_schedule_follows_zhu_and_gupta():
    # s_f + (s_i - s_f) (1 - (t - t_0) / (n Δt))^3 at the middle: 0.8 - 0.6 / 8
    assert schedule().sparsity(20) == pytest.approx(0.725)
    assert schedule().sparsity(10) == pytest.approx(0.2)
    assert schedule().sparsity(9) == 0.0
    assert schedule().sparsity(30) == schedule().sparsity(1000) == 0.8


def test_linear_schedule_is_halfway_in_the_middle():
    assert schedule(curve="linear").sparsity(20) == pytest.approx(0.5)
    assert schedule(curve="linear").sparsity(15) == pytest.approx(0.35)


def test_last_update_is_on_the_end_step_where_the_frequency_does_not_divide():
    assert due_steps(schedule()) == [10, 17, 24, 30]


@pytest.mark.parametrize("interval", [{}, {"update_every_steps": None, "num_updates": 20}])
def test_begin_equal_to_end_prunes_once(interval):
    once = schedule(begin_step=5, end_step=5, **interval)
    assert due_steps(once) == [5]
    assert once.sparsity(5) == 0.8


def by_number(num_updates: int, num_steps: int, begin_step: int = 10) -> Schedule:
    """From 0, with so many updates after begin in so many steps."""
    return schedule(
        initial=0.0,
        begin_step=begin_step,
        end_step=begin_step + num_steps,
        update_every_steps=None,
        num_updates=num_updates,
    )


@pytest.mark.parametrize(
    ("num_updates", "num_steps", "due"),
    [
        (4, 20, [10, 15, 20, 25, 30]),
        (3, 20, [10, 16, 23, 30]),  # 6 2/3 and 13 1/3 steps after begin
        (1, 20, [10, 30]),
        (20, 20, list(range(10, 31))),
        # Fewer steps than updates: one after every step.
        (21, 20, list(range(10, 31))),
        (1000, 3, [10, 11, 12, 13]),
    ],
)
def test_updates_by_number_are_at_equal_distances(num_updates, num_steps, due):
    assert due_steps(by_number(num_updates, num_steps)) == due


def test_every_number_of_steps_has_as_many_updates():
    for num_steps in range(1, 200):
        for num_updates in (1, 2, 7, 20, 150):
            due = due_steps(by_number(num_updates, num_steps))
            asked = {10 + i * num_steps // num_updates for i in range(num_updates + 1)}
            assert due == sorted(asked)
            assert len(due) == 1 + min(num_updates, num_steps)


@pytest.mark.parametrize("initial", [0.0, 0.2])
@pytest.mark.parametrize(
    "interval",
    [
        *({"update_every_steps": steps} for steps in (1, 7, 10, 1000)),
        *({"update_every_steps": None, "num_updates": number} for number in (1, 7, 20, 1000)),
    ],
)
def test_updates_that_prune_are_counted(initial, interval):
    for end_step in (10, 11, 20, 30, 33, 200):
        made = schedule(initial=initial, end_step=end_step, **interval)
        assert made.num_prunings == sum(made.sparsity(step) > 0 for step in due_steps(made))


def test_a_trial_of_any_length_has_the_updates_that_its_sweep_asks_for():
    pruning = replace(PRUNING, begin=0.1, end=0.7, update_every_steps=None, num_updates=20)
    spec = make_trial_spec(pruning=pruning)
    for num_steps in (40, 320, 1570, 6250):
        made = Schedule.from_spec(spec, num_steps)
        due = [step for step in range(num_steps + 1) if made.is_due(step)]
        assert (len(due), due[0], due[-1]) == (21, made.begin_step, made.end_step)
        assert made.num_prunings == 20, "the one at begin asks for no zeros"


def test_schedule_of_a_trial_ends_at_its_fraction_of_the_steps():
    made = schedule_of(PRUNING)
    assert (made.curve, made.begin_step, made.end_step, made.target) == ("cubic", 4, 28, 0.9)


def test_one_shot_prunes_to_the_target_at_begin():
    made = schedule_of(replace(PRUNING, sparsity_schedule="one_shot"))
    assert [step for step in range(41) if made.is_due(step)] == [4]
    assert made.num_prunings == 1
    assert (made.sparsity(3), made.sparsity(4)) == (0.0, 0.9)


def test_constant_masks_are_there_before_the_first_step():
    made = schedule_of(replace(PRUNING, sparsity_schedule="constant"))
    assert [step for step in range(41) if made.is_due(step)] == [0]
    assert made.num_prunings == 1
    assert made.sparsity(0) == 0.9


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_rises_to_its_target(name):
    made = schedule_of(settings(sparsity_schedule=name, initial_sparsity=0.1))
    due = [step for step in range(41) if made.is_due(step)]
    sparsities = [made.sparsity(step) for step in due]
    assert sparsities == sorted(sparsities)
    assert sparsities[-1] == 0.9
    assert sparsities[0] == pytest.approx(0.1 if SCHEDULES[name].uses_initial else 0.9)


def test_schedules_say_what_they_do_not_use():
    unused = {
        name: [
            field
            for field in ("initial", "begin", "end", "interval")
            if not getattr(curve, f"uses_{field}")
        ]
        for name, curve in SCHEDULES.items()
    }
    assert unused == {
        "cubic": [],
        "linear": [],
        "one_shot": ["initial", "end", "interval"],
        "constant": ["initial", "begin", "end", "interval"],
    }


def test_a_dense_trial_has_no_schedule():
    assert Schedule.from_spec(make_trial_spec(target_sparsity=0.0), num_steps=40) is None


@pytest.mark.parametrize(
    ("select_after", "num_steps", "steps_per_epoch", "expected"),
    [
        (None, 28, 4, 7),  # 4, 8, ..., 28
        (0.6, 28, 4, 3),  # after step 17: 20, 24, 28
        (20 / 28, 28, 4, 2),  # after step 20: 24, 28
        (1.0, 28, 4, 1),
        (None, 30, 4, 8),  # the last step ends no epoch
        (0.6, 30, 4, 4),  # after step 18: 20, 24, 28, 30
        (0.6, 3, 4, 1),
    ],
)
def test_candidates_are_the_epochs_after_pruning_and_the_last_step(
    select_after, num_steps, steps_per_epoch, expected
):
    dense = make_trial_spec(target_sparsity=0.0)
    evaluation = replace(dense.evaluation, selection="best_epoch", select_after=select_after)
    dense = replace(dense, evaluation=evaluation)
    assert num_candidates(dense, num_steps, steps_per_epoch) == expected
    if select_after is not None:
        pruning = replace(PRUNING, begin=0.1, end=select_after)
        sparse = replace(dense, target_sparsity=0.5, pruning=pruning)
        assert num_candidates(sparse, num_steps, steps_per_epoch) == expected
    last = replace(dense, evaluation=replace(evaluation, selection="last", select_after=None))
    assert num_candidates(last, num_steps, steps_per_epoch) == 0
