"""Who computes first steps that trials share, who had better wait, and when files go."""

import pytest

from orchestrator.results.store import ResultStore
from orchestrator.running.prefixes import Prefixes
from workers.pruning.prefix import SharedPrefix

SHARED = SharedPrefix("p", 10)


@pytest.fixture
def store(tmp_path) -> ResultStore:
    return ResultStore(str(tmp_path))


@pytest.fixture
def prefixes(store) -> Prefixes:
    """Trials a, b and c share ten steps, d shares none."""
    return Prefixes(dict.fromkeys("abc", SHARED), store)


def leave(store: ResultStore, prefix_id: str) -> None:
    store.prefix(prefix_id).write_atomic(b"state")


def test_siblings_are_better_later_until_one_has_the_steps_behind_it(prefixes):
    assert not prefixes.is_awaited("a")
    prefixes.begins("a")
    assert [prefixes.is_awaited(trial) for trial in "abcd"] == [False, True, True, False]
    prefixes.reached("a", 10)  # it may be about to write
    assert prefixes.is_awaited("b")
    prefixes.reached("a", 11)
    assert not prefixes.is_awaited("b")
    prefixes.begins("b")
    assert not prefixes.is_awaited("c")


def test_one_that_fails_on_the_way_is_waited_for_no_more(prefixes):
    prefixes.begins("a")
    prefixes.begins("d")
    prefixes.pauses("a")
    prefixes.pauses("d")
    assert not prefixes.is_awaited("b")
    prefixes.begins("b")
    assert prefixes.is_awaited("a")


def test_a_file_goes_with_the_last_trial_that_could_use_it(prefixes, store):
    leave(store, "p")
    for trial in "dab":
        prefixes.is_over(trial)
        assert store.prefix_ids() == {"p"}
    prefixes.is_over("c")
    assert store.prefix_ids() == set()


def test_no_file_stays_after_a_run_or_from_one_that_was_killed(prefixes, store):
    leave(store, "of another run")
    leave(store, "p")
    with prefixes.kept():
        assert store.prefix_ids() == {"p"}
    assert store.prefix_ids() == set()
    leave(store, "p")
    with pytest.raises(KeyboardInterrupt), prefixes.kept():
        raise KeyboardInterrupt
    assert store.prefix_ids() == set()


def test_files_that_cannot_be_removed_stop_nothing(prefixes, tmp_path):
    (tmp_path / "prefixes").write_text("in the way")
    with prefixes.kept():
        for trial in "abc":
            prefixes.is_over(trial)


def test_nothing_is_shared(store):
    prefixes = Prefixes({}, store)
    with prefixes.kept():
        prefixes.begins("a")
        prefixes.reached("a", 5)
        prefixes.pauses("a")
        prefixes.is_over("a")
        assert (prefixes.of("a"), prefixes.is_awaited("a")) == (None, False)
