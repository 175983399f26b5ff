"""The tables that results consist of: every column with its name, type, unit and meaning.

This is the only list of columns. The documentation (`describe`), the metadata of the Parquet files
and the checks on reading and writing are made from it. What a sweep's settings mean is said once,
in `orchestrator.spec.sweep_spec`, and taken from there. Nothing is read or written here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import get_args, get_origin

import pyarrow as pa

from orchestrator.results.columns import (
    FLAG,
    REAL,
    SMALL,
    STRETCHES,
    TEXT,
    TIME,
    WHOLE,
    Column,
    Table,
    arrow_type,
    type_name,
    unit_of,
)
from orchestrator.spec import sweep_spec
from workers import result, trial

SCHEMA_VERSION = 7
"""Part of every file. Raise it with any change of a column, and say in
`orchestrator.results.versions` what rows of earlier versions have there; files of a later version
are refused."""


POLICY = """\
Every later version of sparsweep reads these files, and none rewrites them but the compact ones; an
earlier version refuses them. A trial's id is the hash of all that can change its training. How it
is scored is no part of the id, and a setting that a later version adds leaves the id alone. Rows of
another recipe_version are kept, and are never compared with today's."""
"""What an upgrade does to results."""


def describe(tables: Iterable[Table]) -> str:
    """Describe tables and their columns as Markdown.

    Args:
        tables: those wanted, in this order: the stored ones (`TABLES`), computed ones, or both.

    Returns:
        One section a table, below a title with the schema's version and what an upgrade does; it
        ends in a line break.
    """
    lines = [f"# Results, schema version {SCHEMA_VERSION}", "", " ".join(POLICY.split())]
    for table in tables:
        lines += ["", f"## {table.name}", "", table.meaning, ""]
        lines += ["| column | type | unit | null | meaning |", "|---|---|---|---|---|"]
        for column in table.columns:
            null = "yes" if column.is_nullable else ""
            cells = (column.name, type_name(column.type), column.unit, null, column.meaning)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _settings(section: str, values: type, documented: type[sweep_spec.Section]) -> Iterator[Column]:
    """One column a field of a section of `TrialSpec`, with the meaning that the sweep file's
    documentation gives it."""
    for field in fields(values):
        if field.name in NO_COLUMNS:
            continue
        name, (kind, is_nullable) = f"{section}_{field.name}", arrow_type(field.type)
        info = documented.model_fields.get(field.name)
        is_fraction = info and any(getattr(limit, "le", None) == 1 for limit in info.metadata)
        unit = "fraction" if is_fraction else unit_of(name)
        meaning = info.description if info else RESOLVED_SETTINGS.get(name)
        is_nullable = is_nullable or section in ("pruning", "robustness")
        yield Column(name, kind, " ".join((meaning or "").split()), is_nullable, unit)


NO_COLUMNS = ("pools",)
"""Settings that only `spec_json` has: it is a list of records."""

RESOLVED_SETTINGS = {
    "corpus_fingerprint": (
        "Hash that identifies the data of this language; null for the hub, where revision does."
    ),
    "evaluation_language_fingerprints": (
        "Hashes that identify the data of evaluation_languages, in their order; empty for corpora "
        "in no folder."
    ),
    "model_fingerprint": "Hash that identifies a model folder's files; null for other models.",
    "robustness_donor_fingerprint": (
        "Hash that identifies the donors' sentences; null where there are no donors."
    ),
}

SETTINGS = (
    *_settings("corpus", trial.CorpusSpec, sweep_spec.Corpus),
    *_settings("model", trial.ModelSpec, sweep_spec.Model),
    *_settings("pruning", trial.PruningSpec, sweep_spec.Pruning),
    *_settings("training", trial.TrainingSpec, sweep_spec.Training),
    *_settings("evaluation", trial.EvaluationSpec, sweep_spec.Evaluation),
    *_settings("robustness", trial.RobustnessSpec, sweep_spec.Robustness),
)
"""All settings of a trial, resolved, as columns. Those of pruning are null for dense trials, those
of robustness where nothing is perturbed."""

