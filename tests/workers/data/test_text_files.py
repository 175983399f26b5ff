"""Files of columns and of JSON lines, as people have them; bad ones are refused with their line."""

import gzip
import json
import subprocess
import tracemalloc

import pytest

from tests.workers.data.test_corpus import path_corpus
from workers.data.corpus import load_sentences
from workers.data.text_files import MAX_LINE_BYTES, read_columns, read_json_lines
from workers.trial import TrialError

EXPECTED = ([["Juma", "Ojo", "alienda"], ["Nairobi"]], [[1, 2, 0], [5]])

TABBED = "Juma\tB-PER\nOjo\tI-PER\nalienda\tO\n\nNairobi\tB-LOC\n"
BLANKS = "Juma B-PER\nOjo  I-PER\nalienda O\n\nNairobi B-LOC\n"
FOUR = "Juma NN B-NP B-PER\nOjo NN I-NP I-PER\nalienda VB O O\n\nNairobi NN B-NP B-LOC\n"


@pytest.mark.parametrize(
    "text",
    [
        TABBED,
        BLANKS,
        FOUR,
        FOUR.replace(" ", "\t"),
        "\ufeff" + TABBED,
        TABBED.replace("\n", "\r\n"),
        TABBED.replace("\n", "\r"),
        "-DOCSTART- -X- O O\n\n" + FOUR,
        "-DOCSTART-\tO\n" + TABBED,
        "# id 7\tdomain=en\n" + TABBED.replace("\n\n", "\n\n# sent_id = 2\n"),
        "# id 7 domain=en\n" + BLANKS,
        "\n \n" + TABBED + "\n\n",
        TABBED.rstrip("\n"),
    ],
)
@pytest.mark.parametrize("name", ["train.txt", "train.conll", "train.iob", "train", "train.tsv.gz"])
def test_columns_are_read_in_all_their_forms(tmp_path, text, name):
    (tmp_path / "sw").mkdir()
    data = text.encode()
    (tmp_path / "sw" / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    read = load_sentences(path_corpus(tmp_path), "sw", "train")
    assert (read.tokens, read.labels) == EXPECTED


@pytest.mark.parametrize(
    ("name", "is_word"), [("train.tsv", True), ("train.conll", False), ("train.tsv.gz", False)]
)
def test_a_mark_of_documents_is_a_word_where_it_always_was(tmp_path, name, is_word):
    """Trials on a .tsv are not run again, so their sentences stay what they were."""
    data = ("-DOCSTART-\tO\n\n" + TABBED).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert (["-DOCSTART-"] in read_columns(tmp_path / name).tokens.to_pylist()) == is_word


@pytest.mark.parametrize("text", ["#\tO\n#1\tB-PER\n", "# O\n#1 B-PER\n"])
def test_a_number_sign_may_be_a_word(tmp_path, text):
    file = tmp_path / "train.txt"
    file.write_text(text)
    assert read_columns(file).tokens.to_pylist() == [["#", "#1"]]


def test_the_validation_split_may_be_called_dev(tmp_path):
    (tmp_path / "sw").mkdir()
    (tmp_path / "sw" / "dev.txt").write_text(BLANKS)
    assert load_sentences(path_corpus(tmp_path), "sw", "validation").tokens == EXPECTED[0]
    (tmp_path / "sw" / "valid.txt").write_text(BLANKS)
    with pytest.raises(TrialError, match="not one file or all of its shards: dev.txt, valid.txt"):
        load_sentences(path_corpus(tmp_path), "sw", "validation")


ROWS = [
    {"tokens": ["Juma", "Ojo", "alienda"], "ner_tags": ["B-PER", "I-PER", "O"]},
    {"tokens": ["Nairobi"], "ner_tags": ["B-LOC"]},
]


@pytest.mark.parametrize("words", ["tokens", "words"])
@pytest.mark.parametrize("tags", ["ner_tags", "tags"])
def test_json_lines_are_read(tmp_path, words, tags):
    (tmp_path / "sw").mkdir()
    rows = [{words: row["tokens"], tags: row["ner_tags"], "id": 3} for row in ROWS]
    text = "\n".join(map(json.dumps, rows)) + "\n\n"
    (tmp_path / "sw" / "train.jsonl").write_text(text)
    read = load_sentences(path_corpus(tmp_path), "sw", "train")
    assert (read.tokens, read.labels) == EXPECTED


def test_one_file_may_have_all_languages(tmp_path):
    rows = [{"lang": code, **row} for row in ROWS for code in ("sw", "yo")]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, [*rows[:3], *rows[3:]])))
    (tmp_path / "test.jsonl").write_text(json.dumps(rows[0]))
    assert load_sentences(path_corpus(tmp_path), "yo", "train").tokens == EXPECTED[0]
    with pytest.raises(TrialError, match="test.jsonl: no sentences of language 'yo'"):
        load_sentences(path_corpus(tmp_path), "yo", "test")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\tO\nb\xff\tO\n", r"f:2: not UTF-8 text \(byte 1 of the line\)"),
        (b"a\tO\n" + b"x" * (MAX_LINE_BYTES + 1), "f:2: longer than 4 MiB"),
        (b"a X O\nb O\n", "f:2: 'b O' has 2 columns, line 1 has 3"),
        (b"alone\n", r"f:1: 'alone' is not token<TAB>tag \(two columns\)"),
        (b"a\t\n", r"f:1: 'a\\t' is not token<TAB>tag"),
    ],
)
def test_bad_columns_are_refused_with_their_line(tmp_path, data, message):
    file = tmp_path / "f"
    file.write_bytes(data)
    with pytest.raises(TrialError, match=message):
        read_columns(file)


