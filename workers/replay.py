"""Training steps that a GPU does by itself: each layout of a batch is recorded once as CUDA graphs.

A step of multilingual BERT is some 700 kernels of a few microseconds each. Launched one by one they
keep the host busy several times longer than the GPU. A graph has all of them, with the addresses
that they read and write, and is one launch. It computes what the launches would, to the bit.

What differs between steps lies at fixed addresses, written before each replay: where the batch's
sub-words lie, how many words count, and the learning rate. Dropout draws from torch's generator of
the GPU, which counts replays as it counts launches.

A layout (rows and their length) is launched by hand when it is first met, which loads what it
needs, and recorded when it is met again.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from workers.pruning.masked_adamw import MaskedAdamW

Backward = Callable[[Tensor, Tensor], Tensor]
"""`backward(places, num_words)`: leaves the gradients of a batch in the parameters; returns its
loss. `places` is `Layout.places`, `num_words` float32 and 0-dimensional, both on the GPU."""


@dataclass(frozen=True)
class _Recording:
    """The step of one layout: gradients and loss, then the optimizer's.

    Its memory may be that of other recordings as well, since none is read after the next replay.
    """

    places: Tensor
    num_words: Tensor
    gradients: torch.cuda.CUDAGraph
    loss: Tensor
    step: torch.cuda.CUDAGraph
    grad_norm: Tensor | None


class ReplayedSteps:
    """Does training steps, and records them.

    Args:
        optimizer: does the steps, on a GPU; its `lr` is replaced by a tensor.
    """

    def __init__(self, optimizer: MaskedAdamW):
        self._optimizer = optimizer
        self._device = optimizer.param_groups[0]["params"][0].device
        self._lr = torch.zeros((), dtype=torch.float64, device=self._device)
        self._met: set[tuple[int, ...]] = set()
        self._recordings: dict[tuple[int, ...], _Recording] = {}
        self._addresses: tuple[int, ...] = ()
        self._pool = torch.cuda.graph_pool_handle()

    def do(self, backward: Backward, places: np.ndarray, num_words: int, lr: float) -> Tensor:
        """One step.

        Args:
            backward: computes the gradients; it must look at no value, and read and write the same
                memory each time. It is not kept: who owns this also owns that, and recordings must
                go with their owner, not whenever Python looks for cycles.
            places: `Layout.places`.
            num_words: labels that count.
            lr: learning rate.

        Returns:
            The loss, 0-dimensional.
        """
        self._lr.fill_(lr)
        for group in self._optimizer.param_groups:  # they have copies after `load_state_dict`
            group["lr"] = self._lr
        shape = places.shape
        recording = self._recordings.get(shape)
        if recording is not None:
            return self._replay(recording, places, num_words)
        on_device = torch.from_numpy(places).to(self._device, non_blocking=True)
        words = torch.full((), num_words, dtype=torch.float32, device=self._device)
        if shape in self._met:
            return self._record(backward, on_device, words)
        self._met.add(shape)
        return self._launch(backward, on_device, words)

    def forget_if_moved(self, addresses: tuple[int, ...]) -> None:
        """Drop the recordings if they are of other tensors.

        Args:
            addresses: of all tensors that may be replaced, such as masks, which come with the first
                mask update.
        """
        if addresses != self._addresses:
            torch.cuda.synchronize(self._device)  # one of them may be replayed
            self._recordings.clear()
            self._pool = torch.cuda.graph_pool_handle()  # the last one went with its graphs
            self._addresses = addresses

    def _launch(self, backward: Backward, places: Tensor, num_words: Tensor) -> Tensor:
        self._optimizer.zero_grad()
        loss = backward(places, num_words)
        self._optimizer.step()
        return loss

    def _replay(self, recording: _Recording, places: np.ndarray, num_words: int) -> Tensor:
        recording.places.copy_(torch.from_numpy(places), non_blocking=True)
        recording.num_words.fill_(num_words)
        recording.gradients.replay()
        recording.step.replay()
        norm = recording.grad_norm
        self._optimizer.grad_norm = None if norm is None else norm.clone()
        return recording.loss.clone()

    def _record(self, backward: Backward, places: Tensor, num_words: Tensor) -> Tensor:
        """Record a step, and do it."""
        optimizer = self._optimizer
        optimizer.zero_grad()  # none may be added to
        with self._recorded() as gradients:
            loss = backward(places, num_words)
        gradients.replay()
        optimizer.step()  # which sends the table of where these gradients are
        norm = optimizer.grad_norm
        with self._recorded() as step:
            optimizer.step()
        recorded_norm, optimizer.grad_norm = optimizer.grad_norm, norm
        optimizer.zero_grad()  # the next recording may take their memory
        self._recordings[tuple(places.shape)] = _Recording(
            places, num_words, gradients, loss, step, recorded_norm
        )
        return loss.clone()

    @contextmanager
    def _recorded(self) -> Iterator[torch.cuda.CUDAGraph]:
        """What is launched inside is recorded, and not done."""
        graph = torch.cuda.CUDAGraph()
        collects = gc.isenabled()
        gc.disable()  # garbage may be a graph of another trial, and its end would spoil this one
        try:
            with torch.cuda.graph(graph, pool=self._pool):
                yield graph
        finally:
            if collects:
                gc.enable()


def can_replay(device: torch.device) -> bool:
    """Whether steps on this device can be recorded.

    Args:
        device: where training computes.
    """
    return device.type == "cuda"
