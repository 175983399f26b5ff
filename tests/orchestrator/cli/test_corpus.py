"""`sparsweep corpus`: what would be read, and what is wrong, before anything is trained."""

import json
from pathlib import Path

import pytest

from orchestrator.planning.plan import make_plan
from tests.golden_results import GOLDEN
from tests.orchestrator.cli.command import run

DATES = "Juma B-PER\nMei B-DATE\n\nNairobi B-LOC\n"


def write(folder: Path, language: str, **splits: str) -> None:
    (folder / language).mkdir(exist_ok=True)
    for split, text in splits.items():
        (folder / language / f"{split}.txt").write_text(text)


def test_a_folder_is_shown_language_by_language(capsys, tmp_path):
    write(tmp_path, "sw", train=DATES, dev=DATES, test="Juma S-PER\n")
    write(tmp_path, "yo", train="Oyo B-LOC\n", test="Oyo B-LOC\n")
    (tmp_path / "notes").mkdir()
    code, out, _ = run(capsys, "corpus", str(tmp_path), "--json")
    found = json.loads(out)
    assert code == 0
    assert [(one["language"], one["split"]) for one in found["splits"]] == [
        *(("sw", split) for split in ("train", "validation", "test")),
        *(("yo", split) for split in ("train", "test")),
    ]
    assert found["splits"][0]["entities"] == {"DATE": 1, "LOC": 1, "PER": 1}
    assert found["splits"][1]["num_of_train"] == 2
    assert found["splits"][3]["entities"] == {"PER": 0, "ORG": 0, "LOC": 1}
    assert found["notes"][0] == "sw test: 1 tag of another scheme read as IOB2"
    assert found["faults"] == []


def test_a_sweep_is_planned_once(capsys, tmp_path, monkeypatch):
    """Planning reads the whole corpus."""
    write(tmp_path, "sw", train=DATES, test=DATES)
    planned = []
    monkeypatch.setattr(
        "orchestrator.cli.corpus.make_plan", lambda sweep: planned.append(sweep) or make_plan(sweep)
    )
    assert run(capsys, "corpus", str(tmp_path))[0] == 0
    assert len(planned) == 1


def test_what_is_wrong_with_one_language_does_not_hide_the_others(capsys, tmp_path):
    write(tmp_path, "sw", train=DATES, test="Juma B-MISC\n")
    write(tmp_path, "yo", train=DATES, test=DATES)
    code, out, _ = run(capsys, "corpus", str(tmp_path))
    assert code == 2
    assert "fault: corpus: sw test has the entity type 'MISC'" in out
    assert "yo    train" in out
    code, out, _ = run(
        capsys, "corpus", str(tmp_path), "--set", "corpus.entity_types=[PER, LOC, DATE, MISC]"
    )
    assert code == 0


def test_files_that_languages_share_are_shown_by_language(capsys, tmp_path):
    rows = [
        {"language": code, "tokens": ["Ade"], "tags": [tag]}
        for code, tag in (("sw", "B-PER"), ("yo", "B-DATE"))
    ]
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code, out, _ = run(capsys, "corpus", str(tmp_path), "--json")
    splits = json.loads(out)["splits"]
    assert code == 0
    assert [list(one["entities"]) for one in splits[::2]] == [["PER", "ORG", "LOC"], ["DATE"]]


@pytest.mark.slow
def test_a_sweep_is_shown_with_the_subwords_of_its_model(capsys):
    settings = ("--set", "languages=[ka]", "--set", "corpus.max_train_sentences=20")
    code, out, _ = run(capsys, "corpus", "smoke", *settings, "--json")
    found = json.loads(out)
    assert code == 0
    train, test = found["splits"][0], found["splits"][-1]
    assert (train["num_sentences"], train["split"], test["split"]) == (20, "train", "test")
    assert train["subwords"]["num_subwords"] >= train["num_words"]
    assert train["subwords"]["lengths"]["median"] <= train["subwords"]["lengths"]["longest"]


def test_the_terminal_names_what_is_long(capsys, tmp_path):
    write(tmp_path, "sw", train=DATES + "Juma B-PER\n" * 20, test=DATES)
    model = ("--set", f"model.name={GOLDEN / 'tiny-bert'}", "--set", "training.max_length=8")
    code, out, _ = run(capsys, "corpus", str(tmp_path), "--set", "model.init=random", *model)
    assert code == 0
    assert "sw train: 1 sentence longer than training.max_length, split between words" in out
    assert "unknown" in out


@pytest.mark.parametrize("name", ["empty", "nowhere"])
def test_what_is_no_corpus_is_refused(capsys, tmp_path, name):
    (tmp_path / "empty").mkdir()
    code, _, err = run(capsys, "corpus", str(tmp_path / name))
    assert code == 2
    assert "no language is there" in err or "no such file" in err


def test_a_corpus_says_what_its_languages_are(capsys, tmp_path):
    """What the sweep says counts first, fact by fact."""
    write(tmp_path, "mhi", train=DATES, test=DATES)
    assert "family of mhi: not known" in run(capsys, "corpus", str(tmp_path))[1]
    facts = "mhi: {script: Latn, family: Nilo-Saharan, branch: Moru-Ma'di}\n"
    (tmp_path / "languages.yaml").write_text(facts)
    given = ("--set", "language_table={mhi: {branch: Other}}")
    notes = json.loads(run(capsys, "corpus", str(tmp_path), "--json")[1])["notes"]
    assert "mhi: Latn, Nilo-Saharan, Moru-Ma'di" in notes
    assert not any("not known" in note for note in notes)
    notes = json.loads(run(capsys, "corpus", str(tmp_path), "--json", *given)[1])["notes"]
    assert "mhi: Latn, Nilo-Saharan, Other" in notes
