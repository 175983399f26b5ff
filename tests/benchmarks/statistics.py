"""How often intervals hold the truth, how wide they are, and how often tests find what is not
there, in simulated sweeps whose truth is known.

    python -m tests.benchmarks.statistics [PART ...] [--sets N]

Each part prints the tables that METHODS.md shows. A data set is one level of a sweep: languages
with K seeds, and of each seed a dense and a sparse model that are scored on the same n sentences.
Sentences have one to three entities. How hard a sentence is is shared by all models; part of the
rest by the two models of a seed. What seeds do beside has a standard deviation of the population's
change of F1 that is given (`seed sd`). Each figure has a simulation error, which is printed.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri

from orchestrator.analysis.statistics.uncertainty import (
    Spreads,
    estimate,
    find_ends,
    sentence_variances,
    shrink,
)
from orchestrator.analysis.topics.disparity import spread_ends
from tests.benchmarks.false_positives import exchanged_seeds, false_positives

DENSE_F1 = 0.8
CHANGE = -0.03
PERTURBED_F1 = 0.6
PERTURBED_CHANGE = -0.06
"""What is true: F1 of the dense models, and the change to the sparse ones; the same on sentences
with other entities."""

CONFIDENCE = 0.95
NUM_SETS = 30
NUM_LANGUAGES = 20
SEEDS = (2, 3, 5, 10)
SIZES = (50, 100, 500, 2_000, 10_000)
SEED_SDS = (0.0, 0.006, 0.02, 0.05)
NUM_CROSSED = 5
NUM_REPLICATES = 300
"""Of the bootstrap that stands beside: languages a data set, and replicates."""

MIXED_SIZES = (50,) * 3 + (100,) * 8 + (500,) * 6 + (1_000,) * 7 + (10_000,) * 6

SPURIOUS = 0.1
"""Entities predicted in a sentence where there are none, on average."""

HARDNESS, OF_SEED, OF_MODEL = 0.8, 0.5, 0.4
"""Standard deviations of a sentence's hardness, and of what a seed and a model make of it, on the
probit scale."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """What is simulated.

    Attributes:
        sizes: sentences of each language.
        seed_sds: standard deviation over seeds of each language's true change of F1.
        num_seeds: seeds of each language.
        together: correlation over languages of what a seed does; above 0 where they are trained
            together.
    """

    sizes: tuple[int, ...]
    seed_sds: tuple[float, ...]
    num_seeds: int
    together: float = 0.0


@dataclass(frozen=True)
class Scored:
    """What was counted in one language: int (seeds, 2, sentences), dense and sparse; `support` int
    (sentences,)."""

    support: np.ndarray
    num_predicted: np.ndarray
    num_correct: np.ndarray

    def f1(self) -> np.ndarray:
        """Float64 (seeds, 2)."""
        entities = self.support + self.num_predicted
        return 2 * self.num_correct.sum(axis=-1) / entities.sum(axis=-1)

    def influences(self) -> np.ndarray:
        """What each sentence does to each seed's change of F1, as in `uncertainty.Influences`;
        float64 (seeds, sentences)."""
        entities = self.support + self.num_predicted
        rest = entities.sum(axis=-1, keepdims=True) - entities
        without = 2 * (self.num_correct.sum(axis=-1, keepdims=True) - self.num_correct) / rest
        change = without[:, 1] - without[:, 0]
        size = len(self.support)
        return (change - change.mean(axis=-1, keepdims=True)) * np.sqrt((size - 1) / size)


def simulate(level: Level, generator: np.random.Generator) -> list[Scored]:
    """Draw the languages of a level."""
    shape = (len(level.sizes), level.num_seeds, 2)
    alone, shared = generator.standard_normal(shape), generator.standard_normal((1, *shape[1:]))
    seeds = np.sqrt(1 - level.together) * alone + np.sqrt(level.together) * shared
    # The change has twice the variance of either side.
    seeds *= np.array(level.seed_sds)[:, None, None] / np.sqrt(2)
    true_f1 = np.clip(np.array([DENSE_F1, DENSE_F1 + CHANGE]) + seeds, 0.01, 0.99)
    return [_score(size, f1, generator) for size, f1 in zip(level.sizes, true_f1, strict=True)]


def simulate_drops(level: Level, generator: np.random.Generator) -> list[tuple[Scored, Scored]]:
    """Draw the languages of a level, as published and with other entities: half of what makes a
    sentence hard is the same in both. The standard deviation of seeds is that of the change of the
    drop."""
    true_f1 = np.array(
        [[DENSE_F1, DENSE_F1 + CHANGE], [PERTURBED_F1, PERTURBED_F1 + PERTURBED_CHANGE]]
    )
    languages = []
    for size, seed_sd in zip(level.sizes, level.seed_sds, strict=True):
        seeds = generator.standard_normal((level.num_seeds, 2, 2)) * seed_sd / 2
        shared, *own = generator.standard_normal((3, size), dtype=np.float32)
        of_sets = np.moveaxis(np.clip(true_f1 + seeds, 0.01, 0.99), 1, 0)
        published, perturbed = (
            _score(size, f1, generator, np.sqrt(np.float32(0.5)) * (shared + of_set))
            for f1, of_set in zip(of_sets, own, strict=True)
        )
        languages.append((published, perturbed))
    return languages


def _score(
    num_sentences: int,
    true_f1: np.ndarray,
    generator: np.random.Generator,
    hardness: np.ndarray | None = None,
) -> Scored:
    """Score models of this true F1, float64 (seeds, 2), on sentences that are drawn, or of this
    hardness, standard normal (sentences,)."""
    # Half of the entities that are missed are predicted wrongly. Of 2 entities a sentence a share p
    # is found, so that F1 = 4 p / (2 + (2 p + 1 - p + SPURIOUS)).
    found = true_f1 * (3 + SPURIOUS) / (4 - true_f1)
    noise = np.sqrt(1 + HARDNESS**2 + OF_SEED**2 + OF_MODEL**2)
    num_seeds = len(true_f1)

    def normal(*shape: int) -> np.ndarray:
        return generator.standard_normal((*shape, num_sentences), dtype=np.float32)

    liking = ndtri(found)[..., None].astype(np.float32) * np.float32(noise)
    liking = liking + HARDNESS * (normal() if hardness is None else hardness)
    liking = liking + OF_SEED * normal(num_seeds, 1)
    chance = ndtr(liking + OF_MODEL * normal(num_seeds, 2))

    support = generator.integers(1, 4, num_sentences).astype(np.int8)
    correct, wrong = (np.zeros(chance.shape, np.int8) for _ in range(2))
    for number in range(3):
        correct += _happens(chance, generator) & (support > number)
    for number in range(3):
        wrong += _happens(0.5, generator, chance.shape) & (support - correct > number)
    spurious = _happens(SPURIOUS, generator, chance.shape)
    return Scored(support, correct + wrong + spurious, correct)


def _happens(
    chance: float | np.ndarray,
    generator: np.random.Generator,
    shape: tuple[int, ...] | None = None,
) -> np.ndarray:
    return generator.random(np.shape(chance) if shape is None else shape, np.float32) < chance


Ends = tuple[np.ndarray, np.ndarray]
"""Low and high ends of the intervals of a level's languages."""


