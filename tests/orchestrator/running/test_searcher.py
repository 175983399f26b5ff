"""In which order trials are handed out, and when there are no more."""

from ray.tune.search import Searcher

from orchestrator.running.searcher import OrderedSearcher


def suggest_all(searcher: OrderedSearcher) -> list[int]:
    found = []
    while (config := searcher.suggest(str(len(found)))) not in (Searcher.FINISHED, None):
        found.append(config["n"])
    return found


def make_searcher(is_wanted=lambda config: True, is_stopping=lambda: False) -> OrderedSearcher:
    return OrderedSearcher([{"n": n} for n in range(5)], is_wanted, is_stopping)


def test_trials_are_handed_out_in_order():
    assert suggest_all(make_searcher()) == [0, 1, 2, 3, 4]


def test_trials_that_another_driver_finished_are_skipped():
    assert suggest_all(make_searcher(is_wanted=lambda config: config["n"] % 2 == 0)) == [0, 2, 4]


def test_search_waits_for_running_trials_that_may_come_back():
    searcher = make_searcher()
    suggest_all(searcher)
    assert searcher.suggest("x") is None
    searcher.retry({"n": 9})
    assert searcher.suggest("again") == {"n": 9}
    for trial_id in ("0", "1", "2", "3", "4", "again"):
        searcher.on_trial_complete(trial_id)
    assert searcher.suggest("x") == Searcher.FINISHED


def test_stopping_hands_out_no_more():
    stopping = False
    searcher = make_searcher(is_stopping=lambda: stopping)
    assert searcher.suggest("0") == {"n": 0}
    stopping = True
    assert searcher.suggest("1") == Searcher.FINISHED


def test_one_that_is_not_admitted_waits_and_a_later_one_goes_first():
    late: set[int] = {0, 1}
    ended = []
    searcher = OrderedSearcher(
        [{"n": n} for n in range(3)],
        is_wanted=lambda config: True,
        is_stopping=lambda: False,
        admit=lambda config: None if config["n"] in late else config | {"start_by": 7},
        on_none_admitted=lambda: ended.append(searcher.num_left),
    )
    assert searcher.suggest("a") == {"n": 2, "start_by": 7}
    assert searcher.suggest("b") is None
    assert (searcher.num_left, searcher.num_handed_out, ended) == (2, 1, [])
    late.remove(1)
    assert searcher.suggest("b") == {"n": 1, "start_by": 7}
    for trial_id in ("a", "b"):
        searcher.on_trial_complete(trial_id)
    assert searcher.suggest("c") == Searcher.FINISHED
    assert ended == [1]


def test_a_trial_that_comes_back_goes_first():
    searcher = make_searcher()
    assert searcher.suggest("0") == {"n": 0}
    searcher.on_trial_complete("0")
    searcher.retry({"n": 0})
    assert suggest_all(searcher) == [0, 1, 2, 3, 4]
