"""What languages differ in that may decide how much they lose: a value each, and where it is
from."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from math import log2, log10

import pandas as pd
import pyarrow as pa

from orchestrator.analysis.inputs.aggregate import ZERO_SHOT
from orchestrator.analysis.inputs.frames import SERIES, Results, finish, in_order
from orchestrator.analysis.inputs.predictions import SetPredictions
from orchestrator.analysis.tables import COVARIATES, AnalysisTable
from orchestrator.results.rows import Row
from orchestrator.wording import counted

# fmt: off
WIKIPEDIA_MB = {
    "af": 104, "ar": 1167, "bg": 354, "bn": 215, "de": 5718, "el": 386, "en": 17790, "es": 3408,
    "et": 210, "eu": 200, "fa": 782, "fi": 714, "fr": 4816, "he": 682, "hi": 165, "hu": 898,
    "id": 627, "it": 3037, "ja": 3213, "jv": 42.3, "ka": 152, "kk": 113, "ko": 712, "ml": 138,
    "mr": 55.8, "ms": 240, "my": 41.5, "nl": 1498, "pt": 1785, "ru": 4098, "sw": 30.3, "ta": 164,
    "te": 109, "th": 287, "tl": 56.3, "tr": 565, "ur": 150, "vi": 752, "yo": 12.5, "zh": 2032,
}
# fmt: on
"""Megabytes (10^6 bytes) of a language's Wikipedia: compressed pages and articles in the dump of 1
October 2020, as counted by S. Mayhew, https://github.com/mayhewsw/multilingual-data-stats
(wiki/wiki.csv at commit 0adee01, "Wiki Size (bytes)"). mBERT was published in 2018, so what it was
trained on is an earlier dump."""

WIKIPEDIA_SOURCE = (
    "compressed dump of 2020-10-01 (Mayhew, multilingual-data-stats), not the model's"
)
NOT_STORED = "not stored: no trial tells which sub-words the train split has"
NOT_TRAINED_ON = "not trained on"


def describe_languages(
    results: Results,
    sets: Sequence[SetPredictions],
    sentences_of: Callable[[str], pa.Table],
    vocabulary: pa.Table,
) -> pd.DataFrame:
    """The rows of the table `languages`: one a series with sparse trials, language and covariate.

    Args:
        results: what was run.
        sets: what was predicted, on the same split.
        sentences_of: gives a set's rows of `sentences` by its id.
        vocabulary: rows of the stored table `vocabulary`, with the columns
            `reading.VOCABULARY_READ`.

    Raises:
        StoreError: `sentences_of` has no such set.
    """
    trials = results.sparse if len(results.sparse) else results.trials
    fertilities = {one.set_id: _fertility(one, sentences_of(one.set_id)) for one in sets}
    stored = _count_vocabulary(trials, vocabulary)
    rows: list[Row] = []
    for place, members in trials.groupby([*SERIES, "language"]):
        row = dict(zip([*SERIES, "language"], place, strict=True))
        row["num_trials"] = members.loc[members["f1"].notna(), "trial_id"].nunique()
        ids = set(members["trial_id"])
        of_language = [one for one in sets if one.language == row["language"]]
        known = [fertilities[one.set_id] for one in of_language if ids & set(one.trial_ids)]
        for name, value, source in (
            *_of_training(members),
            _of_dense(members, results),
            _of_wikipedia(row["language"]),
            *_of_vocabulary(stored.get(place), known, row["regime"].startswith(ZERO_SHOT)),
        ):
            rows.append(row | {"covariate": name, "value": value, "source": source})
    return pd.DataFrame(rows).astype({"value": float}) if rows else pd.DataFrame()


def tabulate_languages(described: pd.DataFrame) -> AnalysisTable:
    """Make the table `languages`.

    Args:
        described: see `describe_languages`.
    """
    if described.empty:
        return finish(COVARIATES, described, ["No trials: no languages."])
    notes = []
    missing = described[described["value"].isna()]
    for (name, why), rows in missing.groupby(["covariate", "source"], sort=False):
        notes.append(f"No {name} of {counted(rows['language'].nunique(), 'language')}: {why}.")
    if described.loc[described["covariate"] == "log2_wikipedia_mb", "value"].notna().any():
        notes.append(
            "log2_wikipedia_mb stands for the size of pretraining where a model was pretrained on "
            "Wikipedia, as mBERT was; the dump is a later one."
        )
    return finish(COVARIATES, in_order(described), notes)


def _of_training(members: pd.DataFrame) -> Iterator[tuple[str, float | None, str]]:
    used, number = members["num_used"].max(), members["num_train_sentences"].max()
    is_known = pd.notna(number) and number > 0
    if pd.notna(used):
        source = "sentences that trials used"
    else:
        source = "WikiANN's published split, up to the limit" if is_known else "not in the list"
    if members["regime"].iloc[0].startswith(ZERO_SHOT):
        source = NOT_TRAINED_ON
    yield "log10_train", log10(number) if is_known else None, source


def _of_dense(members: pd.DataFrame, results: Results) -> tuple[str, float | None, str]:
    """The mean F1 of the dense trials that the language's sparse ones are compared with, once
    each."""
    f1s = members.drop_duplicates("dense_trial_id")["dense_f1"].dropna()
    if (members["target_sparsity"] == 0).all():
        f1s = members["f1"].dropna()
    if f1s.empty:
        return "dense_f1", None, "no dense trial has an F1"
    return "dense_f1", float(f1s.mean()), f"{results.split}, {counted(len(f1s), 'dense trial')}"


def _of_wikipedia(code: str) -> tuple[str, float | None, str]:
    size = WIKIPEDIA_MB.get(code)
    name = "log2_wikipedia_mb"
    return (name, log2(size), WIKIPEDIA_SOURCE) if size else (name, None, "not in the list")


def _count_vocabulary(trials: pd.DataFrame, vocabulary: pa.Table) -> dict[Hashable, Row]:
    """What the trials of a series and language together use of the vocabulary, by that place; the
    number of pieces is the mean."""
    places = [*SERIES, "language"]
    owners = trials[[*places, "trial_id"]].drop_duplicates()
    counts = vocabulary.to_pandas().merge(owners, on=["trial_id", "language"])
    found = counts.groupby(places).agg(
        num_words=("num_words", "sum"),
        num_subwords=("num_subwords", "sum"),
        num_unknown=("num_unknown", "sum"),
        num_pieces=("num_pieces", "mean"),
        num_trials=("trial_id", "size"),
    )
    by_place: dict[Hashable, Row] = found.to_dict("index")
    return by_place


def _of_vocabulary(
    counts: Row | None, scored: Sequence[tuple[float | None, str]], is_zero_shot: bool
) -> Iterator[tuple[str, float | None, str]]:
    """What the train split's sub-words tell; without them, fertility is that of scored
    sentences."""
    if counts is None:
        yield "fertility", *(scored[0] if scored else (None, "no predictions are stored"))
        why = NOT_TRAINED_ON if is_zero_shot else NOT_STORED
        yield "unknown_rate", None, why
        yield "log10_embedding_rows", None, why
        return
    source = f"words of the train split, {counted(int(counts['num_trials']), 'trial')}"
    yield "fertility", counts["num_subwords"] / counts["num_words"], source
    yield "unknown_rate", counts["num_unknown"] / counts["num_subwords"], source
    yield "log10_embedding_rows", log10(counts["num_pieces"]), source


def _fertility(predictions: SetPredictions, sentences: pa.Table) -> tuple[float | None, str]:
    """Sub-words a word over all sentences of a set, and what it is counted on."""
    num_words = int(predictions.num_words.sum())
    source = counted(len(predictions.num_words), "scored sentence")
    num_subwords = int(sentences["num_subwords"].to_numpy().astype(int).sum())
    return (num_subwords / num_words if num_words else None), source
