"""The files of a split in a corpus folder: which they are, and what they say.

A language has a folder, or all languages share the files of the corpus folder itself, which then
have a column that names them. Read are Parquet in the layout of the Hugging Face hub, in one file
or in shards; columns of text as CoNLL's; and JSON lines (`workers.data.text_files`). A file whose
metadata name its tags, as the `datasets` library writes them, is believed: its numbers mean what
these names say.
"""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.data.tagged_text import TaggedText
from workers.data.text_files import read_columns, read_json_lines
from workers.hub.contents import OTHER_NAMES, TAG_COLUMNS
from workers.storage import PARQUET_DAMAGE, is_storage_fault
from workers.trial import TrialError, first_line
from workers.visits import visiting

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})(-[0-9a-f]{16})?\.parquet")
"""How `datasets` names a shard after its split; versions before 2.15 added 16 digits of a hash."""

COLUMNS = ("", ".tsv", ".conll", ".txt", ".iob", ".iob2", ".bio")
"""Ends of the names of text files with a word a line; WikiANN's own have none."""

JSON_LINES = (".jsonl", ".json")
COMPRESSED = ".gz"

_LAYOUTS = (
    "{0}.parquet, all shards {0}-NNNNN-of-NNNNN.parquet, "
    f"columns of text ({{0}}{', '.join(COLUMNS[1:])}), or JSON lines ({{0}}{', '.join(JSON_LINES)})"
)

LANGUAGE_COLUMNS = ("language", "lang")


def read_split(path: Path, language: str, split: str) -> list[TaggedText]:
    """Read the files of a split.

    Args:
        path: the corpus folder.
        language: the language's code, which is the name of its folder or stands in a column.
        split: train, validation or test.

    Returns:
        The files in their order, at least one; together they have at least one sentence.

    Raises:
        TrialError: kind `bad_data`.
    """
    files = find_files(path, language, split)
    shared = language if files[0].parent == path else None
    texts = [_read_file(file, shared) for file in files]
    of_language = f" of language {language!r}" if shared else ""
    _refuse_nothing(texts, f"{files[0]}: no sentences{of_language}")
    return without_prefix(texts)


def read_files(files: Sequence[Path], where: str, names: Sequence[str] | None) -> list[TaggedText]:
    """Read files of a split that somebody else has found.

    Args:
        files: in the order of its sentences.
        where: the data set, in words.
        names: what the tags' numbers mean, in any order; None: what a file's own metadata say.

    Raises:
        TrialError: kind `bad_data`.
    """
    texts = [replace(_read_file(file, None, names), where=where) for file in files]
    _refuse_nothing(texts, f"{where}: no sentences")
    return without_prefix(texts)


def _refuse_nothing(texts: Sequence[TaggedText], what: str) -> None:
    if not any(len(text.tokens) for text in texts):
        raise TrialError("bad_data", f"{what}; at least one is needed")


def find_files(path: Path, language: str, split: str) -> list[Path]:
    """The files of a split, of which there is at least one.

    Args:
        path: the corpus folder.
        language: the language's code, which is the name of its folder or stands in a column.
        split: train, validation or test.

    Raises:
        TrialError: kind `bad_data`: no folder, no such split, or more than one.
    """
    if not path.is_dir():
        raise TrialError(
            "bad_data",
            f"corpus.path: {str(path)!r} is not a folder; it holds one folder a language",
        )
    folder = folder_of(path, language)
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


def folder_of(path: Path, language: str) -> Path:
    """Where the files of a language are: in its folder, or else in that of the corpus, where that
    has a train or a test split itself.

    Args:
        path: the corpus folder.
        language: the language's code.
    """
    own = path / language
    if own.is_dir() or not path.is_dir():
        return own
    is_shared = any(
        any(path.glob(f"{split}*.parquet")) or _otherwise_named(path, split)
        for split in ("train", "test")
    )
    return path if is_shared else own