def ours(scored: Sequence[Scored], is_shared: bool) -> Ends:
    """What `analyze` does: parts of sentences and seeds, the latter moderated over the level."""
    values = np.stack([one.f1()[:, 1] - one.f1()[:, 0] for one in scored])
    parts = np.array([sentence_variances(one.influences(), len(one.num_correct)) for one in scored])
    sizes = np.array([len(one.support) for one in scored], float)
    found = estimate(Spreads(values, parts[:, 0], parts[:, 1], sizes), is_shared)
    return find_ends(found.mean, found.variance, found.df, CONFIDENCE)


def student(scored: Sequence[Scored], _: bool) -> Ends:
    """Student's t over the seeds of each language by itself, as if sentences were given."""
    values = np.stack([one.f1()[:, 1] - one.f1()[:, 0] for one in scored])
    num_seeds = values.shape[1]
    variance, df = values.var(axis=1, ddof=1) / num_seeds, np.full(len(values), num_seeds - 1.0)
    return find_ends(values.mean(axis=1), variance, df, CONFIDENCE)


def crossed(scored: Sequence[Scored], _: bool) -> Ends:
    """Percentiles of a bootstrap that draws sentences, once for all models, and seeds: Owen 2007,
    The pigeonhole bootstrap. `analyze` did this before. It is slow, so a few languages will do."""
    generator, level = np.random.default_rng(0), (1 - CONFIDENCE) / 2
    ends = []
    for one in scored[:NUM_CROSSED]:
        size, num_seeds = len(one.support), len(one.num_correct)
        drawn = generator.integers(size, size=(NUM_REPLICATES, size))
        drawn += np.arange(NUM_REPLICATES)[:, None] * size
        times = np.bincount(drawn.ravel(), minlength=NUM_REPLICATES * size)
        times = times.reshape(NUM_REPLICATES, size).astype(np.float32)
        entities = (one.support + one.num_predicted).reshape(-1, size).T.astype(np.float32)
        correct = one.num_correct.reshape(-1, size).T.astype(np.float32)
        f1 = (2 * (times @ correct) / (times @ entities)).reshape(NUM_REPLICATES, num_seeds, 2)
        seeds = generator.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), NUM_REPLICATES)
        change = ((f1[..., 1] - f1[..., 0]) * seeds).sum(axis=1) / num_seeds
        ends.append(np.quantile(change, [level, 1 - level]))
    low, high = np.array(ends).T
    return low, high


