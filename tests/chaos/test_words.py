"""What a campaign takes for a fault, and which of the words of sparsweep it follows."""

import random
import signal

import pytest

from tests.chaos.faults import ALL, DAMAGES
from tests.chaos.words import complaint, files_to_delete, options_to_add
from workers.model.kept_model import REMEDY

KEY = "0123456789abcdef"


@pytest.mark.parametrize(
    ("line", "files"),
    [
        (f"/r/trials/{KEY}.parquet: damaged; delete /r/trials/{KEY}.parquet, then run", ["trials"]),
        (f"s3://b/r/trials/{KEY}.parquet: 2 rows; delete it, then run", ["trials"]),
        (f"{KEY} (ka): trials/{KEY}.parquet: 2 rows; delete it, then run", ["trials"]),
        (f"scores/{KEY}.parquet: missing; delete trials/{KEY}.parquet, then run", ["trials"]),
        (
            f"sentences/{KEY}.parquet: 3 sentences; delete it and trials/{KEY}.parquet, then run",
            ["sentences", "trials"],
        ),
        (f"started trials/{KEY}.parquet", []),
    ],
)
def test_files_that_are_to_be_deleted_are_found(line, files):
    assert files_to_delete(f"before\n{line}\nafter") == {f"{name}/{KEY}.parquet" for name in files}


def test_models_that_are_to_be_removed_are_found_and_trained_again():
    """What is said of one that is damaged, and of one that no row names."""
    model = f"/r/models/{KEY}.safetensors"
    for said in (
        f"{KEY} (ka): {model}: the kept model is damaged (x); {REMEDY}",
        f"{model}: no completed trial of these results names this model; where no driver is "
        "running, remove the file",
    ):
        assert files_to_delete(said) == {f"models/{KEY}.safetensors"}
    assert options_to_add(REMEDY) == ["--rerun-lacking"]
    assert files_to_delete(f"{model}: the kept model is gone; `sparsweep run SPEC`") == set()


def test_one_trial_is_run_again_where_one_is_enough():
    lines = [
        f"{key} (ka): sentences/{KEY}.parquet: missing; delete trials/{key}.parquet (of trials "
        "with this set one is enough), then run the sweep again"
        for key in ("0" * 16, "1" * 16)
    ]
    assert files_to_delete("\n".join(lines)) == {f"trials/{'0' * 16}.parquet"}


def test_failed_trials_are_tried_again_where_that_is_said():
    assert options_to_add("2 of 4 trials failed; try them again with --retry-failed") == [
        "--retry-failed"
    ]
    assert options_to_add("4/4 done") == []


@pytest.mark.parametrize(
    ("code", "output", "sent", "is_heard", "is_fine"),
    [
        (0, "", set(), True, True),
        (75, "Stopped", {signal.SIGTERM}, True, True),
        (-signal.SIGKILL, "", {signal.SIGKILL}, True, True),
        (-signal.SIGKILL, "", set(), True, False),
        (-signal.SIGTERM, "", {signal.SIGTERM}, True, False),
        (-signal.SIGTERM, "", {signal.SIGTERM}, False, True),
        (-signal.SIGABRT, "", {signal.SIGTERM}, False, False),
        (1, "", set(), True, False),
        (70, "", set(), True, False),
        (0, "Traceback (most recent call last):", set(), True, False),
    ],
)
def test_only_documented_ends_are_fine(code, output, sent, is_heard, is_fine):
    assert (complaint(code, output, sent, is_heard) is None) == is_fine


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_changes_a_file_in_the_way_that_the_seed_says(name):
    data = bytes(range(1, 256))
    for seed in range(20):
        once, again = (DAMAGES[name](data, random.Random(seed)) for _ in range(2))
        assert once == again != data


def test_faults_are_counted_by_names_of_their_own():
    names = [fault.name for fault in ALL]
    assert len(names) == len(set(names))