def has_split(path: Path, language: str, split: str) -> bool:
    """Whether a corpus folder has files of a split of a language; they are not looked into.

    Raises:
        TrialError: kind `bad_data`, when there is more than one split of this name, or less.
    """
    return bool(list_files(folder_of(path, language), split))


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
    files = files or _otherwise_named(folder, split)
    names = [file.name for file in files]
    shards = [_SHARD.fullmatch(name.removeprefix(split)) for name in names]
    order = [(int(shard[1]), int(shard[2])) for shard in shards if shard]
    is_all = len(order) == len(files) and order == [(i, len(files)) for i in range(len(files))]
    is_odd = names[:1] != [f"{split}.parquet"] and any(
        file.match(f"{split}*.parquet") for file in files
    )
    if is_all or (len(files) == 1 and not is_odd):
        return files
    present = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    raise TrialError(
        "bad_data",
        f"{folder}: split {split!r} is not one file or all of its shards: {present}; "
        f"leave {_LAYOUTS.format(split)} there, and move other files away",
    )


def languages_of_files(path: Path) -> list[str]:
    """The languages that share the files of a corpus folder itself, sorted; none where each has a
    folder, or the files say none.

    Args:
        path: the corpus folder.
    """
    found: set[str] = set()
    for split in ("train", "test"):
        for file in list_files(path, split):
            with visiting(file):
                found |= _languages_in(file)
    return sorted(found)


def _languages_in(file: Path) -> set[str]:
    if file.suffix == ".parquet":
        with _reading_parquet(file):
            column = _first_of(LANGUAGE_COLUMNS, pq.read_schema(file).names)
            table = pq.read_table(file, columns=[] if column is None else [column])
    elif _ending(file) in JSON_LINES:
        table, _ = read_json_lines(file)
        column = _first_of(LANGUAGE_COLUMNS, table.column_names)
    else:
        return set()
    if column is None:
        return set()
    return {str(code) for code in table[column].unique().to_pylist() if code is not None}


def _ending(file: Path) -> str:
    """The end of a file's name that says what it is, without that of its compression."""
    name = file.name.removesuffix(COMPRESSED)
    return f".{name.rpartition('.')[2]}" if "." in name else ""


def _otherwise_named(folder: Path, split: str) -> list[Path]:
    """Files of a split that are neither Parquet nor .tsv of its own name; they count where there
    are none of these."""
    found = []
    for name in (split, *OTHER_NAMES.get(split, ())):
        ends = (*COLUMNS, *JSON_LINES, *([".parquet"] if name != split else []))
        for end in ends:
            found += [folder / f"{name}{end}", folder / f"{name}{end}{COMPRESSED}"]
    return sorted(file for file in found if file.is_file())


def _read_file(file: Path, language: str | None, names: Sequence[str] | None = None) -> TaggedText:
    """A file; of one that several languages share, the sentences of this one. Numbers of its tags
    mean these names; None: what its own metadata say."""
    end = _ending(file)
    with visiting(file):
        if end == ".parquet":
            return _read_parquet(file, language, names)
        if end in JSON_LINES:
            table, lines = read_json_lines(file)
            return tagged(table, str(file), names, language, lines)
        if language is not None:
            raise TrialError(
                "bad_data",
                f"{file}: no column names the languages of a text file; give each its folder, such "
                f"as {file.parent / language}",
            )
        return read_columns(file)


def _read_parquet(file: Path, language: str | None, names: Sequence[str] | None) -> TaggedText:
    with _reading_parquet(file):
        table = pq.read_table(file, memory_map=True)
        table.validate(full=True)  # also that texts are UTF-8
    return tagged(table, str(file), names or _names_of_tags(table.schema), language)


@contextmanager
def _reading_parquet(file: Path) -> Iterator[None]:
    """What a damaged Parquet file raises, as bad data."""
    try:
        yield
    except (pa.ArrowException, *PARQUET_DAMAGE) as error:
        if is_storage_fault(error):
            raise
        raise TrialError(
            "bad_data", f"{file}: not a readable Parquet file ({first_line(error)})"
        ) from error


