"""Run a whole trial on a GPU that is not there, and say as JSON where the host looked at a value.

    python -m tests.workers.fake_gpu_trial PRECISION CHANGES

CHANGES are those of the pruning, as JSON. A program of its own: what it replaces must not reach
other tests, and CUDA must be as in a fresh process. Tensors have shapes and devices and are not
computed; whoever mixes devices ends it. Where the host looks at a value it would wait for the GPU;
it is told a made-up one, and the place is noted.
"""

import contextlib
import json
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from tests.factories import PRUNING
from tests.workers.cuda_stand_in import H100, CudaStandIn, fake_tensors
from tests.workers.trials import small_trial, training_of
from workers.kernels import triton_masks, triton_step
from workers.kernels.triton_launch import Launcher
from workers.run import prepare_process, run_trial

ADDRESS = 4096
"""Of every tensor."""
VALUES = ("aten::_local_scalar_dense", "aten::item", "aten::is_nonzero")
"""Operations that give the host a number or a truth."""


class Watch(TorchDispatchMode):
    """Notes each look of the host at a value, by file and function."""

    def __init__(self) -> None:
        super().__init__()
        self.places: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called for each operation."""
        kwargs = kwargs or {}
        name = func.name()
        if name in VALUES and is_on_gpu(args[0]):
            self.note()
            return made_up(args[0].dtype)
        if name == "aten::_to_copy" and not isinstance(args[0], FakeTensor):  # of the host
            place, dtype = kwargs.get("device"), kwargs.get("dtype") or args[0].dtype
            if place is not None and not on_host(place):
                return torch.empty(args[0].shape, dtype=dtype, device=place)
        found = func(*args, **kwargs)
        if (
            isinstance(found, FakeTensor)
            and not is_on_gpu(found)
            and is_on_gpu(next(iter(args), None))
        ):
            self.note()
        return found

    def take(self) -> Counter[str]:
        """Those since the last call."""
        taken, self.places = self.places, Counter()
        return taken

    def note(self) -> None:
        """The innermost place outside of torch and of these tests."""
        for frame in reversed(traceback.extract_stack()):
            if "/torch/" not in frame.filename and not frame.filename.endswith("fake_gpu_trial.py"):
                place = "/".join(frame.filename.split("/")[-2:])
                self.places[f"{place}:{frame.name}"] += 1
                return


def is_on_gpu(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type == "cuda"


def on_host(device: torch.device | None) -> bool:
    return device is not None and device.type == "cpu"


def made_up(dtype: torch.dtype) -> float | int | bool:
    """A finite loss; no NaN among weights; a batch with padding."""
    return 0.5 if dtype.is_floating_point else False if dtype is torch.bool else 0


def launch(
    self: Launcher, kernel: Any, num_programs: int, *arguments: Any, **constants: Any
) -> None:
    """In place of a launch: what must hold for one."""
    self.num_launches += 1
    assert num_programs >= 1
    for argument in arguments:
        if isinstance(argument, torch.Tensor):
            assert is_on_gpu(argument), kernel
            assert argument.is_contiguous(), kernel


def address(tensor: torch.Tensor) -> int:
    assert is_on_gpu(tensor), "kernels of the GPU are given an address of the host"
    return ADDRESS


def on_the_host(function: Any) -> Any:
    """A function of the host's tensors, which are real."""

    def run(*arguments: Any) -> Any:
        with unset_fake_temporarily():
            return function(*arguments)

    return run


def backward(loss: torch.Tensor) -> None:
    """In place of autograd's engine, which takes threads and streams of a real device: gradients
    for all that the loss depends on."""
    waiting, seen = [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [below for below, _ in node.next_functions]
        if hasattr(node, "variable"):
            node.variable.grad = torch.zeros_like(node.variable)


def move(module: nn.Module, device: torch.device) -> nn.Module:
    """As `Module.to`, which cannot put fake tensors in the place of others."""
    for own in module.modules():
        for name, parameter in own._parameters.items():
            if parameter is not None:
                own._parameters[name] = nn.Parameter(parameter.detach().to(device))
        for name, buffer in own._buffers.items():
            if buffer is not None:
                own._buffers[name] = buffer.to(device)
    return module


class Recorded:
    """In place of a CUDA graph, which cannot be recorded here."""

    num_replays = 0

    def replay(self) -> None:
        """Nothing is computed here, whether launched or replayed."""
        Recorded.num_replays += 1


@contextlib.contextmanager
def fake_gpu(watch: Watch) -> Iterator[pytest.MonkeyPatch]:
    """A GPU whose tensors are not computed; gives what replaces more while it is there.

    Args:
        watch: sees every operation.
    """
    with pytest.MonkeyPatch.context() as patch:
        CudaStandIn(**H100).install(patch)
        patch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
        patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
        patch.setattr("transformers.masking_utils.is_tracing", lambda tensor=None: False)
        patch.setattr(Launcher, "launch", launch)
        for module in (triton_step, triton_masks):
            patch.setattr(module, "list_chunks", on_the_host(module.list_chunks))
        patch.setattr(FakeTensor, "data_ptr", address, raising=False)
        patch.setattr(FakeTensor, "numpy", lambda self: np.zeros(self.shape, np.int64))
        patch.setattr(torch.Tensor, "pin_memory", lambda self: self)
        patch.setattr(nn.Module, "to", move)
        patch.setattr(torch.cuda, "CUDAGraph", Recorded)
        patch.setattr(torch.cuda, "graph", lambda recorded, pool: contextlib.nullcontext())
        patch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
        with fake_tensors() as mode, watch:
            mode.allow_non_fake_inputs = True
            yield patch


def run(precision: str, changes: dict[str, Any]) -> dict[str, Any]:
    """The trial, and where the host looked at values in each phase."""
    pruning = replace(PRUNING, update_every_steps=4, **changes)
    spec = training_of(small_trial(target_sparsity=0.9, pruning=pruning), precision=precision)
    looks: dict[str, Counter[str]] = {}
    watch = Watch()
    with fake_gpu(watch) as patch:
        patch.setattr(torch.Tensor, "backward", backward)
        running = run_trial(spec, prepare_process(1, use_gpu=True))
        while True:
            try:
                phase = next(running).phase
            except StopIteration as finished:
                result = finished.value
                looks["end"] = watch.take()
                break
            looks[phase] = looks.get(phase, Counter()) + watch.take()
    measured = ("kernels", "device", "device_name", "num_steps", "peak_gpu_memory_gib")
    counted = {"looks": looks, "num_replays": Recorded.num_replays}
    return counted | {name: getattr(result, name) for name in measured}


def main(precision: str, changes: str) -> None:
    """See the module's description."""
    print(json.dumps(run(precision, json.loads(changes))))


if __name__ == "__main__":
    main(*sys.argv[1:])
