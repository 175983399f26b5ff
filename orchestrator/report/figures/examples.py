"""Sentences that pruning changes, with their true tags and those of a dense and a sparse trial.

Of each set of sentences a fixed part is looked at, always the same; of those that a pair of trials
predicts differently some of each kind of change are shown. Predictions are read trial by trial.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.analysis.inputs.predictions import as_bytes, split_by_set
from orchestrator.analysis.inputs.reading import tags_of
from orchestrator.analysis.topics.error_kinds import COUNTED, count_kinds
from orchestrator.errors import StoreError
from orchestrator.report.charts import named
from orchestrator.report.figure import Choice, Drawing, Figure, nothing
from orchestrator.report.figures.disagreement import NO_PREDICTIONS
from orchestrator.report.material import Material
from orchestrator.results.rows import Row
from orchestrator.wording import counted
from workers.tags import WIKIANN, TagSet
from workers.trial import CLEAN

MOST_SHOWN = 8_000
"""Sentences in the page, of all languages and sparsities together: about 1.5 MB."""
MOST_OF_PAIR = 60
"""Of one language and sparsity."""
LOOKED_AT = 400
"""Sentences of a set."""
MOST_LETTERS = 400
"""Longer sentences are not shown."""

RISES = {
    "fixed": [("true", "correct")],
    "boundary": [("true", "boundary"), ("true", "boundary_and_type")],
    "type": [("true", "type")],
    "missed": [("true", "missed")],
    "spurious": [("predicted", "spurious")],
}
"""Kinds of change: of which counts of `error_kinds.COUNTED` a sparse trial has more than its dense
one. With fewer that are correct it is `broken`, too; with all as many, `other`."""

PREDICTIONS_READ = ["set_id", "language", "split", "perturbation", "sentence", "predicted"]
TRIALS_READ = (
    *("trial_id", "cell_id", "dense_trial_id", "status", "target_sparsity", "seed"),
    *("num_predictions", "evaluation_matching"),
)
SHOWN_OF_PAIR = ("series", "embeddings", "language", "target_sparsity", "seed")


@dataclass
class Looked:
    """The part of a set that is looked at: n sentences, in the order in which they are chosen.

    Attributes:
        sentences: int (n,), their places in the set.
        gold: true tags of each, a byte a tag.
        words: of each, in one text; None where it is too long.
    """

    sentences: np.ndarray
    gold: list[bytes]
    words: list[str | None]


Predicted = Mapping[str, tuple[str, list[bytes]]]
"""By set: the language, and the tags that a trial predicted for the sentences looked at."""


@dataclass
class Reader:
    """Reads what trials predicted for the sentences that are looked at.

    Attributes:
        material: the results.
        looked: by set, the sentences that are looked at.
    """

    material: Material
    looked: dict[str, Looked] = field(default_factory=dict)

    @cached_property
    def tags(self) -> TagSet:
        """All that trials may have predicted."""
        return tags_of(self.material.store.read("trials", ["corpus_entity_types"]))

    def read(self, trial_ids: Sequence[str]) -> Iterator[tuple[str, Predicted]]:
        """What trials predicted on the split as published, one trial after the other.

        Raises:
            StoreError: a file is missing, damaged or of a later version.
        """
        store = self.material.store
        for trial_id, rows in store.read_each("predictions", trial_ids, PREDICTIONS_READ):
            is_clean = pc.equal(rows["perturbation"], CLEAN)
            is_wanted = pc.and_(pc.equal(rows["split"], self.material.split), is_clean)
            yield trial_id, dict(map(self._part, split_by_set(rows.filter(is_wanted))))

    def _part(self, of_set: tuple[str, pa.Table]) -> tuple[str, tuple[str, list[bytes]]]:
        """The part of a trial's rows of a set that is looked at."""
        set_id, rows = of_set
        if set_id not in self.looked:
            self.looked[set_id] = self._look(set_id)
        predicted = rows["predicted"].take(pa.array(self.looked[set_id].sentences))
        tags = as_bytes(predicted, "predictions", set_id, self.tags).to_pylist()
        return set_id, (rows["language"][0].as_py(), tags)

    def _look(self, set_id: str) -> Looked:
        rows = self.material.store.read_sentences(set_id, ["sentence", "tokens", "gold"])
        rows = rows.sort_by("sentence")
        # A multiplier that leaves no pattern (Knuth 1998, 6.4), so that all parts of it are met.
        order = np.argsort(np.arange(rows.num_rows) * 2_654_435_761 % 2**32)[:LOOKED_AT]
        rows = rows.take(pa.array(order))
        return Looked(
            sentences=order,
            gold=as_bytes(rows["gold"], "sentences", set_id, self.tags).to_pylist(),
            words=[_one_text(tokens) for tokens in rows["tokens"].to_pylist()],
        )