def _first_of(names: Sequence[str], there: Collection[str]) -> str | None:
    """The first of some names that is there."""
    return next((name for name in names if name in there), None)


def _names_of_tags(schema: pa.Schema) -> Sequence[str] | None:
    """The names of tags by number, where `datasets` has written them into a file's metadata."""
    try:
        metadata = json.loads((schema.metadata or {})[b"huggingface"])
        features = metadata["info"]["features"]
        feature = next(features[one] for one in TAG_COLUMNS if one in features)
        while "names" not in feature:  # a list of class labels, as each version has written that
            feature = feature[0] if isinstance(feature, list) else feature["feature"]
        return [str(name) for name in feature["names"]]
    except (IndexError, KeyError, StopIteration, TypeError, ValueError):
        return None


def tagged(
    table: pa.Table,
    where: str,
    names: Sequence[str] | None,
    language: str | None = None,
    lines: Sequence[int] | None = None,
) -> TaggedText:
    """The sentences of a table in the hub's layout.

    Args:
        table: with the columns `tokens` and `ner_tags` (or `tags`), whose tags are names or
            numbers.
        where: the file or data set, in words.
        names: what the numbers mean, in any order; None: nobody says.
        language: take the sentences of this one, which the column `language` (or `lang`) names;
            None: all.
        lines: of each sentence, the file's line; None in files without lines.

    Raises:
        TrialError: kind `bad_data`.
    """
    column = _tag_column(table, where)
    try:
        if language is not None:
            table, lines = _of_language(table, where, language, lines)
        tokens = table["tokens"].cast(pa.list_(pa.string())).combine_chunks()
        tags, known = _numbered(table[column], names)
        _check(tokens, tags, where)
        numbers = tags.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    except (pa.ArrowException, *PARQUET_DAMAGE) as error:
        types = f"tokens {table['tokens'].type}, {column} {table[column].type}"
        raise TrialError(
            "bad_data",
            f"{where}: {types}; expected a list of strings and one of tags (names or integers)",
        ) from error
    if known is not None:
        _refuse_outside(numbers, known, where)
    lengths = tokens.value_lengths().to_numpy(zero_copy_only=False)
    return TaggedText(
        where=where,
        tokens=tokens,
        tags=numbers,
        names=known,
        is_declared=names is not None and known is not None and list(known) == list(names),
        lines=None if lines is None else np.repeat(np.array(lines, np.int64), lengths),
    )


def _tag_column(table: pa.Table, where: str) -> str:
    """The name of the column of tags, in a table that has words, too."""
    column = _first_of(TAG_COLUMNS, table.column_names)
    missing = {"tokens"} - set(table.column_names) | ({"ner_tags"} if column is None else set())
    if missing or column is None:
        raise TrialError(
            "bad_data",
            f"{where}: no column {', '.join(sorted(missing))}; "
            "expected tokens and ner_tags, a list each",
        )
    return column


def _refuse_outside(numbers: np.ndarray, known: Sequence[str], where: str) -> None:
    """Refuse a number that stands for none of the tags that are known."""
    for number in numbers[(numbers < 0) | (numbers >= len(known))][:1]:
        raise TrialError(
            "bad_data",
            f"{where}: tag {number} is outside 0 to {len(known) - 1}, "
            f"which stand for {', '.join(known)}",
        )


def _of_language(
    table: pa.Table, where: str, language: str, lines: Sequence[int] | None
) -> tuple[pa.Table, Sequence[int] | None]:
    """The rows of one language, and their lines."""
    column = _first_of(LANGUAGE_COLUMNS, table.column_names)
    if column is None:
        raise TrialError(
            "bad_data",
            f"{where}: no column language, and {language!r} has no folder; give one of the two",
        )
    is_own = pc.equal(table[column].cast(pa.string()), language)
    kept = None
    if lines is not None:
        kept = [line for line, own in zip(lines, is_own.to_pylist(), strict=True) if own]
    return table.filter(is_own), kept


