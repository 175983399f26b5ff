"""What is pruned 2:4 is in the form that sparse tensor cores multiply: torch's kernels take it."""

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from tests.workers.pruning.pruners import make_pruner, settings, train

HAS_GPU = torch.cuda.is_available()
SHAPE = (128, 256)


def pruned_2_of_4(seed: int) -> nn.Parameter:
    """A matrix that was trained and pruned 2:4, on a CPU."""
    weight = nn.Parameter(torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)))
    pruning = settings(scope="layer", granularity="n_of_m", n_of_m=(2, 4))
    train(make_pruner({"weight": weight}, pruning))
    return weight


def test_two_of_each_four_in_a_row_are_zero_after_training():
    weight = pruned_2_of_4(0).detach()
    zeros = (weight.reshape(-1, 4) == 0).sum(1)
    assert torch.equal(zeros, torch.full_like(zeros, 2))


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")
@pytest.mark.filterwarnings("ignore:The PyTorch API of SparseSemiStructuredTensor:UserWarning")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_semi_structured_kernels_of_torch_multiply_it(dtype):
    from torch.sparse import to_sparse_semi_structured

    weight = pruned_2_of_4(0).detach().to("cuda", dtype)
    packed = to_sparse_semi_structured(weight)
    assert torch.equal(packed.to_dense(), weight)  # nothing is lost: it is 2:4
    inputs = torch.randn(64, SHAPE[1], generator=torch.Generator().manual_seed(1))
    inputs = inputs.to("cuda", dtype)
    expected = linear(inputs.float(), weight.float())
    with torch.inference_mode():
        found = linear(inputs, packed).float()
    assert torch.allclose(found, expected, rtol=2e-2, atol=2e-2 * float(expected.abs().max()))


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")
@pytest.mark.filterwarnings("ignore:The PyTorch API of SparseSemiStructuredTensor:UserWarning")
def test_what_is_not_2_of_4_loses_weights_there():
    from torch.sparse import to_sparse_semi_structured

    dense = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)).to("cuda", torch.float16)
    assert not torch.equal(to_sparse_semi_structured(dense).to_dense(), dense)
