"""Whatever a file of a corpus holds, it is read or refused in words. See `tests.any_input`."""

import gzip
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.any_input import PIECES, as_bytes, damaged, many, refused_in_words, scalars, seeds
from tests.wikiann_tags import TAGS
from workers.data.corpus import load_sentences
from workers.trial import CorpusSpec, TrialError

SENTENCES = {
    "tokens": [["Rafael", "Nadal", "plays"], ["Kisumu"]],
    "ner_tags": [[1, 2, 0], [5]],
}
TSV = "Rafael\tB-PER\nNadal\tI-PER\nplays\tO\n\nKisumu\tB-LOC\n"


def read(folder: str, name: str, content: bytes) -> None:
    """Read a corpus of one language with one file."""
    kind = name.rpartition(".")[2]
    Path(folder, "sw", name).write_bytes(content)
    corpus = CorpusSpec(
        kind="path",
        name=None,
        revision=None,
        path=folder,
        seed=None,
        fingerprint=None,
        max_train_sentences=None,
        max_eval_sentences=None,
    )

    def call() -> None:
        sentences = load_sentences(corpus, "sw", "train")
        assert len(sentences.tokens) == len(sentences.labels) > 0
        for words, labels in zip(sentences.tokens, sentences.labels, strict=True):
            assert len(words) == len(labels) > 0
            assert all(isinstance(word, str) for word in words)
            assert all(0 <= label < len(TAGS) for label in labels)

    refused_in_words(kind, (TrialError,), call)


@pytest.fixture(scope="module")
def corpus() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        Path(folder, "sw").mkdir()
        yield folder


lines = st.lists(
    st.sampled_from([*PIECES, *TAGS, "\t", "\tO\n", "\tB-PER\n", "\n\n", "\r\n", "sw:x\tO\n"])
    | st.text(max_size=4),
    max_size=15,
).map("".join)


@pytest.mark.slow
@many
@given(lines | st.text(), seeds)
def test_any_text_as_a_split(corpus, text, seed):
    for base in (as_bytes(text), as_bytes(TSV + text)):
        for form in damaged(base, seed):
            read(corpus, "train.tsv", form)
    Path(corpus, "sw", "train.tsv").unlink()


@pytest.mark.slow
@many
@given(lines | st.text(), seeds, st.sampled_from(["train", "train.txt", "train.jsonl", "train.gz"]))
def test_any_other_text_as_a_split(corpus, text, seed, name):
    rows = [
        {name: values[place] for name, values in SENTENCES.items()}
        for place in range(len(SENTENCES["tokens"]))
    ]
    usual = "\n".join(map(json.dumps, rows)) if name.endswith("jsonl") else TSV.replace("\t", " X ")
    name = "train.tsv.gz" if name == "train.gz" else name
    for base in (as_bytes(text), as_bytes(usual + text)):
        data = gzip.compress(base, mtime=0) if name.endswith(".gz") else base
        for form in damaged(data, seed):
            read(corpus, name, form)
    Path(corpus, "sw", name).unlink()


types = st.sampled_from(
    [
        *(pa.int8(), pa.uint64(), pa.int64(), pa.float64(), pa.bool_(), pa.null()),
        *(pa.string(), pa.large_string(), pa.binary(), pa.string_view(), pa.date32()),
        *(pa.dictionary(pa.int8(), pa.string()), pa.decimal128(5, 2), pa.duration("s")),
    ]
)
columns = st.builds(
    lambda inner, wrap: wrap(inner),
    types,
    st.sampled_from(
        [
            *(pa.list_, pa.large_list, lambda inner: inner, lambda inner: pa.list_(inner, 2)),
            *(lambda inner: pa.list_(pa.list_(inner)), pa.list_view),
            lambda inner: pa.struct([("a", inner)]),
        ]
    ),
)


names = st.none() | st.lists(st.sampled_from([*TAGS, "B-MISC", ""]), max_size=8) | scalars


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """The two columns, of any types, with what of their values these take; names of tags may be
    given."""
    arrays = []
    for usual in SENTENCES.values():
        kind, rows = draw(columns), st.lists(scalars, max_size=3) | st.sampled_from([*usual, None])
        try:
            arrays.append(pa.array(draw(st.lists(rows, min_size=2, max_size=2)), kind))
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            arrays.append(pa.array(usual))
    feature = {"feature": {"names": draw(names)}}
    info = {"info": {"features": {"ner_tags": feature}}}
    metadata = {"huggingface": json.dumps(info, default=str)} if draw(st.booleans()) else None
    return pa.table(arrays, schema=_schema(arrays)).replace_schema_metadata(metadata)


def _schema(arrays: list[pa.Array]) -> pa.Schema:
    return pa.schema(list(zip(SENTENCES, (array.type for array in arrays), strict=True)))


def as_parquet(table: pa.Table) -> bytes | None:
    """The file; None where Parquet has no such type."""
    buffer = io.BytesIO()
    try:
        pq.write_table(table, buffer)
    except (pa.ArrowException, OSError):
        return None
    return buffer.getvalue()


@pytest.mark.slow
@many
@given(tables(), seeds)
def test_any_table_as_a_split(corpus, table, seed):
    for base in (table, pa.table(SENTENCES)):
        if (content := as_parquet(base)) is not None:
            for form in damaged(content, seed):
                read(corpus, "train.parquet", form)
    Path(corpus, "sw", "train.parquet").unlink(missing_ok=True)
