"""Stored predictions as arrays: for each set of sentences, what each trial predicted and how much
of it was right.

Millions of rows fit into little memory because trials' files are read one after the other, and a
tag sequence is kept as a number: within a set, equal numbers are equal sequences.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.errors import StoreError
from orchestrator.results.store import ResultStore
from orchestrator.results.table_files import TableFiles
from workers.tags import TAGS
from workers.trial import CLEAN

COLUMNS = ["set_id", "language", "split", "perturbation", "sentence", "predicted"]
COUNTS = ["support", "num_predicted", "num_correct"]
PREDICTIONS_READ = [*COLUMNS, *COUNTS]
SENTENCES_READ = ["sentence", "num_subwords", "num_unseen_entities"]


@dataclass
class PredictedSet:
    """A set of n sentences. The lists have an entry, int32 (n,), for each of `trial_ids`.

    `sequences` numbers the tag sequences predicted; `support`, `num_words`: int32 (n,), entities
    and words a sentence.
    """

    set_id: str
    language: str
    support: np.ndarray
    num_words: np.ndarray
    trial_ids: list[str] = field(default_factory=list)
    num_predicted: list[np.ndarray] = field(default_factory=list)
    num_correct: list[np.ndarray] = field(default_factory=list)
    sequences: list[np.ndarray] = field(default_factory=list)
    known: pa.Array = field(default_factory=lambda: pa.array([], pa.binary()))

    def add(self, trial_id: str, rows: pa.Table) -> None:
        """Take in a trial's rows of this set, in the order of sentences."""
        predicted, correct = (_ints(rows[name]) for name in COUNTS[1:])
        self.trial_ids.append(trial_id)
        self.num_predicted.append(predicted)
        self.num_correct.append(correct)
        self.sequences.append(
            self._numbered(_as_bytes(rows["predicted"].combine_chunks(), self.set_id))
        )

    def _numbered(self, sequences: pa.Array) -> np.ndarray:
        numbers = pc.index_in(sequences, value_set=self.known)
        if numbers.null_count:
            new = sequences.filter(pc.is_null(numbers)).unique()
            self.known = pa.concat_arrays([self.known, new])
            numbers = pc.index_in(sequences, value_set=self.known)
        return numbers.to_numpy().astype(np.int32)  # type: ignore[no-any-return]


def read_predictions(
    store: ResultStore, trial_ids: Iterable[str], split: str
) -> list[PredictedSet]:
    """What these trials predicted on a split as published.

    Raises:
        StoreError: a file is missing, damaged or of another version.
    """
    return collect_predictions(
        TableFiles(store.location).read_each("predictions", trial_ids, PREDICTIONS_READ), split
    )


def collect_predictions(tables: Iterable[tuple[str, pa.Table]], split: str) -> list[PredictedSet]:
    """`read_predictions`, from each trial's rows of `predictions` with the columns
    `PREDICTIONS_READ`."""
    sets: dict[str, PredictedSet] = {}
    for trial_id, rows in tables:
        is_wanted = pc.and_(pc.equal(rows["split"], split), pc.equal(rows["perturbation"], CLEAN))
        for set_id, of_set in _parts(rows.filter(is_wanted)):
            if set_id not in sets:
                support, words = (
                    _ints(of_set["support"]),
                    _ints(pc.list_value_length(of_set["predicted"])),
                )
                sets[set_id] = PredictedSet(set_id, of_set["language"][0].as_py(), support, words)
            sets[set_id].add(trial_id, of_set)
    return sorted(sets.values(), key=lambda one: (one.language, one.set_id))


def read_sentences(store: ResultStore, set_id: str) -> pa.Table:
    """The columns `SENTENCES_READ` of a set, in the order of sentences. Raises as
    `read_predictions`."""
    try:
        return (
            TableFiles(store.location)
            .read_one("sentences", set_id, SENTENCES_READ)
            .sort_by("sentence")
        )
    except FileNotFoundError:
        raise StoreError(
            f"sentences: the set {set_id} is missing; `sparsweep verify` names the trials"
        ) from None


def _parts(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each set, in the order of sentences."""
    encoded = rows["set_id"].combine_chunks().dictionary_encode()
    numbers = encoded.indices.to_numpy()
    order = np.lexsort((rows["sentence"].to_numpy(), numbers))
    if not np.array_equal(order, np.arange(len(order))):
        rows, numbers = rows.take(order), numbers[order]
    ends = np.flatnonzero(np.diff(numbers)) + 1
    for start, end in zip([0, *ends], [*ends, len(numbers)], strict=True):
        if end > start:
            yield encoded.dictionary[numbers[start]].as_py(), rows.slice(start, end - start)


def _as_bytes(predicted: pa.ListArray, set_id: str) -> pa.Array:
    """Each list of tags as a string of bytes, one a tag: what lists share with strings is their
    offsets."""
    codes = pc.index_in(predicted.flatten(), value_set=pa.array(TAGS))
    if codes.null_count:
        odd = predicted.flatten().filter(pc.is_null(codes))[0].as_py()
        raise StoreError(
            f"predictions: {odd!r} of set {set_id} is no tag; tags are {', '.join(TAGS)}"
        )
    offsets = predicted.offsets.to_numpy()
    content = pa.py_buffer(codes.to_numpy().astype(np.uint8).tobytes())
    return pa.Array.from_buffers(
        pa.binary(),
        len(predicted),
        [None, pa.py_buffer((offsets - offsets[0]).astype(np.int32).tobytes()), content],
    )


def _ints(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype(np.int32)  # type: ignore[no-any-return]