def _numbered(
    tags: pa.ChunkedArray, names: Sequence[str] | None
) -> tuple[pa.ListArray, tuple[str, ...] | None]:
    """Tags as lists of numbers, and the names that these stand for, if any are known.

    Raises:
        pa.ArrowException, ValueError: they are neither names nor numbers.
    """
    inner = getattr(tags.type, "value_type", None)
    inner = getattr(inner, "value_type", inner)  # of a dictionary of strings
    if inner is not None and (pa.types.is_string(inner) or pa.types.is_large_string(inner)):
        listed = tags.cast(pa.list_(pa.string())).combine_chunks()
        encoded = listed.flatten().dictionary_encode()
        return _relist(listed, encoded.indices.cast(pa.int64())), tuple(
            encoded.dictionary.to_pylist()
        )
    numbers = tags.cast(pa.list_(pa.int64())).combine_chunks()
    return numbers, None if names is None else tuple(names)


def _relist(like: pa.ListArray, values: pa.Array) -> pa.ListArray:
    """Values in lists as long as those of `like`."""
    lengths = pc.fill_null(pc.list_value_length(like), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.cumsum([0, *lengths]), pa.int32())
    return pa.ListArray.from_arrays(offsets, values)


def _check(tokens: pa.ListArray, tags: pa.ListArray, where: str) -> None:
    """Refuse what training would choke on later."""
    num_tokens = pc.fill_null(pc.list_value_length(tokens), 0).to_numpy(zero_copy_only=False)
    num_tags = pc.fill_null(pc.list_value_length(tags), 0).to_numpy(zero_copy_only=False)
    for position in np.flatnonzero((num_tokens != num_tags) | (num_tokens == 0))[:1]:
        raise TrialError(
            "bad_data",
            f"{where}: sentence {position} has {num_tokens[position]} words and "
            f"{num_tags[position]} tags; expected at least one word and a tag for each",
        )
    words, flat = tokens.flatten(), tags.flatten()
    if words.null_count or flat.null_count:
        raise TrialError(
            "bad_data",
            f"{where}: {words.null_count + flat.null_count} empty words or tags; fill them",
        )
    broken = words.filter(pc.match_substring(words, "\t"))
    if len(broken):
        raise TrialError(
            "bad_data",
            f"{where}: the word {broken[0].as_py()[:60]!r} holds a tab, as where a column was "
            "read into it; give words alone",
        )


_LANGUAGE_PREFIX = re.compile(r"[A-Za-z][A-Za-z_-]{1,15}:(?=.)", re.DOTALL)
"""What WikiANN's own files write before each word: `yo:`."""


def without_prefix(texts: Sequence[TaggedText]) -> list[TaggedText]:
    """The files of a split without what WikiANN's own write before each word, such as `yo:`.

    It is taken off where every word of the split begins with it, and has more.
    """
    words = [text.tokens.flatten() for text in texts]
    first = next((one[0].as_py() for one in words if len(one)), "")
    prefix = _LANGUAGE_PREFIX.match(first)
    if prefix is None or not all(_have_prefix(one, prefix[0]) for one in words):
        return list(texts)
    for text, one in zip(texts, words, strict=True):
        if (place := pc.index(one, prefix[0]).as_py()) >= 0:
            raise TrialError(
                "bad_data",
                f"{text.place(place)}: the word {prefix[0]!r} is nothing without what every word "
                "begins with; remove it",
            )
    return [_cut(text, one, len(prefix[0])) for text, one in zip(texts, words, strict=True)]


def _have_prefix(words: pa.Array, prefix: str) -> bool:
    return pc.all(pc.starts_with(words, prefix)).as_py() is not False


def _cut(text: TaggedText, words: pa.Array, length: int) -> TaggedText:
    cut = pc.utf8_slice_codeunits(words, length)
    offsets: Any = pa.array(text.starts, pa.int32())
    tokens = pa.ListArray.from_arrays(offsets, cut)
    return replace(text, tokens=tokens, num_prefixed=len(words))