MEASURED_MEANINGS = {
    "achieved_sparsity": (
        "Zeros among the prunable weights other than word embeddings after training, counted."
    ),
    "achieved_embedding_sparsity": (
        "Zeros among the word embeddings, counted; null where they are not pruned."
    ),
    "overall_sparsity": "Zeros in the prunable weights as a part of all parameters.",
    "num_parameters": "Parameters of the model.",
    "num_prunable": "Weights that pruning may remove.",
    "num_steps": "Optimizer steps.",
    "selected_step": (
        "Steps done by the model that was scored: the last one's, or those of the best epoch."
    ),
    "num_train_sentences": "Sentences of the training split that were used.",
    "num_train_subwords": "Sub-words trained on in all epochs together, special ones included.",
    "num_split_sentences": (
        "Sentences longer than training_max_length, which were split between words."
    ),
    "num_unstarted_entities": "Entities in the corpus that begin with I-, against IOB2.",
    "data_fingerprint": (
        "Hash of the sub-words and labels of all splits used: equal where the model saw equal data."
    ),
    "model_commit": "Commit on the hub that the weights were loaded from; null for folders.",
    "num_resumes": "How often training went on from a checkpoint.",
    "shared_steps": (
        "How many of the first steps were not computed by this trial: it started from the state of "
        "another one with the same first steps, to the same bits; 0: it computed all."
    ),
    "load_s": "Time to load corpus and model.",
    "train_s": "Time for training, resumptions included; that of shared_steps is not.",
    "evaluate_s": "Time for scoring.",
    "subwords_per_s": "Training speed in sub-words, padding not counted.",
    "peak_memory_gib": "Largest resident memory of the worker's process.",
    "peak_gpu_memory_gib": "Largest memory on the GPU during the trial; null without one.",
    "device": "Kind of device that computed, such as cpu or cuda.",
    "device_name": "Its model; of a trial that was resumed the last one, see devices.",
    "num_threads": "CPU threads that computed.",
    "kernels": "Who computed the optimizer's step and the masks: triton, numba or reference.",
    "scored_from_model": (
        "Whether the scores come from the kept model and not from the end of training; evaluate_s "
        "and data_fingerprint are then those of the scores, what else was measured is that of the "
        "training. Null in rows of schema versions 1 to 6, which all come from training."
    ),
    "model_bytes": "Size of the file of the kept model; null where none was kept with these rows.",
    "model_digest": (
        "Hash of all weights of the kept model, as they are scored; null where none was kept."
    ),
}


MEASURED = tuple(
    Column(
        field.name,
        arrow_type(field.type)[0],
        MEASURED_MEANINGS.get(field.name, ""),
        True,
        unit_of(field.name),
    )
    for field in fields(result.TrialResult)
    if get_origin(field.type) is not tuple
)
"""The scalars of `TrialResult`; null for failed trials."""

DEVICES = Column(
    "devices",
    STRETCHES,
    "Models of device that computed, in turn, each with the optimizer steps done when it began: a "
    "trial that was resumed on another one has several. In results of schema versions 1 to 3 the "
    "last one only; null for failed trials.",
    True,
)

PROVENANCE = (
    Column("provenance_commit", TEXT, "Git commit of the code; null for an installed copy.", True),
    Column("provenance_is_dirty", FLAG, "Whether tracked files differed from that commit.", True),
    Column("provenance_sparsweep", TEXT, "Version of sparsweep.", True),
    Column("provenance_python", TEXT, "Version of Python.", True),
    Column("provenance_torch", TEXT, "Version of torch.", True),
    Column("provenance_transformers", TEXT, "Version of transformers.", True),
    Column("provenance_tokenizers", TEXT, "Version of tokenizers.", True),
    Column("provenance_ray", TEXT, "Version of ray.", True),
    Column("provenance_numpy", TEXT, "Version of numpy.", True),
    Column("provenance_host", TEXT, "Name of the machine.", True),
    Column("provenance_platform", TEXT, "Its operating system and processor.", True),
)

