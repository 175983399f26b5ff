"""What was measured travels beside a kept model and comes back as it was."""

import json

from tests.factories import make_predicted_set, make_trial_result
from workers.result import TrialResult


def test_all_but_scores_comes_back_from_json():
    result = make_trial_result()
    values = json.loads(json.dumps(result.without_scores()))
    assert not {"scores", "robustness", "predictions"} & values.keys()
    again = TrialResult.from_values(
        values, scores=result.scores, robustness=(), predictions=(make_predicted_set(),)
    )
    assert again.scores == result.scores
    assert again.without_scores() == result.without_scores()
    assert again.layers == result.layers, "shapes are tuples again"


def test_what_an_earlier_version_did_not_measure_is_none():
    values = make_trial_result().without_scores()
    del values["shared_steps"], values["vocabulary"]
    again = TrialResult.from_values(
        values | {"a_later_field": 1}, scores=(), robustness=(), predictions=()
    )
    assert (again.shared_steps, again.vocabulary) == (None, ())
