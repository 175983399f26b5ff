"""What is told of a corpus, counted by hand."""

from transformers import AutoTokenizer

from tests.golden_results import GOLDEN
from tests.workers.data.test_corpus import path_corpus, write_parquet
from workers.data.overview import describe_language

TRAIN = ([["Ade", "ni"], ["Ilu"], ["Ade", "ni"]], [["B-PER", "O"], ["I-LOC"], ["B-PER", "O"]])
TEST = ([["Ilu"], ["Oyo", "Ade"]], [["B-LOC"], ["B-LOC", "B-DATE"]])


def test_entities_repetitions_and_leaks_are_counted(tmp_path):
    write_parquet(tmp_path / "yo", "train", *TRAIN)
    write_parquet(tmp_path / "yo", "test", *TEST)
    corpus = path_corpus(tmp_path, entity_types=("PER", "LOC", "DATE"))
    train, test = describe_language(corpus, "yo", ["train", "test"])
    assert (train.num_sentences, train.num_words, train.num_repeated) == (3, 5, 1)
    assert train.entities == {"PER": 2, "LOC": 1, "DATE": 0}
    assert (train.num_unstarted, train.num_of_train) == (1, None)
    assert (test.num_of_train, test.num_repeated, test.num_unstarted) == (1, 0, 0)
    assert test.entities == {"PER": 0, "LOC": 2, "DATE": 1}
    assert train.subwords is None


def test_subwords_are_those_of_the_tokenizer(tmp_path):
    write_parquet(tmp_path / "yo", "train", *TRAIN)
    folder = GOLDEN / "tiny-bert"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    words = [word for sentence in TRAIN[0] for word in sentence]
    pieces = [tokenizer.tokenize(word) for word in words]
    corpus = path_corpus(tmp_path, entity_types=("PER", "LOC"))
    (train,) = describe_language(corpus, "yo", ["train"], tokenizer)
    assert train.subwords.num_subwords == sum(map(len, pieces))
    assert train.subwords.num_unknown == sum(one.count("[UNK]") for one in pieces)
    assert train.subwords.num_split == 0
    assert train.subwords.lengths["longest"] == len(pieces[0]) + len(pieces[1])