TRIAL_ID = Column("trial_id", TEXT, "The trial; hash of all that can change its training.")
CELL_ID = Column("cell_id", TEXT, "Trials that differ by seed only have the same.")
SWEEP = Column("sweep", TEXT, "Name of the sweep that ran it.")
REGIME = Column(
    "regime", TEXT, "monolingual, or multilingual: one model trained on several languages together."
)
LANGUAGE_SCORED = Column("language", TEXT, "WikiANN code of the language scored.")
ZERO_SHOT = Column(
    "is_zero_shot",
    FLAG,
    "Whether the trial was not trained on the language scored (evaluation.languages). Such rows "
    "answer another question than others of the same regime and language: keep them apart.",
)
TARGETS = (
    Column("target_sparsity", REAL, "Sparsity asked for, in [0, 1); 0 is dense.", unit="fraction"),
    Column(
        "embedding_sparsity",
        REAL,
        "Sparsity asked for in the word embeddings; 0 is dense.",
        unit="fraction",
    ),
    Column("seed", WHOLE, "Seed of initialisation, data order and dropout."),
)
GRID = (
    REGIME,
    Column("language", TEXT, "WikiANN code of the language trained on, or multilingual."),
    *TARGETS,
)
GRID_SCORED = (REGIME, LANGUAGE_SCORED, *TARGETS)
ERROR = (
    Column(
        "error_kind", TEXT, f"Kind of failure, one of {', '.join(get_args(trial.ErrorKind))}.", True
    ),
    Column("error_message", TEXT, "What went wrong, in one line.", True),
    Column("error_traceback", TEXT, "Python's traceback.", True),
)
TIMES = (
    Column("started_at", TIME, "When the attempt began.", unit="UTC"),
    Column("ended_at", TIME, "When it ended.", unit="UTC"),
)
SORT_BY = ("regime", "language", "target_sparsity", "embedding_sparsity", "seed", "trial_id")

TRIALS = Table(
    "trials",
    "One row a trial. It is written after the trial's rows in all other tables: a trial exists "
    "when this row does.",
    key="trial_id",
    sort_by=SORT_BY,
    columns=(
        TRIAL_ID,
        CELL_ID,
        Column(
            "dense_trial_id",
            TEXT,
            "The dense trial to compare with: same seed and settings; null if dense.",
            True,
        ),
        SWEEP,
        *GRID,
        Column(
            "file_key",
            TEXT,
            "Name of the trial's files: its id, or the one that it had in the version that wrote "
            "them.",
        ),
        Column("languages", pa.list_(TEXT), "Codes of all languages trained on."),
        Column(
            "recipe_version",
            WHOLE,
            "Version of the code's recipe, raised when it changes the numbers of trials.",
        ),
        Column("status", TEXT, "completed or failed."),
        Column(
            "num_attempts",
            WHOLE,
            "Rows of the trial in attempts, this one's included.",
            unit="count",
        ),
        *ERROR,
        *TIMES,
        Column("duration_s", REAL, "From started_at to ended_at.", unit="s"),
        *MEASURED,
        DEVICES,
        Column("num_scores", WHOLE, "Rows of the trial in scores.", unit="count"),
        Column("num_robustness_scores", WHOLE, "Rows of the trial in robustness.", unit="count"),
        Column("num_predictions", WHOLE, "Rows of the trial in predictions.", unit="count"),
        Column("num_curve_points", WHOLE, "Rows of the trial in curves.", unit="count"),
        Column("num_layers", WHOLE, "Rows of the trial in layers.", unit="count"),
        Column("num_vocabularies", WHOLE, "Rows of the trial in vocabulary.", unit="count"),
        *SETTINGS,
        *PROVENANCE,
        Column("spec_json", TEXT, "The whole trial, as the code reads it."),
        Column("asked_json", TEXT, "The whole sweep, as it was asked for."),
    ),
)

PRECISION = Column(
    "precision",
    REAL,
    "num_correct / num_predicted; null when nothing was predicted.",
    True,
    "fraction",
)
RECALL = Column(
    "recall", REAL, "num_correct / support; null when there is nothing to find.", True, "fraction"
)
F1 = Column(
    "f1",
    REAL,
    "2 num_correct / (num_predicted + support); null where that is 0 / 0.",
    True,
    "fraction",
)
ENTITY_TYPE = Column(
    "entity_type",
    TEXT,
    "One of the corpus' entity types, such as PER (see corpus_entity_types in trials), or micro: "
    "all entities together.",
)
MATCHING = Column(
    "matching",
    TEXT,
    "Rule by which predicted entities count: strict or lenient, see the sweep file.",
)


def _entity_counts(kind: pa.DataType, is_nullable: bool = False) -> tuple[Column, ...]:
    return (
        Column("support", kind, "Entities annotated.", is_nullable, "count"),
        Column("num_predicted", kind, "Entities predicted.", is_nullable, "count"),
        Column("num_correct", kind, "Entities predicted rightly.", is_nullable, "count"),
    )


