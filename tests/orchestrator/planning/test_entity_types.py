"""The entity types of trials: from files, or as they are listed."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import SpecError
from orchestrator.planning.plan import describe_mended, make_plan
from orchestrator.spec.sweep_spec import SweepSpec
from workers.data.corpus import load_sentences

DATES = "Juma B-PER\nMei B-DATE\n\nNairobi B-LOC\n"


def sweep(folder: Path, corpus: dict | None = None, **changes) -> SweepSpec:
    fields = {
        "name": "tiny",
        "results": "out",
        "languages": ["sw"],
        "sparsities": [0.0],
        "seeds": [0],
        "model": {"name": "some/encoder"},
        "corpus": {"path": str(folder), **(corpus or {})},
    }
    return SweepSpec.model_validate(fields | changes)


def write(folder: Path, language: str, **splits: str) -> None:
    (folder / language).mkdir(exist_ok=True)
    for split, text in splits.items():
        (folder / language / f"{split}.txt").write_text(text)


def types(planned) -> list:
    return [trial.spec.corpus.entity_types for trial in planned]


def test_types_are_those_of_train(tmp_path):
    write(tmp_path, "sw", train=DATES, test="Juma B-PER\n")
    (trial,) = make_plan(sweep(tmp_path))
    corpus = trial.spec.corpus
    assert corpus.entity_types == ("DATE", "LOC", "PER")
    assert load_sentences(corpus, "sw", "train").labels == [[5, 1], [3]]


@pytest.mark.parametrize("text", ["Juma B-PER\n", "Juma O\n", "a B-LOC\nb B-ORG\nc B-PER\n"])
def test_wikianns_types_and_fewer_are_wikianns_corpus(tmp_path, text):
    write(tmp_path, "sw", train=text, test="Juma B-LOC\n")
    assert types(make_plan(sweep(tmp_path))) == [None]
    listed = {"entity_types": ["PER", "ORG", "LOC"]}
    assert types(make_plan(sweep(tmp_path, listed))) == [None]


def test_names_that_a_file_declares_give_the_order(tmp_path):
    names = ["O", "B-PER", "I-PER", "B-DATE", "I-DATE"]
    feature = {"ner_tags": {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "List"}}
    metadata = {"huggingface": json.dumps({"info": {"features": feature}})}
    (tmp_path / "sw").mkdir()
    for split in ("train", "test"):
        table = pa.table({"tokens": [["a", "b"]], "ner_tags": [[3, 0]]})
        file = tmp_path / "sw" / f"{split}.parquet"
        pq.write_table(table.replace_schema_metadata(metadata), file)
    (trial,) = make_plan(sweep(tmp_path))
    assert trial.spec.corpus.entity_types == ("PER", "DATE")
    assert load_sentences(trial.spec.corpus, "sw", "test").labels == [[3, 0]]


def test_numbers_need_names_unless_they_are_wikianns(tmp_path):
    (tmp_path / "sw").mkdir()
    for split in ("train", "test"):
        table = pa.table({"tokens": [["a", "b"]], "ner_tags": [[8, 0]]})
        pq.write_table(table, tmp_path / "sw" / f"{split}.parquet")
    with pytest.raises(SpecError, match="tag 8 is outside 0 to 6.*name the types in the order of"):
        make_plan(sweep(tmp_path))
    listed = {"entity_types": ["PER", "ORG", "LOC", "DATE"]}
    planned = make_plan(sweep(tmp_path, listed))
    assert load_sentences(planned[0].spec.corpus, "sw", "train").labels == [[8, 0]]
    lines = describe_mended(planned)
    assert lines[0].startswith("sw test, sw train: numbers in place of tags, without"), lines
    write(tmp_path, "yo", train=DATES, test=DATES)
    pq.write_table(
        pa.table({"tokens": [["a"]], "ner_tags": [[1]]}), tmp_path / "sw" / "train.parquet"
    )
    pq.write_table(
        pa.table({"tokens": [["a"]], "ner_tags": [[1]]}), tmp_path / "sw" / "test.parquet"
    )
    together = {"languages": ["sw", "yo"], "regime": "multilingual"}
    with pytest.raises(SpecError, match="sw train has numbers in place of tags and no names"):
        make_plan(sweep(tmp_path, **together))


def test_a_type_that_no_train_split_has_is_refused_unless_it_is_listed(tmp_path):
    write(tmp_path, "sw", train=DATES, test="Juma B-MISC\n")
    with pytest.raises(SpecError, match="sw test has the entity type 'MISC', which no train split"):
        make_plan(sweep(tmp_path))
    listed = ["PER", "LOC", "DATE", "MISC"]
    assert types(make_plan(sweep(tmp_path, {"entity_types": listed}))) == [tuple(listed)]
    with pytest.raises(SpecError, match=r"train.txt:2: tag 'B-DATE' is none of O, B-PER"):
        make_plan(sweep(tmp_path, {"entity_types": ["PER", "LOC", "MISC"]}))


def test_donors_of_other_types_are_refused(tmp_path):
    write(tmp_path, "sw", train=DATES, test=DATES)
    write(tmp_path, "yo", train="Juma B-MISC\n", test=DATES)
    robustness = {"perturbations": ["within_script"]}
    with pytest.raises(SpecError, match="donors: yo train has the entity type 'MISC'"):
        make_plan(sweep(tmp_path, robustness=robustness))


def test_types_and_schemes_make_other_trials(tmp_path):
    write(tmp_path, "sw", train=DATES, test=DATES)
    plans = [
        make_plan(sweep(tmp_path, corpus))
        for corpus in ({}, {"entity_types": ["PER", "LOC", "DATE"]}, {"scheme": "iob1"})
    ]
    assert len({trial.trial_id for plan in plans for trial in plan}) == 3


def test_what_is_read_otherwise_is_said(tmp_path):
    write(tmp_path, "sw", train="sw:Juma S-PER\nsw:Mei S-DATE\n", test="Juma B-PER\n")
    assert describe_mended(make_plan(sweep(tmp_path))) == [
        "sw train: 2 tags of another scheme read as IOB2",
        "sw train: a prefix such as sw: was taken off 2 words",
    ]


def test_files_that_look_like_iob1_are_told_and_read_when_asked(tmp_path):
    iob1 = "Juma I-PER\nOjo I-PER\nna O\nAde I-PER\nAsha B-PER\n"
    write(tmp_path, "sw", train=iob1, test=iob1)
    planned = make_plan(sweep(tmp_path))
    (line,) = describe_mended(planned)
    assert line == (
        "sw test, sw train: of 3 entities 2 begin with I-, as in IOB1 and IO; if that is how they "
        "are marked, set corpus.scheme=iob1 or io"
    )
    (trial,) = planned = make_plan(sweep(tmp_path, {"scheme": "iob1"}))
    (line,) = describe_mended(planned)
    assert line == "sw test, sw train: 2 tags of another scheme read as IOB2"
    assert load_sentences(trial.spec.corpus, "sw", "train").labels == [[1, 2, 0, 1, 1]]


def test_donors_files_may_have_other_names(tmp_path):
    for code in ("sw", "yo"):
        write(tmp_path, code, train=DATES, dev="Bola B-PER\n", test=DATES)
    robustness = {"perturbations": ["within_script"], "donor_split": "validation"}
    (trial,) = make_plan(sweep(tmp_path, robustness=robustness))
    assert trial.spec.robustness.pools[0].donors == ("yo",)


def test_a_validation_split_that_is_part_of_train_gives_no_entities(tmp_path):
    write(tmp_path, "sw", train=DATES, test=DATES)
    write(tmp_path, "yo", train=DATES, validation="Bola B-PER\n", test=DATES)
    robustness = {"perturbations": ["within_script"], "donor_split": "validation"}
    held = {"validation_from_train": 0.5}
    with pytest.raises(SpecError, match="donor_split: sw has no validation split but the part of"):
        make_plan(sweep(tmp_path, held, robustness=robustness))
    (trial,) = make_plan(sweep(tmp_path, held, robustness=robustness | {"donor_split": "test"}))
    assert trial.spec.robustness.pools[0].donors == ("yo",)


def test_validation_may_be_held_out_of_train(tmp_path):
    write(tmp_path, "sw", train="".join(f"w{number} O\n\n" for number in range(50)), test=DATES)
    write(tmp_path, "yo", train=DATES, validation=DATES, test=DATES)
    scored = {"evaluation": {"splits": ["validation", "test"]}}
    with pytest.raises(SpecError, match="no split 'validation'"):
        make_plan(sweep(tmp_path, **scored))
    held = {"validation_from_train": 0.2, "entity_types": ["PER", "LOC", "DATE"]}
    (trial,) = planned = make_plan(sweep(tmp_path, held, **scored))
    corpus = trial.spec.corpus
    assert describe_mended(planned)[0].startswith("sw: validation is 10 sentences of train")
    train, validation = (
        {words[0] for words in load_sentences(corpus, "sw", split).tokens}
        for split in ("train", "validation")
    )
    assert (len(train), len(validation)) == (40, 10)
    assert train | validation == {f"w{number}" for number in range(50)}
    (other,) = make_plan(sweep(tmp_path, held, languages=["yo"], **scored))
    assert other.spec.corpus.validation_from_train is None, "it has a validation split"


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ({"entity_types": "PER"}, "input should be auto or a list of names"),
        ({"entity_types": []}, "input should have 1 to 63 names"),
        ({"entity_types": ["PER", "PER"]}, "PER stands twice"),
        ({"entity_types": ["micro"]}, "micro stands for all types together"),
        ({"validation_from_train": 1.0}, "less than 1"),
    ],
)
def test_bad_settings_are_refused(tmp_path, corpus, message):
    with pytest.raises(ValueError, match=message):
        sweep(tmp_path, corpus)
