"""What is computed with a trained model: scores of each language and split, scores of perturbed
test sets, and predictions.

All functions are generators that yield after every forward pass, so that whoever drives a trial can
stop it there.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np

from workers.data.languages import LanguageData, ScoredText, TrialData
from workers.result import EntityScore, PredictedSet, RobustnessScore, SentenceSet
from workers.scoring.evaluate import (
    EntityCounts,
    count_entities,
    not_applicable,
    predict,
    score,
    score_perturbed,
    split_by_sentence,
    subwords_a_pass,
    tags_of_sentences,
)
from workers.scoring.robustness import perturbed_text
from workers.scoring.selection import mean_f1
from workers.train import Training, autocast_dtype
from workers.trial import MICRO, DonorPool


@dataclass
class Scores:
    """All that scoring a trial gives, in the order of languages, splits, perturbations and
    draws."""

    scores: list[EntityScore] = field(default_factory=list)
    robustness: list[RobustnessScore] = field(default_factory=list)
    predictions: list[PredictedSet] = field(default_factory=list)


def score_validation(
    training: Training, languages: Sequence[LanguageData]
) -> Generator[None, None, float]:
    """Mean over languages of the micro F1 on validation.

    Args:
        training: whose model is scored; it is left in training mode.
        languages: those of the trial, whose validation splits are scored.

    Yields:
        After every forward pass.

    Returns:
        The mean, in [0, 1], see `mean_f1`.
    """
    f1: list[float | None] = []
    for data in languages:
        text = data.scored["validation"]
        _, _, counts = yield from _predict(training, text, with_confidences=False)
        every = np.ones(text.text.num_sentences, bool)
        rows = score(data.language, "validation", counts, every)
        f1 += [row.f1 for row in rows if (row.subset, row.entity_type) == ("all", MICRO)]
    training.model.train()
    return mean_f1(f1)


def score_trial(training: Training, data: TrialData) -> Generator[None, None, Scores]:
    """All scores and stored predictions that the trial asks for.

    Args:
        training: whose model is scored; it is left in evaluation mode.
        data: the trial's languages.

    Yields:
        After every forward pass.

    Returns:
        The scores.
    """
    scores = Scores()
    robustness = training.spec.robustness
    for language in data.languages:
        for text in language.scored.values():
            yield from _score_published(training, text, scores)
        pools = robustness.pools if robustness is not None else ()
        for pool in (pool for pool in pools if pool.language == language.language):
            yield from _score_pool(training, data, language, pool, scores)
    for text in data.zero_shot:
        yield from _score_published(training, text, scores)
    return scores


def _score_published(
    training: Training, text: ScoredText, scores: Scores
) -> Generator[None, None, None]:
    is_stored = text.split in training.spec.evaluation.predictions
    labels, confidences, counts = yield from _predict(training, text, is_stored)
    scores.scores += score(text.language, text.split, counts, text.facts.is_seen)
    if confidences is not None:
        scores.predictions.append(_predicted_set(text, labels, confidences, counts))


def _score_pool(
    training: Training, data: TrialData, language: LanguageData, pool: DonorPool, scores: Scores
) -> Generator[None, None, None]:
    """Score the draws of one perturbation of one language."""
    robustness = training.spec.robustness
    assert robustness is not None  # it is what the pool is of
    is_stored = "perturbed" in training.spec.evaluation.predictions
    if not pool.donors:
        scores.robustness.append(not_applicable(pool))
        return
    for draw in range(robustness.draws):
        text = perturbed_text(language, data, robustness, pool, draw)
        assert text.num_replaced is not None  # only published sentences have none
        labels, confidences, counts = yield from _predict(training, text, is_stored)
        scores.robustness += score_perturbed(
            pool.language, pool.perturbation, draw, counts, text.num_replaced
        )
        if confidences is not None:
            scores.predictions.append(_predicted_set(text, labels, confidences, counts))


def _predict(
    training: Training, text: ScoredText, with_confidences: bool
) -> Generator[None, None, tuple[np.ndarray, np.ndarray | None, EntityCounts]]:
    """What `predict` gives of every word, and the entities in gold and predicted labels."""
    spec, device = training.spec, training.device
    max_subwords = subwords_a_pass(spec, device)
    dtype = autocast_dtype(spec.training)
    labels, confidences = yield from predict(
        training.model, text.encoded, max_subwords, device, dtype, with_confidences
    )
    words = text.text
    counts = count_entities(
        words.labels, labels, words.offsets, spec.evaluation.matching, words.tags
    )
    return labels, confidences, counts


def _predicted_set(
    text: ScoredText, labels: np.ndarray, confidences: np.ndarray, counts: EntityCounts
) -> PredictedSet:
    return PredictedSet(
        sentences=SentenceSet(set_id=text.set_id, **text.describe()),
        predicted=tags_of_sentences(labels, text.text.offsets, text.text.tags),
        confidence=split_by_sentence(confidences, text.text.offsets),
        support=counts.support.sum(1).tolist(),
        num_predicted=counts.num_predicted.sum(1).tolist(),
        num_correct=counts.num_correct.sum(1).tolist(),
    )
