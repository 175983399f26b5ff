"""The files of a split in a corpus folder: which they are, and what they say.

Two layouts are read: that of the Hugging Face hub (Parquet, in one file or in shards) and text
(`token<TAB>tag`). A file whose metadata name its tags, as the `datasets` library writes them, is
believed: its numbers mean what these names say.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.storage import PARQUET_DAMAGE, is_storage_fault
from workers.tags import TAGS
from workers.trial import TrialError, first_line
from workers.visits import visiting

LABEL_OF_TAG = {tag: label for label, tag in enumerate(TAGS)}

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})(-[0-9a-f]{16})?\.parquet")
"""How `datasets` names a shard after its split; versions before 2.15 added 16 digits of a hash."""

_LAYOUTS = "{0}.parquet, all shards {0}-NNNNN-of-NNNNN.parquet, or {0}.tsv"


def read_split(path: Path, language: str, split: str) -> tuple[str, pa.Table]:
    """Read the files of a split; what is in them is not yet checked but for its types.

    Args:
        path: the corpus folder.
        language: the language's code, which is the name of its folder.
        split: train, validation or test.

    Returns:
        The first file, in words, and a row a sentence: `tokens`, list of strings, and `labels`,
        list of int64.

    Raises:
        TrialError: kind `bad_data`.
    """
    files = find_files(path, language, split)
    return str(files[0]), pa.concat_tables([_read_file(file) for file in files])


def find_files(path: Path, language: str, split: str) -> list[Path]:
    """The files of a split, of which there is at least one.

    Args:
        path: the corpus folder.
        language: the language's code, which is the name of its folder.
        split: train, validation or test.

    Raises:
        TrialError: kind `bad_data`: no folder, no such split, or more than one.
    """
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
    files = list_files(folder, split)
    if not files or not all(file.is_file() for file in files):
        present = ", ".join(sorted(entry.name for entry in folder.iterdir())) or "nothing"
        raise TrialError(
            "bad_data",
            f"{folder}: no split {split!r}; expected {_LAYOUTS.format(split)}, found {present}",
        )
    return files


def list_files(folder: Path, split: str) -> list[Path]:
    """The files of a split in the order of its sentences; none where the folder has none.

    A split is one file or all of its shards. Whatever else looks as if it were of this split is
    refused: nobody can tell whether it holds other sentences or the same ones again.

    Args:
        folder: the language's.
        split: train, validation or test.

    Raises:
        TrialError: kind `bad_data`, when there is more than one split of this name, or less.
    """
    files = sorted([*folder.glob(f"{split}*.parquet"), *folder.glob(f"{split}.tsv")])
    names = [file.name for file in files]
    shards = [_SHARD.fullmatch(name.removeprefix(split)) for name in names]
    order = [(int(shard[1]), int(shard[2])) for shard in shards if shard]
    is_all = len(order) == len(files) and order == [(i, len(files)) for i in range(len(files))]
    if is_all or names in ([f"{split}.parquet"], [f"{split}.tsv"]):
        return files
    present = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    raise TrialError(
        "bad_data",
        f"{folder}: split {split!r} is not one file or all of its shards: {present}; "
        f"leave {_LAYOUTS.format(split)} there, and move other files away",
    )


def _read_file(file: Path) -> pa.Table:
    with visiting(file):
        return _read_parquet(file) if file.suffix == ".parquet" else _read_tsv(file)


def _read_parquet(file: Path) -> pa.Table:
    try:
        table = pq.read_table(file, memory_map=True)
        table.validate(full=True)  # also that texts are UTF-8
    except (pa.ArrowException, *PARQUET_DAMAGE) as error:
        if is_storage_fault(error):
            raise
        raise TrialError(
            "bad_data", f"{file}: not a readable Parquet file ({first_line(error)})"
        ) from error
    return with_labels(table, str(file), _names_of_tags(table.schema))


def _names_of_tags(schema: pa.Schema) -> Sequence[str] | None:
    """The names of tags by number, where `datasets` has written them into a file's metadata."""
    try:
        metadata = json.loads((schema.metadata or {})[b"huggingface"])
        feature = metadata["info"]["features"]["ner_tags"]
        while "names" not in feature:  # a list of class labels, as each version has written that
            feature = feature[0] if isinstance(feature, list) else feature["feature"]
        return [str(name) for name in feature["names"]]
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def with_labels(table: pa.Table, where: str, names: Sequence[str] | None) -> pa.Table:
    """The sentences of a table in the hub's layout.

    Args:
        table: with the columns `tokens` and `ner_tags`, whose tags are names or numbers.
        where: the file or data set, in words.
        names: what the numbers mean, in any order; None: the order of `workers.tags.TAGS`.

    Returns:
        A row a sentence: `tokens`, list of strings, and `labels`, list of int64.

    Raises:
        TrialError: kind `bad_data`.
    """
    missing = {"tokens", "ner_tags"} - set(table.column_names)
    if missing:
        raise TrialError(
            "bad_data",
            f"{where}: no column {', '.join(sorted(missing))}; "
            "expected tokens and ner_tags, a list each",
        )
    try:
        tokens = table["tokens"].cast(pa.list_(pa.string()))
        labels = _as_labels(table["ner_tags"], where, names)
        read = pa.table({"tokens": tokens, "labels": labels})
    except (pa.ArrowException, *PARQUET_DAMAGE) as error:
        types = f"tokens {table['tokens'].type}, ner_tags {table['ner_tags'].type}"
        raise TrialError(
            "bad_data",
            f"{where}: {types}; expected a list of strings and one of tags "
            f"(their names, or integers 0 to {len(TAGS) - 1})",
        ) from error
    return read


