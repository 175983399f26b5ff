"""Which tokenizer a trial gets, and what is said when there is none."""

from dataclasses import replace

import pytest

from tests.factories import make_trial_spec
from workers.data.tokenizer import load_tokenizer, refusal_of_model
from workers.trial import ModelSpec, TrialError

SPEC = make_trial_spec()


def folder_model(path) -> ModelSpec:
    return ModelSpec(name=str(path), revision=None, init="random", fingerprint="x")


def test_trials_on_all_languages_of_a_model_share_one_tokenizer(mbert):
    model = folder_model(mbert)
    first = load_tokenizer(model, SPEC.corpus)
    other_language = replace(SPEC.corpus, fingerprint="another", path="/elsewhere")
    assert load_tokenizer(model, other_language) is first


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(TrialError, match="model.name: no tokenizer for .*: ") as caught:
        load_tokenizer(folder_model(tmp_path), SPEC.corpus)
    assert caught.value.kind == "bad_data"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError("no file config.json in bert"), "bad_data"),
        (ConnectionError("the hub is down"), "storage"),
        (TimeoutError("60 s"), "storage"),
        (OSError("We couldn't connect to 'https://huggingface.co'"), "storage"),
    ],
)
def test_only_a_hub_that_does_not_answer_is_worth_another_attempt(error, kind):
    refusal = refusal_of_model(error, "cannot load bert")
    assert refusal.kind == kind
    assert str(refusal) == f"model.name: cannot load bert: {error}"
