"""How one launch covers many tensors: in chunks, and tables on the device say where those lie.

A model has hundreds of tensors, and a launch for each would take longer than most of them do. So
each launch gets two tables: `rows`, int64 [tensors, columns], with the addresses and numbers of
each tensor, and `chunks`, int32 [chunks, 2], with the row of each chunk and its place among the
chunks of that tensor. Here is what the kernels of the step and of the mask update share: cutting,
masks, the tables' way to the device, and the launch.

Shapes: kernels work on blocks of weights that are neighbours, [words, LANES] in row-major order,
one word of the mask a line. A tensor's last block may hold fewer.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from workers.kernels.packed import WORD_BITS

LANES = tl.constexpr(WORD_BITS)
SECTOR = tl.constexpr(8)  # neighbours in 32 bytes, the least that a GPU's memory moves
SECTOR_BITS = tl.constexpr((1 << SECTOR.value) - 1)
OPTIONS = {"num_warps": 8, "enable_fp_fusion": False}
"""Of the compiler. Products and sums are not fused, since the reference rounds each of them."""


@triton.jit
def find_chunk(
    chunks: tl.tensor, chunk: tl.tensor, CHUNK: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """The row of a chunk's tensor, and which of its weights is the chunk's first; all int64."""
    entry = chunks + 2 * chunk
    return tl.load(entry).to(tl.int64), tl.load(entry + 1).to(tl.int64) * CHUNK


@triton.jit
def block_offsets(WORDS: tl.constexpr) -> tl.tensor:
    """Of a block's weights from its first, [WORDS, LANES].

    int32: int64 offsets are added to the block's first.
    """
    return tl.arange(0, WORDS)[:, None] * LANES + tl.arange(0, LANES)[None, :]


@triton.jit
def count_inside(first: tl.tensor, numel: tl.tensor, WORDS: tl.constexpr) -> tl.tensor:
    """How many weights the block from `first` on holds; int32."""
    return tl.minimum(numel - first, WORDS * LANES).to(tl.int32)


@triton.jit
def load_words(
    mask: tl.tensor, first: tl.tensor, num_inside: tl.tensor, WORDS: tl.constexpr
) -> tl.tensor:
    """Words of the mask of a block, int32 [WORDS, 1]; all are kept if the mask's address is 0."""
    word = tl.arange(0, WORDS)
    pointers = mask.to(tl.pointer_type(tl.int32)) + first // LANES + word
    return tl.load(pointers, mask=(word * LANES < num_inside) & (mask != 0), other=-1)[:, None]


@triton.jit
def are_kept(words: tl.tensor) -> tl.tensor:
    """Which weights of a block are kept, bool [WORDS, LANES]."""
    return ((words >> tl.arange(0, LANES)[None, :]) & 1) != 0


@triton.jit
def are_moved(words: tl.tensor) -> tl.tensor:
    """Which weights of a block share a sector with one that is kept, bool [WORDS, LANES]."""
    lanes = tl.arange(0, LANES)[None, :]
    return ((words >> (lanes // SECTOR * SECTOR)) & SECTOR_BITS) != 0


def list_chunks(sizes: Sequence[int], chunk_size: int) -> Tensor:
    """The table `chunks` of tensors.

    Args:
        sizes: weights of each tensor; a tensor of none has no chunk.
        chunk_size: weights of a chunk; the last one of a tensor may have fewer.

    Returns:
        int32 [chunks, 2], in the order of the tensors, on the host.
    """
    counts = torch.tensor([-(-size // chunk_size) for size in sizes])
    rows = torch.arange(len(sizes)).repeat_interleave(counts)
    before = counts.cumsum(0) - counts
    return torch.stack([rows, torch.arange(len(rows)) - before[rows]], dim=1).to(torch.int32)


class DeviceTable:
    """A table made on the host and kept on the device.

    A table is sent only when it is not the last one again.

    The host never waits: the copy is made from pinned memory, which torch uses again only after the
    copy. Each table is a tensor of its own, so one that a captured CUDA graph reads is not
    overwritten; and one that is dropped before its last kernel has run is safe, because torch gives
    its memory to later work on the same stream only.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._key: object = None
        self._table = torch.empty(0)
        self._captured: list[Tensor] = []

    def get(self, key: object, make: Callable[[], Tensor]) -> Tensor:
        """The table that `make` makes, on the device.

        Args:
            key: equal to that of the last call only if the table is.
            make: called when the key is another one.

        Raises:
            RuntimeError: a new table is needed while a CUDA graph is captured, which would send it
                at every replay, from memory that holds something else by then.
        """
        is_capturing = self._device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        if key != self._key:
            if is_capturing:
                raise RuntimeError(
                    "MaskedAdamW: a CUDA graph is captured, and tensors or options are not those "
                    "of the last call; do one step before capturing, keep gradients in place "
                    "(zero_grad(set_to_none=False)), and give lr as a tensor on the device if it "
                    "is to change"
                )
            table = make()
            if self._device.type != "cpu":
                table = table.pin_memory().to(self._device, non_blocking=True)
            self._key, self._table = key, table
        if is_capturing and not any(table is self._table for table in self._captured):
            # Graphs may be replayed when this is no longer the last table.
            self._captured.append(self._table)
        return self._table


class Launcher:
    """Launches kernels on one device.

    Attributes:
        num_launches: kernels launched so far.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.num_launches = 0

    def on_device(self) -> AbstractContextManager[Any]:
        """What launches happen in.

        Triton launches on the current device, and its interpreter warns of infinities.
        """
        if self.device.type == "cuda":
            return torch.cuda.device(self.device)
        return np.errstate(all="ignore")

    def launch(self, kernel: Any, num_programs: int, *arguments: Any, **constants: Any) -> None:
        """Launch a kernel on the current stream.

        Args:
            kernel: a `triton.jit` function.
            num_programs: how many programs of it, at least 1.
            arguments: its arguments in order; None, numbers, and tensors on the device.
            constants: its arguments that are constants when it is compiled.
        """
        self.num_launches += 1
        kernel[(num_programs,)](*arguments, **constants, **OPTIONS)
