"""Word embeddings of which only the rows that training reads are trained.

A monolingual split reads a few thousand of mBERT's 119,547 rows. The others have gradients of 0,
and so moments of 0: an optimizer that goes through all of them spends most of its time on nothing,
as does the backward pass that fills their gradients with zeros. What AdamW makes of such a row is
known beforehand: with weight decay a product, else the row itself. So the model comes out as it
would, to the bit.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PIECE = 1 << 16
"""Weights that are multiplied by all factors before the next ones: they stay in the CPU's cache."""


@dataclass(frozen=True)
class RowUse:
    """Which embeddings training reads.

    Attributes:
        ids: ascending, each once; int64.
        others_change: whether the rest changes as well: it decays, or is pruned.
    """

    ids: np.ndarray
    others_change: bool


class UsedRows(nn.Module):
    """Takes the place of an `nn.Embedding`: in training mode it knows only the rows that are used,
    in evaluation mode all.

    Args:
        embedding: whose weights these are; it is not changed.
        use: which rows are used.

    Attributes:
        weight: rows that are used, (num_used, width), in ascending order of their ids; trained.
        others: the rest, (num_others, width), in ascending order of their ids; where it never
            changes, the whole of the embedding's weights, shared with it.
    """

    row_of: Tensor
    other_of: Tensor | None

    def __init__(self, embedding: nn.Embedding, use: RowUse):
        super().__init__()
        table = embedding.weight.detach()
        self.num_embeddings, self.embedding_dim = table.shape
        # Numbers of rows are the host's, which so never has to ask a GPU for them.
        row_of = np.full(self.num_embeddings, -1)
        row_of[use.ids] = np.arange(len(use.ids))
        is_other = row_of < 0
        self._used = torch.from_numpy(use.ids)
        self._unused = torch.from_numpy(is_other.nonzero()[0])
        padding = embedding.padding_idx
        self._padding_row = -1 if padding is None else int(row_of[padding])

        self.weight = nn.Parameter(table[self._used])
        self.register_buffer("row_of", torch.from_numpy(row_of), persistent=False)
        self.others: Tensor
        if use.others_change:
            self.others = nn.Parameter(table[self._unused], requires_grad=False)
            other_of = torch.from_numpy(np.where(is_other, is_other.cumsum() - 1, 0))
            self.register_buffer("other_of", other_of, persistent=False)
        else:
            self.register_buffer("others", table, persistent=False)
            self.register_buffer("other_of", None, persistent=False)
        self._factors: list[float] = []

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings of these ids, (..., width)."""
        if self.training:
            found: Tensor = _Lookup.apply(self.weight, self.row_of[ids], self._padding_row)
            return found
        return self.rows(ids)

    def rows(self, ids: Tensor) -> Tensor:
        """Embeddings of these ids as they are now, trained or not, (..., width)."""
        rows = self.row_of[ids]
        self.settle()
        others = self.others[ids if self.other_of is None else self.other_of[ids]]
        return torch.where((rows >= 0).unsqueeze(-1), self.weight[rows.clamp(min=0)], others)

    def decay(self, factor: float) -> None:
        """Multiply the rows that are not used, as weight decay does; it is done when it shows.

        Args:
            factor: of one step, rounded to float32 by the multiplication.
        """
        self._factors.append(factor)

    @torch.no_grad()
    def settle(self) -> None:
        """Do the multiplications that are due, one after the other, as the steps would have."""
        if not self._factors:
            return
        for piece in self.others.view(-1).split(PIECE):
            for factor in self._factors:
                piece.mul_(factor)
        self._factors.clear()

    def split(self, table: Tensor) -> tuple[Tensor, Tensor]:
        """What belongs to `weight` and what to `others`.

        Args:
            table: (num_embeddings, ...), a row an id.
        """
        return table[self._used.to(table.device)], table[self._unused.to(table.device)]

    def table(self) -> Tensor:
        """All rows in the order of their ids, (num_embeddings, width); a copy."""
        self.settle()
        device = self.weight.device
        if self.other_of is None:
            whole = self.others.clone()
        else:
            whole = self.others.new_empty((self.num_embeddings, self.embedding_dim))
            whole[self._unused.to(device)] = self.others.detach()
        whole[self._used.to(device)] = self.weight.detach()
        return whole

    @property
    def num_shared(self) -> int:
        """Weights that are no parameters of this module, since nothing changes them."""
        if self.other_of is not None:
            return 0
        return (self.num_embeddings - len(self.weight)) * self.embedding_dim


class _Lookup(torch.autograd.Function):
    """Rows by index. Gradients of a row are added up in the order of the batch, on every device,
    which those of `nn.Embedding` are not on every GPU."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: Tensor, padding_row: int) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape, ctx.padding_row = weight.shape, padding_row
        return weight[rows]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        (rows,) = ctx.saved_tensors
        total = grad.new_zeros(ctx.shape)
        total.index_add_(0, rows.flatten(), grad.flatten(0, -2))
        if ctx.padding_row >= 0:
            total[ctx.padding_row].zero_()  # an assignment would wait for a GPU
        return total, None, None


