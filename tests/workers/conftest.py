"""What tests of workers share: a process that computes as a worker does, and quick kernels."""

import functools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

if TYPE_CHECKING:
    from workers.trial import ModelSpec

# Fixtures import what they need: this file may be read before Triton is told to interpret, and some
# of these modules load Triton.


@pytest.fixture(scope="module")
def device() -> Iterator[torch.device]:
    """Where trials compute, one thread on a CPU."""
    from workers.run import prepare_process

    yield prepare_process(num_threads=1)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def pretrained(mbert, tmp_path_factory) -> "ModelSpec":
    """mBERT's own vocabulary, and a small encoder's weights that went to disk and came back."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    from workers.model.folder import fingerprint_model_folder
    from workers.trial import ModelSpec

    folder = tmp_path_factory.mktemp("model")
    tokenizer = AutoTokenizer.from_pretrained(mbert)
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    model = BertModel(BertConfig(vocab_size=len(tokenizer), **sizes), add_pooling_layer=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    fingerprint = fingerprint_model_folder(folder, "pretrained")
    return ModelSpec(name=str(folder), revision=None, init="pretrained", fingerprint=fingerprint)


def convert_float(values: Any, given: Any, wanted: Any, rounding_mode: Any) -> Any:
    """Between float32 and bfloat16; the latter as bits."""
    if str(given) == "bf16":
        return values.view(np.uint16).astype(np.uint32) << 16
    assert (str(given), str(wanted)) == ("fp32", "bf16")
    return torch.from_numpy(np.array(values)).bfloat16().view(torch.uint16).numpy()


@pytest.fixture(scope="session")
def quick_interpreter() -> Iterator[None]:
    """Spare Triton's interpreter the preparations that it makes for nothing, and let it round.

    A launch replaces the functions of `triton.language` by interpreted ones. A call from one kernel
    function to another does the same again, which finds nothing left to replace after the first
    time, and takes more than half of all time.

    Of a float32 that becomes a bfloat16 it cuts off the lower half, where the language and GPUs
    round to the nearest.
    """
    if os.environ.get("TRITON_INTERPRET") != "1":
        yield
        return
    interpreter = pytest.importorskip("triton.runtime.interpreter", reason="needs triton")
    call_prepared = interpreter.InterpretedFunction.__call__
    modules_seen: set[int] = set()

    @functools.wraps(call_prepared)
    def call(function: Any, *args: Any, **kwargs: Any) -> Any:
        module = id(function.fn.__globals__)
        if module in modules_seen:
            return function.rewrite()(*args, **kwargs)
        modules_seen.add(module)
        return call_prepared(function, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter.InterpretedFunction, "__call__", call)
        patch.setattr(interpreter, "_convert_float", convert_float)
        yield