def _as_labels(tags: pa.ChunkedArray, where: str, names: Sequence[str] | None) -> pa.ChunkedArray:
    """Labels of tags that are names, or numbers that stand for `names`.

    Raises:
        TrialError: kind `bad_data`, when a tag is none of the seven.
        pa.ArrowException, ValueError: they are neither.
    """
    inner = getattr(tags.type, "value_type", None)
    inner = getattr(inner, "value_type", inner)  # of a dictionary of strings
    if inner is not None and (pa.types.is_string(inner) or pa.types.is_large_string(inner)):
        listed = tags.cast(pa.list_(pa.string())).combine_chunks()
        return _relist(listed, _labels_of_names(listed.flatten(), where))
    numbers = tags.cast(pa.list_(pa.int64()))
    if names is None or tuple(names) == TAGS:
        return numbers

    labels = [LABEL_OF_TAG.get(name) for name in names]
    if None in labels:
        raise TrialError(
            "bad_data", f"{where}: tags are {names}; expected {list(TAGS)}, in any order"
        )
    listed = numbers.combine_chunks()
    flat = listed.flatten()
    bounds = pc.min_max(flat).as_py()
    for value in bounds.values():
        if value is not None and not 0 <= value < len(labels):
            raise TrialError(
                "bad_data",
                f"{where}: tag {value} is outside 0 to {len(labels) - 1}, "
                f"which stand for {', '.join(names)}",
            )
    return _relist(listed, pa.array(labels, pa.int64()).take(flat))


def _labels_of_names(tags: pa.Array, where: str) -> pa.Array:
    labels = pc.index_in(tags, pa.array(TAGS)).cast(pa.int64())
    unknown = tags.filter(pc.and_(pc.is_null(labels), pc.is_valid(tags)))
    if len(unknown):
        raise TrialError(
            "bad_data", f"{where}: tag {unknown[0].as_py()!r} is none of {', '.join(TAGS)}"
        )
    return labels


def _relist(like: Any, values: pa.Array) -> pa.ChunkedArray:
    """Values in lists as long as those of `like`."""
    lengths = pc.fill_null(pc.list_value_length(like), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.cumsum([0, *lengths]), pa.int32())
    return pa.chunked_array([pa.ListArray.from_arrays(offsets, values)])


def _read_tsv(file: Path) -> pa.Table:
    tokens: list[list[str]] = []
    labels: list[list[int]] = []
    for block in _blocks(file):
        tokens.append([token for token, _ in block])
        labels.append([label for _, label in block])
    return as_table(tokens, labels)


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
            token, _, tag = line.partition("\t")
            if not token or line.count("\t") != 1:
                raise TrialError(
                    "bad_data",
                    f"{file}:{number}: {line[:60]!r} is not token<TAB>tag (two columns)",
                )
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


def as_table(tokens: list[list[str]], labels: list[list[int]]) -> pa.Table:
    """Sentences as `read_split` gives them.

    Args:
        tokens: the words, a list a sentence.
        labels: indices into `workers.tags.TAGS`, as many as words.
    """
    types = {"tokens": pa.list_(pa.string()), "labels": pa.list_(pa.int64())}
    return pa.table({"tokens": tokens, "labels": labels}, schema=pa.schema(types))
