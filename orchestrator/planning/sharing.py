"""Which of a sweep's trials have their first steps in common, and how many steps that saves."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.planning.plan import PlannedTrial
from workers.pruning.prefix import SharedPrefix, num_unpruned_steps, prefix_id


@dataclass(frozen=True)
class Sharing:
    """What trials have in common.

    Attributes:
        prefixes: by trial id; a trial that shares with no other has none.
        num_steps: of all trials.
        num_shared: of these, how many another trial computes, where trials come one after another.
        shares: expected fraction of a trial's steps that another one computes, by trial id.
    """

    num_steps: int = 0
    num_shared: int = 0
    prefixes: Mapping[str, SharedPrefix] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """What a person is told; nothing where nothing is shared."""
        if not self.num_shared:
            return []
        computed = self.num_steps - self.num_shared
        return [
            f"steps to compute: {computed:,} of {self.num_steps:,} "
            f"({100 * computed / self.num_steps:.1f} %), since trials that differ only in what is "
            "pruned share the steps before"
        ]


def find_sharing(left: Iterable[PlannedTrial], is_wanted: bool = True) -> Sharing:
    """Find the trials that have first steps in common.

    Args:
        left: trials that are to run.
        is_wanted: `resources.share_first_steps` of the sweep; False: they share nothing.
    """
    left = list(left)
    if not is_wanted:
        return Sharing(sum(trial.num_steps for trial in left))
    groups: dict[str, list[PlannedTrial]] = defaultdict(list)
    for trial in left:
        if trial.num_steps and (shared_id := prefix_id(trial.spec)) is not None:
            groups[shared_id].append(trial)

    prefixes, shares, num_shared = {}, {}, 0
    for shared_id, group in groups.items():
        num_steps = min(num_unpruned_steps(trial.spec, trial.num_steps) for trial in group)
        if len(group) == 1 or num_steps == 0:
            continue
        num_shared += num_steps * (len(group) - 1)
        for trial in group:
            prefixes[trial.trial_id] = SharedPrefix(shared_id, num_steps)
            shares[trial.trial_id] = num_steps / trial.num_steps * (1 - 1 / len(group))
    return Sharing(sum(trial.num_steps for trial in left), num_shared, prefixes, shares)
