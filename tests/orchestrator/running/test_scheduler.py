"""Which trial gets a worker that has become free; real workers do so in tests/integration."""

from dataclasses import dataclass, field

from ray.tune.experiment import Trial

from orchestrator.running.scheduler import NewestFirst


@dataclass(eq=False)
class Handed:
    """What Tune tells its scheduler of a trial."""

    trial_id: str
    status: str = Trial.PENDING


@dataclass
class Tune:
    trials: set[Handed] = field(default_factory=set)

    def get_live_trials(self) -> set[Handed]:
        return self.trials


def test_the_trial_that_was_handed_out_last_gets_the_worker_that_is_free():
    scheduler, tune = NewestFirst(), Tune()
    assert scheduler.choose_trial_to_run(tune) is None
    handed = [Handed(f"{number}") for number in (3, 1, 2)]
    for trial in handed:
        tune.trials.add(trial)
        scheduler.on_trial_add(tune, trial)
    assert scheduler.choose_trial_to_run(tune) is handed[2]
    handed[2].status = Trial.RUNNING
    assert scheduler.choose_trial_to_run(tune) is handed[1]
    for trial in handed:
        trial.status = Trial.TERMINATED
    assert scheduler.choose_trial_to_run(tune) is None
