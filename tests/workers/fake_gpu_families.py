"""Say of each family that reads packed rows what its forward pass does that a GPU cannot record:
look at values, or copy from the host. As JSON, by family.

    python -m tests.workers.fake_gpu_families

Tensors are torch's fake ones, see `fake_gpu_trial`.
"""

import json
from typing import Any

import torch
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensor
from transformers import AutoModelForTokenClassification

from tests.workers.fake_gpu_trial import Watch, fake_gpu, on_host
from tests.workers.model.test_families import small_config
from workers.model.positions import READ_PACKED_ROWS, first_position

SHAPE = 3, 32


class CopiesToo(Watch):
    """Notes copies from the host as well."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called for each operation."""
        place = (kwargs or {}).get("device")
        is_copy = func.name() == "aten::_to_copy" and not isinstance(args[0], FakeTensor)
        if is_copy and place is not None and not on_host(place):
            self.note()
        return super().__torch_dispatch__(func, types, args, kwargs)


def looks_of(family: str) -> dict[str, int]:
    """Places where the forward pass of a family looks at values, and how often."""
    model = AutoModelForTokenClassification.from_config(small_config(family))
    watch = CopiesToo()
    with fake_gpu(watch):
        model.to(torch.device("cuda", 0))
        ids = torch.zeros(SHAPE, dtype=torch.long, device="cuda")
        inputs = {"input_ids": ids}
        inputs["attention_mask"] = torch.zeros(3, 1, 32, 32, device="cuda")
        if first_position(model) is not None:
            inputs["position_ids"] = ids
        watch.take()
        try:
            model(**inputs)
        except DynamicOutputShapeException as error:
            return {str(error): 1}
        return dict(watch.take())


def main() -> None:
    """Of all families that the installed transformers has."""
    print(json.dumps({family: looks_of(family) for family in sorted(READ_PACKED_ROWS)}))


if __name__ == "__main__":
    main()
