"""Text files of sentences: columns as CoNLL's, and JSON lines; read line by line, so that one of
gigabytes is refused and not read whole."""

import contextlib
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from workers.data.tagged_text import TaggedText, from_lists
from workers.trial import TrialError, first_line

MAX_LINE_BYTES = 4 * 2**20
"""A word has some bytes and a sentence some thousand; a longer line is another kind of file's."""

TAG = re.compile(r"O|[BIESLU]-\S+")
"""What the tags of all schemes but IO look like."""


def read_lines(file: Path, opened: IO[bytes] | None = None) -> Iterator[tuple[int, str]]:
    """Number and text of each line; line breaks are those of all systems.

    Args:
        file: UTF-8, with or without a byte order mark; compressed where its name ends in .gz.
        opened: what is read in its place, and stays open; `file` is then a name for messages.

    Raises:
        TrialError: kind `bad_data`, when a line is no UTF-8 text or too long, or gzip is damaged.
    """
    number = 0
    try:
        with _open(file) if opened is None else contextlib.nullcontext(opened) as stream:
            while data := stream.readline(MAX_LINE_BYTES + 1):
                for text in _decode(file, number + 1, data):
                    number += 1
                    yield number, text
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TrialError(
            "bad_data", f"{file}: not a readable gzip file ({first_line(error)})"
        ) from error


def _open(file: Path) -> IO[bytes]:
    if file.suffix == ".gz":
        return cast(IO[bytes], gzip.open(file))
    return file.open("rb")


