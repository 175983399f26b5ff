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
from workers.data.entities import sentence_keys
from workers.tags import WIKIANN, TagSet
from workers.trial import CLEAN

PREDICTIONS_READ = [
    *("set_id", "language", "split", "perturbation", "sentence", "predicted"),
    *("support", "num_predicted", "num_correct"),
]
"""Columns of `predictions` that analyses need."""

SENTENCES_READ = ["sentence", "gold", "num_subwords", "num_unseen_entities", "is_seen"]
"""Columns of `sentences` that analyses need."""


@dataclass
class SetPredictions:
    """What several trials predicted for a set of n sentences.

    Attributes:
        set_id: the set's id.
        language: WikiANN code.
        perturbation: `CLEAN`, or where the entities of its sentences come from.
        support: int32 (n,), entities annotated in each sentence.
        num_words: int32 (n,), words of each sentence.
        tags: those that the sequences are made of: of all trials of the results.
        trial_ids: the trials. The lists that follow have an entry for each of them.
        num_predicted: int32 (n,) each, entities predicted in each sentence.
        num_correct: int32 (n,) each, those of them that are right.
        sequences: int32 (n,) each, the number of the tag sequence predicted for each sentence.
        known: binary (sequences,), the sequences themselves by their numbers.
    """

    set_id: str
    language: str
    perturbation: str
    support: np.ndarray
    num_words: np.ndarray
    tags: TagSet = WIKIANN
    trial_ids: list[str] = field(default_factory=list)
    num_predicted: list[np.ndarray] = field(default_factory=list)
    num_correct: list[np.ndarray] = field(default_factory=list)
    sequences: list[np.ndarray] = field(default_factory=list)
    known: pa.Array = field(default_factory=lambda: pa.array([], pa.binary()))

    def add(self, trial_id: str, rows: pa.Table) -> None:
        """Take in a trial's rows of this set.

        Args:
            trial_id: the trial.
            rows: with the columns `PREDICTIONS_READ`, in the order of sentences.

        Raises:
            StoreError: a tag is none of the set's.
        """
        sequences = as_bytes(rows["predicted"], "predictions", self.set_id, self.tags)
        self.trial_ids.append(trial_id)
        self.num_predicted.append(_ints(rows["num_predicted"]))
        self.num_correct.append(_ints(rows["num_correct"]))
        self.sequences.append(self._numbered(sequences))

    def _numbered(self, sequences: pa.Array) -> np.ndarray:
        """The numbers of sequences; those not known so far get the next ones."""
        numbers = pc.index_in(sequences, value_set=self.known)
        if numbers.null_count:
            new = sequences.filter(pc.is_null(numbers)).unique()
            self.known = pa.concat_arrays([self.known, new])
            numbers = pc.index_in(sequences, value_set=self.known)
        return numbers.to_numpy().astype(np.int32)  # type: ignore[no-any-return]


def read_predictions(
    store: ResultStore,
    trial_ids: Iterable[str],
    split: str,
    *,
    is_perturbed: bool = False,
    tags: TagSet = WIKIANN,
) -> list[SetPredictions]:
    """Read what trials predicted on the sentences of a split.

    Args:
        store: the results.
        trial_ids: trials that have predictions.
        split: validation or test.
        is_perturbed: whether on all perturbed sentences, or else on those as published.
        tags: all that may have been predicted.

    Returns:
        The sets, by language.

    Raises:
        StoreError: a file is missing, damaged or of a later version.
    """
    tables = store.read_each("predictions", trial_ids, PREDICTIONS_READ)
    return collect_predictions(tables, split, is_perturbed=is_perturbed, tags=tags)


