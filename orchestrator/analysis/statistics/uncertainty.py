"""How far means of F1, and of its changes, may lie from the truth: by seeds and by sentences.

All trials of a language are scored on the same sentences, so a mean over K seeds has three parts of
variance: what sentences do to all seeds alike, what they do to each seed by itself, and what seeds
differ by apart from sentences:

    variance = common + (own + seeds) / K

The sentences' parts come from leaving out one sentence at a time (the jackknife), which needs no
random numbers. Of a few seeds the third part is hardly known, so the variance over seeds,
own + seeds, is moderated: languages of one level are taken to differ by chance about
a + (1 + b) * own, with a and b of at least 0 that the level shares, and each language's own
estimate is drawn towards that, the more the less they are seen to differ. Degrees of freedom follow
from how well each part is known.

Sources: Efron and Stein 1981, The jackknife estimate of variance; Smyth 2004, Linear models and
empirical Bayes methods, eq. 2 to 6, whose prior variance is one number and is fitted by moments,
where ours follows the sentences' part and is fitted by maximum likelihood; Satterthwaite 1946, An
approximate distribution of estimates of variance components.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from orchestrator.analysis.inputs.predictions import SetPredictions

PRIOR_DFS = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 48, 1e6])
"""Degrees of freedom that a level may lend to a language; the last: languages do not differ."""

SLOPES = np.concatenate([[0.0], np.geomspace(0.1, 30, 9)])
"""By how much the seeds' part may grow with the sentences' own part (b)."""

FLOORS = np.concatenate([[0.0], np.geomspace(1e-4, 2, 41)])
"""What the seeds' part may be in all languages (a), relative to the largest variance."""

MIN_FOR_SLOPE = 5
"""Fewer languages say nothing of a slope."""

MIN_TO_SHRINK = 4
"""Fewer means do not tell how much they differ."""

TINY = 1e-18
"""A variance of F1 below this is rounding."""


Influences = Mapping[str, np.ndarray]
"""By trial: what each of n sentences does to its F1, float32 (n,): F1 without the sentence minus
the mean of these, times the root of (n - 1) / n, so that a sum of squares is a variance."""


@dataclass(frozen=True)
class Spreads:
    """What is known of the variances of C means of one level, float64 (C,) each.

    Attributes:
        values: float64 (C, seeds), what each seed gave; NaN where it gave nothing.
        of_mean: variance of the mean over seeds by sentences: common + own / K; 0 where sentences
            are not known.
        own: variance by sentences of a single seed that other seeds do not share; 0 where sentences
            are not known, or one seed.
        num_sentences: behind each; infinite where sentences are not known.
    """

    values: np.ndarray
    of_mean: np.ndarray
    own: np.ndarray
    num_sentences: np.ndarray


@dataclass(frozen=True)
class Estimates:
    """C means with their variances, float64 (C,) each.

    Attributes:
        mean: over seeds.
        variance: of that mean; NaN where nothing is known of it.
        alone: variance of `variance` that is independent between the means.
        shared: standard deviation of `variance` that they have in common.
        has_seeds: bool, whether seeds are allowed for.
    """

    mean: np.ndarray
    variance: np.ndarray
    alone: np.ndarray
    shared: np.ndarray
    has_seeds: np.ndarray

    @property
    def df(self) -> np.ndarray:
        """Degrees of freedom of each variance, at least 1."""
        return degrees(self.variance, self.alone + self.shared**2)


def degrees(variance: np.ndarray, of_variance: np.ndarray) -> np.ndarray:
    """Degrees of freedom of an estimated variance whose own variance is known.

    Source: Satterthwaite 1946.
    """
    ratio = 2 * variance**2 / np.maximum(of_variance, np.finfo(float).tiny)
    df: np.ndarray = np.clip(ratio, 1.0, 1e6)
    return df


def find_influences(predictions: SetPredictions, words: np.ndarray | None = None) -> Influences:
    """What each sentence of a set does to the F1 of each trial.

    Args:
        predictions: of a set of n sentences.
        words: int (n,), from 0, the same of sentences that count as one: all of them are left out
            together. None: each is one.

    Returns:
        By trial, an entry a sentence, or a number of `words`; without trials whose F1 is 0 / 0, or
        would be without one sentence.
    """

    def together(counts: np.ndarray) -> np.ndarray:
        return counts if words is None else np.bincount(words, counts).astype(np.int64)

    support = together(predictions.support)
    num_sentences = len(support)
    if num_sentences < 2:
        return {}
    counts = zip(
        predictions.trial_ids,
        map(together, predictions.num_predicted),
        map(together, predictions.num_correct),
        strict=True,
    )
    influences = {}
    for trial_id, num_predicted, num_correct in counts:
        entities = support + num_predicted
        rest = entities.sum() - entities
        if not rest.all():
            continue
        # F1 is 2 correct / (annotated + predicted).
        without = 2 * (num_correct.sum() - num_correct) / rest
        scaled = (without - without.mean()) * np.sqrt((num_sentences - 1) / num_sentences)
        influences[trial_id] = scaled.astype(np.float32)
    return influences


