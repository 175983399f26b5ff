"""What scoring costs beside the model's own work: finding entities, counting, and making perturbed
test sets.

The sentences are WikiANN's where `SPARSWEEP_TEST_DATA` (or the folder beside the project) has them,
else the embedded corpus, repeated to as many.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from orchestrator.results.store import ResultStore
from orchestrator.spec.languages import LANGUAGES, XTREME
from tests.benchmarks.measurement import Measurement, side_by_side, timed
from tests.factories import (
    make_circumstances,
    make_predicted_set,
    make_trial_result,
    make_trial_spec,
)
from tests.real_data import real_data
from tests.wikiann_tags import TAGS
from workers.data import synthetic
from workers.data.corpus import Sentences, load_sentences
from workers.data.entities import (
    TrainText,
    describe_text,
    flatten,
    flatten_labels,
    sentence_facts,
)
from workers.data.languages import load_text
from workers.scoring.evaluate import count_entities, score, tags_of_sentences
from workers.scoring.robustness import perturb as perturb_text
from workers.trial import CorpusSpec, DonorPool

NUM_SENTENCES = 10_000
REPEATS = 5
WRONG = 0.1
"""Fraction of the words whose predicted tag is drawn at random."""


def scoring() -> Iterator[Measurement]:
    """Ten thousand English sentences from predicted labels to all scores."""
    name, test = _english("test")
    gold, offsets = flatten_labels(test.labels)
    predicted = _with_errors(gold)
    train = _english("train")[1]
    is_seen = sentence_facts(describe_text(flatten(train)), flatten(test)).is_seen

    def run() -> None:
        score("en", "test", count_entities(gold, predicted, offsets, "strict"), is_seen)

    seconds = tuple(timed(run) for _ in range(REPEATS))
    yield Measurement(
        what=f"scores of 10,000 sentences, {name}", values=seconds, unit="s", at_most=0.1
    )
    tags_s = tuple(timed(lambda: tags_of_sentences(predicted, offsets)) for _ in range(REPEATS))
    yield Measurement(what="their tags, as they are stored", values=tags_s, unit="s")
    known, asked = describe_text(flatten(train)), flatten(test)
    facts_s = tuple(timed(lambda: sentence_facts(known, asked)) for _ in range(REPEATS))
    yield Measurement(what="finding out which of them were seen", values=facts_s, unit="s")


def _confidences(lengths: Sequence[int]) -> list[list[int]]:
    """Made-up confidences for each word, in 255ths: most are near 1, as those of a trained model
    are."""
    drawn = np.random.default_rng(0).beta(8, 0.4, sum(lengths))
    words = np.rint(255 * drawn).astype(int)
    return [one.tolist() for one in np.split(words, np.cumsum(lengths)[:-1])]


def storing() -> Iterator[Measurement]:
    """What stored predictions take: those of a trial on 10,000 sentences, and the sentences
    once."""
    name, test = _english("test")
    labels, offsets = flatten_labels(test.labels)
    found = _with_errors(labels)
    gold, predicted = (tags_of_sentences(one, offsets) for one in (labels, found))
    sizes = {"tokens": test.tokens, "gold": gold, "num_subwords": [len(tags) for tags in gold]}
    rest = {"num_unseen_entities": [0] * len(gold), "is_seen": [False] * len(gold)}
    one = make_predicted_set()
    counts = count_entities(labels, found, offsets, "strict")
    one = replace(
        one,
        sentences=replace(one.sentences, **sizes | rest),
        predicted=predicted,
        confidence=_confidences([len(tags) for tags in predicted]),
        support=counts.support.sum(1).tolist(),
        num_predicted=counts.num_predicted.sum(1).tolist(),
        num_correct=counts.num_correct.sum(1).tolist(),
    )
    with tempfile.TemporaryDirectory() as folder:
        store, result = ResultStore(folder), make_trial_result(predictions=(one,))
        commit_s = timed(
            lambda: store.commit_completed(make_trial_spec(), result, **make_circumstances())
        )
        sizes_kib = {
            table: _size_kib(Path(folder) / table) for table in ("predictions", "sentences")
        }
    yield Measurement(
        what=f"commit of a trial with 10,000 predictions, {name}", values=(commit_s,), unit="s"
    )
    for table, size in sizes_kib.items():
        yield Measurement(what=f"{table} of 10,000 sentences, {name}", values=(size,), unit="KiB")


def _size_kib(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.glob("*.parquet")) / 1024


def perturbing() -> Iterator[Measurement]:
    """Other entities in ten thousand English sentences, from all languages in Latin script."""
    corpus = _wikiann() or make_trial_spec().corpus
    corpus = replace(corpus, fingerprint=None)
    latin = [code for code in XTREME if LANGUAGES[code].script == "Latn"]
    if corpus.kind == "synthetic":
        latin = [code for code in latin if code in synthetic.LANGUAGES]
    donors: dict[str, TrainText] = {}
    reading_s = timed(lambda: donors.update((code, load_text(corpus, code)) for code in latin))
    entities = {code: text.entities for code, text in donors.items()}
    name, sentences = _english("test")
    test = flatten(sentences)
    pool = DonorPool(language="en", perturbation="within_script", donors=tuple(latin), reason=None)
    yield Measurement(
        what=f"entities of {len(latin)} train splits, {name}",
        values=(reading_s,),
        unit="s",
        at_most=10,
    )

    def perturb() -> None:
        perturb_text(test, entities, 0, pool, 0)

    seconds = side_by_side({"perturb": perturb}, REPEATS)["perturb"]
    yield Measurement(
        what=f"perturbing 10,000 sentences, {name}", values=seconds, unit="s", at_most=2
    )


def _wikiann() -> CorpusSpec | None:
    try:
        folder = real_data("wikiann")
    except FileNotFoundError:
        return None
    return replace(make_trial_spec().corpus, kind="path", path=str(folder), seed=None)


def _english(split: str) -> tuple[str, Sentences]:
    """A name for them, and the English sentences of a split; at least `NUM_SENTENCES`."""
    corpus = _wikiann()
    sentences = load_sentences(corpus or make_trial_spec().corpus, "en", split)
    times = -(-NUM_SENTENCES // len(sentences.tokens))
    name = "WikiANN" if corpus else "embedded corpus"
    return name, Sentences(sentences.tokens * times, sentences.labels * times)


def _with_errors(labels: np.ndarray) -> np.ndarray:
    """The labels, some of them drawn at random."""
    generator = np.random.default_rng(0)
    is_wrong = generator.random(len(labels)) < WRONG
    return np.where(is_wrong, generator.integers(0, len(TAGS), len(labels), np.int8), labels)
