"""Which files make a split, and what they say of themselves."""

import json
import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.wikiann_tags import TAGS
from tests.workers.data.test_corpus import path_corpus, write_parquet
from workers.data.corpus import examine_folder, fingerprint_language, load_sentences
from workers.trial import TrialError

BY_TYPE = ["O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER"]


def write_named(folder, tags, names, nest=lambda feature: {"feature": feature, "_type": "List"}):
    """A train split whose metadata name its tags as `datasets` writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    feature = nest({"names": names, "_type": "ClassLabel"})
    metadata = {"huggingface": json.dumps({"info": {"features": {"ner_tags": feature}}})}
    table = pa.table({"tokens": [["w"] * len(row) for row in tags], "ner_tags": tags})
    pq.write_table(table.replace_schema_metadata(metadata), folder / "train.parquet")


@pytest.mark.parametrize("names", [list(TAGS), BY_TYPE, sorted(TAGS), ["O", "I-LOC", "B-LOC"]])
@pytest.mark.parametrize(
    "nest", [lambda inner: {"feature": inner, "_type": "Sequence"}, lambda inner: [inner]]
)
def test_numbers_of_tags_mean_what_the_file_says(tmp_path, names, nest):
    rows = [["B-LOC", "I-LOC"], ["O"], ["O", "B-LOC", "O"]]
    write_named(tmp_path / "yo", [[names.index(tag) for tag in row] for row in rows], names, nest)
    labels = load_sentences(path_corpus(tmp_path), "yo", "train").labels
    assert [[TAGS[label] for label in row] for row in labels] == rows


def test_names_that_are_none_of_the_seven_are_refused(tmp_path):
    write_named(tmp_path / "yo", [[0]], ["O", "B-MISC"])
    with pytest.raises(TrialError, match=r"train.parquet: tags are \['O', 'B-MISC'\]; expected"):
        load_sentences(path_corpus(tmp_path), "yo", "train")


def test_numbers_beyond_the_names_are_refused(tmp_path):
    write_named(tmp_path / "yo", [[0, 3]], ["B-LOC", "I-LOC", "O"])
    with pytest.raises(TrialError, match="tag 3 is outside 0 to 2, which stand for B-LOC, I-LOC"):
        load_sentences(path_corpus(tmp_path), "yo", "train")


@pytest.mark.parametrize("metadata", [b"[", b"{}", b'{"info": {"features": {"ner_tags": 3}}}'])
def test_metadata_without_names_leave_the_usual_order(tmp_path, metadata):
    (tmp_path / "yo").mkdir()
    table = pa.table({"tokens": [["a"]], "ner_tags": [[5]]})
    table = table.replace_schema_metadata({b"huggingface": metadata})
    pq.write_table(table, tmp_path / "yo" / "train.parquet")
    assert load_sentences(path_corpus(tmp_path), "yo", "train").labels == [[5]]


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.string()),
        pa.large_list(pa.large_string()),
        pa.list_(pa.dictionary(pa.int32(), pa.string())),
    ],
)
def test_tags_may_be_names(tmp_path, kind):
    tags = pa.array([["B-PER", "I-PER"], ["O"]], pa.list_(pa.string())).cast(kind)
    write_parquet(tmp_path / "yo", "train", [["Ade", "Ojo"], ["ni"]], tags)
    assert load_sentences(path_corpus(tmp_path), "yo", "train").labels == [[1, 2], [0]]


def test_a_split_of_several_shards_may_carry_hashes(tmp_path):
    """As `datasets` named them before 2.15."""
    for number in range(2):
        name = f"-0000{number}-of-00002-0123456789abcdef"
        write_parquet(tmp_path / "yo", "train", [[str(number)]], [[0]], name)
    assert load_sentences(path_corpus(tmp_path), "yo", "train").tokens == [["0"], ["1"]]


@pytest.mark.parametrize(
    "names",
    [
        ("train.parquet", "train-00000-of-00001.parquet"),
        ("train.parquet", "train_old.parquet"),
        ("train.parquet", "train.bak.parquet"),
        ("train.parquet", "train.tsv"),
        ("train-00000-of-00002.parquet",),
        ("train-00000-of-00001.parquet", "train-00001-of-00002.parquet"),
        ("train-00000-of-00001.parquet", "train-00000-of-00001-0123456789abcdef.parquet"),
        ("train_part1.parquet",),
    ],
)
def test_anything_but_one_file_or_all_shards_is_refused(tmp_path, names):
    write_parquet(tmp_path / "yo", "train", [["a"]], [[0]], "")
    written = (tmp_path / "yo" / "train.parquet").rename(tmp_path / "written")
    for name in names:
        shutil.copy(written, tmp_path / "yo" / name)
    listed = re.escape(", ".join(sorted(names)))
    message = f"split 'train' is not one file or all of its shards: {listed}; leave train.parquet"
    for read in (fingerprint_language, lambda *args: examine_folder(*args, ("train",))):
        with pytest.raises(TrialError, match=message):
            read(tmp_path, "yo")


def test_files_of_other_names_are_left_alone(tmp_path):
    write_parquet(tmp_path / "yo", "train", [["a"]], [[0]], "")
    (tmp_path / "yo" / "train.parquet.bak").write_text("x")
    (tmp_path / "yo" / "old-train.tsv").write_text("x")
    assert load_sentences(path_corpus(tmp_path), "yo", "train").tokens == [["a"]]


@pytest.mark.parametrize("line", ["Ade\tNOUN\tB-PER", "1\tAde\tB-PER", "\tB-PER", "Ade B-PER"])
def test_text_has_two_columns(tmp_path, line):
    (tmp_path / "yo").mkdir()
    (tmp_path / "yo" / "train.tsv").write_text(f"Ilu\tO\n{line}\n")
    with pytest.raises(TrialError, match=r"train.tsv:2: .* is not token<TAB>tag \(two columns\)"):
        load_sentences(path_corpus(tmp_path), "yo", "train")


@pytest.mark.parametrize("word", ["1\tAde", "Ade\tNOUN"])
def test_words_that_hold_a_column_are_refused(tmp_path, word):
    write_parquet(tmp_path / "yo", "train", [["Ilu"], ["ni", word]], [[0], [0, 1]])
    with pytest.raises(TrialError, match="train-00000-of-00001.parquet: the word .* holds a tab"):
        load_sentences(path_corpus(tmp_path), "yo", "train")


@pytest.mark.parametrize("prefix", ["yo:", "zh-yue:", "map_bms:"])
def test_words_of_wikianns_own_files_lose_their_prefix(tmp_path, prefix):
    (tmp_path / "yo").mkdir()
    lines = f"{prefix}Ade\tB-PER\n{prefix}:\tO\n\n{prefix}Ilu\tO\n"
    (tmp_path / "yo" / "train.tsv").write_text(lines)
    read = load_sentences(path_corpus(tmp_path), "yo", "train")
    assert read.tokens == [["Ade", ":"], ["Ilu"]]
    assert examine_folder(tmp_path, "yo", ("train",)).mended["train"].num_prefixed == 3
    (tmp_path / "yo" / "train.tsv").write_text(lines.replace(f"\n{prefix}:", "\nni:"))
    assert load_sentences(path_corpus(tmp_path), "yo", "train").tokens[0][1] == "ni:"


@pytest.mark.parametrize(
    ("tags", "expected"), [([0, 2], ("test",)), ([0, 0], ()), ([1, 2], ()), ([2, 3], ())]
)
def test_splits_whose_entities_never_begin_are_known(tmp_path, tags, expected):
    write_parquet(tmp_path / "yo", "test", [["Ade", "Ojo"]], [tags])
    assert examine_folder(tmp_path, "yo", ("test",)).without_begin == expected


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (pa.array([["ab"]], pa.list_(pa.binary())), "not a readable Parquet file|tokens list<"),
        (
            pa.array([["ab"], []], pa.list_view(pa.string())),
            "sentence 1 has 0 words and 1 tags",
        ),
    ],
)
def test_odd_types_and_words_that_are_no_text_are_refused(tmp_path, tokens, message):
    (tmp_path / "yo").mkdir()
    tags = pa.array([[0]] * len(tokens), pa.list_view(pa.int8()))
    file = tmp_path / "yo" / "train.parquet"
    pq.write_table(pa.table({"tokens": tokens, "ner_tags": tags}), file)
    if "not a readable" in message:
        file.write_bytes(file.read_bytes().replace(b"ab", b"\xff\xfe"))
    with pytest.raises(TrialError, match=message):
        load_sentences(path_corpus(tmp_path), "yo", "train")