def _decode(file: Path, number: int, data: bytes) -> list[str]:
    if len(data) > MAX_LINE_BYTES:
        raise TrialError(
            "bad_data",
            f"{file}:{number}: longer than {MAX_LINE_BYTES // 2**20} MiB; expected a word or a "
            "sentence a line",
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise TrialError(
            "bad_data", f"{file}:{number}: not UTF-8 text (byte {error.start} of the line)"
        ) from error
    if number == 1:
        text = text.removeprefix("\ufeff")
    # A lone carriage return ends a line, too, as in Python's text files.
    return text.removesuffix("\n").removesuffix("\r").split("\r")


def read_columns(file: Path, lines: Iterable[tuple[int, str]] | None = None) -> TaggedText:
    """A file with a word a line: word first, tag last, columns between them of no say.

    Columns stand apart by tabs, or by blanks where the first line of words has no tab. Empty lines
    part sentences, and so does -DOCSTART-, which is a word in a .tsv of two columns, as it was when
    these were the only text files. A line that begins with # and has no tag is a comment.

    Args:
        file: as of `read_lines`.
        lines: its lines, where they have been read.

    Raises:
        TrialError: kind `bad_data`; the message names the line.
    """
    sentences: list[list[tuple[str, str, int]]] = [[]]
    columns = _Columns(file)
    for number, line in read_lines(file) if lines is None else lines:
        if not line.strip(" "):
            sentences.append([])
            continue
        parts = columns.split(line)
        if parts[0] == "-DOCSTART-" and not (file.suffix == ".tsv" and line.count("\t") == 1):
            sentences.append([])
        elif not columns.is_comment(line, parts):
            columns.check(number, line, parts)
            sentences[-1].append((parts[0], parts[-1], number))
    kept = [sentence for sentence in sentences if sentence]
    return from_lists(
        str(file),
        [[word for word, _, _ in sentence] for sentence in kept],
        [[tag for _, tag, _ in sentence] for sentence in kept],
        [number for sentence in kept for _, _, number in sentence],
    )


_CUT = r"""awk {}'NF {{ print $1 "\t" $NF; next }} 1'"""
"""Cuts lines of columns to word and tag. Nothing does so unasked: in a line that lacks its tag
another column is the last, and an I-NP of chunks looks like a tag of entities."""


class _Columns:
    """How the lines of a file fall into columns: as its first line of words does."""

    def __init__(self, file: Path):
        self.file = file
        self.width: int | None = None
        self.is_tabbed = False
        self.first = 0

    def split(self, line: str) -> list[str]:
        if self.is_tabbed or (self.width is None and "\t" in line):
            return line.split("\t")
        return [part for part in line.split(" ") if part]

    def is_comment(self, line: str, parts: list[str]) -> bool:
        if not line.startswith("#"):
            return False
        if self.width is None:
            return len(parts) < 2 or not TAG.fullmatch(parts[-1])
        is_word = len(parts) == self.width and (self.is_tabbed or TAG.fullmatch(parts[-1]))
        return not is_word

    def check(self, number: int, line: str, parts: list[str]) -> None:
        if self.width is None and len(parts) >= 2:
            self.width, self.is_tabbed, self.first = len(parts), "\t" in line, number
        if len(parts) == self.width and parts[0] and parts[-1]:
            return
        where = f"{self.file}:{number}: {line[:60]!r}"
        if self.width in (None, 2):
            raise TrialError("bad_data", f"{where} is not token<TAB>tag (two columns)")
        cut = _CUT.format(r"-F'\t' " if self.is_tabbed else "")
        raise TrialError(
            "bad_data",
            f"{where} has {len(parts)} columns, line {self.first} has {self.width}; give each word "
            f"as many, the tag in the last; where that is the tag already, `{cut}` keeps words "
            "and tags",
        )


def read_json_lines(file: Path) -> tuple[pa.Table, list[int]]:
    """A file with an object a line, a sentence each: `tokens` or `words`; `ner_tags` or `tags`;
    and `language` or `lang`, where it has several.

    Returns:
        A table of these columns, and the line of each sentence.

    Raises:
        TrialError: kind `bad_data`; the message names the line.
    """
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    for number, line in read_lines(file):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TrialError("bad_data", f"{where}: no JSON ({first_line(error)})") from error
        if not isinstance(row, dict):
            raise TrialError("bad_data", f"{where}: {line[:60]!r} is no JSON object")
        rows.append(_checked(where, row))
        lines.append(number)
    return _as_table(file, rows), lines


def _checked(where: str, row: dict[str, Any]) -> dict[str, Any]:
    """The columns that count, under their first names."""
    found: dict[str, Any] = {}
    for names, kinds in ((("tokens", "words"), (str,)), (("ner_tags", "tags"), (str, int))):
        name = next((name for name in names if name in row), None)
        if name is None:
            raise TrialError(
                "bad_data", f"{where}: no {names[0]} or {names[1]}; expected both, a list each"
            )
        values = row[name]
        if not isinstance(values, list) or not all(type(value) in kinds for value in values):
            raise TrialError(
                "bad_data",
                f"{where}: {name} is {str(values)[:60]!r}; expected a list of "
                f"{'strings' if kinds == (str,) else 'names or numbers of tags'}",
            )
        found[names[0]] = values
    if len(found["tokens"]) != len(found["ner_tags"]) or not found["tokens"]:
        raise TrialError(
            "bad_data",
            f"{where}: {len(found['tokens'])} words and {len(found['ner_tags'])} tags; expected at "
            "least one word and a tag for each",
        )
    language = row.get("language", row.get("lang"))
    return found | ({} if language is None else {"language": str(language)})


def _as_table(file: Path, rows: list[dict[str, Any]]) -> pa.Table:
    kinds = {type(tag) for row in rows for tag in row["ner_tags"]}
    inner = pa.int64() if kinds == {int} else pa.string()
    if len(kinds) > 1:
        raise TrialError(
            "bad_data", f"{file}: some tags are names and some are numbers; give one kind"
        )
    try:
        table = {
            "tokens": pa.array([row["tokens"] for row in rows], pa.list_(pa.string())),
            "ner_tags": pa.array([row["ner_tags"] for row in rows], pa.list_(inner)),
        }
    except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
        raise TrialError(
            "bad_data", f"{file}: a word or tag cannot be read ({first_line(error)})"
        ) from error
    if any("language" in row for row in rows):
        table["language"] = pa.array([row.get("language") for row in rows], pa.string())
    return pa.table(table)
