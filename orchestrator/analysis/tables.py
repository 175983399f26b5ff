"""The tables that an analysis consists of: every column with its unit and meaning, and the
thresholds in them.

A change is sparse minus dense, so that a loss is negative; a drop is clean minus perturbed. Both
are differences within one seed, averaged. Null is "not measured" or "not defined", and the counts
beside it say how much was. Nothing is computed here, and nothing heavy imported.
"""

from dataclasses import dataclass

import pyarrow as pa

from orchestrator.results import schema
from orchestrator.results.columns import FLAG, REAL, TEXT, WHOLE, Column, Table
from orchestrator.results.schema import CELL_ID, GRID_SCORED, LANGUAGE_SCORED
from workers import trial

MARGIN = 0.01
"""The largest change of F1 that does not matter, where `analyze` is not told another."""

COLLAPSED = 0.01
"""A sparse F1 below this is as good as 0: its change says how good the dense trial was."""

VERDICTS = ("better", "worse", "equivalent", "undecided")
"""What a change of F1 can come to."""

ROUNDING = 1e-9
"""Differences of decimal fractions, such as 0.81 - 0.80, are compared with a threshold up to
this."""

TIERS = (
    (100, "up to 100"),
    (1_000, "up to 1,000"),
    (10_000, "up to 10,000"),
    (10**9, "over 10,000"),
)
"""Resource tiers: the largest train split of each, in sentences. WikiANN publishes 100; 1,000;
5,000 and 10,000; 15,000 and 20,000. `tier` goes by what is published, `tier_used` by the part of it
that trials used."""

GROUPINGS = ("all", "tier", "tier_used", "script", "family")
"""What languages are grouped by; `all` is one group."""

SUBSETS = (*trial.SUBSETS, "distinct")
"""Parts of a split: those that are scored; and distinct: of identical sentences the first."""

NUM_BINS = 10
"""Of probabilities, of equal width; the last one has 1, too."""

THRESHOLDS = tuple(step / 20 for step in range(20))
"""Values of F1 that performance profiles go through."""

TIER_GROUPINGS = ("all", "tier", "tier_used")
"""Those of them that steps are told of."""


