"""Sentences and their tags, checked before use: from the hub, a folder or the embedded corpus.

What is checked: there are sentences, each has words, and each word has one of the seven IOB2 tags.
An I- tag that does not continue an entity of its type (WikiANN's ja and zh have some) is legal
here; it is counted, and scored as `EvaluationSpec.matching` says.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.data import synthetic
from workers.data.fingerprints import fingerprint_files
from workers.tags import TAGS
from workers.trial import SPLITS, CorpusSpec, TrialError, combine_fingerprints

LABEL_OF_TAG = {tag: label for label, tag in enumerate(TAGS)}


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
    """

    fingerprint: str | None
    num_sentences: dict[str, int]


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
    return table.slice(0, limit)


def examine_folder(path: Path, language: str, splits: Sequence[str]) -> CorpusFacts:
    """Check a language's files in a corpus folder without keeping them.

    Args:
        path: the corpus folder.
        language: the language's code, which is the name of its folder.
        splits: those that are wanted.

    Raises:
        TrialError: kind `bad_data`, as `load_sentences`.
    """
    num_sentences = {}
    for split in splits:
        where, table = _read_folder(path, language, split)
        _check(table, where)
        num_sentences[split] = table.num_rows
    return CorpusFacts(fingerprint_folder(path, language, splits), num_sentences)


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
    files = [(split, file) for split in splits for file in _find_files(path, language, split)]
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
    others = [split for split in SPLITS[1:] if _list_files(path / language, split)]
    return fingerprint_folder(path, language, ("train", *others))


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
        if all(_list_files(path / code, split) for code in languages)
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
        return f"synthetic {language} {split}", _as_table(tokens, labels)
    if corpus.kind == "path":
        return _read_folder(Path(str(corpus.path)), language, split)
    return _read_hub(corpus, language, split)


def _read_hub(corpus: CorpusSpec, language: str, split: str) -> tuple[str, pa.Table]:
    import datasets

    where = f"{corpus.name} {language} {split}"
    data = datasets.load_dataset(corpus.name, language, split=split, revision=corpus.revision)
    names = getattr(getattr(data.features.get("ner_tags"), "feature", None), "names", None)
    if names is not None and tuple(names) != TAGS:
        raise TrialError("bad_data", f"{where}: tags are {names}; expected {list(TAGS)}")
    return where, _with_labels(data.with_format("arrow")[:], where)


def _read_folder(path: Path, language: str, split: str) -> tuple[str, pa.Table]:
    files = _find_files(path, language, split)
    tables = [
        _read_parquet(file) if file.suffix == ".parquet" else _read_tsv(file) for file in files
    ]
    return str(files[0]), pa.concat_tables(tables)


def _find_files(path: Path, language: str, split: str) -> list[Path]:
    if not path.is_dir():
        raise TrialError(
            "bad_data",
            f"corpus.path: {str(path)!r} is not a folder; it holds one folder a language",
        )
    folder = path / language
    if not folder.is_dir():
        present = (
            ", ".join(sorted(entry.name for entry in path.iterdir() if entry.is_dir())) or "none"
        )
        raise TrialError(
            "bad_data", f"languages: {language!r} has no folder in {path}; folders there: {present}"
        )
    files = _list_files(folder, split)
    if not files or not all(file.is_file() for file in files):
        present = ", ".join(sorted(entry.name for entry in folder.iterdir())) or "nothing"
        raise TrialError(
            "bad_data",
            f"{folder}: no split {split!r}; expected {split}*.parquet or {split}.tsv, "
            f"found {present}",
        )
    return files


def _list_files(folder: Path, split: str) -> list[Path]:
    return sorted(folder.glob(f"{split}*.parquet")) or sorted(folder.glob(f"{split}.tsv"))


def _read_parquet(file: Path) -> pa.Table:
    try:
        table = pq.read_table(file, memory_map=True)
    except (pa.ArrowException, OSError) as error:  # OSError: pyarrow's word for damaged pages
        raise TrialError(
            "bad_data", f"{file}: not a readable Parquet file ({_first_line(error)})"
        ) from error
    return _with_labels(table, str(file))


def _with_labels(table: pa.Table, where: str) -> pa.Table:
    missing = {"tokens", "ner_tags"} - set(table.column_names)
    if missing:
        raise TrialError(
            "bad_data",
            f"{where}: no column {', '.join(sorted(missing))}; "
            "expected tokens and ner_tags, a list each",
        )
    try:
        return pa.table(
            {
                "tokens": table["tokens"].cast(pa.list_(pa.string())),
                "labels": table["ner_tags"].cast(pa.list_(pa.int64())),
            }
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        types = f"tokens {table['tokens'].type}, ner_tags {table['ner_tags'].type}"
        raise TrialError(
            "bad_data",
            f"{where}: {types}; expected lists of strings and of integers 0 to {len(TAGS) - 1}",
        ) from error


def _read_tsv(file: Path) -> pa.Table:
    tokens: list[list[str]] = []
    labels: list[list[int]] = []
    for block in _blocks(file):
        tokens.append([token for token, _ in block])
        labels.append([label for _, label in block])
    return _as_table(tokens, labels)


def _blocks(file: Path) -> Iterator[list[tuple[str, int]]]:
    """Runs of lines between empty lines."""
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise TrialError(
            "bad_data", f"{file}: not UTF-8 text (byte {error.start}); expected token<TAB>tag"
        ) from error
    block = []
    for number, line in enumerate(lines, start=1):
        line = line.rstrip("\r")
        if line:
            token, tab, tag = line.rpartition("\t")
            if not tab or not token:
                raise TrialError("bad_data", f"{file}:{number}: {line[:60]!r} is not token<TAB>tag")
            if tag not in LABEL_OF_TAG:
                raise TrialError(
                    "bad_data", f"{file}:{number}: tag {tag!r} is none of {', '.join(TAGS)}"
                )
            block.append((token, LABEL_OF_TAG[tag]))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _as_table(tokens: list[list[str]], labels: list[list[int]]) -> pa.Table:
    types = {"tokens": pa.list_(pa.string()), "labels": pa.list_(pa.int64())}
    return pa.table({"tokens": tokens, "labels": labels}, schema=pa.schema(types))


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
    bounds = pc.min_max(labels).as_py()
    for value in (bounds["min"], bounds["max"]):
        if not 0 <= value < len(TAGS):
            raise TrialError(
                "bad_data",
                f"{where}: tag {value} is outside 0 to {len(TAGS) - 1}, "
                f"which stand for {', '.join(TAGS)}",
            )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