def _one_text(tokens: Sequence[str]) -> str | None:
    """Words with a blank between them; blanks inside a word do not break it."""
    words = ["\u00a0".join(token.split()) or "\u00a0" for token in tokens]
    text = " ".join(words)
    return text if len(text) <= MOST_LETTERS else None


def draw_examples(material: Material) -> Drawing:
    """Sentences side by side: true, dense and sparse tags."""
    pairs = find_pairs(material)
    if pairs.empty:
        return nothing(NO_PREDICTIONS)
    most = max(1, min(MOST_OF_PAIR, MOST_SHOWN // len(pairs)))
    rows = list(_find_rows(material, pairs, most))[:MOST_SHOWN]
    if not rows:
        return nothing(
            f"Pruning changes none of the {LOOKED_AT} sentences of each language that were looked "
            "at."
        )
    table = pd.DataFrame(rows)
    table = table.sort_values(list(SHOWN_OF_PAIR), kind="stable", ignore_index=True)
    table.insert(3, "language_name", named(table["language"]))
    return Drawing(
        table=table,
        num_trials=pairs["trial_id"].nunique(),
        view="tagged",
        filters=("series", "embeddings", "language"),
        choices=(
            Choice(column="target_sparsity", label="Sparsity"),
            Choice(column="kinds", label="Kind of change", has_all=True),
        ),
        text=[
            "PER, ORG and LOC are persons, organisations and places. An entity with a broken frame "
            "and ✗ is not so in gold; I-PER begins without B-, as the strict rule does not allow. "
            "Fixed: more entities are right than in the dense trial; broken: fewer. Boundary, "
            "type, missed, spurious: more entities have that error. Other: as many of each."
        ],
        notes=[
            f"Of each language and sparsity at most {counted(most, 'sentence')} are shown, of the "
            f"lowest seed: chosen by a fixed rule among {LOOKED_AT} of each test set, each kind of "
            "change in turn, so that shares of kinds say nothing. Sentences of more than "
            f"{MOST_LETTERS} letters are left out. Other seeds are left out to keep the "
            "page small: these are examples, and the figures of disagreement count over all seeds."
        ],
    )


def find_pairs(material: Material) -> pd.DataFrame:
    """Sparse trials of the lowest seed that have predictions as their dense one has: a row a trial
    and language scored, with the columns by which readers choose."""
    trials = material.read("trials", TRIALS_READ)
    trials = trials[(trials["status"] == "completed") & (trials["num_predictions"] > 0)]
    sparse = trials[trials["target_sparsity"] > 0]
    sparse = sparse[sparse["dense_trial_id"].isin(trials["trial_id"])]
    lowest = sparse.sort_values("seed").drop_duplicates("cell_id")
    places = material.table("quality")[["cell_id", "series", "embeddings", "language"]]
    rows = lowest.merge(places.drop_duplicates(), on="cell_id")
    return rows.sort_values(["dense_trial_id", "target_sparsity", "trial_id"], ignore_index=True)


def _find_rows(material: Material, pairs: pd.DataFrame, most: int) -> Iterator[Row]:
    """Sentences that change, a row each, in the order of sentences."""
    reader = Reader(material)
    of_trial = dict(list(pairs.groupby("trial_id")))
    # A dense trial comes before those that are compared with it, and is let go after them.
    ids = pairs[["dense_trial_id", "trial_id"]].to_numpy().ravel()
    dense: Predicted = {}
    for trial_id, predicted in reader.read(list(dict.fromkeys(ids))):
        if trial_id not in of_trial:
            dense = predicted
            continue
        for place in of_trial[trial_id].to_dict("records"):
            yield from _rows_of(place, reader, dense, predicted, most)


def _rows_of(
    place: Row, reader: Reader, dense: Predicted, sparse: Predicted, most: int
) -> Iterator[Row]:
    """Sentences of one language that change from a dense to a sparse trial, a row each."""
    rule, known = place["evaluation_matching"] or "strict", reader.tags
    for set_id in sorted(dense.keys() & sparse.keys()):
        language, tags = sparse[set_id]
        if language != place["language"]:
            continue
        of_set, before = reader.looked[set_id], dense[set_id][1]
        for at, kinds in find_changes(of_set, before, tags, rule, most, known):
            yield {
                **{name: place[name] for name in SHOWN_OF_PAIR},
                "sentence": int(of_set.sentences[at]),
                "kinds": kinds,
                "words": of_set.words[at],
                "gold": _as_text(of_set.gold[at], known),
                "dense": _as_text(before[at], known),
                "sparse": _as_text(tags[at], known),
            }


def _as_text(labels: bytes, tags: TagSet) -> str:
    return " ".join(tags.as_tags(labels))


def find_changes(
    looked: Looked,
    dense: Sequence[bytes],
    sparse: Sequence[bytes],
    rule: str,
    most: int,
    tags: TagSet = WIKIANN,
) -> list[tuple[int, str]]:
    """Sentences that two trials predict differently, of each kind of change in turn.

    Args:
        looked: n sentences.
        dense: tags of each, a byte a tag.
        sparse: the same of the sparse trial.
        rule: of matching, strict or lenient.
        most: sentences wanted.
        tags: all that there may be.

    Returns:
        Places in `looked`, ascending, and the kinds of change as in `broken, missed`.

    Raises:
        StoreError: predictions are of other words than the sentences.
    """
    changed = [
        at for at, words in enumerate(looked.words) if words is not None and dense[at] != sparse[at]
    ]
    if not changed:
        return []
    gold = [looked.gold[at] for at in changed]
    before = _count(gold, [dense[at] for at in changed], rule, tags)
    after = _count(gold, [sparse[at] for at in changed], rule, tags)
    kinds = [_kinds(more) for more in after - before]
    chosen = take_in_turn(kinds, most)
    return [(changed[place], ", ".join(kinds[place])) for place in chosen]


def _count(
    gold: Sequence[bytes], predicted: Sequence[bytes], rule: str, tags: TagSet
) -> np.ndarray:
    """Counts of `COUNTED` of each sentence, int64 (n, counts)."""
    lengths = [len(one) for one in gold]
    if lengths != [len(one) for one in predicted]:
        raise StoreError(
            "sentences: a set has other words than predictions of it; `sparsweep verify` names it"
        )
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    labels, guessed = (np.frombuffer(b"".join(side), np.uint8) for side in (gold, predicted))
    counts = count_kinds(labels, guessed, offsets, rule, tags.num_types)
    return counts.sum(axis=2)  # type: ignore[no-any-return]


def _kinds(more: np.ndarray) -> list[str]:
    """Kinds of change of a sentence, from how many more of each count there are."""
    counts = dict(zip(COUNTED, more, strict=True))
    kinds = [kind for kind, of in RISES.items() if sum(counts[one] for one in of) > 0]
    if counts["true", "correct"] < 0:
        kinds.insert(0, "broken")
    return kinds or ["other"]


def take_in_turn(kinds: Sequence[Sequence[str]], most: int) -> list[int]:
    """Choose of each kind in turn the first that is left.

    Args:
        kinds: of each thing.
        most: things wanted.

    Returns:
        Places, ascending.
    """
    left: dict[str, list[int]] = {kind: [] for of_one in kinds for kind in of_one}
    for place, of_one in enumerate(kinds):
        for kind in of_one:
            left[kind].append(place)
    queues = [iter(places) for _, places in sorted(left.items())]
    chosen: set[int] = set()
    while queues and len(chosen) < most:
        for queue in list(queues):
            new = next((place for place in queue if place not in chosen), None)
            if new is None:
                queues.remove(queue)
            elif len(chosen) < most:
                chosen.add(new)
    return sorted(chosen)


FIGURES = (
    Figure(
        name="sentences",
        title="Sentences that pruning changes",
        question="What do a dense and a sparse trial make of the same sentence?",
        needs=("quality",),
        draw=draw_examples,
    ),
)
