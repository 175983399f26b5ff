"""Which model is scored: the last one, or that of the best epoch on validation, as XTREME does.

A model that is still being pruned is no candidate: of a pruned trial the candidates are the epochs
that end after the last mask update, and the last step. So all of them have the target sparsity, and
the same masks. The dense trial beside it chooses among the same epochs
(`EvaluationSpec.select_after`): the best of ten is better than the best of three by chance alone,
by 0.003 to 0.005 of F1 where those of epochs differ by a standard deviation of 0.01.
"""

from collections.abc import Iterable
from statistics import fmean
from typing import Any

from torch import Tensor

from workers.pruning.schedule import last_step_without_candidates
from workers.train import Training

BEST = "best."
"""What the names of the best model's tensors begin with in a checkpoint."""


class Selection:
    """The best model so far.

    Args:
        training: the trial in training, whose spec says what is selected.

    Attributes:
        step: optimizer steps of the best model so far; 0 before there is one.
    """

    def __init__(self, training: Training):
        self.training, self.by = training, training.spec.evaluation.selection
        self.step = 0
        self._score = -1.0
        self._weights: dict[str, Tensor] = {}
        self._seen = 0  # the last step whose model was scored

    @property
    def is_due(self) -> bool:
        """Whether the model as it is now is a candidate that has not been scored."""
        training, step = self.training, self.training.step
        if self.by == "last" or step <= self._seen:
            return False
        if step == training.num_steps:
            return training.is_finished
        if step % training.steps_per_epoch:
            return False
        return step > last_step_without_candidates(training.spec, training.num_steps)

    def take(self, score: float) -> None:
        """Keep the model as it is now, if it is better than all before.

        Args:
            score: of this model, higher is better; of models with equal scores the first is kept.
        """
        self._seen = self.training.step
        if score > self._score:
            self._score, self.step = score, self._seen
            self._weights = {
                name: value.detach().clone() for name, value in self.training.model_state().items()
            }

    def restore_best(self) -> int:
        """Put the best model's weights in place of the last one's.

        Returns:
            The steps that the best model was trained for.
        """
        if self.by == "last":
            return self.training.step
        self.training.load_model_state(self._weights)
        return self.step

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that a resumed trial needs: tensors by name, and JSON values."""
        tensors = {f"{BEST}{name}": value for name, value in self._weights.items()}
        return tensors, {"best_step": self.step, "best_score": self._score, "seen_step": self._seen}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Take over what `state` gave.

        Args:
            tensors: on any device; others than those of `state` are left alone.
            values: those of `state`, among others.

        Raises:
            KeyError: a value is missing.
        """
        self.step, self._score = values["best_step"], values["best_score"]
        self._seen = values["seen_step"]
        device = self.training.device
        self._weights = {
            name.removeprefix(BEST): value.to(device)
            for name, value in tensors.items()
            if name.startswith(BEST)
        }


def mean_f1(f1: Iterable[float | None]) -> float:
    """Mean over languages.

    Args:
        f1: in [0, 1] each; None where nothing was to be found and nothing predicted, which does not
            count.

    Returns:
        The mean, in [0, 1]; 0 where no language counts.
    """
    known = [value for value in f1 if value is not None]
    return fmean(known) if known else 0.0
