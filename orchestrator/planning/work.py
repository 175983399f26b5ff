"""What of a sweep's trials is done and what a run has to do: one value for all who need to know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.planning.plan import PlannedTrial, trials_left


@dataclass(frozen=True, kw_only=True)
class Work:
    """The trials of a sweep by what a run does with them, each list in the order of the plan.

    Attributes:
        planned: all.
        left: what the run has to run.
        completed: those whose results are stored.
        failed: those that failed and are not tried again.
    """

    planned: Sequence[PlannedTrial]
    left: Sequence[PlannedTrial]
    completed: Sequence[PlannedTrial]
    failed: Sequence[PlannedTrial]

    @classmethod
    def of(
        cls,
        planned: Sequence[PlannedTrial],
        statuses: Mapping[str, str],
        retry_failed: bool = False,
        run_again: Sequence[PlannedTrial] = (),
    ) -> "Work":
        """What is to be done.

        Args:
            planned: the trials of the sweep.
            statuses: `completed` or `failed` by trial id, as the results have them.
            retry_failed: whether trials that failed are run again.
            run_again: trials of these that are run although they are completed, as they are to be
                run, see `Standing.to_run_again`.
        """
        waiting = {trial.trial_id: trial for trial in trials_left(planned, statuses, retry_failed)}
        waiting |= {trial.trial_id: trial for trial in run_again}
        left = [waiting[trial.trial_id] for trial in planned if trial.trial_id in waiting]
        over = [trial for trial in planned if trial.trial_id not in waiting]
        return cls(
            planned=planned,
            left=left,
            completed=[trial for trial in over if statuses[trial.trial_id] == "completed"],
            failed=[trial for trial in over if statuses[trial.trial_id] != "completed"],
        )
