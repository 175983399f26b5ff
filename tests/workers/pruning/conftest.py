"""An optimizer that has pruned."""

import pytest

from tests.workers.pruning.optimizers import give_gradients, masked, parameters
from workers.pruning.masked_adamw import MaskedAdamW


@pytest.fixture
def trained() -> MaskedAdamW:
    ours = parameters()
    optimizer = masked(ours)
    give_gradients(0, ours)
    optimizer.step()
    optimizer.update_masks(0.5)
    return optimizer