@dataclass(frozen=True, kw_only=True)
class AnalysisTable:
    """One finished table.

    Attributes:
        table: what it is, and what its columns mean.
        rows: its rows, in the order in which they are shown.
        notes: sentences that must be said of them.
    """

    table: Table
    rows: pa.Table
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its name, and that of its files."""
        return self.table.name

    @property
    def title(self) -> str:
        """What it is, in one sentence."""
        return self.table.meaning.partition(". ")[0].rstrip(".")


def _table(name: str, meaning: str, *columns: Column) -> Table:
    """A computed table: its rows are not stored by key, and come in the order of the analysis."""
    return Table(name, meaning, key="regime", sort_by=(), columns=columns)


def _text(name: str, meaning: str, is_nullable: bool = False) -> Column:
    return Column(name, TEXT, meaning, is_nullable)


def _count(name: str, meaning: str, is_nullable: bool = False) -> Column:
    return Column(name, WHOLE, meaning, is_nullable, "count")


def _fraction(name: str, meaning: str) -> Column:
    return Column(name, REAL, meaning, True, "fraction")


def _least_mean_most(name: str, what: str) -> tuple[Column, ...]:
    """Three columns of one number over trials."""
    first, last = what.partition(";")[0], "".join(what.partition(";")[1:])
    return (
        _count(f"num_{name}_min", f"Fewest {first} of a trial{last}.", True),
        Column(f"num_{name}_mean", REAL, f"Mean of the {first}{last}.", True, "count"),
        _count(f"num_{name}_max", f"Most {first} of a trial{last}.", True),
    )


def _ends(name: str, of: str) -> tuple[Column, Column]:
    """The columns of an interval."""
    return (
        _fraction(f"{name}_low", f"Lower end of the interval of {of}; null where there is none."),
        _fraction(f"{name}_high", "Its upper end."),
    )


REGIME = _text(
    "regime",
    "monolingual; multilingual: one model trained on several languages together; or, as in "
    "zero-shot from en: scores in languages that the trials, trained on that one, were not trained "
    "on.",
)

AGGREGATES = Table(
    "aggregates",
    "One row a cell (the trials that differ by seed only) and language scored. Computed by "
    "`sparsweep aggregate`, from the tables above.",
    key="cell_id",
    sort_by=("regime", "language", "target_sparsity", "embedding_sparsity", "cell_id"),
    columns=(
        REGIME,
        *GRID_SCORED[1:-1],
        CELL_ID,
        _text(
            "settings",
            "What tells the cell from others of this language and sparsity; null if alone.",
            is_nullable=True,
        ),
        _text("split", "Split that was scored."),
        _fraction("f1_mean", "Mean micro F1 over seeds; null when no seed has one."),
        _fraction("f1_std", "Its sample standard deviation; null below two seeds."),
        _count("num_seeds", "Seeds with an F1."),
        _fraction("delta_dense_mean", "Mean of F1 minus that of the same seed's dense trial."),
        _fraction("delta_dense_std", "Its sample standard deviation; null below two pairs."),
        _fraction("relative_dense_mean", "Mean of that difference as a part of the dense F1."),
        _count("num_pairs", "Seeds where both have an F1."),
        _count("num_holes", "Seeds that were planned or tried and have no F1."),
        _count(
            "num_silent",
            "Seeds that predict not one entity though there are some: their F1 is 0 for that.",
        ),
    ),
)
"""The table of `sparsweep aggregate`; those of `sparsweep analyze` are in `ANALYSES`."""

# Columns that several tables share

OF_CELL = {column.name: column for column in AGGREGATES.columns}
TARGET, EMBEDDING = GRID_SCORED[2:4]
SERIES_COLUMNS = (
    REGIME,
    _text(
        "settings",
        "What tells these settings from others in the results; null where all have one.",
        True,
    ),
)
EMBEDDINGS_COLUMN = _text(
    "embeddings",
    "Word embeddings: dense; pruned: to the sparsity of the rest; or pruned to another value.",
)
LEVEL_COLUMNS = (TARGET, EMBEDDING, EMBEDDINGS_COLUMN)
FACT_COLUMNS = (
    _count(
        "num_train_sentences",
        "Train sentences used; of a multilingual trial WikiANN's, up to the limit.",
        True,
    ),
    _text(
        "tier",
        "Resource tier, by the published train split; null for a language not in the list.",
        True,
    ),
    _text(
        "tier_used",
        "The same by num_train_sentences, whatever the language; null where that is null.",
        True,
    ),
    _text("script", "ISO 15924 script; null for a language not in the list.", True),
    _text("family", "Language family; null for a language not in the list.", True),
)
TRIALS_BEHIND = _count("num_trials", "Trials behind these numbers.")
LANGUAGES_BEHIND = _count("num_languages", "Languages behind these numbers.")

QUALITY = _table(
    "quality",
    "F1 by language, sparsity and embeddings, and its change to the same seed's dense trial. One "
    "row a cell and language scored.",
    *SERIES_COLUMNS,
    LANGUAGE_SCORED,
    *LEVEL_COLUMNS,
    OF_CELL["cell_id"],
    OF_CELL["split"],
    *FACT_COLUMNS,
    OF_CELL["f1_mean"],
    *_ends("f1", "that mean"),
    *(OF_CELL[name] for name in ("f1_std", "num_seeds")),
    *(
        OF_CELL[name]
        for name in ("delta_dense_mean", "delta_dense_std", "relative_dense_mean", "num_pairs")
    ),
    OF_CELL["num_holes"],
)

GROUPS = _table(
    "groups",
    "F1 and its change by resource tier, as published and as used, script and family: means over "
    "languages of each language's mean over seeds.",
    *SERIES_COLUMNS,
    _text(
        "grouping",
        f"What languages are grouped by: {', '.join(GROUPINGS)}; all: in one group.",
    ),
    _text(
        "group", "The tier, script or family; null for languages of which it is not known.", True
    ),
    *LEVEL_COLUMNS,
    _fraction("f1_mean", "Mean over the group's languages of their mean F1."),
    *_ends("f1", "that mean, of these languages"),
    _fraction(
        "f1_std", "Sample standard deviation of the languages' mean F1; null below two languages."
    ),
    _count("num_languages", "Languages with an F1."),
    _count("num_trials", "Trials with an F1."),
    _fraction("delta_dense_mean", "Mean over the group's languages of their mean change to dense."),
    *_ends("delta_dense", "that mean, of these languages"),
    _fraction(
        "delta_dense_std",
        "Sample standard deviation of the languages' changes; null below two languages.",
    ),
    _fraction(
        "relative_dense_mean", "Mean over languages of their mean change as a part of the dense F1."
    ),
    _count("num_languages_compared", "Languages with a change to dense."),
    _count("num_trials_compared", "Sparse trials with a change to dense."),
    _count("num_languages_missing", "Languages without an F1 here."),
    _count("num_holes", "Trials that were planned or tried and lack an F1."),
)

STEPS = _table(
    "steps",
    "Optimizer steps, mask updates that prune and steps of recovery by resource tier. Where they "
    "differ between tiers, so may F1 for that reason alone.",
    *SERIES_COLUMNS,
    _text("trials", "dense or sparse."),
    _text("grouping", f"What languages are grouped by: {', '.join(TIER_GROUPINGS)}."),
    _text("group", "The tier; null for languages of which it is not known.", True),
    *_least_mean_most("steps", "optimizer steps of training"),
    *_least_mean_most(
        "updates", "mask updates that prune something, as the schedule has them; null if dense"
    ),
    *_least_mean_most(
        "recovery_steps",
        "steps from the last mask update to the model that was scored; null if dense",
    ),
    LANGUAGES_BEHIND,
    TRIALS_BEHIND,
    _count("num_missing", "Trials that were planned or failed; of these nothing is known."),
)

WORST = _table(
    "worst",
    "The language, and the group of each kind, that loses most at each sparsity, by changes that "
    "are pooled in part. Of equals the first in the alphabet. Source: Morris 1983, Parametric "
    "empirical Bayes inference.",
    *SERIES_COLUMNS,
    *LEVEL_COLUMNS,
    _text("kind", "language, tier, tier_used, script or family."),
    _text(
        "name",
        "The language or group that loses most; null where none can be compared.",
        True,
    ),
    _fraction("delta_dense_mean", "Its change to dense; above 0 where even the worst gains."),
    _fraction(
        "delta_pooled",
        "Its change drawn towards the mean of those with an interval, by which it is the worst; of "
        "fewer than four, or without an interval, the change itself.",
    ),
    *_ends("delta_pooled", "delta_pooled"),
    _fraction("relative_dense_mean", "That change as a part of the dense F1."),
    _count("num_languages", "Languages behind it."),
    _count("num_trials", "Sparse trials behind it."),
    _count("num_compared", "Languages or groups that it is the worst of."),
    _count("num_missing", "Languages or groups that could not be compared."),
)

EMBEDDINGS = _table(
    "embeddings",
    "F1 with pruned minus F1 with dense word embeddings, at equal sparsity of the rest, paired by "
    "seed.",
    *SERIES_COLUMNS,
    LANGUAGE_SCORED,
    *LEVEL_COLUMNS,
    _fraction("f1_pruned_mean", "Mean F1 with pruned embeddings, over the pairs."),
    _fraction("f1_dense_mean", "Mean F1 with dense embeddings, over the pairs."),
    _fraction("delta_embeddings_mean", "Mean of F1 with pruned minus F1 with dense embeddings."),
    *_ends("delta_embeddings", "that mean"),
    _fraction(
        "delta_embeddings_std", "Its sample standard deviation over seeds; null below two pairs."
    ),
    _count("num_pairs", "Seeds with both."),
    _count("num_holes", "Seeds where either has no F1."),
)

EMBEDDINGS_OVERALL = _table(
    "embeddings_overall",
    "The same over all languages: the mean of their mean differences.",
    *SERIES_COLUMNS,
    *LEVEL_COLUMNS,
    _fraction("delta_embeddings_mean", "Mean over languages."),
    *_ends("delta_embeddings", "that mean, of these languages"),
    _fraction("delta_embeddings_std", "Sample standard deviation over languages; null below two."),
    LANGUAGES_BEHIND,
    _count("num_languages_missing", "Languages without a pair."),
    _count("num_trials", "Trials with pruned embeddings behind it."),
)

DISPARITY = _table(
    "disparity",
    "How unequal languages are at each sparsity, beside the same languages and seeds dense: the "
    "worst of them, their spread, and the gap between tiers. A change is sparse minus dense; for "
    "spread and gap above 0: less equal.",
    *SERIES_COLUMNS,
    *LEVEL_COLUMNS,
    _text(
        "worst_language",
        "Language with the lowest mean F1; of equals the first in the alphabet; null without one.",
        True,
    ),
    _fraction("worst_f1", "Its mean F1, over the seeds that also have a dense F1."),
    *_ends("worst_f1", "worst_f1"),
    _text("dense_worst_language", "The same of the dense trials; may be another language.", True),
    _fraction("dense_worst_f1", "Its mean dense F1, over the same seeds."),
    _fraction("worst_f1_change", "worst_f1 - dense_worst_f1."),
    *_ends("worst_f1_change", "worst_f1_change"),
    _fraction("f1_std", "Sample standard deviation of the languages' mean F1; null below two."),
    *_ends("f1_std", "f1_std"),
    _fraction("dense_f1_std", "The same of the dense trials."),
    _fraction("f1_std_change", "f1_std - dense_f1_std."),
    *_ends("f1_std_change", "f1_std_change"),
    _fraction("f1_range", "Best minus worst of the languages' mean F1; null below two languages."),
    *_ends("f1_range", "f1_range"),
    _fraction("dense_f1_range", "The same of the dense trials."),
    _fraction("f1_range_change", "f1_range - dense_f1_range."),
    *_ends("f1_range_change", "f1_range_change"),
    _text("top_tier", "Tier with most train sentences of those with a language.", True),
    _text("bottom_tier", "Tier with fewest train sentences of those with a language.", True),
    _fraction(
        "tier_gap", "Mean over top_tier's languages minus mean over bottom_tier's; null if one."
    ),
    *_ends("tier_gap", "tier_gap"),
    _fraction("dense_tier_gap", "The same of the dense trials."),
    _fraction("tier_gap_change", "tier_gap - dense_tier_gap."),
    *_ends("tier_gap_change", "tier_gap_change"),
    _text("reason", "Why a number is null; null where none is.", True),
    _count("num_top", "Languages in top_tier."),
    _count("num_bottom", "Languages in bottom_tier."),
    _count("num_languages", "Languages with a sparse and a dense F1 of one seed, or of several."),
    _count("num_languages_missing", "Languages without; they are left out of both sides."),
    _count("num_trials", "Sparse trials with a change to dense."),
)

SUBSET_COLUMN = _text(
    "subset",
    "all sentences; seen: word for word a sentence of the train split as it was used; unseen: the "
    "others; distinct: of sentences with the same words the first, from stored predictions.",
)
BREAKDOWN = _table(
    "breakdown",
    "F1 and its change to dense by part of the sentences and entity type. One row a cell, language "
    "scored, subset and entity type.",
    *SERIES_COLUMNS,
    LANGUAGE_SCORED,
    *LEVEL_COLUMNS,
    OF_CELL["split"],
    SUBSET_COLUMN,
    schema.ENTITY_TYPE,
    _fraction("f1_mean", "Mean F1 over seeds; null when no seed has one."),
    *(OF_CELL[name] for name in ("f1_std", "num_seeds")),
    *(OF_CELL[name] for name in ("delta_dense_mean", "delta_dense_std", "num_pairs")),
    _count("num_holes", "Seeds that were planned or tried and have no F1 here."),
    _count("num_sentences", "Sentences of the subset; null where it is not known.", True),
    _count("support", "Entities annotated in them; null where it is not known.", True),
    _text("reason", "Why there is no F1; null where there is one.", True),
)

LAYER_SPARSITY = _table(
    "layer_sparsity",
    "Sparsity of each prunable matrix, over the seeds of a cell, and of the rows of word "
    "embeddings that a language uses, pruned or not. One row a cell and tensor, or language.",
    REGIME,
    SERIES_COLUMNS[1],
    _text(
        "language",
        "WikiANN code of the language trained on, or multilingual; of word embeddings used the "
        "language that uses them.",
    ),
    *LEVEL_COLUMNS,
    CELL_ID,
    _text(
        "name",
        "The tensor's name in the model; or word embeddings used: the rows of the sub-words that "
        "the train split of the language has, see `vocabulary`.",
    ),
    _count("layer", "The first number in the name; null where there is none.", True),
    _text("kind", "What follows that number, such as attention.self.query; or else the name."),
    _count("num_weights", "All its weights."),
    _fraction("sparsity_mean", "Mean over seeds of the zeros as a part of its weights."),
    _fraction("sparsity_min", "The lowest of a seed."),
    _fraction("sparsity_max", "The highest of a seed."),
    _fraction("density_min", "1 - sparsity_max: the part of its weights that is left at least."),
    Column("is_sparsest", FLAG, "Whether no row of the cell has a smaller density_min."),
    _count("num_collapsed", "Seeds in which it has no weight left."),
    TRIALS_BEHIND,
)

BUDGET = _table(
    "budget",
    "F1 beside what a model takes: overall sparsity, bytes and multiplications; and with pruned "
    "embeddings against dense ones at equal size. One row a cell and language scored.",
    *SERIES_COLUMNS,
    LANGUAGE_SCORED,
    *LEVEL_COLUMNS,
    _fraction("f1_mean", "Mean micro F1 over seeds; null when no seed has one."),
    _fraction("delta_dense_mean", "Mean of F1 minus that of the same seed's dense trial."),
    _fraction("overall_sparsity", "Zeros in prunable weights as a part of all parameters."),
    Column(
        "num_bytes",
        REAL,
        "Bytes of the model: 4 a weight that is not pruned away (float32), and if sparse a bit a "
        "prunable weight that says which those are. Mean over seeds.",
        True,
        "bytes",
    ),
    Column(
        "num_multiplications",
        REAL,
        "Multiplications of a sub-word with prunable matrices: their weights that are left, "
        "without embeddings, which are looked up. Times fertility in `languages`, those of a word. "
        "Without attention's products. Mean over seeds; null where no layers are stored.",
        True,
        "count",
    ),
    _fraction(
        "f1_equal_size",
        "F1 with dense embeddings at as many bytes, linear between the nearest sizes; null where "
        "embeddings are dense, and see reason.",
    ),
    _fraction("delta_equal_size", "f1_mean - f1_equal_size."),
    _text(
        "reason",
        "Why there is nothing of equal size; null where there is, or none is sought.",
        True,
    ),
    OF_CELL["num_seeds"],
)

_INTERVAL_COLUMNS = (
    _fraction("low", "Lower end of its interval; null with one seed a language."),
    _fraction("high", "Upper end of its interval."),
    _fraction("confidence", "Nominal coverage of the interval; null where there is none."),
    _text("reason", "Why a number is null; null where none is.", True),
    LANGUAGES_BEHIND,
    TRIALS_BEHIND,
)
ACROSS_LANGUAGES = _table(
    "across_languages",
    "Few seeds, many languages: the interquartile mean over all runs, a run being a language and "
    "seed, and the probability that a sparse run is better than a dense one. Intervals from a "
    "bootstrap stratified by language. Source: Agarwal et al. 2021.",
    *SERIES_COLUMNS,
    *LEVEL_COLUMNS,
    _text(
        "statistic",
        "iqm: mean F1 of the runs between the lowest and the highest quarter; improvement: share "
        "of pairs of a sparse and a dense seed of a language where sparse has the higher F1, equal "
        "ones half, mean over languages; 0.5: neither is better.",
    ),
    _fraction("value", "The number."),
    *_INTERVAL_COLUMNS,
)
PROFILES = _table(
    "profiles",
    "Performance profiles: the share of runs, a run being a language and seed, with an F1 above "
    "each threshold. Source: Agarwal et al. 2021.",
    *SERIES_COLUMNS,
    *LEVEL_COLUMNS,
    Column("threshold", REAL, "An F1.", unit="fraction"),
    _fraction("value", "Share of runs with an F1 above it."),
    *_INTERVAL_COLUMNS,
)

CALIBRATION = _table(
    "calibration",
    "How far the probabilities of predicted tags can be believed. One row a cell, language scored "
    "and kind of words.",
    *SERIES_COLUMNS,
    LANGUAGE_SCORED,
    *LEVEL_COLUMNS,
    OF_CELL["split"],
    _text("words", "all; or entity: those that were predicted as a part of an entity."),
    Column("num_words", REAL, "Mean number of these words over seeds.", True, "count"),
    _fraction(
        "accuracy_mean", "Part of them whose tag is right; mean over seeds, as what follows."
    ),
    _fraction("confidence_mean", "Mean probability of the predicted tag."),
    _fraction(
        "ece_mean",
        "Expected calibration error: mean over words of the distance of accuracy and confidence, "
        "in 10 bins of equal width (Guo et al. 2017).",
    ),
    _fraction("ece_std", "Its sample standard deviation over seeds; null below two."),
    _fraction(
        "brier_mean",
        "Mean square of the probability minus 1 where the tag is right, or 0 where it is not.",
    ),
    _fraction("brier_std", "Its sample standard deviation over seeds; null below two."),
    _fraction("delta_ece_mean", "Mean of ece minus that of the same seed's dense trial."),
    _fraction("delta_brier_mean", "Mean of brier minus that of the same seed's dense trial."),
    _count("num_seeds", "Seeds with stored probabilities."),
    _count("num_pairs", "Seeds where both have such words."),
    _count("num_holes", "Seeds that were planned or tried and have none."),
)

RELIABILITY = _table(
    "reliability",
    "How often predicted tags are right, by the probability that the model gave them: the numbers "
    "of a reliability diagram. One row a cell, language scored, kind of words and bin of "
    "probabilities; of cells with stored probabilities.",
    *SERIES_COLUMNS,
    LANGUAGE_SCORED,
    *LEVEL_COLUMNS,
    OF_CELL["split"],
    _text("words", "all; or entity: those that were predicted as a part of an entity."),
    _fraction("bin_low", f"Lowest probability of the bin, one of {NUM_BINS} of equal width."),
    _fraction("bin_high", "Where the next one begins; the last one has 1, too."),
    _count("num_words", "Words with such a probability, of all seeds together."),
    _fraction("confidence", "Mean probability of them; null where there are none."),
    _fraction("accuracy", "Part of them whose tag is right; null where there are none."),
    _count("num_seeds", "Seeds with stored probabilities."),
)

PERTURBATION_COLUMN = next(
    column for column in schema.ROBUSTNESS.columns if column.name == "perturbation"
)
ROBUSTNESS = _table(
    "robustness",
    "F1 on sentences whose entities were replaced, against the sentences as published. One row a "
    "cell, language and perturbation.",
    *SERIES_COLUMNS,
    LANGUAGE_SCORED,
    *LEVEL_COLUMNS,
    PERTURBATION_COLUMN,
    _text("status", "scored; not_applicable; or missing: no trial has a score."),
    _text("reason", "Why it is not applicable.", True),
    _fraction("f1_clean_mean", "Mean F1 on test as published, over the same seeds."),
    _fraction("f1_perturbed_mean", "Mean over seeds of the mean F1 over draws."),
    _fraction("f1_perturbed_std", "Its sample standard deviation over seeds; null below two."),
    _fraction("drop_mean", "Mean of clean minus perturbed F1."),
    _fraction("relative_drop_mean", "Mean of the drop as a part of the clean F1."),
    _fraction(
        "delta_dense_mean", "Mean of perturbed F1 minus that of the same seed's dense trial."
    ),
    _fraction(
        "delta_drop_mean",
        "Mean of the drop minus that of the same seed's dense trial; above 0: less robust.",
    ),
    *_ends("delta_drop", "that mean, with these draws of new entities"),
    _text(
        "allows_for",
        "What the interval allows for: seeds; sentences; seeds and sentences; or nothing, where "
        "there is none. Sentences take stored predictions of test, published and perturbed.",
    ),
    _count("num_draws", "Draws averaged, over all seeds together."),
    _count("num_seeds", "Seeds with a perturbed and a clean F1."),
    _count("num_pairs", "Of these, seeds whose dense trial has both, too."),
    _count(
        "num_holes", "Seeds that were planned or tried and lack one; 0 where it is not applicable."
    ),
)

ROBUSTNESS_OVERALL = _table(
    "robustness_overall",
    "Robustness over all languages that a perturbation applies to: means of the languages' means.",
    *SERIES_COLUMNS,
    *LEVEL_COLUMNS,
    PERTURBATION_COLUMN,
    _fraction("f1_clean_mean", "Mean over languages of the clean F1."),
    _fraction("f1_perturbed_mean", "Mean over languages of the perturbed F1."),
    _fraction("drop_mean", "Mean over languages of the drop."),
    _fraction("relative_drop_mean", "Mean over languages of the relative drop."),
    _fraction("delta_dense_mean", "Mean over languages of the perturbed F1's change to dense."),
    _fraction("delta_drop_mean", "Mean over languages of the drop's change to dense."),
    *_ends("delta_drop", "that mean, of these languages and with these draws of new entities"),
    LANGUAGES_BEHIND,
    _count("num_languages_compared", "Languages with a change to dense."),
    _count("num_trials_compared", "Sparse trials with a change to dense."),
    _count("num_not_applicable", "Languages that it does not apply to."),
    _count("num_languages_missing", "Languages that it applies to, or may, without a score."),
    TRIALS_BEHIND,
)

ROBUSTNESS_TYPES = _table(
    "robustness_types",
    "Robustness by entity type. One row a cell, language, perturbation that it was scored on, and "
    "entity type.",
    *SERIES_COLUMNS,
    LANGUAGE_SCORED,
    *LEVEL_COLUMNS,
    PERTURBATION_COLUMN,
    schema.ENTITY_TYPE,
    _fraction("f1_clean_mean", "Mean F1 on test as published, over the same seeds."),
    _fraction("f1_perturbed_mean", "Mean over seeds of the mean F1 over draws."),
    _fraction("drop_mean", "Mean of clean minus perturbed F1."),
    _fraction(
        "delta_dense_mean", "Mean of perturbed F1 minus that of the same seed's dense trial."
    ),
    _fraction(
        "delta_drop_mean",
        "Mean of the drop minus that of the same seed's dense trial; above 0: less robust.",
    ),
    _count("num_seeds", "Seeds with a perturbed and a clean F1."),
    _count("num_pairs", "Of these, seeds whose dense trial has both, too."),
    _count("num_holes", "Seeds that were planned or tried and lack one."),
)

ROBUSTNESS_SUBSETS = _table(
    "robustness_subsets",
    "Robustness by subset of the sentences, from stored predictions. One row a cell, language, "
    "perturbation that predictions are stored of, and subset.",
    *SERIES_COLUMNS,
    LANGUAGE_SCORED,
    *LEVEL_COLUMNS,
    PERTURBATION_COLUMN,
    _text(
        "subset",
        "all sentences; seen: made from one that is, word for word, a sentence of the train split "
        "as it was used; unseen: from the others; distinct: from the first of those with the same "
        "words.",
    ),
    *ROBUSTNESS_TYPES.columns[-8:],
    _count("num_sentences", "Sentences of the subset; null where it is not known.", True),
)

DISAGREEMENT = _table(
    "disagreement",
    "What pruning changes in predictions, beside what another seed changes. PIEs are sentences "
    "whose modal prediction differs between dense and sparse trials; the mode is the most frequent "
    "tag sequence over the seeds that both have; of equally frequent ones that of the lowest seed. "
    "Source: Hooker et al. 2019.",
    *SERIES_COLUMNS,
    LANGUAGE_SCORED,
    *LEVEL_COLUMNS,
    _count(
        "num_pies",
        "Sentences whose modal prediction differs from dense; null without predictions.",
        True,
    ),
    _count("num_sentences", "Sentences predicted; null without predictions.", True),
    _fraction("pie_share", "num_pies / num_sentences."),
    _count(
        "num_undecided",
        "Sentences where, dense or sparse, no sequence came from more seeds than each other.",
        True,
    ),
    _fraction(
        "dense_share",
        "Share of sentences that two dense seeds predict differently, mean over pairs; null for "
        "one seed.",
    ),
    _fraction("sparse_share", "The same of two sparse seeds."),
    _fraction("cross_share", "The same of a sparse trial and a dense one of another seed."),
    _fraction(
        "excess_share",
        "cross_share minus the mean of dense_share and sparse_share: what pruning "
        "changes beyond what seeds do.",
    ),
    _fraction(
        "p",
        "One-sided p-value of excess_share: sparse and dense trials exchanged within seeds, in all "
        "ways.",
    ),
    _fraction("p_least", "The lowest p that so many seeds can give."),
    _count("num_pairs", "Seeds with predictions of the sparse and the dense trial."),
    _count("num_holes", "Seeds that were planned or tried and lack either."),
)

PIES_PROFILE = _table(
    "pies_profile",
    "How sentences whose modal prediction changes differ from the others, and from those that "
    "seeds alone change: means over sentences.",
    *SERIES_COLUMNS,
    LANGUAGE_SCORED,
    *LEVEL_COLUMNS,
    _text(
        "property",
        "words; entities: annotated; unseen_entities: not in the train split; subwords_per_word.",
    ),
    Column("pies_mean", REAL, "Mean over the sentences that change; null where none does.", True),
    Column("others_mean", REAL, "Mean over the other sentences; null where there are none.", True),
    Column("difference", REAL, "pies_mean - others_mean.", True),
    Column(
        "unstable_mean",
        REAL,
        "Mean over the sentences that the dense seeds do not all predict alike; null without any.",
        True,
    ),
    Column("unstable_difference", REAL, "pies_mean - unstable_mean.", True),
    _count("num_pies", "Sentences that change, with this property."),
    _count("num_others", "Other sentences, with this property."),
    _count("num_unstable", "Sentences that dense seeds predict differently, with this property."),
    _count("num_trials", "Sparse trials behind it."),
)

ERRORS = _table(
    "errors",
    "What becomes of the entities that are there and of those that were predicted, and how many "
    "predicted tags are ill-formed. Means over seeds, from stored predictions: of all, and of each "
    "subset, entity type and perturbation by itself. METHODS.md says how ties are decided.",
    *SERIES_COLUMNS,
    LANGUAGE_SCORED,
    *LEVEL_COLUMNS,
    Column(
        PERTURBATION_COLUMN.name,
        TEXT,
        f"{trial.CLEAN}: as published; else where the new entities come from, means over draws.",
    ),
    SUBSET_COLUMN,
    Column(
        schema.ENTITY_TYPE.name,
        TEXT,
        f"{schema.ENTITY_TYPE.meaning[:-1]}. The type is that of the entity or tag that is "
        "counted.",
    ),
    _text(
        "side",
        "What is counted: true: entities that are there; predicted: entities that were predicted; "
        "tags: predicted tags at which an entity begins, by the lenient rule.",
    ),
    _text(
        "kind",
        "correct; type: the same words, another type; boundary: overlaps an entity of its type; "
        "boundary_and_type: overlaps only those of other types; missed or spurious: overlaps none; "
        "ill_formed: of tags, an I- that continues nothing.",
    ),
    Column("num_mean", REAL, "Mean of how many; null without predictions.", True, "count"),
    Column(
        "total_mean", REAL, "Mean of all of this side; null without predictions.", True, "count"
    ),
    _fraction("share_mean", "Mean of the share of the side; null where the side is empty."),
    _fraction("share_std", "Its sample standard deviation; null below two seeds."),
    _fraction("delta_dense_mean", "Mean of the share minus that of the same seed's dense trial."),
    _count("num_seeds", "Seeds with predictions."),
    _count("num_pairs", "Seeds where this and the dense trial have a share."),
    _count("num_holes", "Seeds that were planned or tried and have no predictions."),
)

MARGIN_COLUMN = Column(
    "margin", REAL, "Largest change of F1 that does not matter.", False, "fraction"
)
VERDICT_MEANING = (
    "equivalent: the interval of two one-sided tests lies within the margin; else better or worse: "
    "the interval lies above or below 0; else undecided, as with one seed."
)

SIGNIFICANCE = _table(
    "significance",
    "Intervals of the mean change of F1, which allow for other seeds and other sentences. The "
    "spread over seeds is moderated by that of the other languages of the level. METHODS.md says "
    "how. Source: Smyth 2004, Linear models and empirical Bayes methods.",
    *SERIES_COLUMNS,
    LANGUAGE_SCORED,
    *LEVEL_COLUMNS,
    _fraction("delta_mean", "Mean over seeds of the change to dense."),
    _fraction("std_error", "Its standard error; null where there is no interval."),
    Column("df", REAL, "Degrees of freedom of the standard error.", True),
    _fraction("low", "Lower end of the interval; null where there is none."),
    _fraction("high", "Upper end of the interval."),
    _fraction(
        "equivalence_low",
        "Lower end of the interval of two one-sided tests, which covers 2 * confidence - 1.",
    ),
    _fraction("equivalence_high", "Its upper end."),
    MARGIN_COLUMN,
    _text("verdict", f"{VERDICT_MEANING} Null without a change to dense.", True),
    _fraction("confidence", "Nominal coverage of the interval."),
    _text(
        "allows_for",
        "seeds and sentences; seeds: no predictions; sentences: one seed in all languages; "
        "nothing: no interval.",
    ),
    _text("reason", "Why there is no interval; null where there is one.", True),
    _count("num_pairs", "Seeds behind it."),
    _count("num_sentences", "Sentences behind it; null without predictions.", True),
    _count("num_holes", "Seeds that were planned or tried and are not behind it."),
)

TALLY = _table(
    "tally",
    "How many languages are better, worse, equivalent or undecided at each sparsity, by the "
    "verdict on the change of their F1 in `significance`. Source: Schuirmann 1987, two one-sided "
    "tests.",
    *SERIES_COLUMNS,
    *LEVEL_COLUMNS,
    MARGIN_COLUMN,
    *(_count(f"num_{name}", f"Languages with the verdict {name}.") for name in VERDICTS),
    _count("num_missing", "Languages without a change to dense."),
    LANGUAGES_BEHIND,
    _count("num_trials", "Sparse trials with a change to dense."),
)

TOLERANCE = _table(
    "tolerance",
    "The highest sparsity up to which each language is shown to be equivalent or better, and the "
    "lowest at which it is worse, by the verdicts in `significance`.",
    *SERIES_COLUMNS,
    LANGUAGE_SCORED,
    EMBEDDINGS_COLUMN,
    MARGIN_COLUMN,
    _fraction(
        "tolerated_sparsity",
        "Highest measured sparsity that is equivalent or better, as all lower measured ones are; 0 "
        "when that is not shown of the lowest; null when none was measured.",
    ),
    _fraction("change_at_tolerated", "Mean change of F1 there; null at 0."),
    _fraction("undecided_at", "Lowest measured sparsity that is undecided; null where none is."),
    _fraction("worse_at", "Lowest measured sparsity that is worse; null where none is."),
    _count("num_sparsities", "Sparsities measured, with a change to dense."),
    _count("num_sparsities_missing", "Sparsities planned or tried without one."),
    _count("num_trials", "Sparse trials behind it."),
)

POWER = _table(
    "power",
    "How many seeds and sentences it takes to see a change of F1 to dense, from the variances of "
    "these results. Computed by `sparsweep plan --power`. Source: Satterthwaite 1946.",
    *SERIES_COLUMNS,
    _text("language", "WikiANN code of the language scored; mean: over those of the level."),
    *LEVEL_COLUMNS,
    _fraction("change", "The change that is to be seen."),
    _count("num_languages", "Languages behind it: 1, or those of the mean."),
    _count("num_seeds", "Seeds with a change to dense; of the mean, the fewest of a language."),
    _count("num_sentences", "Sentences that were scored; null without stored predictions.", True),
    _fraction("detectable", "The smallest change that these seeds and sentences see."),
    _count("seeds_needed", "Seeds that see the change on these sentences; null: none do.", True),
    _count(
        "sentences_needed",
        "Sentences on which these seeds see it; null: seeds differ too much.",
        True,
    ),
    _count("sentences_at_least", "Below so many sentences no number of seeds sees it.", True),
    _text("reason", "Why there are no numbers; null where there are.", True),
)
"""The table of `sparsweep plan --power`."""

TESTS = _table(
    "tests",
    "Signed-rank tests across languages: whether their mean changes are centred on 0. Languages of "
    "a family count as one (signs of whole families are flipped). Source: Wilcoxon 1945; Winkler "
    "et al. 2015; corrections of Holm 1979 and of Benjamini and Hochberg 1995.",
    *SERIES_COLUMNS,
    _text("comparison", "sparse - dense; or pruned - dense embeddings, at equal sparsity."),
    *LEVEL_COLUMNS,
    _fraction("median_change", "Median over languages of the mean change."),
    Column("statistic", REAL, "The smaller sum of ranks; null where no language changes.", True),
    _fraction("p", "Two-sided p-value, by flipping the signs of language families."),
    _fraction("p_holm", "p, corrected by Holm over the tests that num_tests counts."),
    _fraction("p_bh", "p, corrected by Benjamini and Hochberg over these tests."),
    _fraction("p_least", "The lowest p that so many families with a change other than 0 can give."),
    _fraction(
        "p_independent", "Wilcoxon's p, for languages that have nothing in common; not corrected."
    ),
    _count("num_tests", "Tests of one regime, settings and comparison."),
    _count("num_families", "Language families with a change other than 0."),
    LANGUAGES_BEHIND,
    _count("num_languages_missing", "Languages without a change."),
    TRIALS_BEHIND,
)

COVARIATES = _table(
    "languages",
    "What languages differ in that may decide how much they lose. One row a language and "
    "covariate.",
    *SERIES_COLUMNS,
    LANGUAGE_SCORED,
    _text(
        "covariate",
        "log10_train: of the train sentences; dense_f1: mean F1 of the dense trials; "
        "log2_wikipedia_mb: size of the language's Wikipedia, in the way of Wu and Dredze 2020; "
        "fertility: sub-words a word; unknown_rate: unknown pieces among sub-words; "
        "log10_embedding_rows: of the rows of word embeddings that the train split uses. The last "
        "three are of the train split as it was used; where that is not stored, fertility is of "
        "scored sentences.",
    ),
    Column("value", REAL, "Its value; null where it is not known.", True),
    _text("source", "Where the value is from, or why there is none."),
    TRIALS_BEHIND,
)

LOSS_COLUMNS = (
    _text("outcome", "change: of F1 to dense; relative change: as a part of the dense F1."),
    _text("covariate", "What may decide it, see `languages`."),
)
LOSS_COUNTS = (
    _count("num_tests", "Tests of one regime, settings and outcome."),
    LANGUAGES_BEHIND,
    _count("num_families", "Language families behind these numbers."),
    _count(
        "num_collapsed",
        f"Languages left out since their F1 is below {COLLAPSED:g}: they lose all they have.",
    ),
    _count("num_languages_missing", "Languages left out for want of a change or of a value."),
    _text("reason", "Why a number is null; null where none is.", True),
)

CORRELATIONS = _table(
    "correlations",
    "Which languages lose more at each sparsity: rank correlation of their change with what they "
    "differ in. Above 0: the more of it, the less is lost. Source: Spearman 1904; exchanges within "
    "families after Winkler et al. 2015.",
    *SERIES_COLUMNS,
    *LOSS_COLUMNS,
    *LEVEL_COLUMNS,
    Column("rho", REAL, "Spearman's rank correlation, in [-1, 1].", True),
    Column("slope", REAL, "Least-squares change of the outcome for 1 more of the covariate.", True),
    _fraction("p", "Two-sided p-value of rho, by exchanging languages within families."),
    _fraction("p_holm", "p, corrected by Holm over the tests that num_tests counts."),
    _fraction("p_least", "The lowest p that so many languages of each family can give."),
    _fraction("p_independent", "p, for languages that may all be exchanged; not corrected."),
    *LOSS_COUNTS,
)

SLOPES = _table(
    "slopes",
    "Which languages lose more as sparsity rises, in two stages: the slope of each language's "
    "change on sparsity, then how slopes go with what languages differ in. Above 0: the more of "
    "it, the less is lost. Source: Feldman 1988.",
    *SERIES_COLUMNS,
    *LOSS_COLUMNS,
    EMBEDDINGS_COLUMN,
    Column(
        "estimate",
        REAL,
        "Change of the slope on sparsity (F1 from 0 to 1) for 1 more of the covariate.",
        True,
    ),
    Column("std_error", REAL, "Its standard error, for languages that are independent.", True),
    _fraction("p", "Two-sided p-value, by exchanging languages within families."),
    _fraction("p_holm", "p, corrected by Holm over the tests that num_tests counts."),
    _fraction("p_least", "The lowest p that so many languages of each family can give."),
    _fraction(
        "p_independent",
        "p of Student's t with num_languages - 2 degrees of freedom; not corrected.",
    ),
    _count("num_levels", "Sparsities behind the slopes, the same for all languages."),
    _count("num_levels_collapsed", "Sparsities left out since a language has collapsed there."),
    *LOSS_COUNTS,
)

MODEL = _table(
    "model",
    "A linear mixed model of each language's mean change of F1: sparsity x log10(train sentences), "
    "both centred, with an intercept and a slope on sparsity of each language's own. Source: Laird "
    "and Ware 1982.",
    *SERIES_COLUMNS,
    EMBEDDINGS_COLUMN,
    _text(
        "term",
        "Term of the model; sd_intercept and sd_slope are standard deviations over languages, "
        "sd_residual of the rest.",
    ),
    Column("estimate", REAL, "Its coefficient, or the standard deviation.", True),
    Column("std_error", REAL, "Standard error; null for standard deviations.", True),
    _fraction(
        "p_independent",
        "Two-sided p of Student's t with num_languages - 2 degrees of freedom, for languages that "
        "are independent; not corrected; null for standard deviations.",
    ),
    _count("num_observations", "Cells and languages that the model was fitted to."),
    LANGUAGES_BEHIND,
    TRIALS_BEHIND,
    _count("num_collapsed", f"Cells and languages left out since F1 is below {COLLAPSED:g}."),
    _count(
        "num_missing",
        "Cells and languages that are left out for want of a change or of a train size.",
    ),
)

ANALYSES = {
    table.name: table
    for table in (
        QUALITY,
        GROUPS,
        WORST,
        EMBEDDINGS,
        EMBEDDINGS_OVERALL,
        STEPS,
        BREAKDOWN,
        LAYER_SPARSITY,
        BUDGET,
        ACROSS_LANGUAGES,
        PROFILES,
        DISPARITY,
        ROBUSTNESS,
        ROBUSTNESS_OVERALL,
        ROBUSTNESS_TYPES,
        ROBUSTNESS_SUBSETS,
        DISAGREEMENT,
        PIES_PROFILE,
        ERRORS,
        CALIBRATION,
        RELIABILITY,
        SIGNIFICANCE,
        TALLY,
        TOLERANCE,
        TESTS,
        COVARIATES,
        CORRELATIONS,
        SLOPES,
        MODEL,
    )
}
"""The tables of `sparsweep analyze`, in the order in which they are shown."""