SCORES = Table(
    "scores",
    "One row a completed trial, language, split, subset, entity type and rule of matching. An "
    "entity is right when its words and its type are. Sum up over one subset, entity type and rule"
    " only, such as all, micro and strict.",
    key="trial_id",
    sort_by=(*SORT_BY, "split", "subset", "matching"),
    columns=(
        TRIAL_ID,
        *GRID_SCORED,
        ZERO_SHOT,
        Column("split", TEXT, "validation or test."),
        Column(
            "subset",
            TEXT,
            "all sentences; or those that are seen, word for word a sentence of the language's "
            "train split as it was used (zero-shot: of the trial's); or the unseen others.",
        ),
        ENTITY_TYPE,
        MATCHING,
        Column(
            "num_sentences",
            WHOLE,
            "Sentences of the subset; null in results of schema versions 1 and 2.",
            True,
            "count",
        ),
        PRECISION,
        RECALL,
        F1,
        *_entity_counts(WHOLE),
    ),
)

ROBUSTNESS = Table(
    "robustness",
    "One row a completed trial, language, perturbation, draw, entity type and rule of matching: "
    "scores on test sentences whose entities were replaced. All trials meet the same sentences. "
    "Compare with subset all of split test in scores, by the same rule.",
    key="trial_id",
    sort_by=(*SORT_BY, "perturbation", "draw", "matching"),
    columns=(
        TRIAL_ID,
        *GRID_SCORED,
        Column(
            "perturbation", TEXT, f"Where new entities come from: {', '.join(trial.PERTURBATIONS)}."
        ),
        Column("draw", WHOLE, "Number of the random draw, from 0."),
        ENTITY_TYPE,
        MATCHING,
        Column(
            "status", TEXT, "scored; or not_applicable: there is no language to take entities from."
        ),
        Column("reason", TEXT, "Why it is not applicable; the other numbers are then null.", True),
        Column(
            "num_replaced",
            WHOLE,
            "Entities of this type that were replaced, of support.",
            True,
            "count",
        ),
        PRECISION,
        RECALL,
        F1,
        *_entity_counts(WHOLE, is_nullable=True),
    ),
)

SENTENCE_PLACE = (
    Column("set_id", TEXT, "The set of sentences; hash of all that is in it."),
    LANGUAGE_SCORED,
    Column("split", TEXT, "validation or test."),
    Column("perturbation", TEXT, "none: as published; else where the new entities come from."),
    Column("draw", WHOLE, "Number of the random draw, from 0."),
    Column("sentence", SMALL, "Place of the sentence in its set, from 0."),
)

PREDICTIONS = Table(
    "predictions",
    "One row a completed trial and sentence. The sentence itself, with its true tags, is in "
    "sentences, by set_id and sentence.",
    key="trial_id",
    sort_by=("trial_id", "language", "split", "perturbation", "draw", "sentence"),
    columns=(
        TRIAL_ID,
        *GRID_SCORED,
        ZERO_SHOT,
        *(column for column in SENTENCE_PLACE if column.name != "language"),
        Column("predicted", pa.list_(TEXT), "The tag predicted for each word."),
        Column(
            "confidence",
            pa.list_(pa.uint8()),
            "The probability that the model gives each of these tags, which is its largest: 255 "
            "times, rounded to the nearest whole number. Null in results of schema versions up to "
            "5.",
            True,
        ),
        *_entity_counts(SMALL),
    ),
)

SENTENCES = Table(
    "sentences",
    "One row a sentence that predictions are stored for, once for all trials.",
    key="set_id",
    sort_by=("language", "split", "perturbation", "draw", "set_id", "sentence"),
    columns=(
        *SENTENCE_PLACE,
        Column("tokens", pa.list_(TEXT), "Its words."),
        Column("gold", pa.list_(TEXT), "The true tag of each word."),
        Column(
            "num_subwords", SMALL, "Sub-words of its words, special ones not counted.", unit="count"
        ),
        Column(
            "num_unseen_entities",
            SMALL,
            "Its entities that are none of the train split's.",
            unit="count",
        ),
        Column(
            "is_seen",
            FLAG,
            "Whether it is word for word a sentence of the train split as it was used; for scores "
            "that are zero-shot, of the trial's.",
        ),
    ),
)

