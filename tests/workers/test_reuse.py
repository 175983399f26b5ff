"""What a worker reads for its second trial: nothing, however many languages it is on."""

import ctypes
import os
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.factories import make_trial_spec
from tests.workers.data.test_corpus import write_parquet
from tests.workers.trials import finish, numbers
from workers.data.cache import LOADED
from workers.data.corpus import fingerprint_folder, fingerprint_language
from workers.data.fingerprints import UNSETTLED_S
from workers.data.kept import cache_folder
from workers.run import run_trial
from workers.trial import (
    SPLITS,
    CorpusSpec,
    DonorPool,
    RobustnessSpec,
    TrialError,
    TrialSpec,
    combine_fingerprints,
)

CODES = tuple(f"l{number:02}" for number in range(42))
"""More languages than the paper has, each of 4 to 6 sentences."""


TRAIN_FILE = "train-00000-of-00001.parquet"


class Openings:
    """Files of some folders that this process, or any other, opens from now on (Linux only)."""

    IN_OPEN, IN_ISDIR = 0x20, 0x40000000

    def __init__(self, *folders: Path):
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK)
        for folder in folders:
            watch = libc.inotify_add_watch(self._descriptor, os.fsencode(folder), self.IN_OPEN)
            assert watch >= 0, os.strerror(ctypes.get_errno())

    def close(self) -> None:
        os.close(self._descriptor)

    def names(self) -> list[str]:
        """Names of the files that were opened since the last call, one an opening."""
        names, event = [], struct.Struct("iIII")
        while True:
            try:
                data = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                return names
            while data:
                _, mask, _, length = event.unpack_from(data)
                name = data[event.size : event.size + length].rstrip(b"\0").decode()
                if not mask & self.IN_ISDIR:
                    names.append(name)
                data = data[event.size + length :]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for number, code in enumerate(CODES):
        for split, size in zip(SPLITS, (6, 4, 5), strict=True):
            tokens = [[f"Name{number}x{i}", "is", f"{split}{i}"] for i in range(size)]
            write_parquet(
                folder / code, split, tokens, [[1 + i % 6 // 2 * 2, 0, 0] for i in range(size)]
            )
    time.sleep(UNSETTLED_S)  # hashes of files that were just written are not remembered
    return folder


@pytest.fixture
def openings(corpus) -> Iterator[Openings]:
    if sys.platform != "linux":
        pytest.skip("counts openings with inotify, which Linux has")
    LOADED.clear()
    encoded = cache_folder() / "encoded"
    encoded.mkdir(parents=True, exist_ok=True)
    opened = Openings(encoded, *(corpus / code for code in CODES))
    yield opened
    opened.close()
    LOADED.clear()


def trial_on(folder: Path, *codes: str, seed: int = 0) -> TrialSpec:
    """One step on these languages, scored on all that can be asked for."""
    donors = {code: CODES[(CODES.index(code) + 1) % len(CODES)] for code in codes}
    pools = tuple(
        DonorPool(language=code, perturbation=perturbation, donors=(donor,), reason=None)
        for code, other in donors.items()
        for perturbation, donor in (("within_language", code), ("within_script", other))
    )
    others = sorted(set(donors.values()))
    robustness = RobustnessSpec(
        perturbations=("within_language", "within_script"),
        draws=2,
        seed=0,
        donor_fingerprint=combine_fingerprints(
            {code: fingerprint_folder(folder, code, ["train"]) for code in others}
        ),
        donor_split="train",
        pools=pools,
    )
    spec = make_trial_spec()
    return replace(
        spec,
        regime="monolingual" if len(codes) == 1 else "multilingual",
        languages=codes,
        seed=seed,
        corpus=CorpusSpec(
            kind="path",
            name=None,
            revision=None,
            path=str(folder),
            seed=None,
            fingerprint=combine_fingerprints(
                {code: fingerprint_language(folder, code) for code in codes}
            ),
            max_train_sentences=None,
            max_eval_sentences=None,
        ),
        training=replace(spec.training, num_steps=1),
        evaluation=replace(spec.evaluation, predictions=("validation", "test", "perturbed")),
        robustness=robustness,
    )


def test_second_trial_on_all_languages_reads_and_makes_nothing(device, corpus, openings):
    spec = trial_on(corpus, *CODES)
    openings.names()
    first = finish(run_trial(spec, device))
    opened = openings.names()
    assert len(first.robustness) == 42 * 2 * 2 * 4
    assert len(first.predictions) == 42 * (2 + 2 * 2)
    assert {name for name in opened if name.endswith(".parquet")} == {
        f"{split}-00000-of-00001.parquet" for split in SPLITS
    }

    num_loads = LOADED.num_loads
    second = finish(run_trial(replace(spec, seed=1), device))
    assert openings.names() == []
    assert LOADED.num_loads == num_loads
    assert second.data_fingerprint == first.data_fingerprint
    again = finish(run_trial(spec, device))
    assert numbers(again) == numbers(first), "what is kept is what was loaded"


def test_second_round_of_trials_on_one_language_each_reads_and_makes_nothing(
    device, corpus, openings
):
    specs = [trial_on(corpus, code) for code in CODES]
    for spec in specs:
        finish(run_trial(spec, device))
    openings.names()
    num_loads = LOADED.num_loads
    for spec in specs:
        finish(run_trial(replace(spec, seed=1), device))
    assert openings.names() == []
    assert LOADED.num_loads == num_loads


def test_each_split_is_read_once_a_process(device, corpus, openings):
    spec = trial_on(corpus, *CODES[:3])
    openings.names()
    finish(run_trial(spec, device))
    alone = openings.names().count(TRAIN_FILE)
    finish(run_trial(trial_on(corpus, CODES[0]), device))
    finish(run_trial(trial_on(corpus, CODES[3]), device))  # a donor so far
    assert alone == 4, "three languages and the donor of the third"
    assert openings.names().count(TRAIN_FILE) == 1, "the donor of the fourth"


def write_language(folder: Path, code: str, word: str) -> None:
    for split in SPLITS:
        write_parquet(folder / code, split, [[word, "is", "here"]], [[1, 0, 0]])


def test_a_file_that_changed_is_noticed_though_all_is_in_memory(device, tmp_path):
    write_language(tmp_path, CODES[0], "Juma")
    write_language(tmp_path, CODES[1], "Amina")
    spec = trial_on(tmp_path, CODES[0])
    finish(run_trial(spec, device))
    write_language(tmp_path, CODES[0], "Musa")
    with pytest.raises(TrialError, match="l00 has changed since the sweep was planned"):
        finish(run_trial(spec, device))
    planned_anew = finish(run_trial(trial_on(tmp_path, CODES[0]), device))
    assert planned_anew.predictions[0].sentences.tokens == [["Musa", "is", "here"]]


def test_a_trial_can_be_stopped_between_two_languages_that_it_loads(device, corpus):
    LOADED.clear()
    running = run_trial(trial_on(corpus, *CODES[:3]), device)
    assert [next(running).phase for _ in range(6)] == ["loading"] * 6, (
        "at the start, between four train splits, and between three languages"
    )
    running.close()
    assert next(run_trial(trial_on(corpus, *CODES[:3]), device)).phase == "loading"