METHODS: dict[str, Callable[[Sequence[Scored], bool], Ends]] = {
    "crossed bootstrap": crossed,
    "t over seeds": student,
    "analyze": ours,
}


def cover(
    level: Level, num_sets: int, names: Sequence[str] = tuple(METHODS)
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Simulate data sets of a level.

    Returns:
        By method: share of the intervals of each language that hold the truth, and their median
        width.
    """
    generator = np.random.default_rng([level.num_seeds, *level.sizes])
    held: dict[str, list[np.ndarray]] = {name: [] for name in names}
    widths: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for _ in range(num_sets):
        scored = simulate(level, generator)
        for name in names:
            low, high = METHODS[name](scored, level.together > 0)
            held[name].append((low <= CHANGE) & (high >= CHANGE))
            widths[name].append(high - low)
    return {name: (np.mean(held[name], axis=0), np.median(widths[name], axis=0)) for name in names}


def coverage(num_sets: int) -> Iterator[str]:
    """Languages of one size and one seed sd: coverage (and median width) by method."""
    names = ("crossed bootstrap", "t over seeds", "analyze")
    yield f"| n | seed sd | seeds | {' | '.join(names)} |"
    yield "|---" * (3 + len(names)) + "|"
    for size in SIZES:
        for seed_sd in SEED_SDS:
            for num_seeds in SEEDS:
                level = Level(
                    sizes=(size,) * NUM_LANGUAGES,
                    seed_sds=(seed_sd,) * NUM_LANGUAGES,
                    num_seeds=num_seeds,
                )
                found = cover(level, num_sets, names)
                cells = [f"{held.mean():.2f} ({np.median(w):.3f})" for held, w in found.values()]
                yield f"| {size:,} | {seed_sd:g} | {num_seeds} | {' | '.join(cells)} |"
    yield _error_of(NUM_CROSSED * num_sets)


def drops(num_sets: int) -> Iterator[str]:
    """The change of the drop from published to perturbed sentences, of languages of one size:
    coverage (and median width) with seeds alone, and with sentences, as where predictions of both
    are stored."""
    truth = CHANGE - PERTURBED_CHANGE
    yield "| n | seed sd | seeds | seeds alone | analyze |"
    yield "|---" * 5 + "|"
    for size in (100, 1_000):
        for seed_sd in (0.0, 0.02):
            for num_seeds in (2, 3, 5):
                level = Level(
                    sizes=(size,) * NUM_LANGUAGES,
                    seed_sds=(seed_sd,) * NUM_LANGUAGES,
                    num_seeds=num_seeds,
                )
                generator = np.random.default_rng([num_seeds, size, int(1_000 * seed_sd)])
                found = np.array([_ends_of_drops(level, generator) for _ in range(num_sets)])
                low, high = np.moveaxis(found, 2, 0)  # each: sets, methods, languages
                held = ((low <= truth) & (truth <= high)).mean(axis=(0, 2))
                widths = np.median(high - low, axis=(0, 2))
                cells = [f"{one:.2f} ({w:.3f})" for one, w in zip(held, widths, strict=True)]
                yield f"| {size:,} | {seed_sd:g} | {num_seeds} | {' | '.join(cells)} |"
    yield _error_of(NUM_LANGUAGES * num_sets)


def _ends_of_drops(level: Level, generator: np.random.Generator) -> np.ndarray:
    """Float64 (2, 2, languages): low and high ends, with seeds alone and with sentences."""
    languages = simulate_drops(level, generator)
    f1s = np.array([[one.f1() for one in both] for both in languages])  # language, set, seed, side
    values = (f1s[:, 0] - f1s[:, 1]) @ np.array([-1, 1])
    influences = [
        published.influences() - perturbed.influences() for published, perturbed in languages
    ]
    parts = np.array([sentence_variances(one, level.num_seeds) for one in influences])
    sizes = np.array(level.sizes, float)
    ends = []
    for of_sentences, known in ((0 * parts, np.full(len(sizes), np.inf)), (parts, sizes)):
        found = estimate(Spreads(values, of_sentences[:, 0], of_sentences[:, 1], known))
        ends.append(find_ends(found.mean, found.variance, found.df, CONFIDENCE))
    return np.array(ends)


def mixed(num_sets: int) -> Iterator[str]:
    """Languages of several sizes in one level, their seed sds alike, different, or larger where
    there are few sentences: coverage of what `analyze` does, by size."""
    sizes = np.array(MIXED_SIZES)
    generator = np.random.default_rng(0)
    kinds = {
        "0": np.zeros(len(sizes)),
        "0.02": np.full(len(sizes), 0.02),
        "0.02, by a factor of 2 to either side": 0.02
        * np.exp2(generator.uniform(-1, 1, len(sizes))),
        "0.1 at n = 50, falling to 0.012": 0.1 * (sizes / 50) ** -0.4,
    }
    shown = sorted(set(MIXED_SIZES))
    yield f"| seed sd | seeds | {' | '.join(f'n = {size:,}' for size in shown)} |"
    yield "|---" * (2 + len(shown)) + "|"
    for kind, seed_sds in kinds.items():
        for num_seeds in SEEDS[:3]:
            level = Level(sizes=MIXED_SIZES, seed_sds=tuple(seed_sds), num_seeds=num_seeds)
            held, _ = cover(level, num_sets, ("analyze",))["analyze"]
            cells = [f"{held[sizes == size].mean():.2f}" for size in shown]
            yield f"| {kind} | {num_seeds} | {' | '.join(cells)} |"
    yield _error_of(min(MIXED_SIZES.count(size) for size in shown) * num_sets)


def few(num_sets: int) -> Iterator[str]:
    """Few languages, and languages that are trained together: coverage (and median width) of what
    `analyze` does, n = 1,000, seed sd 0.03."""
    counts = (1, 2, 4, 20)
    yield f"| correlation over languages | seeds | {' | '.join(f'{n} languages' for n in counts)} |"
    yield "|---" * (2 + len(counts)) + "|"
    for together in (0.0, 0.5, 1.0):
        for num_seeds in SEEDS[:3]:
            cells = []
            for count in counts:
                level = Level(sizes=(1_000,) * count, seed_sds=(0.03,) * count, num_seeds=num_seeds)
                level = replace(level, together=together if count > 1 else 0.0)
                # Languages that are trained together are one draw.
                per_count = 10 if together else max(1, NUM_LANGUAGES // count)
                num_draws = num_sets * per_count
                held, width = cover(level, num_draws, ("analyze",))["analyze"]
                cells.append(f"{held.mean():.2f} ({np.median(width):.3f})")
            yield f"| {together:g} | {num_seeds} | {' | '.join(cells)} |"
    yield _error_of(min(10, NUM_LANGUAGES) * num_sets)


def worst(num_sets: int) -> Iterator[str]:
    """The largest loss of several languages, whose standard errors are 0.02: coverage of its own
    interval, and of the one in table `worst`, which pools in part; by the standard deviation of the
    true changes between languages."""
    between = (0.0, 0.01, 0.03, 0.1)
    number = 100 * num_sets
    yield f"| languages | {' | '.join(f'sd {sd:g}: own, pooled' for sd in between)} |"
    yield "|---" * (1 + len(between)) + "|"
    for count in (4, 10, 40):
        cells = []
        for sd in between:
            generator = np.random.default_rng([count, int(1_000 * sd)])
            own, pooled = 0, 0
            for _ in range(number):
                truth = generator.normal(CHANGE, sd, count)
                seen, variances = generator.normal(truth, 0.02), np.full(count, 0.02**2)
                own += _holds(seen, variances, truth)
                pooled += _holds(*shrink(seen, variances), truth)
            cells.append(f"{own / number:.2f}, {pooled / number:.2f}")
        yield f"| {count} | {' | '.join(cells)} |"
    yield _error_of(number)


def spread(num_sets: int) -> Iterator[str]:
    """How unequal languages are: coverage of the intervals of table `disparity` for the worst
    F1, the standard deviation over languages and best minus worst, by the standard deviation of the
    true F1 between languages and their standard errors, which are known with 10 degrees of
    freedom and differ by half their size."""
    cases = ((0.1, 0.02), (0.05, 0.05), (0.02, 0.05))
    number = 10 * num_sets
    heads = (f"sd {sd:g}, error {error:g}: worst, std, range" for sd, error in cases)
    yield f"| languages | {' | '.join(heads)} |"
    yield "|---" * (1 + len(cases)) + "|"
    for count in (4, 6, 20, 40):
        cells = []
        for sd, error in cases:
            generator = np.random.default_rng([count, int(1_000 * sd)])
            held = np.zeros(3)
            for _ in range(number):
                truth = generator.normal(0.5, sd, count)
                errors = error * np.exp(generator.normal(0, 0.5, count))
                seen, df = generator.normal(truth, errors), np.full(count, 10.0)
                variances = np.tile(errors**2 * generator.chisquare(10, count) / 10, (3, 1))
                both = np.stack([seen, seen])
                low, high = spread_ends(both, variances, df, None, CONFIDENCE, generator)
                true = np.array([truth.min(), truth.std(ddof=1), np.ptp(truth)])
                held += (low[:3] <= true) & (true <= high[:3])
            cells.append(", ".join(f"{share:.2f}" for share in held / number))
        yield f"| {count} | {' | '.join(cells)} |"
    yield _error_of(number)


def _holds(means: np.ndarray, variances: np.ndarray, truth: np.ndarray) -> bool:
    """Whether the interval of the smallest mean holds its truth."""
    at = means.argmin()
    return bool(abs(means[at] - truth[at]) <= -ndtri((1 - CONFIDENCE) / 2) * variances[at] ** 0.5)


def _error_of(number: int) -> str:
    error = 2 * np.sqrt(CONFIDENCE * (1 - CONFIDENCE) / number)
    return f"{number:,} intervals a figure or more: simulation error of coverage ±{error:.3f}."


PARTS: dict[str, Callable[[int], Iterator[str]]] = {
    part.__name__: part
    for part in (
        coverage,
        drops,
        mixed,
        few,
        worst,
        spread,
        false_positives,
        exchanged_seeds,
    )
}


def main() -> int:
    """Run the parts named on the command line, or all, and print their tables."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.statistics", description=main.__doc__
    )
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument(
        "--sets", type=int, default=NUM_SETS, help="data sets a figure (default: %(default)s)"
    )
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: no such part; there are {', '.join(PARTS)}")
    for name in args.parts or PARTS:
        print(f"\n{name}: {' '.join((PARTS[name].__doc__ or '').split())}\n", flush=True)
        for line in PARTS[name](args.sets):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