def collect_predictions(
    tables: Iterable[tuple[str, pa.Table]],
    split: str,
    *,
    is_perturbed: bool = False,
    tags: TagSet = WIKIANN,
) -> list[SetPredictions]:
    """Collect predictions by the set of sentences that they are of.

    Args:
        tables: each trial's id and its rows of `predictions`, with the columns `PREDICTIONS_READ`.
        split: validation or test. Rows of other splits are left out.
        is_perturbed: see `read_predictions`.
        tags: see `read_predictions`.

    Raises:
        StoreError: a tag is none of these.
    """
    sets: dict[str, SetPredictions] = {}
    for trial_id, rows in tables:
        is_clean = pc.equal(rows["perturbation"], CLEAN)
        is_wanted = pc.invert(is_clean) if is_perturbed else is_clean
        is_wanted = pc.and_(pc.equal(rows["split"], split), is_wanted)
        if not pc.all(is_wanted).as_py():  # a copy of all takes its time
            rows = rows.filter(is_wanted)
        for set_id, of_set in split_by_set(rows):
            if set_id not in sets:
                sets[set_id] = SetPredictions(
                    set_id=set_id,
                    language=of_set["language"][0].as_py(),
                    perturbation=of_set["perturbation"][0].as_py(),
                    support=_ints(of_set["support"]),
                    num_words=_ints(pc.list_value_length(of_set["predicted"])),
                    tags=tags,
                )
            sets[set_id].add(trial_id, of_set)
    return sorted(sets.values(), key=lambda of_set: (of_set.language, of_set.set_id))


def read_sentences(store: ResultStore, set_id: str) -> pa.Table:
    """Read the columns `SENTENCES_READ` of a set, in the order of sentences; `words`, a number that
    is the same of sentences with the same words; and whether a sentence `is_first`: none before it
    has the same words.

    Raises:
        StoreError: the set is missing, or its file is damaged or of a later version.
    """
    rows = store.read_sentences(set_id, [*SENTENCES_READ, "tokens"]).sort_by("sentence")
    tokens = rows["tokens"].combine_chunks()
    offsets = tokens.offsets.to_numpy()
    keys = sentence_keys(tokens.flatten(), offsets - offsets[0]).dictionary_encode().indices
    # Keys get their numbers in the order in which they occur, so a new one is above all before it.
    numbers = keys.to_numpy().astype(np.int64)
    highest = np.concatenate([[-1], np.maximum.accumulate(numbers)])[:-1]
    rows = rows.drop_columns("tokens").append_column("words", pa.array(numbers))
    return rows.append_column("is_first", pa.array(numbers > highest))


def split_by_set(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Each set's id and rows, in the order of sentences."""
    encoded = rows["set_id"].combine_chunks().dictionary_encode()
    numbers = encoded.indices.to_numpy()

    # Rows are stored in this order, as a rule: then nothing is copied.
    order = np.lexsort((rows["sentence"].to_numpy(), numbers))
    if not np.array_equal(order, np.arange(len(order))):
        rows, numbers = rows.take(order), numbers[order]

    ends = np.flatnonzero(np.diff(numbers)) + 1
    for start, end in zip([0, *ends], [*ends, len(numbers)], strict=True):
        if end > start:
            yield encoded.dictionary[numbers[start]].as_py(), rows.slice(start, end - start)


def as_bytes(column: pa.ChunkedArray, table: str, set_id: str, tags: TagSet = WIKIANN) -> pa.Array:
    """Each list of tags as a string of bytes: a byte a tag, its label in `tags`.

    Args:
        column: lists of tags.
        table: the stored table that it is of, for the message.
        set_id: the set that it is of, for the message.
        tags: all that there may be.

    Raises:
        StoreError: a tag is none of these, or there are more than a byte tells apart.
    """
    if len(tags) > 256:
        raise StoreError(
            f"results: {tags.num_types} entity types in one location, of which the analysis tells "
            "127 apart; keep sweeps of other corpora in a folder of their own"
        )
    lists = column.combine_chunks()
    codes = pc.index_in(lists.flatten(), value_set=pa.array(tags.tags))
    if codes.null_count:
        odd = lists.flatten().filter(pc.is_null(codes))[0].as_py()
        raise StoreError(
            f"{table}: {odd!r} of set {set_id} is no tag; tags are {', '.join(tags.tags)}"
        )
    # Lists and strings have equal offsets.
    offsets = lists.offsets.to_numpy()
    starts = pa.py_buffer((offsets - offsets[0]).astype(np.int32).tobytes())
    content = pa.py_buffer(codes.to_numpy().astype(np.uint8).tobytes())
    return pa.Array.from_buffers(pa.binary(), len(lists), [None, starts, content])


def _ints(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype(np.int32)  # type: ignore[no-any-return]
