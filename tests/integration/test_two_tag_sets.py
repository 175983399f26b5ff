"""Trials on two corpora with different entity types, in one results location: trained, scored,
verified, scored anew, analysed and drawn."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2

from orchestrator.analysis.analyze import analyze
from orchestrator.planning.plan import make_plan
from orchestrator.report.figures.examples import Reader
from orchestrator.report.figures.robustness import draw_robustness_types
from orchestrator.report.material import read_material
from orchestrator.report.page import make_page
from orchestrator.report.sections import FIGURES
from orchestrator.results.store import ResultStore
from orchestrator.running.rescoring import rescore
from orchestrator.spec.sweep_spec import SweepSpec
from tests.factories import make_circumstances
from tests.workers.trials import finish
from workers.run import prepare_process, run_trial
from workers.trial import CLEAN, TrialSpec

TINY_BERT = Path(__file__).parents[1] / "golden" / "tiny-bert"
TYPES = {"dates": ("DATE", "LOC", "PER"), "plain": ("PER", "ORG", "LOC")}


def write_corpus(folder: Path, has_dates: bool) -> None:
    """Sentences whose entities words tell, so that few steps learn some of them."""
    names, places = ["Juma", "Asha", "Bola", "Ade"], ["Lagos", "Ilesa", "Nairobi"]
    days = [str(day) for day in range(1, 6)]
    blocks = []
    for name, place, day in product(names, places, days):
        tags = ("B-DATE", "I-DATE") if has_dates else ("O", "O")
        lines = [f"{name} X B-PER", "Ojo X I-PER", "alienda X O", f"{place} X B-LOC"]
        blocks.append("\n".join([*lines, f"{day} X {tags[0]}", f"Mei X {tags[1]}"]))
    np.random.default_rng(0).shuffle(blocks)
    (folder / "sw").mkdir(parents=True)
    for split, part in (("train", blocks[:40]), ("dev", blocks[40:50]), ("test", blocks[50:])):
        (folder / "sw" / f"{split}.txt").write_text("-DOCSTART- X O\n\n" + "\n\n".join(part))


def plan(folder: Path, name: str) -> list[TrialSpec]:
    sweep = SweepSpec.model_validate(
        {
            "name": name,
            "results": "out",
            "languages": ["sw"],
            "sparsities": [0, 0.5],
            "seeds": [0],
            "corpus": {"path": str(folder / name)},
            "model": {"name": str(TINY_BERT), "init": "random"},
            "pruning": {"update_every_steps": 2},
            "training": {"num_steps": 30, "batch_size": 8, "lr": 3e-3},
            "evaluation": {
                "splits": ["validation", "test"],
                "predictions": ["test", "perturbed"],
            },
            "robustness": {"perturbations": ["within_language"]},
        }
    )
    return [trial.spec for trial in make_plan(sweep)]


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> tuple[ResultStore, dict[str, list[TrialSpec]]]:
    folder = tmp_path_factory.mktemp("two-tag-sets")
    store, device = ResultStore(str(folder / "results")), prepare_process(1, use_gpu=False)
    planned = {}
    for name in TYPES:
        write_corpus(folder / name, has_dates=name == "dates")
        planned[name] = plan(folder, name)
        store.write_plan(name, planned[name])
        for spec in planned[name]:
            result = finish(run_trial(spec, device, kernels="reference"))
            store.commit_completed(spec, result, **make_circumstances(sweep=name))
    return store, planned


def test_types_are_found_and_wikianns_stay_unnamed(results):
    _, planned = results
    assert {spec.corpus.entity_types for spec in planned["dates"]} == {TYPES["dates"]}
    assert {spec.corpus.entity_types for spec in planned["plain"]} == {None}


@pytest.mark.parametrize("name", TYPES)
def test_scores_are_those_of_seqeval_for_any_types(results, name):
    store, planned = results
    predictions = store.read("predictions").to_pandas()
    num_correct = 0
    for spec in planned[name]:
        own = predictions[predictions["trial_id"] == spec.trial_id()]
        own = own[own["perturbation"] == CLEAN].sort_values("sentence")
        gold = store.read_sentences(own["set_id"].iloc[0]).sort_by("sentence")["gold"].to_pylist()
        theirs = classification_report(
            gold,
            [list(tags) for tags in own["predicted"]],
            mode="strict",
            scheme=IOB2,
            output_dict=True,
            zero_division=0,
        )
        scores = store.read("scores").to_pandas()
        scores = scores[(scores["trial_id"] == spec.trial_id()) & (scores["split"] == "test")]
        scores = scores[scores["subset"] == "all"].set_index("entity_type")
        assert list(scores.index) == [*TYPES[name], "micro"]
        for row in scores.itertuples():
            key = "micro avg" if row.Index == "micro" else row.Index
            found = theirs.get(key, {"f1-score": 0.0, "support": 0})
            assert row.support == found["support"]
            assert np.nan_to_num(row.f1) == pytest.approx(found["f1-score"])
        num_correct += scores.loc["micro", "num_correct"]
    assert num_correct > 0, "the comparison says nothing where nothing is found"


def test_verify_counts_all_entities_again(results):
    store, planned = results
    ids = [spec.trial_id() for specs in planned.values() for spec in specs]
    assert store.verify(ids) == []


def test_perturbed_sentences_replace_entities_of_all_types(results):
    store, planned = results
    rows = store.read("robustness").to_pandas()
    for name, types in TYPES.items():
        own = rows[rows["trial_id"] == planned[name][0].trial_id()].set_index("entity_type")
        assert list(own.index) == [*types, "micro"]
        assert (own.loc[list(set(types) - {"ORG"}), "num_replaced"] > 0).all()


def test_tables_by_entity_type_keep_corpora_apart(results):
    store, _ = results
    tables = {table.name: table.rows.to_pandas() for table in analyze(store)}
    for name in ("breakdown", "errors", "robustness_types"):
        rows = tables[name]
        rows = rows[rows["target_sparsity"] > 0]
        found = {
            settings: set(of_one["entity_type"]) - {"micro"}
            for settings, of_one in rows.groupby("settings")
        }
        assert found == {
            "corpus.entity_types=DATE+LOC+PER": set(TYPES["dates"]),
            "corpus.entity_types=None": set(TYPES["plain"]),
        }, name
    quality = tables["quality"]
    assert len(quality) == 4
    assert quality["f1_mean"].notna().all()


def test_the_report_shows_both(results):
    store, _ = results
    material = read_material(store, {name for figure in FIGURES.values() for name in figure.needs})
    assert "corpus.entity_types=DATE+LOC+PER" in make_page(material)
    assert Reader(material).tags.entity_types == ("PER", "ORG", "LOC", "DATE")
    types = set(draw_robustness_types(material).table["entity_type"])
    assert types == {*TYPES["dates"], *TYPES["plain"]}


def test_scores_by_the_other_rule_are_of_the_same_types(results):
    store, planned = results
    asked = [
        replace(spec, evaluation=replace(spec.evaluation, matching="lenient"))
        for specs in planned.values()
        for spec in specs
    ]
    assert len(list(rescore(store, asked))) == 4
    rows = store.read("scores").to_pandas()
    rows = rows[(rows["matching"] == "lenient") & (rows["subset"] == "all")]
    for name, specs in planned.items():
        own = rows[rows["trial_id"] == specs[0].trial_id()]
        assert list(own["entity_type"]) == [*TYPES[name], "micro"]
