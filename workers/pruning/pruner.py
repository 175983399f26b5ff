"""Tells the optimizer when to prune how much by which score, and counts what came of it.

How pruned weights are kept at zero is the optimizer's, see `workers.pruning.masked_adamw`; each
choice is an entry of a registry: `schedule`, `scope`, `saliency` and `granularity`.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from workers.pruning.granularity import GRANULARITIES
from workers.pruning.masked_adamw import MaskedAdamW
from workers.pruning.saliency import SALIENCIES
from workers.pruning.schedule import Schedule
from workers.pruning.scope import SCOPES
from workers.result import LayerSparsity
from workers.trial import PruningSpec, TrialError, TrialSpec

PREFIX = "saliency."
"""With it begin the names under which scores are saved."""


class Pruner:
    """Gradual pruning of one trial.

    Args:
        weights: prunable parameters by name.
        optimizer: has them in its prunable groups.
        spec: the trial, of whose pruning `compatibility.refusals` has nothing to say.
        num_steps: optimizer steps of the whole training.
        embedding_name: the word embeddings' among the names; they are ranked apart, and follow the
            same schedule to a target of their own.

    Attributes:
        schedule: when masks change; None for a dense trial.
        sparsity: what is in force in the encoder, as the schedule asked; a fraction in [0, 1).

    Raises:
        TrialError: kind `bad_data`, when a tensor cannot be pruned in such pieces, or when masks
            hang on gradients and would be needed before the first one.
    """

    def __init__(
        self,
        weights: dict[str, nn.Parameter],
        optimizer: MaskedAdamW,
        spec: TrialSpec,
        num_steps: int,
        embedding_name: str | None = None,
    ):
        self.weights, self.optimizer, self.pruning = weights, optimizer, spec.pruning
        self.embedding_name = embedding_name
        self.schedule = Schedule.from_spec(spec, num_steps)
        self.sparsity = 0.0
        # By name; none when weights are ranked by magnitude, and when pruning is over.
        self._scores: dict[str, Tensor] = {}
        if spec.pruning is not None and self.schedule is not None:
            self._start(spec.pruning, self.schedule, spec.seed)

    def _start(self, pruning: PruningSpec, schedule: Schedule, seed: int) -> None:
        for name, weight in self.weights.items():
            GRANULARITIES[pruning.granularity].check(name, tuple(weight.shape), pruning)
        saliency = SALIENCIES[pruning.saliency]
        if saliency.needs_gradients and schedule.begin_step == 0:
            raise TrialError(
                "bad_data",
                f"pruning.begin: {pruning.begin} is step 0, and saliency {pruning.saliency} has no "
                "gradient before it; begin later or use another saliency",
            )
        if saliency.start is not None:
            for index, (name, weight) in enumerate(self.weights.items()):
                self._scores[name] = saliency.start(weight.detach(), seed, index)

    def is_due(self, step: int) -> bool:
        """Whether masks change after `step` completed steps."""
        return self.schedule is not None and self.schedule.is_due(step)

    @torch.no_grad()
    def observe(self) -> None:
        """Add the gradients to the scores.

        To be called between each backward pass and its optimizer step.
        """
        accumulate = SALIENCIES[self.pruning.saliency].accumulate if self.pruning else None
        if accumulate is None:
            return
        for name, score in self._scores.items():
            weight = self.weights[name]
            if weight.grad is not None:
                accumulate(score, weight, weight.grad)

    def update(self, step: int) -> Tensor | None:
        """Change the masks if that is due.

        Args:
            step: completed optimizer steps.

        Returns:
            How many scores are NaN (then nothing has changed), see `MaskedAdamW.prune`; None if not
            due, or done before a restart.

        Raises:
            ValueError: on a CPU, a score is NaN.
        """
        if self.schedule is None or self.pruning is None or not self.schedule.is_due(step):
            return None
        self.sparsity = self.schedule.sparsity(step)
        saliency = SALIENCIES[self.pruning.saliency]
        scores: dict[Tensor, Tensor] | None = None
        if saliency.start is not None:
            # The last update was made before the trial was stopped, and scores went with it.
            if not self._scores and step >= self.schedule.end_step:
                return None
            scores = {self.weights[name]: score for name, score in self._scores.items()}

        groups = self._groups(self.schedule, self.pruning, step)
        num_nan = GRANULARITIES[self.pruning.granularity].prune(
            self.optimizer, groups, scores, self.pruning
        )

        if step >= self.schedule.end_step:
            self._scores.clear()
        elif saliency.is_reset:
            for score in self._scores.values():
                score.zero_()
        return num_nan

    def count(self) -> tuple[LayerSparsity, ...]:
        """Zeros of each prunable weight, counted on the weights themselves."""
        return tuple(
            LayerSparsity(
                name=name,
                shape=tuple(weight.shape),
                num_zeros=weight.numel() - int(torch.count_nonzero(weight)),
                num_weights=weight.numel(),
            )
            for name, weight in self.weights.items()
        )

    def state(self) -> dict[str, Tensor]:
        """Scores that have come together so far.

        Returns:
            float32 of each weight's shape, by `PREFIX` and the weight's name; none when pruning is
            over, or needs no gradients. They are the pruner's own, not copies.
        """
        if self.pruning is None or not SALIENCIES[self.pruning.saliency].needs_gradients:
            return {}
        return {f"{PREFIX}{name}": score for name, score in self._scores.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave; masks are the optimizer's to restore.

        Args:
            state: may have other tensors beside the scores.

        Raises:
            KeyError: some scores are missing.
            ValueError: some are of another shape.
        """
        expected = self.state()
        if expected and not expected.keys() & state.keys():
            self._scores.clear()  # it was saved when pruning was over
            return
        for name, score in expected.items():
            if state[name].shape != score.shape:
                raise ValueError(
                    f"{name} has shape {tuple(state[name].shape)}, its weight "
                    f"{tuple(score.shape)}; restore the scores of the same model"
                )
            score.copy_(state[name])

    def _groups(
        self, schedule: Schedule, pruning: PruningSpec, step: int
    ) -> list[tuple[list[Tensor], float]]:
        """Tensors that are ranked together, and their sparsity after `step` steps."""
        ranked: list[Tensor] = [
            weight for name, weight in self.weights.items() if name != self.embedding_name
        ]
        spread = SCOPES[pruning.scope](
            [tuple(weight.shape) for weight in ranked], schedule.sparsity(step)
        )
        groups = [([ranked[index] for index in indices], sparsity) for indices, sparsity in spread]
        if self.embedding_name in self.weights:
            own = replace(schedule, target=pruning.embedding_sparsity or 0.0)
            groups.append(([self.weights[self.embedding_name]], own.sparsity(step)))
        return groups