def sentence_variances(influences: np.ndarray, num_seeds: int) -> tuple[float, float]:
    """The sentences' part of the variance of a mean over seeds.

    Args:
        influences: float (seeds whose sentences are known, n), of each seed's value.
        num_seeds: that the mean is over, as many or more.

    Returns:
        Variance of the mean, and the part of each seed by itself; 0 where that is known of one.
    """
    mean = influences.mean(axis=0, dtype=np.float64)
    num_known = len(influences)
    own = ((influences - mean) ** 2).sum() / (num_known - 1) if num_known > 1 else 0.0
    of_mean = (mean**2).sum() - own * (1 / num_known - 1 / num_seeds)
    return max(float(of_mean), 0.0), float(own)


def estimate(spreads: Spreads, is_shared: bool = False) -> Estimates:
    """The means of one level and their variances.

    Args:
        spreads: of the level's languages.
        is_shared: whether languages were trained together, so that their seeds are the same draws.
            Then what seeds do to several languages at once is counted as known once only.
    """
    there = ~np.isnan(spreads.values)
    num_seeds = there.sum(axis=1)
    # A mean of nothing is NaN, and numpy would warn of it.
    sums = np.where(there, spreads.values, 0.0).sum(axis=1)
    mean = np.where(num_seeds > 0, sums / np.maximum(num_seeds, 1), np.nan)
    deviations = np.where(there, spreads.values - mean[:, None], 0.0)
    df = np.maximum(num_seeds - 1, 0)
    sample = (deviations**2).sum(axis=1) / np.maximum(df, 1)

    of_seed, alone, shared = _moderate(sample, df, spreads.own, deviations, is_shared)
    seeds = np.maximum(of_seed - spreads.own, 0.0)
    # Where there is one seed, the others say what seeds do, if there are any.
    if (is_single := num_seeds == 1).any() and (df > 0).any():
        typical = seeds[df > 0].mean()
        seeds[is_single], alone[is_single] = typical, 2 * typical**2 / df.sum()
        of_seed[is_single] = typical
    has_seeds = (num_seeds > 0) & ((df > 0) | (df > 0).any())

    variance = spreads.of_mean + np.where(has_seeds, seeds, 0.0) / np.maximum(num_seeds, 1)
    by_seeds = np.where(has_seeds, of_seed, 0.0) / np.maximum(num_seeds, 1)
    common = np.maximum(variance - by_seeds, 0.0)
    squared = np.maximum(num_seeds, 1) ** 2
    of_sentences = 2 * common**2 / np.maximum(spreads.num_sentences - 1, 1)
    is_known = (num_seeds > 0) & (variance > TINY)
    return Estimates(
        mean=mean,
        variance=np.where(is_known, variance, np.nan),
        alone=np.where(has_seeds, alone, 0.0) / squared + of_sentences,
        shared=np.where(has_seeds, shared, 0.0) / np.maximum(num_seeds, 1),
        has_seeds=has_seeds,
    )


