"""The training loop: prune, step, log, and all the state that a resumed trial needs.

`Training.run` is a generator that yields after every optimizer step, so that whoever drives it can
report progress and can stop between two steps; closing it early leaves the state complete for a
checkpoint.
"""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workers.data.align import NO_LABEL, EncodedSplit
from workers.data.batch import Batch, make_batch, split_by_length, training_order
from workers.data.packing import PackedBatches
from workers.hub.snapshots import commit_of
from workers.kernels import AUTO
from workers.model.encoder import first_names
from workers.model.keyed_dropout import KeyedDropout
from workers.model.positions import can_be_recorded, first_position, reads_packed_rows
from workers.model.rounded import Copies, read_rounded
from workers.pruning.masked_adamw import MaskedAdamW
from workers.pruning.prefix import num_unpruned_steps
from workers.pruning.pruner import Pruner
from workers.pruning.saliency import SALIENCIES
from workers.pruning.scope import embedding_names, prunable_weights
from workers.pruning.used_rows import RowUse, used_rows
from workers.replay import ReplayedSteps, can_replay
from workers.result import CurvePoint
from workers.trial import TrainingSpec, TrialError, TrialSpec

LOG_EVERY_STEPS = 10
"""Steps between two points of the curve, and between two looks at whether the loss is finite (on a
GPU, a look waits for the device)."""

STATE = ("step", "exp_avg", "exp_avg_sq", "mask")
"""Names of what the optimizer keeps of a parameter."""
MASKS = "optimizer.mask."
"""What the names of masks begin with in a trial's state."""


