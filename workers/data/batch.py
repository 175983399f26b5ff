"""Which sequences are trained on in which step, and batches that are padded.

The batches of an epoch are drawn at random, as XTREME's are. How a batch is laid out is another
question: packed where the model can read that (`workers.data.packing`), else padded.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from workers.data.align import NO_LABEL, EncodedSplit

ROWS_OF_PART = 16
"""Sequences of a part, see `split_by_length`."""


@dataclass(frozen=True)
class Batch:
    """Sequences in rows: one in each, padded, or several, packed.

    Attributes:
        input_ids: int64 (num_rows, longest).
        attention_mask: padded: int64 (num_rows, longest), 0 at what fills up. Packed: of the dtype
            that attention is computed in, (num_rows, 1, longest, longest), 0 where the third index
            sees the fourth, else −∞, which is added to their product.
        labels: int64 (num_rows, longest), `NO_LABEL` except at first sub-words.
        num_subwords: without what fills up.
        num_words: labels that count.
        place: of each position, the sub-word's place in the split; the one after the last where
            nothing lies; integers (num_rows, longest), on the host.
        position_ids: int64 (num_rows, longest), each sequence's own; None where rows are padded and
            the model counts them itself.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor
    num_subwords: int
    num_words: int
    place: np.ndarray
    position_ids: torch.Tensor | None = None

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        """What the model's forward pass is given, by name."""
        given = {"input_ids": self.input_ids, "attention_mask": self.attention_mask}
        if self.position_ids is not None:
            given["position_ids"] = self.position_ids
        return given


def training_order(
    num_sequences: int,
    batch_size: int,
    seed: int,
    epoch: int,
    parts: Sequence[int] = (),
    temperature: float | None = None,
) -> list[np.ndarray]:
    """Indices of each batch of one epoch.

    They depend on the arguments alone, so that a resumed trial needs none saved.

    Args:
        num_sequences: of the split.
        batch_size: sequences a batch; the last one may be smaller.
        seed: the trial's seed.
        epoch: from 0.
        parts: sequences of each language, in order; used with a temperature only.
        temperature: at least 1, see `draw_sequences`; None: every sequence once.

    Returns:
        int64 (batch_size,) each, the last one possibly fewer; in the order of training.
    """
    rng = np.random.default_rng([seed, epoch])
    if temperature is None:
        drawn = np.arange(num_sequences)
    else:
        drawn = draw_sequences(parts, temperature, rng)
    shuffled = drawn[rng.permutation(len(drawn))]
    return [shuffled[i : i + batch_size] for i in range(0, len(shuffled), batch_size)]


def draw_sequences(
    parts: Sequence[int], temperature: float, rng: np.random.Generator
) -> np.ndarray:
    """Sequences of an epoch of several languages, as many as there are, sorted by language.

    Of a language with n sequences a share of n^(1 / temperature), relative to the others, is drawn:
    to the nearest whole number, those with the largest remainders first. Each of its sequences
    comes once before any comes twice.

    Args:
        parts: sequences of each language, at least 1, in order.
        temperature: at least 1; 1 draws each sequence once, more draws small languages more often.
        rng: where chance comes from.

    Returns:
        Indices, int64 (num_sequences,).

    Source: Arivazhagan et al. (2019), section 4.1; there single sentences are drawn with that
    probability, here shares are exact and nothing is left out that fits.
    """
    sizes = np.array(parts, np.int64)
    weights = sizes ** (1 / temperature)
    shares = weights / weights.sum() * sizes.sum()

    # Whole numbers whose sum is that of the sizes.
    counts = np.floor(shares).astype(np.int64)
    counts[np.argsort(counts - shares, kind="stable")[: sizes.sum() - counts.sum()]] += 1

    starts = np.cumsum(sizes) - sizes
    drawn = []
    for start, size, count in zip(starts, sizes, counts, strict=True):
        whole, rest = divmod(int(count), int(size))
        drawn += [np.tile(np.arange(size), whole) + start, rng.permutation(size)[:rest] + start]
    return np.concatenate(drawn)


def split_by_length(lengths: np.ndarray, indices: np.ndarray) -> list[np.ndarray]:
    """Cut one batch into parts of similar length, whose gradients are added up.

    For models that cannot read packed rows: padding all of a random batch to its longest sequence
    is mostly waste. In parts of 16 a step took 0.43 of the time for Yoruba on a CPU, and 0.85 for
    Swahili.

    Args:
        lengths: int64 (num_sequences,), of the split.
        indices: int64 (batch_size,), the batch.

    Returns:
        Indices of each part, the longest sequences first.
    """
    order = indices[np.argsort(-lengths[indices], kind="stable")]
    return [order[i : i + ROWS_OF_PART] for i in range(0, len(order), ROWS_OF_PART)]


def evaluation_order(lengths: np.ndarray, max_subwords: int) -> list[np.ndarray]:
    """All indices, longest first, cut into batches.

    Args:
        lengths: int64 (num_sequences,), at least 1 each.
        max_subwords: a batch, with what fills it up; a longer sequence is a batch by itself.
    """
    order = np.argsort(-lengths, kind="stable")
    batches: list[np.ndarray] = []
    start = 0
    while start < len(order):
        end = start + max(max_subwords // int(lengths[order[start]]), 1)
        batches.append(order[start:end])
        start = end
    return batches


def make_batch(split: EncodedSplit, indices: np.ndarray, device: torch.device) -> Batch:
    """Pad the named sequences to the longest of them.

    Args:
        split: whose sequences.
        indices: int64 (num_sequences,).
        device: where the batch shall be.
    """
    lengths = split.lengths[indices]
    columns = np.arange(lengths.max())
    is_real = columns < lengths[:, None]
    place = np.where(is_real, split.offsets[indices][:, None] + columns, len(split.input_ids))
    input_ids = np.full(place.shape, split.pad_id, np.int64)
    labels = np.full(place.shape, NO_LABEL, np.int64)
    input_ids[is_real] = split.input_ids[place[is_real]]
    labels[is_real] = split.labels[place[is_real]]

    def to_device(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(device, non_blocking=True)

    return Batch(
        input_ids=to_device(input_ids),
        attention_mask=to_device(is_real.astype(np.int64)),
        labels=to_device(labels),
        num_subwords=int(lengths.sum()),
        num_words=int((labels != NO_LABEL).sum()),
        place=place,
    )
