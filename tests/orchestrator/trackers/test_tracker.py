"""Bringing runs into a tracker."""

import pytest

from orchestrator.errors import SweepError
from orchestrator.trackers.runs import read_runs
from orchestrator.trackers.tracker import bring, folder_of


class Kept:
    """A tracker that keeps what it was given."""

    def __init__(self, known):
        self.was, self.put_there = known, []

    def known(self):
        return self.was

    def put(self, run):
        self.put_there.append(run.trial_id)


def test_what_is_there_is_left_and_the_rest_is_put(store):
    same, other, half = read_runs(store)
    twice = {half.trial_id: [half.digest, ""], other.trial_id: ["0123456789abcdef"]}
    tracker = Kept({same.trial_id: [same.digest], **twice, "of another sweep": ["0"]})
    assert bring(read_runs(store), tracker) == {"new": 0, "changed": 2, "unchanged": 1}
    assert tracker.put_there == [other.trial_id, half.trial_id]


def test_all_is_new_to_an_empty_one(store):
    assert bring(read_runs(store), Kept({})) == {"new": 3, "changed": 0, "unchanged": 0}


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("s3://bucket/logs", "s3://bucket/logs: trackers read folders of this machine; give one"),
        ("http://127.0.0.1:5000", "not a location that is known"),
        (" ", "a location is empty"),
    ],
)
def test_what_is_no_folder_of_this_machine_is_refused(folder, message):
    with pytest.raises(SweepError, match=message):
        folder_of(folder)