def test_a_line_of_gigabytes_is_not_read_whole(tmp_path):
    file = tmp_path / "f"
    with file.open("wb") as stream:
        stream.truncate(2**30)  # a hole, which takes no space
    tracemalloc.start()
    with pytest.raises(TrialError, match="f:1: longer than 4 MiB"):
        read_columns(file)
    assert tracemalloc.get_traced_memory()[1] < 20 * MAX_LINE_BYTES / 4
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "f:2: '\\[1\\]' is no JSON object"),
        ("{", "f:2: no JSON"),
        ("[" * 100_000, "f:2: no JSON"),
        ('{"tokens": ["a"]}', "f:2: no ner_tags or tags; expected both"),
        ('{"tokens": "a", "tags": []}', "f:2: tokens is 'a'; expected a list of strings"),
        ('{"tokens": ["a"], "tags": [true]}', "f:2: tags is .*names or numbers"),
        ('{"tokens": ["a"], "tags": []}', "f:2: 1 words and 0 tags"),
        ('{"tokens": ["a"], "tags": [1]}', "some tags are names and some are numbers"),
        ('{"tokens": ["\\ud800"], "tags": ["O"]}', "cannot be read"),
    ],
)
def test_bad_json_lines_are_refused_with_their_line(tmp_path, line, message):
    file = tmp_path / "f"
    file.write_text(json.dumps(ROWS[0]) + "\n" + line + "\n")
    with pytest.raises(TrialError, match=message):
        read_json_lines(file)


@pytest.mark.parametrize(
    "data", [b"no gzip", gzip.compress(TABBED.encode() * 100)[:-20]], ids=["none", "cut off"]
)
def test_damaged_gzip_is_refused(tmp_path, data):
    (tmp_path / "f.gz").write_bytes(data)
    with pytest.raises(TrialError, match="f.gz: not a readable gzip file"):
        read_columns(tmp_path / "f.gz")


@pytest.mark.parametrize("blank", [" ", "\t"])
def test_columns_that_differ_are_refused_with_the_command_that_cuts_them(tmp_path, blank):
    """Morphological analysers write fewer columns for words that they do not know."""
    (tmp_path / "f").write_text(f"a{blank}X{blank}B-LOC\nb{blank}I-LOC\n\nc{blank}Y{blank}O\n")
    with pytest.raises(TrialError, match="line 1 has 3; .* `awk .*` keeps words and tags$") as e:
        read_columns(tmp_path / "f")
    command = str(e.value).split("`")[1]
    with (tmp_path / "cut").open("w") as cut:
        subprocess.run(f"{command} {tmp_path / 'f'}", shell=True, check=True, stdout=cut)
    assert read_columns(tmp_path / "cut").tokens.to_pylist() == [["a", "b"], ["c"]]
