"""From a monolingual and a multilingual sweep to the tables that answer the questions."""

import signal
from pathlib import Path

import duckdb
import pytest

from tests.real_sweeps import (
    ONE_BY_ONE,
    TO_STOP,
    Command,
    checkpoints,
    numbers,
    sparsweep,
    write_sweep,
)

PRUNING = {"update_every_steps": 5, "kernels": "reference"}
ASKED = {
    "pruning": PRUNING | {"embedding_sparsity": ["off", "same"]},
    "robustness": {"perturbations": ["within_language", "within_script"]},
    "evaluation": {"selection": "best_epoch"},
    "seeds": [0, 1],
    "training": {"num_steps": 60, "lr": 3e-3},
    "resources": ONE_BY_ONE,
}


@pytest.fixture(scope="module")
def both_regimes(shared_ray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a monolingual and a multilingual sweep."""
    folder = tmp_path_factory.mktemp("regimes")
    for regime in ("monolingual", "multilingual"):
        sweep = write_sweep(
            folder / f"{regime}.yaml", folder / "results", name=regime, regime=regime, **ASKED
        )
        code, output = sparsweep("run", sweep, **shared_ray)
        assert code == 0, output
    return folder / "results"


def test_both_regimes_share_results_and_one_analysis(both_regimes):
    for regime in ("monolingual", "multilingual"):
        sweep = str(both_regimes.with_name(f"{regime}.yaml"))
        assert sparsweep("verify", sweep, str(both_regimes))[0] == 0
    code, output = sparsweep("analyze", str(both_regimes))
    assert code == 0, output
    assert "Wilcoxon" in output
    quality = both_regimes / "analysis" / "quality.parquet"
    groups = duckdb.sql(
        f"""
        select regime, language, count(*), min(num_seeds), sum(num_holes) from '{quality}'
        group by all order by all
        """
    )
    assert groups.fetchall() == [
        (regime, code, 3, 2, 0)
        for regime in ("monolingual", "multilingual")
        for code in ("bn", "ka")
    ]
    robustness = both_regimes / "analysis" / "robustness.csv"
    statuses = duckdb.sql(
        f"select perturbation, status, count(*) from '{robustness}' group by all order by all"
    )
    assert statuses.fetchall() == [
        ("within_language", "scored", 12),
        ("within_script", "not_applicable", 12),
    ]


def test_interrupted_multilingual_sweep_goes_on_to_the_same_numbers(shared_ray, tmp_path):
    asked = ASKED | TO_STOP | {"regime": "multilingual", "pruning": PRUNING, "seeds": [0]}
    whole = write_sweep(tmp_path / "whole.yaml", tmp_path / "whole", **asked)
    assert sparsweep("run", whole, **shared_ray)[0] == 0
    broken = write_sweep(tmp_path / "broken.yaml", tmp_path / "broken", **asked)
    running = Command("run", broken, **shared_ray)
    running.wait_until(lambda: bool(checkpoints(tmp_path / "broken")))
    running.process.send_signal(signal.SIGTERM)
    assert running.finish()[0] == 75
    assert sparsweep("run", broken, **shared_ray)[0] == 0

    assert len(numbers(tmp_path / "broken")["trials"]) == 1
    assert numbers(tmp_path / "broken") == numbers(tmp_path / "whole")
