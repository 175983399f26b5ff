"""Ranks of a DistributedDataParallel model prune the same weights without talking about it."""

import gc
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from workers.pruning.masked_adamw import MaskedAdamW
from workers.pruning.saliency import SALIENCIES

pytestmark = pytest.mark.slow

NUM_RANKS = 2
WAYS = ("hard", "dense_shadow", "movement")
"""The semantics under which weights are pruned by magnitude; or by accumulated scores."""


def train_rank(rank: int, folder: str) -> None:
    """One rank: at the end its weights and masks are in files."""
    torch.set_num_threads(1 + rank)  # ranks need not be alike
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=NUM_RANKS
    )
    for way in WAYS:
        torch.save(train(rank, way), f"{folder}/{way}-{rank}.pt")
    # Models hold the group in reference cycles; its threads must end before the interpreter does.
    gc.collect()
    distributed.barrier()
    distributed.destroy_process_group()


def train(rank: int, way: str) -> dict[str, list[torch.Tensor]]:
    """Train on the rank's own data."""
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(40, 70), nn.ReLU(), nn.Linear(70, 3)))
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    groups = [{"params": weights, "prunable": True}, {"params": others}]
    semantics = "dense_shadow" if way == "dense_shadow" else "hard"
    optimizer = MaskedAdamW(groups, lr=1e-2, max_grad_norm=0.5, semantics=semantics)
    scores = {weight: torch.zeros_like(weight) for weight in weights} if way == "movement" else None
    data = torch.Generator().manual_seed(100 + rank)
    for step in range(8):
        if step % 2 == 0:
            optimizer.prune([(weights, round((0.2 + step / 10) * (40 * 70 + 70 * 3)))], scores)
        optimizer.zero_grad()
        model(torch.randn(16, 40, generator=data)).square().mean().backward()
        for weight, score in (scores or {}).items():
            SALIENCIES["movement"].accumulate(score, weight.detach(), weight.grad)
        optimizer.step()
    masks = [optimizer.mask(weight) for weight in weights]
    return {"weights": [parameter.detach() for parameter in model.parameters()], "masks": masks}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What both ranks left."""
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(train_rank, (str(folder),), nprocs=NUM_RANKS)
    return folder


@pytest.mark.parametrize("way", WAYS)
def test_ranks_agree_to_the_bit(folder, way):
    first, second = (load(folder / f"{way}-{rank}.pt") for rank in range(NUM_RANKS))
    for name in ("weights", "masks"):
        assert all(
            torch.equal(one, other) for one, other in zip(first[name], second[name], strict=True)
        ), name
    assert sum(int((~mask).sum()) for mask in first["masks"]) == round(0.8 * (40 * 70 + 70 * 3))


def load(file: Path) -> dict:
    return torch.load(file, weights_only=True)
