"""Places where too many trials in a row failed."""

from datetime import UTC, datetime

from orchestrator.running.places import Place, Places

SICK, WELL = Place("n1", "node7", "1"), Place("n1", "node7", "0")


def test_a_gpu_is_closed_by_two_trials_in_a_row_and_not_by_one_that_fails_again():
    places = Places(num_workers=8)
    places.seen(WELL)
    assert not places.closes(SICK, "a")
    assert not places.closes(SICK, "a"), "it may be the trial's own doing"
    assert places.closes(SICK, "b")
    assert places.failures(SICK) == ["a", "a", "b"]
    assert not places.closes(SICK, "c"), "only once"
    assert not places.are_all_closed


def test_a_success_in_between_clears_a_place():
    places = Places(num_workers=1)
    places.seen(WELL)
    assert not places.closes(SICK, "a")
    assert places.is_suspected(SICK)
    places.succeeded(SICK)
    assert not places.is_suspected(SICK)
    assert not places.closes(SICK, "b")


def test_trials_that_one_fault_ends_together_count_as_one():
    """As of processes that share a GPU by MPS."""
    places, began = Places(num_workers=8), datetime.now(UTC)
    places.seen(WELL)
    assert [places.closes(SICK, trial, began) for trial in "abcd"] == [False] * 4
    assert places.is_suspected(SICK)
    assert not places.closes(SICK, "a", datetime.now(UTC)), "it may be the trial's own doing"
    assert not places.closes(SICK, "b", began), "it was slow to notice"
    assert places.closes(SICK, "c", datetime.now(UTC))
    assert places.failures(SICK) == list("abcdabc")
    places.succeeded(WELL)
    assert not places.closes(WELL, "a", datetime.now(UTC))
    places.succeeded(WELL)
    assert not places.closes(WELL, "b", datetime.now(UTC)), "a success lies between"


def test_the_last_place_is_given_up_late():
    places = Places(num_workers=4)
    assert [places.closes(SICK, trial) for trial in "abcd"] == [False, False, False, True]
    assert places.are_all_closed


def test_a_node_whose_first_worker_is_slow_to_start_is_elsewhere_and_one_that_is_gone_is_not():
    places, sick, other = Places(num_workers=2), Place("n1", "node7"), Place("n2", "node8")
    places.present([sick, other])
    assert [places.closes(sick, trial) for trial in "ab"] == [False, True]

    places = Places(num_workers=2)
    places.seen(other)
    places.present([sick])
    assert [places.closes(sick, trial) for trial in "abc"] == [False, False, True]
    assert places.are_all_closed


def test_gpus_that_have_shown_themselves_stand_for_their_node():
    places = Places(num_workers=2)
    places.present([Place("n1", "node7")])
    places.seen(SICK)
    assert [places.closes(SICK, trial) for trial in "abc"] == [False, False, True]
    assert places.are_all_closed


def test_places_are_told_by_their_machine():
    assert (str(SICK), str(Place("n2", "node8"))) == ("GPU 1 of node7", "node8")
    assert Place("n1", "as Ray has it") == Place("n1", "node7")


def test_a_node_where_workers_die_at_once_is_closed_with_its_gpus():
    places, node = Places(num_workers=1), Place("n1", "node7")
    for place in (SICK, WELL, Place("n2", "node8", "0")):
        places.seen(place)
    assert not places.closes(node, "a")
    assert places.closes(node, "b")
    assert not places.are_all_closed
    assert [places.closes(Place("n2", "node8", "0"), trial) for trial in "abc"] == [
        *(False, False, True)
    ]
    assert places.are_all_closed