class Training:
    """A trial in training.

    Args:
        spec: the trial.
        model: on its device; trained in place.
        split: the training split.
        device: where the model is.
        kernels: which implementation computes the optimizer's step and the masks, see
            `workers.kernels.make_kernels`.

    Attributes:
        step: completed optimizer steps, from 0 to `num_steps`.
        num_steps: steps of the whole trial.
        num_unpruned_steps: of these, before the first mask update that prunes something; all of a
            dense trial.
        steps_per_epoch: batches that have all sequences once.
        num_subwords: sub-words trained on so far, without padding.
        train_s: seconds of training so far.
        shared_steps: how many of the first steps another trial computed; their time is its own.
        curve: points so far, one every `LOG_EVERY_STEPS` steps.

    Raises:
        TrialError: kind `bad_data`, when the model cannot be pruned, or not with these kernels.
    """

    def __init__(
        self,
        spec: TrialSpec,
        model: nn.Module,
        split: EncodedSplit,
        device: torch.device,
        kernels: str = AUTO,
    ):
        self.spec, self.model, self.split, self.device = spec, model, split, device
        self.steps_per_epoch = -(-split.num_sequences // spec.training.batch_size)
        self.num_steps = (
            spec.training.num_steps or (spec.training.num_epochs or 0) * self.steps_per_epoch
        )
        self.num_unpruned_steps = num_unpruned_steps(spec, self.num_steps)
        self._packed = (
            PackedBatches(split, device, first_position(model), autocast_dtype(spec.training))
            if reads_packed_rows(model)
            else None
        )
        self._first_names = first_names(model)
        self.weights = prunable_weights(model, spec.pruning)
        self.optimizer = make_optimizer(
            model, list(self.weights.values()), spec, kernels, self._copies()
        )
        self._replayed = self._recorder()
        self._dropout = (
            KeyedDropout(spec.seed, self.optimizer.kernels.name) if device.type == "cpu" else None
        )
        self._rows = used_rows(model)
        self.pruner = Pruner(
            self.weights, self.optimizer, spec, self.num_steps, embedding_names(model), self._rows
        )
        self.step = 0
        self.is_finished = False  # after the last step its masks may still have to change
        self.num_subwords = 0
        self.train_s = 0.0
        self.shared_steps = self._shared_subwords = 0
        self.curve: list[CurvePoint] = []
        self._losses: list[Tensor] = []  # since the last point of the curve
        self._grad_norms: list[Tensor] = []
        self._num_nan_weights: list[Tensor] = []  # at mask updates
        self._epoch, self._batches = -1, list[np.ndarray]()

    def _copies(self) -> Copies:
        """What the model reads in the place of its weights; none where it reads these."""
        is_one_part = self._packed is not None  # so that each weight has one gradient a step
        if is_one_part and autocast_dtype(self.spec.training) is torch.bfloat16:
            return read_rounded(self.model)
        return {}

    def _recorder(self) -> ReplayedSteps | None:
        """Who records steps; None where each is launched."""
        if self._packed is None or not can_be_recorded(self.model):
            return None
        if self.optimizer.kernels.name != "triton":  # others look at values
            return None
        return ReplayedSteps(self.optimizer) if can_replay(self.device) else None

    def run(self) -> Iterator[None]:
        """Train to the last step, yielding after each; the masks of the last step are in force at
        the end.

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
        self.is_finished = True

    def learning_rate(self, step: int) -> float:
        """Learning rate of a step.

        Args:
            step: completed steps before it, from 0.
        """
        settings = self.spec.training
        warmup_steps = round(settings.warmup * self.num_steps)
        if step < warmup_steps:
            return settings.lr * (step + 1) / warmup_steps
        if settings.lr_schedule == "constant":
            return settings.lr
        return settings.lr * (self.num_steps - step) / (self.num_steps - warmup_steps)

    @cached_property
    def model_commit(self) -> str | None:
        """The commit of the hub's repository that the encoder is of; None for a folder."""
        return commit_of(self.spec.model)

    @property
    def last_loss(self) -> float | None:
        """Mean loss at the last point of the curve; None before the first."""
        return self.curve[-1].loss if self.curve else None

    @property
    def subwords_per_s(self) -> float:
        """Real sub-words (no padding) trained a second."""
        own = self.num_subwords - self._shared_subwords
        return own / self.train_s if self.train_s else 0.0

    def _update_masks(self) -> None:
        if not self.pruner.is_due(self.step):
            return
        self._settle()
        if self.device.type == "cpu":  # on a GPU, looking would wait for it
            self._refuse_non_finite_loss()  # which says more than that weights are NaN
        try:
            num_nan = self.pruner.update(self.step)
        except ValueError as error:
            raise self._not_finite(str(error)) from error
        if num_nan is not None:
            self._num_nan_weights.append(num_nan)
        if self._replayed is not None:
            self._replayed.forget_if_moved(self._addresses())

    def _train_step(self) -> None:
        lr = self.learning_rate(self.step)
        indices = self._next_batch()
        loss = self._launch(indices, lr) if self._replayed is None else self._replay(indices, lr)
        if self._rows is not None and self.spec.training.weight_decay:
            self._rows.decay(1 - lr * self.spec.training.weight_decay)
        self._losses.append(loss)
        if self.optimizer.grad_norm is not None:
            self._grad_norms.append(self.optimizer.grad_norm)

    def _next_batch(self) -> np.ndarray:
        """Which sequences the step trains on."""
        epoch, position = divmod(self.step, self.steps_per_epoch)
        if epoch != self._epoch:
            settings = self.spec.training
            self._epoch = epoch
            self._batches = training_order(
                self.split.num_sequences,
                settings.batch_size,
                self.spec.seed,
                epoch,
                self.split.parts,
                settings.sampling_temperature,
            )
        return self._batches[position]

    def _launch(self, indices: np.ndarray, lr: float) -> Tensor:
        """Do a step; returns its mean cross-entropy a word."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        # The mean is over the words of the whole batch, however it is cut.
        parts = self._parts(indices)
        if self._dropout is not None:
            self._dropout.begin(self.step)
        num_words = sum(part.num_words for part in parts)
        losses = []
        for part in parts:
            loss = self._summed_loss(part.inputs, part.labels) / num_words
            loss.backward()
            losses.append(loss.detach())
            self.num_subwords += part.num_subwords
        self.pruner.observe()
        self.optimizer.step()
        return torch.stack(losses).sum()

    def _replay(self, indices: np.ndarray, lr: float) -> Tensor:
        """Do a step on a GPU that has recorded it; returns its mean cross-entropy a word."""
        assert self._packed is not None
        assert self._replayed is not None
        layout = self._packed.lay_out(indices)
        self.num_subwords += layout.num_subwords
        return self._replayed.do(self._backward, layout.places, layout.num_words, lr)

    def _backward(self, places: Tensor, num_words: Tensor) -> Tensor:
        """What a GPU records of a step beside the optimizer's part."""
        assert self._packed is not None
        loss = self._summed_loss(*self._packed.read(places)) / num_words
        loss.backward()
        self.pruner.observe()
        return loss.detach()

    def _addresses(self) -> tuple[int, ...]:
        """Of all that may be another tensor after a mask update."""
        tensors = [one for state in self.optimizer.state.values() for one in state.values()]
        return tuple(one.data_ptr() for one in [*tensors, *self.pruner.scores.values()])

    def _parts(self, indices: np.ndarray) -> list[Batch]:
        """The batch in one piece, where the model reads packed rows."""
        if self._packed is not None:
            return [self._packed.make(indices)]
        return [
            make_batch(self.split, part, self.device)
            for part in split_by_length(self.split.lengths, indices)
        ]

    def _summed_loss(self, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
        dtype = autocast_dtype(self.spec.training)
        with (
            torch.autocast(self.device.type, dtype, enabled=dtype is not torch.float32),
            self._dropout or contextlib.nullcontext(),
        ):
            logits = self.model(**inputs).logits
        return nn.functional.cross_entropy(
            logits.float().flatten(0, 1),
            labels.flatten(),
            ignore_index=NO_LABEL,
            reduction="sum",
        )

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
        """Look at losses, gradient norms (which tell of the next loss) and weights since last time.

        Raises:
            TrialError: kind `non_finite_loss`.
        """
        if self._num_nan_weights and torch.stack(self._num_nan_weights).any():
            raise self._not_finite("weights are NaN, their magnitudes cannot be ranked")
        self._num_nan_weights.clear()
        if not self._losses:
            return

        losses, norms = torch.stack(self._losses).tolist(), torch.stack(self._grad_norms).tolist()
        first_step = self.step - len(losses) + 1
        for step, (loss, norm) in enumerate(zip(losses, norms, strict=True), first_step):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise self._not_finite(
                    f"loss is {loss} and gradient norm {norm} at step {step} of {self.num_steps}"
                )

    def _not_finite(self, what: str) -> TrialError:
        hint = f"lower training.lr ({self.spec.training.lr}) or use training.precision=float32"
        return TrialError("non_finite_loss", f"{what}; {hint}")

    def _settle(self) -> None:
        if self._rows is not None:
            self._rows.settle()

    def model_state(self) -> dict[str, Tensor]:
        """The model's own tensors by name; what modules share is there once, under its first
        name, and word embeddings that never change are not there."""
        self._settle()
        return {
            name: value
            for name, value in self.model.state_dict().items()
            if name == self._first_names[name]
        }

    def load_model_state(self, tensors: dict[str, Tensor]) -> None:
        """Put tensors in the place of the model's own.

        Args:
            tensors: with the names of `model_state`.

        Raises:
            KeyError: one is missing.
            RuntimeError: they are those of another model.
        """
        self.model.load_state_dict(
            {name: tensors[first] for name, first in self._first_names.items()}
        )
        self.optimizer.round()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that a resumed trial needs: tensors by name, and JSON values."""
        tensors = {f"model.{name}": value for name, value in self.model_state().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = value
        tensors |= self.pruner.state()
        tensors["rng.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state(self.device)
        values = {
            "step": self.step,
            "model_commit": self.model_commit,
            "num_subwords": self.num_subwords,
            "train_s": self.train_s,
            "shared_steps": self.shared_steps,
            "shared_subwords": self._shared_subwords,
            "sparsity": self.pruner.sparsity,
            "curve": [asdict(point) for point in self.curve],
            "losses": [float(loss) for loss in self._losses],
            "grad_norms": [float(norm) for norm in self._grad_norms],
        }
        return tensors, values

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Take over what `state` gave: the trial goes on to the bits of one that never stopped.

        Args:
            tensors: by name, on the CPU; others than those of `state` are left alone.
            values: those of `state`, among others.

        Raises:
            KeyError: a tensor or a value is missing.
            RuntimeError: the tensors are those of another model.
            ValueError: the tensors are of different steps, or another kind of device computed them,
                or they go with another version of the encoder.
        """
        if values["model_commit"] not in (None, self.model_commit):  # None: it was not known
            # Word embeddings that never change are not among the tensors.
            raise ValueError(
                f"it is of the encoder's commit {values['model_commit']}, and "
                f"{self.model_commit} is what {self.spec.model.name} is now"
            )
        saved_on = "a GPU" if "rng.cuda" in tensors else "a CPU"
        computes_on = "a GPU" if self.device.type == "cuda" else "a CPU"
        if saved_on != computes_on:
            # Dropout draws from the device's own generator, whose state the other has not.
            raise ValueError(f"{saved_on} computed it and {computes_on} goes on")
        self.load_model_state(
            {
                name.removeprefix("model."): value
                for name, value in tensors.items()
                if name.startswith("model.")
            }
        )
        self._restore_optimizer(tensors, values["step"])
        self.pruner.restore(tensors)
        torch.set_rng_state(tensors["rng.cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["rng.cuda"], self.device)

        self.step, self.train_s = values["step"], values["train_s"]
        self.num_subwords = values["num_subwords"]
        # Checkpoints of earlier versions do not say: nothing was shared.
        self.shared_steps = values.get("shared_steps", 0)
        self._shared_subwords = values.get("shared_subwords", 0)
        self.pruner.sparsity = values["sparsity"]
        if self._replayed is not None:
            self._replayed.forget_if_moved(self._addresses())
        self.curve = [CurvePoint(**point) for point in values["curve"]]
        self._losses = [torch.tensor(loss, device=self.device) for loss in values["losses"]]
        self._grad_norms = [torch.tensor(norm, device=self.device) for norm in values["grad_norms"]]

    def unpruned_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The state as `start_from` takes it, of a trial that has pruned nothing yet."""
        tensors, values = self.state()
        # What differs between them: which weights have a mask, of ones as yet; and whether word
        # embeddings that training does not read are among the trial's tensors.
        unchanged = self._unchanged()
        without = {
            name: value
            for name, value in tensors.items()
            if not name.startswith(MASKS) and name not in unchanged
        }
        return without, values

    def _unchanged(self) -> dict[str, Tensor]:
        """Of the state, what is as it was loaded until something is pruned."""
        if self._rows is None or self.spec.training.weight_decay:
            return {}
        return {
            f"model.{name}": value
            for name, value in self.model.named_parameters()
            if value is self._rows.others
        }

    def start_from(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Begin after the first steps of a trial that had the same; its time is not this one's.

        Args:
            tensors, values: what its `unpruned_state` gave.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: as `restore`.
        """
        self.restore(self._unchanged() | tensors, values)
        self.shared_steps, self._shared_subwords = self.step, self.num_subwords
        self.train_s = 0.0

    def _restore_optimizer(self, tensors: dict[str, Tensor], step: int) -> None:
        # torch numbers the parameters of a state_dict through all groups.
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        state_dict = self.optimizer.state_dict()
        for number, parameter in enumerate(parameters):
            saved = {key: tensors.get(f"optimizer.{key}.{names[parameter]}") for key in STATE}
            state_dict["state"][number] = {
                key: value for key, value in saved.items() if value is not None
            }
        self.optimizer.load_state_dict(state_dict)

        # Some weights are not trained and have no state, and some are not reached by a gradient in
        # every step, or in any (those of Longformer's global attention).
        states = [self.optimizer.state[weight] for weight in self.weights.values()]
        latest = max((int(state["step"]) for state in states if "step" in state), default=step)
        if latest != step:
            raise ValueError(
                f"its weights are of step {step} and their moments and masks of step {latest}"
            )


def make_optimizer(
    model: nn.Module,
    prunable: list[nn.Parameter],
    spec: TrialSpec,
    kernels: str = AUTO,
    copies: Copies | None = None,
) -> MaskedAdamW:
    """MaskedAdamW for a trial; biases and normalisation weights (all vectors) do not decay.

    Args:
        model: whose parameters are trained.
        prunable: those of them that are pruned.
        spec: the trial.
        kernels: which implementation computes the step, see `workers.kernels.make_kernels`.
        copies: in bfloat16, which the model reads in the place of its parameters.

    Raises:
        TrialError: kind `bad_data`, when these kernels cannot serve the model.
    """
    settings = spec.training
    ours = {id(parameter) for parameter in prunable}
    others = [
        parameter
        for parameter in model.parameters()
        if parameter.requires_grad and id(parameter) not in ours
    ]
    groups = [
        {"params": prunable, "prunable": True},
        {"params": [parameter for parameter in others if parameter.ndim > 1]},
        {"params": [parameter for parameter in others if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    try:
        return MaskedAdamW(
            groups,
            lr=settings.lr,
            eps=settings.adam_epsilon,
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            semantics=spec.pruning.semantics if spec.pruning else "hard",
            kernels=kernels,
            rounded=copies,
            order=model.parameters(),
        )
    except ValueError as error:
        field = "pruning." if str(error).startswith("kernels:") else "model: "
        raise TrialError("bad_data", f"{field}{error}") from error


def row_use(spec: TrialSpec, split: EncodedSplit) -> RowUse | None:
    """Which word embeddings a trial trains.

    Args:
        spec: the trial.
        split: the training split.

    Returns:
        Those that the split reads, and the padding's; None: all, since blocks of embeddings are
        pruned, or embeddings by their gradients, which ranks those without any by position.
    """
    pruning = spec.pruning
    are_pruned = pruning is not None and pruning.embedding_sparsity is not None
    if pruning is not None and are_pruned:
        by_gradient = SALIENCIES[pruning.saliency].needs_gradients
        if by_gradient or pruning.granularity == "block":
            return None
    ids = np.union1d(split.input_ids, [split.pad_id]).astype(np.int64)
    return RowUse(ids, others_change=are_pruned or spec.training.weight_decay > 0)


def autocast_dtype(settings: TrainingSpec) -> torch.dtype:
    """The torch dtype of a trial's precision; float32 stands for no autocast.

    Args:
        settings: the trial's.
    """
    return getattr(torch, settings.precision)  # type: ignore[no-any-return]
