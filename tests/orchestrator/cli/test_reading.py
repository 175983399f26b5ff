"""The commands that read results, schemas, sweeps and test sets."""

import json

import pyarrow.parquet as pq
import pytest

from orchestrator.analysis.tables import MARGIN
from orchestrator.results.store import ResultStore
from tests.benchmarks.analysis import make_results
from tests.factories import make_circumstances, make_trial_result, make_trial_spec
from tests.orchestrator.cli.command import run
from workers.result import DeviceStretch


def test_schema_is_json_with_descriptions(capsys):
    schema = json.loads(run(capsys, "schema")[1])
    assert schema["$defs"]["Training"]["properties"]["lr"]["description"] == "Peak learning rate."
    assert schema["required"] == ["name", "results", "languages", "sparsities", "seeds"]


def test_schema_of_results_names_every_table(capsys):
    out = run(capsys, "schema", "--results")[1]
    for table in (
        "trials",
        "scores",
        "predictions",
        "sentences",
        "attempts",
        "quality",
        "significance",
    ):
        assert f"## {table}" in out


def test_builtin_sweeps_are_listed_and_printed(capsys):
    assert "smoke" in run(capsys, "sweeps")[1]
    assert "name: smoke" in run(capsys, "sweeps", "smoke")[1]
    code, _, err = run(capsys, "sweeps", "smok")
    assert (code, err) == (
        2,
        "sparsweep: smok: no such built-in sweep; there are: low-resource, masakhaner-2, "
        "paper-control-100, paper-control-1000, paper-dense, paper-mini-dense, "
        "paper-mini-layer, paper-mini-mono, paper-mini-multi, paper-mono, paper-multi, "
        "paper-random, smoke, wikineural, xtreme-dense, xtreme-zero-shot\n",
    )


def test_perturb_writes_a_test_set_to_look_at(capsys, tmp_path):
    file = tmp_path / "perturbed.tsv"
    code, out, _ = run(capsys, "perturb", "smoke", "hi", "within_language", str(file))
    assert code == 0
    assert "entities replaced, from" in out
    assert "\tB-PER\n" in file.read_text()
    draws = ("--set", "robustness.draws=2", "--draw", "1")
    run(capsys, "perturb", "smoke", "hi", "within_language", str(tmp_path / "other.tsv"), *draws)
    assert (tmp_path / "other.tsv").read_text() != file.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("ka", "within_script", "x.tsv"),
            "ka within_script: not applicable, no other language of the corpus shares its",
        ),
        (
            ("hi", "within_language", "x.docx"),
            "x.docx: suffix '.docx' is not known; give a name that ends in .tsv or",
        ),
        (
            ("hi", "within_language", "x.tsv", "--draw", "1"),
            "draw: 1 is outside 0 to 0; robustness.draws says how many",
        ),
        (("xx", "within_language", "x.tsv"), "'xx' is not in the synthetic corpus"),
    ],
)
def test_perturbed_sets_that_cannot_be_made_are_refused(
    capsys, tmp_path, monkeypatch, words, message
):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "perturb", "smoke", *words)
    assert (code, len(err.splitlines())) == (2, 1)
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_analysis_of_a_folder_without_results_is_refused(capsys, tmp_path):
    code, _, err = run(capsys, "analyze", str(tmp_path))
    assert (code, "holds no results; give the results of a sweep that has been run" in err) == (
        2,
        True,
    )


@pytest.mark.parametrize(
    ("margin", "message"),
    [
        ("1", "margin: 1 is no margin of F1; give a number above 0 and below 1, such as 0.01"),
        ("nan", "margin: nan is no margin of F1; give a number above 0 and below 1"),
        ("1 %", "--margin: '1 %' is no number; give one such as 0.01"),
        ("", "--margin: '' is no number; give one such as 0.01"),
    ],
)
def test_a_margin_that_is_none_is_refused_in_one_line(capsys, tmp_path, margin, message):
    store = ResultStore(str(tmp_path))
    store.write_plan("demo", [make_trial_spec()])
    code, out, err = run(capsys, "analyze", str(tmp_path), "--margin", margin)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert message in err
    assert not (tmp_path / "analysis").exists()


@pytest.mark.slow
def test_the_margin_is_a_setting_whose_default_the_help_says(capsys, tmp_path):
    text = " ".join(run(capsys, "analyze", "--help")[1].split())
    assert "--margin F1 largest change of F1 that does not matter" in text
    assert f"equivalent; default: {MARGIN:g}" in text
    store = ResultStore(str(tmp_path))
    spec = make_trial_spec(target_sparsity=0.5)
    result = make_trial_result(predictions=(), robustness=())
    store.commit_completed(spec, result, **make_circumstances())
    store.write_plan("demo", [spec])
    for words, margin in (((), MARGIN), (("--margin", ".02"), 0.02)):
        code, _, err = run(capsys, "analyze", str(tmp_path), *words)
        assert (code, err) == (0, "")
        stored = pq.read_table(tmp_path / "analysis" / "tally.parquet")
        assert stored["margin"].to_pylist() == [margin]


def test_changes_between_devices_are_left_out_where_that_is_asked(capsys, tmp_path):
    store = ResultStore(str(tmp_path))
    for sparsity, name in ((0.0, "A100"), (0.5, "H100")):
        spec = make_trial_spec(target_sparsity=sparsity)
        result = make_trial_result(devices=(DeviceStretch(name=name, from_step=0),))
        store.commit_completed(spec, result, **make_circumstances())
        store.write_plan(f"of {name}", [spec])
    line = "1 pair of sparse and dense trial (of 1): computed on different models of device"
    shown = [
        " ".join(run(capsys, "aggregate", str(tmp_path), *words)[1].split())
        for words in ((), ("--same-device",))
    ]
    assert [f"{line}, left out." in text for text in shown] == [False, True]
    assert all(line in text for text in shown)


def test_cache_shows_what_it_holds_and_clears_it(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSWEEP_CACHE", str(tmp_path))
    (tmp_path / "encoded").mkdir()
    (tmp_path / "encoded" / "a.safetensors").write_bytes(b"0" * 1500)
    encoded, hashes = tmp_path / "encoded/*.safetensors", tmp_path / "fingerprints.json"
    code, out, _ = run(capsys, "cache")
    assert (code, out.splitlines()) == (
        0,
        [f"{encoded}: 1 file, 1.5 kB", f"{hashes}: 0 files, 0 bytes"],
    )
    code, out, _ = run(capsys, "cache", "--clear")
    assert (code, out.splitlines()[0]) == (0, f"{encoded}: 0 files, 0 bytes")
    assert list(tmp_path.iterdir()) == []


def test_cache_of_a_user_without_a_home(capsys, homeless):
    code, _, err = run(capsys, "cache")
    assert (code, err) == (2, "sparsweep: no home folder is known; set HOME or SPARSWEEP_CACHE\n")


@pytest.mark.slow
def test_identical_sentences_count_as_one_when_asked(capsys, tmp_path):
    make_results(str(tmp_path), ("de",), sparsities=(0.5,), seeds=(0, 1), num_sentences=20)
    told = "Identical sentences count as one: 4 intervals"
    for words, is_told in (([], False), (["--identical-as-one"], True)):
        code, out, _ = run(capsys, "analyze", str(tmp_path), *words)
        assert (code, told in " ".join(out.split())) == (0, is_told)
