"""Sentences packed into rows, so that little is computed on padding.

A batch is drawn at random, so its sentences are of all lengths: padding them to the longest costs
up to 3.5 times their sub-words. Laid end to end in rows of about 70 they cost 1.02 to 1.11 times.
An attention mask of blocks keeps the sentences of a row apart, and each counts its positions from
its own beginning, so that the model computes what it would for each alone.
"""

import heapq
from dataclasses import dataclass

import numpy as np
import torch

from workers.data.align import NO_LABEL, EncodedSplit
from workers.data.batch import Batch

MORE_ROWS = 3
"""Numbers of rows that are tried, beginning with the smallest that may do."""


@dataclass(frozen=True)
class RowLength:
    """What rows a device likes.

    Attributes:
        longest: where no sentence is longer; what attention computes goes with it.
        multiple: that each row's length is of.
    """

    longest: int
    multiple: int


ROWS_OF_CPU = RowLength(longest=72, multiple=1)
ROWS_OF_GPU = RowLength(longest=128, multiple=32)
"""Its attention costs next to nothing at these lengths. Multiples of 32 are few: for each number of
rows and length a step is recorded, see `workers.replay`. Of 471 batches of English 98 % have one of
6 shapes, with 1.08 places a sub-word; with multiples of 8 it were 77 %, and 1.04."""


def pack(lengths: np.ndarray, row_length: RowLength) -> tuple[list[list[int]], int]:
    """Spread sequences over rows, so that few places stay free.

    The longest come first, each into the row that is shortest so far; of some numbers of rows that
    one is taken with which the fewest places are computed.

    Args:
        lengths: int64 (num_sequences,), at least one.
        row_length: of the rows; a longer sequence makes all of them longer.

    Returns:
        Which sequences each row has, in the order of the row; and the length of all rows.

    Source: Graham (1969), "longest processing time first".
    """
    sizes = lengths.tolist()
    limit = _rounded_up(max(row_length.longest, *sizes), row_length.multiple)
    fewest = -(-sum(sizes) // limit)
    tried = []
    for num_rows in range(fewest, len(sizes) + 1):
        rows, longest = _spread(sizes, num_rows)
        width = _rounded_up(longest, row_length.multiple)
        if width <= limit:
            tried.append((num_rows * width, num_rows, width, rows))
        if tried and num_rows >= fewest + MORE_ROWS:
            break
    _, _, width, rows = min(tried)
    return rows, width


def _spread(sizes: list[int], num_rows: int) -> tuple[list[list[int]], int]:
    """Which sequences each row has, and the length of the longest row."""
    rows: list[list[int]] = [[] for _ in range(num_rows)]
    shortest = [(0, row) for row in range(num_rows)]
    for index in sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True):
        length, row = shortest[0]
        rows[row].append(index)
        heapq.heapreplace(shortest, (length + sizes[index], row))
    return rows, max(shortest)[0]


def _rounded_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


@dataclass(frozen=True)
class Layout:
    """Where the sub-words of a batch lie, on the host.

    Attributes:
        places: int64 (3, num_rows, width). First, of each position, the sub-word's place in the
            split; the one after the last where nothing lies. Second, its position in its sequence,
            counted as the model does. Third, the number of the sequence in the batch; -1 where
            nothing lies, so that what fills a row sees only itself: a softmax over nothing would be
            NaN.
        num_subwords, num_words: see `Batch`.
    """

    places: np.ndarray
    num_subwords: int
    num_words: int


class PackedBatches:
    """Makes packed batches of a split, which lies on the device as a whole.

    Args:
        split: whose sequences.
        device: where batches are computed.
        first_position: what the model calls the first position of a sequence; None: it is not told.
        dtype: that attention is computed in.
    """

    def __init__(
        self,
        split: EncodedSplit,
        device: torch.device,
        first_position: int | None,
        dtype: torch.dtype = torch.float32,
    ):
        self.split, self.device, self.first_position = split, device, first_position
        self._seen, self._unseen = torch.tensor([0.0, -torch.inf], dtype=dtype).to(device)
        # What fills a row is the last of each.
        ids = np.append(split.input_ids, np.int32(split.pad_id))
        labels = np.append(split.labels, np.int8(NO_LABEL))
        self._ids = torch.from_numpy(ids).to(device)
        self._labels = torch.from_numpy(labels).to(device)
        self._row_length = ROWS_OF_GPU if device.type == "cuda" else ROWS_OF_CPU
        self._words_before = np.concatenate([[0], np.cumsum(split.labels != NO_LABEL)])

    def make(self, indices: np.ndarray) -> Batch:
        """Pack the named sequences.

        Args:
            indices: int64 (num_sequences,).
        """
        layout = self.lay_out(indices)
        inputs, labels = self.read(
            torch.from_numpy(layout.places).to(self.device, non_blocking=True)
        )
        return Batch(
            **inputs,
            labels=labels,
            num_subwords=layout.num_subwords,
            num_words=layout.num_words,
            place=layout.places[0],
        )

    def read(self, places: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """What the model's forward pass is given, by name, and the labels; see `Batch`.

        Args:
            places: those of a layout, on the device.
        """
        place, position, sequence = places
        is_seen = sequence[:, None, :, None] == sequence[:, None, None, :]
        inputs = {
            "input_ids": self._ids[place].long(),
            # Attention would make that of a bool, in each layer anew.
            "attention_mask": torch.where(is_seen, self._seen, self._unseen),
        }
        if self.first_position is not None:
            inputs["position_ids"] = position
        return inputs, self._labels[place].long()

    def lay_out(self, indices: np.ndarray) -> Layout:
        """Spread sequences over rows.

        Args:
            indices: int64 (num_sequences,).
        """
        rows, width = pack(self.split.lengths[indices], self._row_length)
        order = np.concatenate(rows)
        row_of = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        first = self.split.offsets[indices[order]]
        lengths = self.split.offsets[indices[order] + 1] - first

        # Counted over all rows as if they had no end, then from the beginning of each.
        starts = np.cumsum(lengths) - lengths
        begins_row = np.concatenate([[True], row_of[1:] != row_of[:-1]])
        starts_in_row = starts - np.repeat(starts[begins_row], [len(row) for row in rows])
        within = np.arange(lengths.sum()) - np.repeat(starts, lengths)
        target = np.repeat(row_of * width + starts_in_row, lengths) + within

        def filled(nothing: int, values: np.ndarray) -> np.ndarray:
            laid = np.full(len(rows) * width, nothing, np.int64)
            laid[target] = values
            return laid.reshape(len(rows), width)

        place = filled(len(self.split.input_ids), np.repeat(first, lengths) + within)
        position = filled(0, within) + (self.first_position or 0)
        sequence = filled(-1, np.repeat(order, lengths))
        ends = first + lengths
        return Layout(
            places=np.stack([place, position, sequence]),
            num_subwords=int(lengths.sum()),
            num_words=int((self._words_before[ends] - self._words_before[first]).sum()),
        )
