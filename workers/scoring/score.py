"""What is computed with a trained model: scores of each language and split, of perturbed test sets,
and predictions.

All functions are generators that yield after every forward pass, so that whoever drives a trial can
stop it there.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from workers.data.align import EncodedSplit, encode, load_encoded
from workers.data.corpus import Sentences, fingerprint_language, load_sentences
from workers.data.entities import SentenceFacts, sentence_facts
from workers.model.encoder import load_tokenizer
from workers.result import EntityScore, PredictedSet, RobustnessScore, SentenceSet
from workers.scoring.evaluate import (
    EntityCounts,
    Tags,
    count_entities,
    not_applicable,
    predict,
    score,
    score_perturbed,
    tags_of_sentences,
)
from workers.scoring.robustness import Perturbed, load_perturbed
from workers.scoring.selection import mean_f1
from workers.tags import TAGS
from workers.train import Training, autocast_dtype
from workers.trial import (
    CLEAN,
    MICRO,
    CorpusSpec,
    DonorPool,
    ModelSpec,
    RobustnessSpec,
    TrialSpec,
    digest,
)


@dataclass(frozen=True)
class LanguageData:
    """One language of a trial: its sentences as sub-words by split; the corpus has this language's
    fingerprint."""

    language: str
    corpus: CorpusSpec
    splits: Mapping[str, EncodedSplit]


@dataclass
class Scores:
    """What scoring a trial gives."""

    scores: list[EntityScore] = field(default_factory=list)
    robustness: list[RobustnessScore] = field(default_factory=list)
    predictions: list[PredictedSet] = field(default_factory=list)


def load_languages(spec: TrialSpec) -> list[LanguageData]:
    """All that a trial reads of its languages, in their order.

    Raises:
        TrialError: kind `bad_data`, see `workers.data.corpus` and `workers.model.encoder`.
    """
    names = ("train", *spec.evaluation.splits)
    loaded = []
    for language in spec.languages:
        corpus = spec.corpus
        if (
            corpus.kind == "path" and len(spec.languages) > 1
        ):  # the trial's fingerprint is that of all together
            corpus = replace(
                corpus, fingerprint=fingerprint_language(Path(str(corpus.path)), language)
            )
        splits = {
            name: load_encoded(corpus, spec.model, language, name, spec.training.max_length)
            for name in names
        }
        loaded.append(LanguageData(language, corpus, splits))
    return loaded


def score_validation(
    training: Training, languages: Sequence[LanguageData]
) -> Generator[None, None, float]:
    """Mean over languages of the micro F1 on validation; the model is left in training mode."""
    f1 = []
    for data in languages:
        gold = _clean_gold(data, "validation")
        predicted = yield from _predict(training, data.splits["validation"])
        counts = count_entities(gold, predicted, training.spec.evaluation.matching)
        every = np.ones(len(gold), bool)
        f1 += [
            one.f1 for one in score(data.language, "validation", counts, every) if _is_overall(one)
        ]
    training.model.train()
    return mean_f1(f1)


def score_trial(
    training: Training, languages: Sequence[LanguageData]
) -> Generator[None, None, Scores]:
    """All scores and stored predictions that the trial asks for; the model is left in evaluation
    mode."""
    found = Scores()
    for data in languages:
        for split in training.spec.evaluation.splits:
            yield from _score_split(training, data, split, found)
        if training.spec.robustness is not None:
            yield from _score_robustness(training, data, training.spec.robustness, found)
    return found


def _score_split(
    training: Training, data: LanguageData, split: str, found: Scores
) -> Generator[None, None, None]:
    settings = training.spec.evaluation
    predicted = yield from _predict(training, data.splits[split])
    counts = count_entities(_clean_gold(data, split), predicted, settings.matching)
    facts = _clean_facts(data.corpus, data.language, split)
    found.scores += score(data.language, split, counts, facts.is_seen)
    if split in settings.predictions:
        known = _clean_set(
            data.corpus,
            training.spec.model,
            data.language,
            split,
            training.spec.training.max_length,
        )
        found.predictions.append(_predicted_set(known, predicted, counts))


def _score_robustness(
    training: Training, data: LanguageData, robustness: RobustnessSpec, found: Scores
) -> Generator[None, None, None]:
    spec = training.spec
    for pool in robustness.pools:
        if pool.language != data.language:
            continue
        if not pool.donors:
            found.robustness.append(not_applicable(pool))
        for draw in range(robustness.draws if pool.donors else 0):
            source = (data.corpus, spec.model, robustness, pool, draw, spec.training.max_length)
            perturbed, encoded = _load_encoded_perturbed(*source)
            predicted = yield from _predict(training, encoded)
            counts = count_entities(_tags(perturbed.sentences), predicted, spec.evaluation.matching)
            found.robustness += score_perturbed(
                data.language, pool.perturbation, draw, counts, perturbed.num_replaced
            )
            if "perturbed" in spec.evaluation.predictions:
                found.predictions.append(_predicted_set(_perturbed_set(*source), predicted, counts))


def _predict(training: Training, split: EncodedSplit) -> Generator[None, None, list[list[str]]]:
    """Predicted tags by sentence."""
    dtype = autocast_dtype(training.spec.training)
    for labels in predict(  # noqa: B007
        training.model, split, training.spec.evaluation.batch_size, training.device, dtype
    ):
        yield
    return tags_of_sentences(split, labels)


def _is_overall(one: EntityScore) -> bool:
    return (one.subset, one.entity_type) == ("all", MICRO)


def _clean_gold(data: LanguageData, split: str) -> Tags:
    encoded = data.splits[split]
    return tags_of_sentences(encoded, encoded.labels[encoded.labels >= 0])


def _tags(sentences: Sentences) -> list[list[str]]:
    return [[TAGS[label] for label in labels] for labels in sentences.labels]


@lru_cache(maxsize=64)
def _clean_facts(corpus: CorpusSpec, language: str, split: str) -> SentenceFacts:
    return sentence_facts(
        load_sentences(corpus, language, "train"), load_sentences(corpus, language, split)
    )


@lru_cache(maxsize=64)
def _clean_set(
    corpus: CorpusSpec, model: ModelSpec, language: str, split: str, max_length: int
) -> SentenceSet:
    sentences = load_sentences(corpus, language, split)
    encoded = load_encoded(corpus, model, language, split, max_length)
    return _sentence_set(
        language, split, CLEAN, 0, sentences, encoded, _clean_facts(corpus, language, split)
    )


@lru_cache(maxsize=16)
def _load_encoded_perturbed(
    corpus: CorpusSpec,
    model: ModelSpec,
    robustness: RobustnessSpec,
    pool: DonorPool,
    draw: int,
    max_length: int,
) -> tuple[Perturbed, EncodedSplit]:
    perturbed = load_perturbed(corpus, robustness, pool, draw)
    return perturbed, encode(perturbed.sentences, load_tokenizer(model, corpus), max_length)


@lru_cache(maxsize=16)
def _perturbed_set(
    corpus: CorpusSpec,
    model: ModelSpec,
    robustness: RobustnessSpec,
    pool: DonorPool,
    draw: int,
    max_length: int,
) -> SentenceSet:
    perturbed, encoded = _load_encoded_perturbed(corpus, model, robustness, pool, draw, max_length)
    facts = sentence_facts(load_sentences(corpus, pool.language, "train"), perturbed.sentences)
    return _sentence_set(
        pool.language, "test", pool.perturbation, draw, perturbed.sentences, encoded, facts
    )


def _sentence_set(
    language: str,
    split: str,
    perturbation: str,
    draw: int,
    sentences: Sentences,
    encoded: EncodedSplit,
    facts: SentenceFacts,
) -> SentenceSet:
    content = {
        "language": language,
        "split": split,
        "perturbation": perturbation,
        "draw": draw,
        "tokens": sentences.tokens,
        "gold": _tags(sentences),
        "num_subwords": encoded.num_subwords_of_sentences.tolist(),
        "num_unseen_entities": facts.num_unseen_entities.tolist(),
        "is_seen": facts.is_seen.tolist(),
    }
    return SentenceSet(set_id=digest(content), **content)


def _predicted_set(
    sentences: SentenceSet, predicted: list[list[str]], counts: EntityCounts
) -> PredictedSet:
    return PredictedSet(
        sentences=sentences,
        predicted=predicted,
        support=counts.support.sum(1).tolist(),
        num_predicted=counts.num_predicted.sum(1).tolist(),
        num_correct=counts.num_correct.sum(1).tolist(),
    )