def word_embeddings(model: nn.Module) -> nn.Module | None:
    """A model's word embeddings; None where it has none.

    Args:
        model: any, also one that is not from Hugging Face; on any device, also meta.
    """
    body: Any = model.base_model
    try:
        embeddings: nn.Module | None = body.get_input_embeddings()
    except (AttributeError, NotImplementedError):  # no Hugging Face model, or one of images
        return None
    return embeddings


@torch.no_grad()
def embedding_rows(model: nn.Module, ids: np.ndarray) -> Tensor | None:
    """Rows of a model's word embeddings as they are now, whichever of them are trained.

    Args:
        model: any.
        ids: of the rows wanted, int; all below the number of embeddings.

    Returns:
        (len(ids), width), a copy; None where the model has no matrix of word embeddings.
    """
    embeddings = word_embeddings(model)
    if not isinstance(embeddings, nn.Embedding | UsedRows):
        return None
    wanted = torch.from_numpy(ids.astype(np.int64)).to(embeddings.weight.device)
    return (
        embeddings.rows(wanted) if isinstance(embeddings, UsedRows) else embeddings.weight[wanted]
    )


def can_use_rows(model: nn.Module, use: RowUse) -> bool:
    """Whether the word embeddings can be trained by rows: plain ones, whose weights nothing else
    reads.

    Args:
        model: a Hugging Face model.
        use: which rows are used.
    """
    embedding = word_embeddings(model)
    if type(embedding) is not nn.Embedding or not embedding.weight.requires_grad:
        return False
    if use.ids[-1] >= embedding.num_embeddings:  # which is refused elsewhere
        return False
    if embedding.max_norm is not None or embedding.scale_grad_by_freq or embedding.sparse:
        return False
    holders = [
        module
        for module in model.modules()
        if any(value is embedding.weight for value in module._parameters.values())
    ]
    return holders == [embedding]


def keep_used_rows(model: nn.Module, use: RowUse) -> None:
    """Put `UsedRows` in place of the word embeddings of a model that `can_use_rows`.

    Args:
        model: changed in place.
        use: which rows are used.
    """
    embedding = word_embeddings(model)
    assert isinstance(embedding, nn.Embedding)
    rows = UsedRows(embedding, use)
    for module in list(model.modules()):
        for name, child in module._modules.items():
            if child is embedding:
                module._modules[name] = rows


def used_rows(model: nn.Module) -> UsedRows | None:
    """The module that `keep_used_rows` put there; None where there is none."""
    return next((module for module in model.modules() if isinstance(module, UsedRows)), None)


def num_parameters(model: nn.Module) -> int:
    """All weights of a model, those included that it shares with the encoder it came from.

    Args:
        model: any.
    """
    rows = used_rows(model)
    own = sum(parameter.numel() for parameter in model.parameters())
    return own if rows is None else own + rows.num_shared
