"""What scoring costs beside the model's own work: finding entities, counting, and making perturbed test sets.

The sentences are WikiANN's where `SPARSWEEP_TEST_DATA` (or the folder beside the project) has them, else the embedded
corpus, repeated to as many.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from orchestrator.languages import LANGUAGES
from tests.benchmarks.measurement import Measurement, side_by_side, timed
from tests.conftest import BESIDE_THE_PROJECT
from tests.factories import make_trial_spec
from workers import robustness
from workers.data import synthetic
from workers.data.align import EncodedSplit
from workers.data.corpus import Sentences, load_sentences
from workers.data.entities import flatten_labels, sentence_facts
from workers.evaluate import count_entities, score, tags_of_sentences
from workers.trial import TAGS, CorpusSpec

NUM_SENTENCES = 10_000
REPEATS = 5
WRONG = 0.1
"""Fraction of the words whose predicted tag is drawn at random."""


def scoring() -> Iterator[Measurement]:
    """Ten thousand English sentences from predicted labels to all scores."""
    name, test = _english("test")
    split = _as_split(test)
    generator = np.random.default_rng(0)
    is_wrong = generator.random(len(split.labels)) < WRONG
    predicted = np.where(is_wrong, generator.integers(0, len(TAGS), len(split.labels)), split.labels)
    train = _english("train")[1]
    is_seen = sentence_facts(train, test).is_seen

    def run() -> None:
        gold, found = tags_of_sentences(split, split.labels), tags_of_sentences(split, predicted)
        score("en", "test", count_entities(gold, found, "strict"), is_seen)

    seconds = tuple(timed(run) for _ in range(REPEATS))
    yield Measurement(what=f"scores of 10,000 sentences, {name}", values=seconds, unit="s", at_most=1)
    facts_s = tuple(timed(lambda: sentence_facts(train, test)) for _ in range(REPEATS))
    yield Measurement(what="finding out which of them were seen", values=facts_s, unit="s")


def perturbing() -> Iterator[Measurement]:
    """Other entities in ten thousand English sentences, from all languages in Latin script."""
    corpus = _wikiann() or make_trial_spec().corpus
    corpus = replace(corpus, fingerprint=None)
    latin = [code for code, language in LANGUAGES.items() if language.script == "Latn"]
    if corpus.kind == "synthetic":
        latin = [code for code in latin if code in synthetic.LANGUAGES]
    robustness._load_donors.cache_clear()
    donors: list[robustness.Donors] = []
    reading_s = timed(lambda: donors.extend(robustness._load_donors(corpus, language) for language in latin))
    name, test = _english("test")
    yield Measurement(what=f"entities of {len(latin)} train splits, {name}", values=(reading_s,), unit="s", at_most=10)

    def perturb() -> None:
        robustness._perturb(test, donors, np.random.default_rng(0))

    seconds = side_by_side({"perturb": perturb}, REPEATS)["perturb"]
    yield Measurement(what=f"perturbing 10,000 sentences, {name}", values=seconds, unit="s", at_most=2)


def _wikiann() -> CorpusSpec | None:
    folder = Path(os.environ.get("SPARSWEEP_TEST_DATA") or BESIDE_THE_PROJECT) / "wikiann"
    corpus = replace(make_trial_spec().corpus, kind="path", path=str(folder), seed=None)
    return corpus if folder.is_dir() else None


def _english(split: str) -> tuple[str, Sentences]:
    """A name for them, and the English sentences of a split; at least `NUM_SENTENCES`."""
    corpus = _wikiann()
    sentences = load_sentences(corpus or make_trial_spec().corpus, "en", split)
    times = -(-NUM_SENTENCES // len(sentences.tokens))
    name = "WikiANN" if corpus else "embedded corpus"
    return name, Sentences(sentences.tokens * times, sentences.labels * times)


def _as_split(sentences: Sentences) -> EncodedSplit:
    """As if each word were one sub-word."""
    labels, offsets = flatten_labels(sentences.labels)
    return EncodedSplit(
        input_ids=labels.astype(np.int32),
        labels=labels,
        offsets=offsets,
        sentence_of_sequence=np.arange(len(sentences.labels)),
        num_unstarted_entities=0,
        pad_id=0,
        num_specials=0,
        parts=(len(sentences.labels),),
    )
