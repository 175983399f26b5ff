"""The training loop: step, prune, clip, log, and all the state that a resumed trial needs.

`Training.run` is a generator that yields after every optimizer step, so that whoever drives it can report progress and
can stop between two steps; closing it early leaves the state complete for a checkpoint.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workers.data.align import NO_LABEL, EncodedSplit
from workers.data.batch import Batch, make_batch, split_by_length, training_order
from workers.pruning.pruner import MOMENTS, Pruner
from workers.pruning.schedule import CubicSchedule
from workers.pruning.scope import prunable_weights
from workers.trial import CurvePoint, TrainingSpec, TrialError, TrialSpec

LOG_EVERY_STEPS = 10
"""Steps between two points of the curve, and between two looks at whether the loss is finite (on a GPU, a look waits
for the device)."""


class Training:
    """A trial in training.

    Args:
        spec: the trial.
        model: on its device; trained in place.
        split: the training split.
        device: where the model is.
    """

    def __init__(self, spec: TrialSpec, model: nn.Module, split: EncodedSplit, device: torch.device):
        self.spec, self.model, self.split, self.device = spec, model, split, device
        self.steps_per_epoch = -(-split.num_sequences // spec.training.batch_size)
        self.num_steps = spec.training.num_steps or (spec.training.num_epochs or 0) * self.steps_per_epoch
        self.optimizer = make_optimizer(model, spec.training)
        self.weights = prunable_weights(model, spec.pruning.weights if spec.pruning else "encoder")
        schedule = None
        if spec.pruning is not None:
            schedule = CubicSchedule.from_spec(spec.pruning, spec.target_sparsity, self.num_steps)
        self.pruner = Pruner(self.weights, self.optimizer, schedule, spec.pruning)
        self.step = 0
        self.num_subwords = 0
        self.train_s = 0.0
        self.curve: list[CurvePoint] = []
        self._losses: list[Tensor] = []  # since the last point of the curve
        self._grad_norms: list[Tensor] = []
        self._epoch, self._batches = -1, list[np.ndarray]()

    def run(self) -> Iterator[None]:
        """Train to the last step, yielding after each; the masks of the last step are in force at the end.

        Raises:
            TrialError: kind `non_finite_loss`.
        """
        self.model.train()
        while self.step < self.num_steps:
            started = time.perf_counter()
            self._update_masks()
            self._train_step()
            self.step += 1
            if self.step % LOG_EVERY_STEPS == 0 or self.step == self.num_steps:
                self._log()
            self.train_s += time.perf_counter() - started
            yield
        self._update_masks()

    def learning_rate(self, step: int) -> float:
        """Learning rate of the optimizer step that follows `step` completed ones."""
        settings = self.spec.training
        warmup_steps = round(settings.warmup * self.num_steps)
        if step < warmup_steps:
            return settings.lr * (step + 1) / warmup_steps
        if settings.lr_schedule == "constant":
            return settings.lr
        return settings.lr * (self.num_steps - step) / (self.num_steps - warmup_steps)

    @property
    def last_loss(self) -> float | None:
        """Mean loss at the last point of the curve."""
        return self.curve[-1].loss if self.curve else None

    @property
    def subwords_per_s(self) -> float:
        """Real sub-words (no padding) trained a second."""
        return self.num_subwords / self.train_s if self.train_s else 0.0

    def _update_masks(self) -> None:
        schedule = self.pruner.schedule
        if schedule is not None and schedule.is_due(self.step):
            self._refuse_non_finite_loss()  # before NaN weights are ranked
            self.pruner.update(self.step)

    def _train_step(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward()
        self.pruner.mask_gradients()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.spec.training.max_grad_norm)
        self.optimizer.step()
        self._losses.append(loss)
        self._grad_norms.append(norm.detach())

    def _backward(self) -> Tensor:
        """Add up the gradients of the step's batch; returns its mean cross-entropy a word."""
        epoch, position = divmod(self.step, self.steps_per_epoch)
        if epoch != self._epoch:
            batch_size = self.spec.training.batch_size
            self._epoch, self._batches = epoch, training_order(self.split.lengths, batch_size, self.spec.seed, epoch)
        indices = self._batches[position]
        parts = [
            make_batch(self.split, part, self.device) for part in split_by_length(self.split, indices, self.device)
        ]
        num_words = sum(part.num_words for part in parts)
        losses = []
        for part in parts:
            loss = self._summed_loss(part) / num_words
            loss.backward()
            losses.append(loss.detach())
            self.num_subwords += part.num_subwords
        return torch.stack(losses).sum()

    def _summed_loss(self, batch: Batch) -> Tensor:
        dtype = autocast_dtype(self.spec.training)
        with torch.autocast(self.device.type, dtype, enabled=dtype is not torch.float32):
            logits = self.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        labels = batch.labels.flatten()
        return nn.functional.cross_entropy(logits.float().flatten(0, 1), labels, ignore_index=NO_LABEL, reduction="sum")

    def _log(self) -> None:
        self._refuse_non_finite_loss()
        self.curve.append(
            CurvePoint(
                step=self.step,
                loss=float(torch.stack(self._losses).double().mean()),
                lr=self.learning_rate(self.step - 1),
                sparsity=self.pruner.sparsity,
                grad_norm=float(torch.stack(self._grad_norms).double().mean()),
            )
        )
        self._losses.clear()
        self._grad_norms.clear()

    def _refuse_non_finite_loss(self) -> None:
        """Look at the losses, and the gradient norms that tell of the next one, since the last look."""
        if not self._losses:
            return
        losses, norms = torch.stack(self._losses).tolist(), torch.stack(self._grad_norms).tolist()
        bad = [i for i, pair in enumerate(zip(losses, norms, strict=True)) if not all(map(math.isfinite, pair))]
        if bad:
            step = self.step - len(losses) + bad[0] + 1
            raise TrialError(
                "non_finite_loss",
                f"loss is {losses[bad[0]]} and gradient norm {norms[bad[0]]} at step {step} of {self.num_steps}; "
                f"lower training.lr ({self.spec.training.lr}) or use training.precision=float32",
            )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that a resumed trial needs: tensors, and JSON values."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = value
        for name, mask in self.pruner.masks.items():
            tensors[f"mask.{name}"] = torch.from_numpy(np.packbits(mask.cpu().numpy()))
        tensors["rng.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state(self.device)
        values = {
            "step": self.step,
            "num_subwords": self.num_subwords,
            "train_s": self.train_s,
            "sparsity": self.pruner.sparsity,
            "curve": [asdict(point) for point in self.curve],
            "losses": [float(loss) for loss in self._losses],
            "grad_norms": [float(norm) for norm in self._grad_norms],
        }
        return tensors, values

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Take over what `state` gave; the trial goes on to the same bits as if it had never stopped.

        Raises:
            KeyError, RuntimeError: the state is of another model.
        """
        self.model.load_state_dict({name: tensors[f"model.{name}"] for name in self.model.state_dict()})
        for name, parameter in self.model.named_parameters():
            saved = {key: tensors.get(f"optimizer.{key}.{name}") for key in ("step", *MOMENTS)}
            state = {key: value.to(self.device) for key, value in saved.items() if value is not None}
            if state:
                self.optimizer.state[parameter] = state
        for name, weight in self.weights.items():
            if f"mask.{name}" in tensors:
                bits = np.unpackbits(tensors[f"mask.{name}"].numpy(), count=weight.numel())
                self.pruner.masks[name] = torch.from_numpy(bits.astype(bool)).view(weight.shape).to(self.device)
        torch.set_rng_state(tensors["rng.cpu"])
        if "rng.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["rng.cuda"], self.device)
        self.step, self.num_subwords, self.train_s = values["step"], values["num_subwords"], values["train_s"]
        self.pruner.sparsity = values["sparsity"]
        self.curve = [CurvePoint(**point) for point in values["curve"]]
        self._losses = [torch.tensor(loss, device=self.device) for loss in values["losses"]]
        self._grad_norms = [torch.tensor(norm, device=self.device) for norm in values["grad_norms"]]


def make_optimizer(model: nn.Module, settings: TrainingSpec) -> torch.optim.Optimizer:
    """Fused AdamW; biases and normalisation weights (all vectors) do not decay."""
    decaying = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": decaying, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, eps=settings.adam_epsilon, fused=True)


def autocast_dtype(settings: TrainingSpec) -> torch.dtype:
    """The precision's torch dtype; float32 stands for no autocast."""
    return getattr(torch, settings.precision)  # type: ignore[no-any-return]