CURVES = Table(
    "curves",
    "One row a completed trial and logged training step.",
    key="trial_id",
    sort_by=(*SORT_BY, "step"),
    columns=(
        TRIAL_ID,
        *GRID,
        Column("step", WHOLE, "Optimizer steps done."),
        Column("loss", REAL, "Mean training loss since the row before."),
        Column("lr", REAL, "Learning rate of the step."),
        Column(
            "sparsity",
            REAL,
            "Sparsity that the schedule asks for, of word embeddings apart.",
            unit="fraction",
        ),
        Column(
            "grad_norm",
            REAL,
            "2-norm of the gradient of the weights that are not pruned, before clipping.",
        ),
    ),
)

LAYERS = Table(
    "layers",
    "One row a completed trial and prunable tensor, in the model's order.",
    key="trial_id",
    sort_by=SORT_BY,
    columns=(
        TRIAL_ID,
        *GRID,
        Column("name", TEXT, "The tensor's name in the model."),
        Column("shape", pa.list_(WHOLE), "Its shape."),
        Column("num_zeros", WHOLE, "Weights that are exactly zero after training.", unit="count"),
        Column("num_weights", WHOLE, "All its weights.", unit="count"),
        Column("sparsity", REAL, "num_zeros / num_weights.", unit="fraction"),
    ),
)

VOCABULARY = Table(
    "vocabulary",
    "One row a completed trial and language that it was trained on: the sub-words of the words in "
    "the language's train split as it was used, special ones such as [CLS] not counted, and the "
    "word embeddings of these. Trials of schema versions up to 5 have no rows.",
    key="trial_id",
    sort_by=SORT_BY,
    columns=(
        TRIAL_ID,
        REGIME,
        Column("language", TEXT, "WikiANN code of one language trained on."),
        *TARGETS,
        Column("num_words", WHOLE, "Words.", unit="count"),
        Column("num_subwords", WHOLE, "Sub-words of these words.", unit="count"),
        Column(
            "num_unknown",
            WHOLE,
            "Those that are the tokenizer's unknown piece; 0 where it has none.",
            unit="count",
        ),
        Column(
            "num_pieces",
            WHOLE,
            "Different ones among the sub-words: the rows of word embeddings that the language "
            "uses.",
            unit="count",
        ),
        Column(
            "num_weights",
            WHOLE,
            "Weights of these rows; null where the model has no matrix of word embeddings.",
            True,
            "count",
        ),
        Column(
            "num_zeros",
            WHOLE,
            "Those that are exactly zero in the model that was scored.",
            True,
            "count",
        ),
    ),
)

ATTEMPTS = Table(
    "attempts",
    "One row a try at a trial that came to an end (one that died with its driver did not). Rows "
    "are never replaced.",
    key="attempt_id",
    sort_by=("trial_id", "attempt", "attempt_id"),
    columns=(
        Column("attempt_id", TEXT, "The trial's id, a dash and 8 random hexadecimal digits."),
        TRIAL_ID,
        Column(
            "attempt",
            WHOLE,
            "Number of the try, from 1; two tries at the same time may have the same.",
        ),
        SWEEP,
        Column(
            "status",
            TEXT,
            "completed; failed; stopped by somebody; or duplicate: completed, but another one was "
            "first and is kept.",
        ),
        *ERROR,
        Column("host", TEXT, "Name of the machine.", True),
        *TIMES,
    ),
)

PLANS = Table(
    "plans",
    "One row a trial that a sweep consists of, as of its last run. What is here and not in trials "
    "is missing.",
    key="sweep",
    sort_by=("sweep", "position"),
    columns=(
        Column("sweep", TEXT, "Name of the sweep."),
        Column("position", WHOLE, "Place in the order of running, from 0."),
        TRIAL_ID,
        CELL_ID,
        *GRID,
    ),
)

TABLES = {
    table.name: table
    for table in (
        TRIALS,
        SCORES,
        ROBUSTNESS,
        PREDICTIONS,
        SENTENCES,
        CURVES,
        LAYERS,
        VOCABULARY,
        ATTEMPTS,
        PLANS,
    )
}
CHILD_TABLES = {
    "scores": "num_scores",
    "robustness": "num_robustness_scores",
    "predictions": "num_predictions",
    "curves": "num_curve_points",
    "layers": "num_layers",
    "vocabulary": "num_vocabularies",
}
"""Tables with the numbers of completed trials, and the column of trials that says how many rows a
trial has there."""

LARGE_TABLES = ("predictions",)
"""Tables of which a sweep may have more rows than memory likes; their compact files are written
trial by trial."""
