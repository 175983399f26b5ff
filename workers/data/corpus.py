"""Sentences and their tags, checked before use: from the hub, a folder or the embedded corpus.

What is checked: there are sentences, each has words, and each word has one of the seven IOB2 tags.
An I- tag that does not continue an entity of its type (WikiANN's ja and zh have some) is legal
here; it is counted, and scored as `EvaluationSpec.matching` says.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.data import synthetic
from workers.data.corpus_files import (
    LABEL_OF_TAG,
    as_table,
    find_files,
    list_files,
    read_split,
    with_labels,
)
from workers.data.fingerprints import fingerprint_files
from workers.tags import TAGS
from workers.trial import SPLITS, CorpusSpec, TrialError, combine_fingerprints


@dataclass(frozen=True)
class Sentences:
    """Words of some sentences and the label of each word, a list a sentence.

    Attributes:
        tokens: the words.
        labels: indices into `workers.tags.TAGS`, as many as words.
    """

    tokens: list[list[str]]
    labels: list[list[int]]


@dataclass(frozen=True)
class CorpusFacts:
    """What planning needs to know of one language.

    Attributes:
        fingerprint: of its files; None where it has none.
        num_sentences: by split, without any limit.
        without_begin: splits that have entities of which none begins with a B- tag.
    """

    fingerprint: str | None
    num_sentences: dict[str, int]
    without_begin: tuple[str, ...] = ()


def load_sentences(corpus: CorpusSpec, language: str, split: str) -> Sentences:
    """Read and check one split of one language.

    Args:
        corpus: where it is, and how many of its sentences are used.
        language: the language's code.
        split: train, validation or test.

    Raises:
        TrialError: kind `bad_data`; the message names the file or data set, the value and what is
            accepted.
    """
    table = load_table(corpus, language, split)
    return Sentences(table["tokens"].to_pylist(), table["labels"].to_pylist())


def load_table(corpus: CorpusSpec, language: str, split: str) -> pa.Table:
    """Like `load_sentences`, without a Python object a word.

    Args:
        corpus: where the split is, and how many of its sentences are used.
        language: the language's code.
        split: train, validation or test.

    Returns:
        A row a sentence: `tokens`, list of strings, and `labels`, list of int64, as many.

    Raises:
        TrialError: as `load_sentences`.
    """
    limit = corpus.max_train_sentences if split == "train" else corpus.max_eval_sentences
    where, table = _read_table(corpus, language, split)
    _check(table, where)
    if split != "train" or corpus.subset_seed is None or limit is None:
        return table.slice(0, limit)
    return table.take(draw_subset(table.num_rows, limit, corpus.subset_seed, language))


def draw_subset(size: int, limit: int, seed: int, language: str) -> np.ndarray:
    """Which sentences of a train split are kept, ascending, int64 (min(size, limit),).

    Those of a smaller limit are among those of a larger one.

    Args:
        size: of the split.
        limit: how many are kept.
        seed: of the draw; at least 0.
        language: the language's code; each has a draw of its own.
    """
    order = np.random.default_rng([seed, *language.encode()]).permutation(size)
    return np.sort(order[:limit])


def examine_folder(path: Path, language: str, splits: Sequence[str]) -> CorpusFacts:
    """Check a language's files in a corpus folder without keeping them.

    Args:
        path: the corpus folder.
        language: the language's code, which is the name of its folder.
        splits: those that are wanted.

    Raises:
        TrialError: kind `bad_data`, as `load_sentences`.
    """
    num_sentences, without_begin = {}, []
    for split in splits:
        where, table = read_split(path, language, split)
        _check(table, where)
        num_sentences[split] = table.num_rows
        tags = {TAGS[label] for label in pc.unique(pc.list_flatten(table["labels"])).to_pylist()}
        if tags != {"O"} and not any(tag.startswith("B-") for tag in tags):
            without_begin.append(split)
    fingerprint = fingerprint_folder(path, language, splits)
    return CorpusFacts(fingerprint, num_sentences, tuple(without_begin))


def fingerprint_folder(path: Path, language: str, splits: Iterable[str]) -> str:
    """Hash of a language's files of these splits; quick for files that were hashed before.

    Args:
        path: the corpus folder.
        language: the language's code, which is the name of its folder.
        splits: in any order.

    Returns:
        16 hexadecimal digits.

    Raises:
        TrialError: kind `bad_data`, when a file is missing.
    """
    files = [(split, file) for split in splits for file in find_files(path, language, split)]
    return fingerprint_files((f"{split}/{file.name}", file) for split, file in files)


def fingerprint_language(path: Path, language: str) -> str:
    """Hash of a language's files of all splits that are there, whichever of them a trial scores.

    Args:
        path: the corpus folder.
        language: the language's code, which is the name of its folder.

    Returns:
        16 hexadecimal digits.

    Raises:
        TrialError: kind `bad_data`, when there is no train split.
    """
    others = [split for split in SPLITS[1:] if list_files(path / language, split)]
    return fingerprint_folder(path, language, ("train", *others))


def fingerprint_scored(path: Path, language: str) -> str:
    """Hash of the files of a language that is scored and not trained on: those of validation and
    test, as far as they are there.

    Args:
        path: the corpus folder.
        language: the language's code, which is the name of its folder.

    Returns:
        16 hexadecimal digits.
    """
    present = [split for split in SPLITS[1:] if list_files(path / language, split)]
    return fingerprint_folder(path, language, present)


def fingerprints_before(path: Path, languages: Sequence[str]) -> list[str | None]:
    """What stood for the files of these languages until schema version 4, where one split was
    scored: the hash of those of train and that split.

    Raises:
        TrialError: kind `bad_data`, when a language has no train split.
    """
    return [
        combine_fingerprints(
            {code: fingerprint_folder(path, code, ("train", split)) for code in languages}
        )
        for split in reversed(SPLITS[1:])
        if all(list_files(path / code, split) for code in languages)
    ]


def count_unstarted_entities(labels: list[list[int]]) -> int:
    """I- tags that continue nothing: at the start of a sentence, after O, or after another type.

    Args:
        labels: of each sentence, indices into `workers.tags.TAGS`.
    """
    tags = [[TAGS[label] for label in sentence] for sentence in labels]
    return sum(
        tag.startswith("I-") and before[1:] != tag[1:]
        for sentence in tags
        for before, tag in zip(["O", *sentence], sentence, strict=False)
    )


def _read_table(corpus: CorpusSpec, language: str, split: str) -> tuple[str, pa.Table]:
    """Where the sentences come from, in words, and a table of `tokens` and `labels`."""
    if corpus.kind == "synthetic":
        tokens, tags = synthetic.make_sentences(language, split, corpus.seed or 0)
        labels = [[LABEL_OF_TAG[tag] for tag in sentence] for sentence in tags]
        return f"synthetic {language} {split}", as_table(tokens, labels)
    if corpus.kind == "path":
        return read_split(Path(str(corpus.path)), language, split)
    return _read_hub(corpus, language, split)


def _read_hub(corpus: CorpusSpec, language: str, split: str) -> tuple[str, pa.Table]:
    import datasets

    where = f"{corpus.name} {language} {split}"
    data = datasets.load_dataset(corpus.name, language, split=split, revision=corpus.revision)
    names = getattr(getattr(data.features.get("ner_tags"), "feature", None), "names", None)
    return where, with_labels(data.with_format("arrow")[:], where, names)


def _check(table: pa.Table, where: str) -> None:
    """Refuse what training would choke on later."""
    if table.num_rows == 0:
        raise TrialError("bad_data", f"{where}: no sentences; at least one is needed")
    num_tokens = pc.fill_null(pc.list_value_length(table["tokens"]), 0).to_numpy()
    num_labels = pc.fill_null(pc.list_value_length(table["labels"]), 0).to_numpy()
    for position in np.flatnonzero((num_tokens != num_labels) | (num_tokens == 0))[:1]:
        raise TrialError(
            "bad_data",
            f"{where}: sentence {position} has {num_tokens[position]} words and "
            f"{num_labels[position]} tags; expected at least one word and a tag for each",
        )
    words, labels = pc.list_flatten(table["tokens"]), pc.list_flatten(table["labels"])
    if words.null_count or labels.null_count:
        raise TrialError(
            "bad_data",
            f"{where}: {words.null_count + labels.null_count} empty words or tags; fill them",
        )
    _refuse_swallowed_columns(words, where)
    bounds = pc.min_max(labels).as_py()
    for value in (bounds["min"], bounds["max"]):
        if not 0 <= value < len(TAGS):
            raise TrialError(
                "bad_data",
                f"{where}: tag {value} is outside 0 to {len(TAGS) - 1}, "
                f"which stand for {', '.join(TAGS)}",
            )


_LANGUAGE_PREFIX = re.compile(r"[A-Za-z][A-Za-z_-]{1,15}:(?=.)", re.DOTALL)
"""What WikiANN's own files write before each word: `yo:`."""


def _refuse_swallowed_columns(words: pa.Array, where: str) -> None:
    """Words that hold what other layouts of such files write beside or before a word."""
    broken = words.filter(pc.match_substring(words, "\t"))
    if len(broken):
        raise TrialError(
            "bad_data",
            f"{where}: the word {broken[0].as_py()[:60]!r} holds a tab, as where a column was "
            "read into it; give words alone",
        )
    prefix = _LANGUAGE_PREFIX.match(words[0].as_py())
    if prefix and pc.all(pc.starts_with(words, prefix[0])).as_py():
        raise TrialError(
            "bad_data",
            f"{where}: every word begins with {prefix[0]!r}, as in WikiANN's own files; "
            f"remove it (in text files: sed -i 's/^{prefix[0]}//')",
        )
