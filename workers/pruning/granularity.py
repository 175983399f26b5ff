"""In what pieces weights are pruned: alone, n of each m in a row, or in rectangles.

Each granularity turns groups of tensors and their sparsities into masks. Weights are ranked by
scores, higher is kept, or where there are none by magnitude. What is pruned ranks below all else,
so it never returns; `MaskedAdamW.prune` alone, which `unstructured` calls, knows of other semantics
than `hard`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.trial import PruningSpec, TrialError

if TYPE_CHECKING:
    from torch import Tensor

    from workers.pruning.masked_adamw import MaskedAdamW

    Groups = Sequence[tuple[Sequence[Tensor], float]]
    Scores = Mapping[Tensor, Tensor] | None


@dataclass(frozen=True, kw_only=True)
class Granularity:
    """The pieces in which weights are pruned."""

    prune: "Callable[[MaskedAdamW, Groups, Scores, PruningSpec], Tensor]"
    """`prune(optimizer, groups, scores, pruning)`: changes the masks, and returns how many scores
    are NaN, with the contract of `MaskedAdamW.prune`.

    A group is tensors that are ranked together, and their sparsity.
    """
    check: Callable[[str, tuple[int, ...], PruningSpec], None] = lambda name, shape, pruning: None
    """`check(name, shape, pruning)`: raises TrialError, kind `bad_data`, where a tensor cannot be
    pruned so."""
    setting: str | None = None
    """The field of `PruningSpec` that it needs, and that no other takes."""


def _prune_weights(
    optimizer: "MaskedAdamW", groups: "Groups", scores: "Scores", pruning: PruningSpec
) -> "Tensor":
    from workers.pruning.ranking import count_pruned

    counted = [
        (weights, count_pruned(sparsity, sum(weight.numel() for weight in weights)))
        for weights, sparsity in groups
    ]
    return optimizer.prune(counted, scores)


# --- n of m ---------------------------------------------------------------------------------------


def _check_row(name: str, shape: tuple[int, ...], pruning: PruningSpec) -> None:
    n, m = _size(pruning.n_of_m)
    if shape[-1] % m:
        raise TrialError(
            "bad_data",
            f"pruning.n_of_m: {[n, m]} with {name} {shape}, whose rows {m} does not divide; "
            "exclude it or choose another m",
        )


def _prune_in_runs(
    optimizer: "MaskedAdamW", groups: "Groups", scores: "Scores", pruning: PruningSpec
) -> "Tensor":
    """Of each m neighbours in a row the lowest go: `round(sparsity · m)`, at most m − n.

    Ties go by position.
    """
    from workers.pruning.checks import refuse_nan
    from workers.pruning.ranking import count_pruned

    n, m = _size(pruning.n_of_m)
    masks: dict[Tensor, Tensor] = {}
    num_nan: Tensor | int = 0
    for weights, sparsity in groups:
        num_pruned = min(count_pruned(sparsity, m), m - n)
        for weight in weights:
            keep, score = _kept(optimizer, weight), _score(weight, scores)
            num_nan = num_nan + (score.isnan() & keep).sum()
            masks[weight] = _keep_highest(score, keep, m, num_pruned)
    assert not isinstance(num_nan, int)

    # On a GPU nobody looks at the count here: with NaN all is kept, which changes nothing.
    refuse_nan(num_nan, "weights" if scores is None else "scores")
    optimizer.set_masks({weight: keep | (num_nan > 0) for weight, keep in masks.items()})
    return num_nan


def _keep_highest(score: "Tensor", keep: "Tensor", m: int, num_pruned: int) -> "Tensor":
    """All but the lowest `num_pruned` of each run of m.

    The rank of a weight is how many of its run lie below it. Comparing all pairs is quicker than
    sorting runs as short as these.
    """
    import torch

    from workers.pruning.ranking import LARGEST_SCORE, pieces

    result = torch.empty_like(keep)
    for scores, kept, new in pieces(score, keep, result, width=m):
        # What is pruned ranks below all scores, so these must not reach −∞.
        ranked = torch.where(kept, scores.clamp(min=-LARGEST_SCORE), -torch.inf)
        runs = ranked.view(-1, m).t().contiguous()

        ranks = torch.zeros(runs.shape, dtype=torch.int16, device=score.device)
        for later in range(m):
            for earlier in range(later):
                is_below = runs[earlier] <= runs[later]
                ranks[later] += is_below
                ranks[earlier] += ~is_below
        new.view(-1, m).copy_((ranks >= num_pruned).t())
    return result


# --- blocks ---------------------------------------------------------------------------------------


def _check_blocks(name: str, shape: tuple[int, ...], pruning: PruningSpec) -> None:
    rows, columns = _size(pruning.block_shape)
    if len(shape) != 2 or shape[0] % rows or shape[1] % columns:
        raise TrialError(
            "bad_data",
            f"pruning.block_shape: {[rows, columns]} does not divide {name} {shape}; "
            "exclude it or choose other blocks",
        )


def _prune_blocks(
    optimizer: "MaskedAdamW", groups: "Groups", scores: "Scores", pruning: PruningSpec
) -> "Tensor":
    """Blocks of the lowest mean score go, `round(sparsity · blocks)` of each group.

    Ties go by position.
    """
    from workers.kernels.interface import MaskTensors, RankGroup
    from workers.kernels.packed import pack, unpack
    from workers.pruning.checks import refuse_nan
    from workers.pruning.ranking import count_pruned, scores_as_weights

    rows, columns = _size(pruning.block_shape)
    blocks: dict[Tensor, MaskTensors] = {}
    ranked = []
    for weights, sparsity in groups:
        for weight in weights:
            means = _block_means(_score(weight, scores), rows, columns)
            keep = _kept(optimizer, weight)[::rows, ::columns]  # a block is kept or pruned whole
            blocks[weight] = scores_as_weights(means, pack(keep))
        own = tuple(blocks[weight] for weight in weights)
        num_blocks = sum(tensors.weight.numel() for tensors in own)
        ranked.append(RankGroup(own, count_pruned(sparsity, num_blocks)))
    num_nan = optimizer.kernels.update_masks(ranked, "hard")
    refuse_nan(num_nan, "weights" if scores is None else "scores")

    masks = {}
    for weight, tensors in blocks.items():
        keep = unpack(tensors.mask, tensors.weight.shape)
        spread = keep[:, None, :, None].expand(-1, rows, -1, columns)
        masks[weight] = spread.reshape(weight.shape)
    optimizer.set_masks(masks)
    return num_nan


def _block_means(score: "Tensor", rows: int, columns: int) -> "Tensor":
    """Mean of each block of a matrix, over its rows first."""
    num_rows, num_columns = score.shape[0] // rows, score.shape[1] // columns
    return score.view(num_rows, rows, -1).mean(1).view(num_rows, num_columns, -1).mean(2)


def _size(given: tuple[int, ...] | None) -> tuple[int, int]:
    """Both numbers of a setting that `compatibility.refusals` has seen."""
    first, second = given or (1, 1)
    return first, second


def _kept(optimizer: "MaskedAdamW", weight: "Tensor") -> "Tensor":
    import torch

    keep = optimizer.mask(weight)
    return torch.ones_like(weight, dtype=torch.bool) if keep is None else keep


def _score(weight: "Tensor", scores: "Scores") -> "Tensor":
    return weight.detach().abs() if scores is None else scores[weight]


GRANULARITIES: dict[str, Granularity] = {
    "unstructured": Granularity(prune=_prune_weights),
    "n_of_m": Granularity(prune=_prune_in_runs, check=_check_row, setting="n_of_m"),
    "block": Granularity(prune=_prune_blocks, check=_check_blocks, setting="block_shape"),
}
"""What is pruned as one, by the name that `pruning.granularity` gives it."""
