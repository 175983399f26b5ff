"""In which order trials are handed out, and when there are no more."""

from dataclasses import replace

from ray.tune.search import Searcher

from orchestrator.running.messages import Assignment
from orchestrator.running.searcher import OrderedSearcher


def assignment(number: int) -> Assignment:
    return Assignment(trial_id=str(number), spec_json="{}")


def numbered(config: dict) -> int:
    return int(Assignment.from_config(config).trial_id)


def suggest_all(searcher: OrderedSearcher) -> list[int]:
    found = []
    while (config := searcher.suggest(str(len(found)))) not in (Searcher.FINISHED, None):
        found.append(numbered(config))
    return found


def make_searcher(is_wanted=lambda assignment: True, is_stopping=lambda: False) -> OrderedSearcher:
    return OrderedSearcher(map(assignment, range(5)), is_wanted, is_stopping)


def test_trials_are_handed_out_in_order():
    assert suggest_all(make_searcher()) == [0, 1, 2, 3, 4]


def test_trials_that_another_driver_finished_are_skipped():
    assert suggest_all(make_searcher(is_wanted=lambda each: int(each.trial_id) % 2 == 0)) == [
        0,
        2,
        4,
    ]


def test_search_waits_for_running_trials_that_may_come_back():
    searcher = make_searcher()
    suggest_all(searcher)
    assert searcher.suggest("x") is None
    searcher.retry(assignment(9))
    assert numbered(searcher.suggest("again")) == 9
    for trial_id in ("0", "1", "2", "3", "4", "again"):
        searcher.on_trial_complete(trial_id)
    assert searcher.suggest("x") == Searcher.FINISHED


def test_stopping_hands_out_no_more():
    stopping = False
    searcher = make_searcher(is_stopping=lambda: stopping)
    assert numbered(searcher.suggest("0")) == 0
    stopping = True
    assert searcher.suggest("1") == Searcher.FINISHED


def test_one_that_is_not_admitted_waits_and_a_later_one_goes_first():
    late: set[int] = {0, 1}
    ended = []
    searcher = OrderedSearcher(
        map(assignment, range(3)),
        is_wanted=lambda assignment: True,
        is_stopping=lambda: False,
        admit=lambda each: None if int(each.trial_id) in late else replace(each, start_by=7.0),
        on_none_admitted=lambda: ended.append(searcher.num_left),
    )
    assert searcher.suggest("a") == replace(assignment(2), start_by=7.0).to_config()
    assert searcher.suggest("b") is None
    assert (searcher.num_left, searcher.num_handed_out, ended) == (2, 1, [])
    late.remove(1)
    assert searcher.suggest("b") == replace(assignment(1), start_by=7.0).to_config()
    for trial_id in ("a", "b"):
        searcher.on_trial_complete(trial_id)
    assert searcher.suggest("c") == Searcher.FINISHED
    assert ended == [1]


def test_one_that_is_better_later_goes_first_only_where_no_other_is_left():
    early: set[int] = {0, 1}
    searcher = OrderedSearcher(
        map(assignment, range(4)),
        is_wanted=lambda assignment: True,
        is_stopping=lambda: False,
        is_better_later=lambda each: int(each.trial_id) in early,
    )
    assert numbered(searcher.suggest("a")) == 2
    early.remove(1)
    assert numbered(searcher.suggest("b")) == 1
    early.add(3)
    assert numbered(searcher.suggest("c")) == 0
    assert numbered(searcher.suggest("d")) == 3


def test_a_trial_that_comes_back_goes_first():
    searcher = make_searcher()
    assert numbered(searcher.suggest("0")) == 0
    searcher.on_trial_complete("0")
    searcher.retry(assignment(0))
    assert suggest_all(searcher) == [0, 1, 2, 3, 4]


def test_so_many_are_handed_out_at_a_time():
    searcher = OrderedSearcher(
        map(assignment, range(5)), lambda each: True, lambda: False, max_running=2
    )
    assert suggest_all(searcher) == [0, 1]
    searcher.on_trial_complete("0")
    assert numbered(searcher.suggest("2")) == 2
