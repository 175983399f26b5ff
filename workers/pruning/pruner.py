"""Tells the optimizer when to prune how much by which score, and counts what came of it.

How pruned weights are kept at zero is the optimizer's, see `workers.pruning.masked_adamw`; each
choice is an entry of a registry: `schedule`, `scope`, `saliency` and `granularity`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from workers.pruning.granularity import GRANULARITIES
from workers.pruning.masked_adamw import MaskedAdamW
from workers.pruning.saliency import SALIENCIES
from workers.pruning.schedule import Schedule
from workers.pruning.scope import SCOPES
from workers.pruning.used_rows import UsedRows
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
        embedding_names: the word embeddings' among the names, see `scope.embedding_names`; they are
            ranked apart, and follow the same schedule to a target of their own.
        rows: the word embeddings, where only the rows that training uses are trained.

    Attributes:
        schedule: when masks change; None for a dense trial.
        embedding_name: of the word embeddings in what `count` gives; None: they are not pruned.
        sparsity: what is in force in the encoder, as the schedule asked; a fraction in [0, 1).
        scores: by name; none when weights are ranked by magnitude, and when pruning is over.

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
        embedding_names: Sequence[str] = (),
        rows: UsedRows | None = None,
    ):
        self.weights, self.optimizer, self.pruning = weights, optimizer, spec.pruning
        self._embeddings = [name for name in embedding_names if name in weights]
        self.embedding_name = self._embeddings[0] if self._embeddings else None
        self._rows = rows
        self.schedule = Schedule.from_spec(spec, num_steps)
        self.sparsity = 0.0
        self.scores: dict[str, Tensor] = {}
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
            for index, names in enumerate(self._tensors()):
                self.scores |= self._start_scores(saliency.start, names, seed, index)

    def _tensors(self) -> list[list[str]]:
        """The names of each tensor of the model; two of one whose rows are used or not."""
        apart = [[name] for name in self.weights if name not in self._embeddings]
        return [self._embeddings, *apart] if self._embeddings else apart

    def _start_scores(
        self, start: Callable[[Tensor, int, int], Tensor], names: list[str], seed: int, index: int
    ) -> dict[str, Tensor]:
        """The scores before the first step: those of the whole tensor, whatever its parts are."""
        if len(names) == 1 or self._rows is None:
            return {name: start(self.weights[name].detach(), seed, index) for name in names}
        shape = (self._rows.num_embeddings, self._rows.embedding_dim)
        whole = start(self._rows.weight.detach().new_zeros(1).expand(shape), seed, index)
        return dict(zip(names, self._rows.split(whole), strict=True))

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
        for name, score in self.scores.items():
            weight = self.weights[name]
            if (grad := self.optimizer.gradient(weight)) is not None:
                accumulate(score, weight, grad.float())

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
            if not self.scores and step >= self.schedule.end_step:
                return None
            scores = {self.weights[name]: score for name, score in self.scores.items()}

        groups = self._groups(self.schedule, self.pruning, step)
        num_nan = GRANULARITIES[self.pruning.granularity].prune(
            self.optimizer, groups, scores, self.pruning
        )

        if step >= self.schedule.end_step:
            self.scores.clear()
        elif saliency.is_reset:
            for score in self.scores.values():
                score.zero_()
        return num_nan

    def count(self) -> tuple[LayerSparsity, ...]:
        """Zeros of each prunable tensor of the model, counted on the weights themselves."""
        return tuple(self._count(names) for names in self._tensors())

    def _count(self, names: list[str]) -> LayerSparsity:
        """Of a tensor, in its parts."""
        parts = [self.weights[name] for name in names]
        num_weights = sum(part.numel() for part in parts)
        num_kept = sum(int(torch.count_nonzero(part)) for part in parts)
        return LayerSparsity(
            name=names[0],
            shape=(sum(len(part) for part in parts), *parts[0].shape[1:]),
            num_zeros=num_weights - num_kept,
            num_weights=num_weights,
        )

    def state(self) -> dict[str, Tensor]:
        """Scores that have come together so far.

        Returns:
            float32 of each weight's shape, by `PREFIX` and the weight's name; none when pruning is
            over, or needs no gradients. They are the pruner's own, not copies.
        """
        if self.pruning is None or not SALIENCIES[self.pruning.saliency].needs_gradients:
            return {}
        return {f"{PREFIX}{name}": score for name, score in self.scores.items()}

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
            self.scores.clear()  # it was saved when pruning was over
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
            weight for name, weight in self.weights.items() if name not in self._embeddings
        ]
        spread = SCOPES[pruning.scope](
            [tuple(weight.shape) for weight in ranked], schedule.sparsity(step)
        )
        groups = [([ranked[index] for index in indices], sparsity) for indices, sparsity in spread]
        if self._embeddings:
            own = replace(schedule, target=pruning.embedding_sparsity or 0.0)
            embeddings: list[Tensor] = [self.weights[name] for name in self._embeddings]
            groups.append((embeddings, own.sparsity(step)))
        return groups