def _moderate(
    sample: np.ndarray, df: np.ndarray, own: np.ndarray, deviations: np.ndarray, is_shared: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The variance over seeds of each language, drawn towards that of its level; the variance of
    this estimate that is the language's own, and the standard deviation that all have in common."""
    # Seeds that agree to the last bit, as where nothing is predicted, say nothing of the others.
    is_used = (df > 0) & (np.maximum(sample, own) > TINY)
    if is_used.sum() < 2:
        unmoderated = np.maximum(sample, own)
        return unmoderated, 2 * unmoderated**2 / np.maximum(df, 1), np.zeros(len(sample))
    floor, slope, prior_df = _fit_level(sample[is_used], df[is_used], own[is_used])
    prior = floor + (1 + slope) * own
    total = np.maximum(prior_df + df, 1.0)
    moderated = np.maximum((prior_df * prior + df * sample) / total, own)

    # How well the level's variance is known: Fisher's information of floor and slope.
    scale = prior[is_used].mean()
    terms = [np.ones(len(own))] + ([own / own[is_used].mean()] if slope else [])
    design = np.stack(terms, axis=1)
    weights = df[is_used] / (2 * (prior[is_used] / scale) ** 2)
    information = design[is_used].T @ (weights[:, None] * design[is_used])
    of_prior = scale**2 * np.einsum("ci,ij,cj->c", design, np.linalg.pinv(information), design)
    if is_shared and is_used.sum() > 1:
        together = _share_together(deviations[is_used] / np.sqrt(prior[is_used])[:, None], df)
        of_prior = of_prior + 2 * (together * prior) ** 2 / df.max()
    alone = 2 * moderated**2 / total
    shared = prior_df / total * np.sqrt(of_prior)
    # What is borrowed makes nothing less certain than the language's own seeds.
    own_only = 2 * moderated**2 / np.maximum(df, 1)
    is_worse = (df > 0) & (alone + shared**2 > own_only)
    return (
        moderated,
        np.where(is_worse, own_only, alone),
        np.where(is_worse, 0.0, shared),
    )


def _fit_level(sample: np.ndarray, df: np.ndarray, own: np.ndarray) -> tuple[float, float, float]:
    """Floor, slope and degrees of freedom of a level's prior variance, by maximum likelihood: a
    sample variance over its prior variance follows an F distribution of df and prior df."""
    top = max(sample.max(), own.max())
    floors = top * FLOORS[int(own.min() <= TINY) :]
    varies = len(own) >= MIN_FOR_SLOPE and own.min() > TINY and own.max() > 1.2 * own.min()
    slopes = SLOPES if varies else SLOPES[:1]

    # Axes: floor, slope, prior df, language.
    prior = floors[:, None, None, None] + (1 + slopes)[None, :, None, None] * own
    prior_df = PRIOR_DFS[None, None, :, None]
    likelihood = -df / 2 * np.log(prior)
    likelihood = likelihood - (df + prior_df) / 2 * np.log1p(df * sample / (prior_df * prior))
    of_df = special.gammaln((df + prior_df) / 2) - special.gammaln(prior_df / 2)
    likelihood = (likelihood + of_df - df / 2 * np.log(prior_df)).sum(axis=-1)
    at = np.unravel_index(likelihood.argmax(), likelihood.shape)
    return float(floors[at[0]]), float(slopes[at[1]]), float(PRIOR_DFS[at[2]])


def _share_together(standardised: np.ndarray, df: np.ndarray) -> float:
    """The mean correlation over seeds of two languages of a level, at least 0, at most 1."""
    num_languages = len(standardised)
    of_sum = (standardised.sum(axis=0) ** 2).sum()
    of_each = (standardised**2).sum()
    pairs = num_languages * (num_languages - 1) * df.max()
    return float(np.clip((of_sum - of_each) / pairs, 0.0, 1.0))


def shrink(means: np.ndarray, variances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw means towards their common mean, each by how uncertain it is beside how much they
    differ: the largest or the smallest of many is otherwise mostly the luckiest one.

    Args:
        means: float64 (k,).
        variances: of them, above 0.

    Returns:
        The means drawn, and their variances; unchanged with fewer than `MIN_TO_SHRINK`.

    Source: Morris 1983, Parametric empirical Bayes inference, eq. 1.13 to 1.17, with the variance
        between means after Paule and Mandel 1982.
    """
    number = len(means)
    if number < MIN_TO_SHRINK:
        return means, variances

    def excess(between: float) -> float:
        weights = 1 / (variances + between)
        common = (weights * means).sum() / weights.sum()
        return float((weights * (means - common) ** 2).sum()) - (number - 1)

    top = number * float(means.var()) + float(variances.max())
    between = optimize.brentq(excess, 0.0, top) if excess(0.0) > 0 else 0.0
    weights = 1 / (variances + between)
    common = (weights * means).sum() / weights.sum()
    part = (number - 3) / (number - 1) * variances * weights
    typical = (weights * variances).sum() / weights.sum() + between
    of_part = 2 / (number - 3) * part**2 * typical * weights
    drawn = means - part * (means - common)
    return drawn, variances * (1 - (number - 1) / number * part) + of_part * (means - common) ** 2


def find_ends(
    mean: np.ndarray, variance: np.ndarray, df: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of intervals by Student's t; NaN where there is no variance.

    Args:
        mean: the middles.
        variance: of them.
        df: degrees of freedom of these variances.
        confidence: nominal coverage, in (0, 1).
    """
    half = stats.t.ppf((1 + confidence) / 2, df) * np.sqrt(variance)
    return mean - half, mean + half
