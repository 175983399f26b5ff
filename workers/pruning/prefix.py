"""Which trials are one computation until a mask first prunes something, and how long that is.

Trials of one language and seed that differ only in what is pruned, the dense one among them, take
the same steps until then: all that is drawn is drawn from the seed, and a schedule asks for no
zeros at its begin. Nothing here imports torch, so that a login node without it can plan a sweep.
"""

from dataclasses import dataclass
from typing import Any

from workers.pruning.saliency import SALIENCIES
from workers.pruning.schedule import Schedule
from workers.trial import TrialSpec, digest


@dataclass(frozen=True)
class SharedPrefix:
    """First steps that trials have in common.

    Attributes:
        prefix_id: equal exactly for trials whose state is the same, to the bit, until one of them
            prunes something.
        num_steps: how many steps the first of them to prune something takes before that.
    """

    prefix_id: str
    num_steps: int


def prefix_id(spec: TrialSpec) -> str | None:
    """16 hexadecimal digits that trials with the same first steps have in common.

    Of trials that prune blocks of word embeddings all rows are trained, in another order of sums;
    they have a prefix of their own. So have those that rank weights by their gradients, whose
    scores begin with the first step.

    Args:
        spec: the trial.

    Returns:
        None where a dense trial chooses its best epoch among all: it may be one of its first
        steps, where pruned trials have no candidate.
    """
    pruning, evaluation = spec.pruning, spec.evaluation
    if pruning is None and evaluation.selection == "best_epoch" and not evaluation.select_after:
        return None
    differs: dict[str, Any] = {}
    if pruning is not None:
        by_gradient = SALIENCIES[pruning.saliency].needs_gradients
        if pruning.embedding_sparsity is not None and (
            by_gradient or pruning.granularity == "block"
        ):
            differs["rows"] = "all"
        if by_gradient:
            differs["scores"] = spec.identity()["pruning"] | {"embedding_sparsity": None}
    return digest({**spec.dense_counterpart().identity(), "differs": differs})


def num_unpruned_steps(spec: TrialSpec, num_steps: int) -> int:
    """Steps of a trial before the first mask update that prunes something.

    Args:
        spec: the trial.
        num_steps: of the whole training.

    Returns:
        All of them for a dense trial.
    """
    schedule = Schedule.from_spec(spec, num_steps)
    if schedule is None:
        return num_steps
    due = filter(schedule.is_due, range(schedule.begin_step, schedule.end_step + 1))
    return next(step for step in due if schedule.sparsity(step) > 0)
