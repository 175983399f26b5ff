"""How often the tests of `analyze` find something where there is nothing: parts of
`tests.benchmarks.statistics`.

Languages are real ones, with their families and the sizes of their Wikipedias; their changes of F1
are drawn, and a given part of their variance is common to a family.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from orchestrator.analysis.topics.covariates import WIKIPEDIA_MB
from orchestrator.analysis.topics.disagreement import compare_seeds
from orchestrator.analysis.topics.inference import signed_rank
from orchestrator.analysis.topics.losses import correlate, regress
from orchestrator.analysis.topics.mixed_model import TERMS, fit_slopes, p_values
from orchestrator.results.rows import Row
from orchestrator.spec.languages import LANGUAGES, XTREME

CODES = {
    4: ("af", "en", "sw", "yo"),
    6: ("af", "en", "jv", "my", "sw", "yo"),
    40: XTREME,
}
SHARES = (0.0, 0.1, 0.3, 0.5)
"""Parts of the variance that are common to a family."""

LEVEL = 0.05
DRAWS_PER_SET, MODELS_PER_SET = 40, 10
CHANGE_SD, SEED_SD, DENSE_SD = 0.05, 0.02, 0.1
"""Over languages, of the true change of F1; over seeds, of a trial's F1; over languages, of the
true dense F1."""

SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)


def draw(
    codes: Sequence[str], share: float, generator: np.random.Generator, num: int = 1
) -> np.ndarray:
    """Values of languages with a variance of 1; float64 (num, languages)."""
    families = [LANGUAGES[code].family for code in codes]
    numbers = np.unique(families, return_inverse=True)[1]
    own = generator.standard_normal((num, len(codes)))
    common = generator.standard_normal((num, numbers.max() + 1))[:, numbers]
    return np.sqrt(1 - share) * own + np.sqrt(share) * common


def _sizes(codes: Sequence[str]) -> np.ndarray:
    return np.log2([WIKIPEDIA_MB[code] for code in codes])


def tests(codes: Sequence[str], share: float, generator: np.random.Generator) -> Row:
    """Changes that are centred on 0."""
    return signed_rank(draw(codes, share, generator)[0], [LANGUAGES[code].family for code in codes])


def correlations(codes: Sequence[str], share: float, generator: np.random.Generator) -> Row:
    """Changes that have nothing to do with the size of a Wikipedia."""
    changes = draw(codes, share, generator)[0]
    return correlate(_sizes(codes), changes, [LANGUAGES[code].family for code in codes])


def dense_f1(codes: Sequence[str], share: float, generator: np.random.Generator) -> Row:
    """Changes that have nothing to do with the dense F1, but for noise of three seeds in both."""
    noise = SEED_SD / np.sqrt(3) * generator.standard_normal((2, len(codes)))
    dense = DENSE_SD * draw(codes, share, generator)[0] + noise[0]
    changes = CHANGE_SD * draw(codes, share, generator)[0] + noise[1] - noise[0]
    return correlate(dense, changes, [LANGUAGES[code].family for code in codes])


def slopes(codes: Sequence[str], share: float, generator: np.random.Generator) -> Row:
    """Slopes on sparsity that have nothing to do with the size of a Wikipedia."""
    changes = draw(codes, share, generator)[0]
    return regress(_sizes(codes), changes, [LANGUAGES[code].family for code in codes])


def model(codes: Sequence[str], share: float, generator: np.random.Generator) -> Row:
    """The interaction of sparsity and size where slopes have nothing to do with the size."""
    number, levels = len(codes), np.array(SPARSITIES)
    own, slope = draw(codes, share, generator, 2)
    changes = 0.05 * own[:, None] + (0.3 * slope[:, None] - 0.5) * (levels - levels.mean())
    changes += SEED_SD / np.sqrt(1.5) * generator.standard_normal(changes.shape)
    languages = np.repeat(np.arange(number), len(levels))
    sizes = _sizes(codes)[languages]
    fit = fit_slopes(changes.ravel(), np.tile(levels, number), sizes, languages)
    assert fit is not None
    p = p_values(fit, number)[TERMS.index("sparsity:log10_train")]
    return {"p": None, "p_independent": float(p)}


Test = Callable[[Sequence[str], float, np.random.Generator], Row]
TESTS: dict[str, Test] = {
    "`tests`": tests,
    "`correlations`": correlations,
    "`correlations` with dense F1": dense_f1,
    "`slopes`": slopes,
    "`model`, sparsity:log10_train": model,
}


def find_rate(test: Test, num_languages: int, share: float, num_draws: int) -> tuple[float, float]:
    """The shares of draws with a p, and with a p_independent, of at most `LEVEL`."""
    generator = np.random.default_rng([num_languages, int(100 * share)])
    rows = [test(CODES[num_languages], share, generator) for _ in range(num_draws)]
    rates = [
        np.mean([row[name] is not None and row[name] <= LEVEL for row in rows])
        for name in ("p", "p_independent")
    ]
    return float(rates[0]), float(rates[1])


def false_positives(num_sets: int) -> Iterator[str]:
    """Tests across languages where there is nothing to find: how often p is at most 0.05 (and
    p_independent, which is not made for languages with something in common)."""
    parts = " | ".join(f"{share:.0%} by family" for share in SHARES)
    yield f"| table | languages | {parts} |"
    yield "|---" * (2 + len(SHARES)) + "|"
    for name, test in TESTS.items():
        num_draws = num_sets * (MODELS_PER_SET if test is model else DRAWS_PER_SET)
        for number in CODES:
            rates = [find_rate(test, number, share, num_draws) for share in SHARES]
            cells = [f"{'–' if test is model else f'{p:.3f}'} ({alone:.3f})" for p, alone in rates]
            yield f"| {name} | {number} | {' | '.join(cells)} |"
    yield (f"{_errors(DRAWS_PER_SET * num_sets)}; of `model` {_errors(MODELS_PER_SET * num_sets)}.")


def _errors(number: int) -> str:
    error = 2 * np.sqrt(LEVEL * (1 - LEVEL) / number)
    return f"{number:,} draws a figure: simulation error ±{error:.3f}"


def exchanged_seeds(num_sets: int) -> Iterator[str]:
    """Sparse trials that differ from dense ones as seeds do: how often p of `disagreement` is at
    most 0.05 and 0.25, 200 sentences."""
    yield "| seeds | least p | p <= 0.05 | p <= 0.25 |"
    yield "|---|---|---|---|"
    num_draws = num_sets * DRAWS_PER_SET
    for num_seeds in (2, 3, 5, 6, 8):
        generator = np.random.default_rng(num_seeds)
        found = []
        for _ in range(num_draws):
            liking = generator.beta(0.5, 2, 200)
            both = generator.random((2, num_seeds, 200)) < liking
            # What the two trials of a seed share.
            of_seed = generator.random((num_seeds, 200)) < liking
            both = np.where(generator.random(both.shape) < 0.3, of_seed, both).astype(np.int32)
            found.append(compare_seeds(*both)["p"])
        rates = [np.mean(np.array(found) <= level) for level in (0.05, 0.25)]
        yield f"| {num_seeds} | {2.0 ** (1 - num_seeds):g} | {rates[0]:.3f} | {rates[1]:.3f} |"
    yield f"{_errors(num_draws)}."
