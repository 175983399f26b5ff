"""From two sweeps, one a language a trial and one on both together, to the tables that answer the
questions."""

import os
import signal

import duckdb

from tests.integration.conftest import Command, checkpoints, numbers, sparsweep, write_sweep

ASKED = {
    "pruning": {"update_every_steps": 5, "embedding_sparsity": ["off", "same"]},
    "robustness": {"perturbations": ["within_language", "within_script"]},
    "seeds": [0, 1],
}


def test_both_regimes_share_results_and_one_analysis(tmp_path):
    results = tmp_path / "results"
    for regime in ("monolingual", "multilingual"):
        sweep = write_sweep(
            tmp_path / f"{regime}.yaml", results, name=regime, regime=regime, **ASKED
        )
        code, output = sparsweep("run", sweep)
        assert code == 0, output
        assert sparsweep("verify", sweep, str(results))[0] == 0
    code, output = sparsweep("analyze", str(results))
    assert code == 0, output
    assert "Wilcoxon" in output
    quality = results / "analysis" / "quality.parquet"
    found = duckdb.sql(
        f"select regime, language, count(*), min(num_seeds), sum(num_holes) from '{quality}' group by all order by all"
    ).fetchall()
    assert found == [
        (regime, code, 3, 2, 0)
        for regime in ("monolingual", "multilingual")
        for code in ("bn", "ka")
    ]
    robustness = results / "analysis" / "robustness.csv"
    statuses = duckdb.sql(
        f"select perturbation, status, count(*) from '{robustness}' group by all order by all"
    )
    assert statuses.fetchall() == [
        ("within_language", "scored", 12),
        ("within_script", "not_applicable", 12),
    ]


def test_interrupted_multilingual_sweep_goes_on_to_the_same_numbers(tmp_path):
    changes = {
        "regime": "multilingual",
        "evaluation": {"selection": "best_epoch"},
        "sparsities": [0.5],
    }
    whole = write_sweep(tmp_path / "whole.yaml", tmp_path / "whole", **changes)
    assert sparsweep("run", whole)[0] == 0
    broken = write_sweep(tmp_path / "broken.yaml", tmp_path / "broken", **changes)
    running = Command("run", broken)
    running.wait_until(lambda: bool(checkpoints(tmp_path / "broken")))
    os.kill(running.process.pid, signal.SIGTERM)
    assert running.finish()[0] == 75
    assert sparsweep("run", broken)[0] == 0
    assert numbers(tmp_path / "broken") == numbers(tmp_path / "whole")
