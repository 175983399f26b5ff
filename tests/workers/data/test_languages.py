"""What a trial is handed of its languages: one value, made once, that follows files and limits."""

from dataclasses import replace

import numpy as np
import pytest

from tests.factories import make_robustness, make_trial_spec
from tests.workers.data.test_corpus import path_corpus, write_parquet
from tests.workers.trials import finish
from workers.data.cache import LOADED
from workers.data.corpus import fingerprint_folder, fingerprint_language, fingerprint_scored
from workers.data.entities import join_texts
from workers.data.languages import (
    LanguageSource,
    check_files,
    load_language,
    load_text,
    load_trial_data,
)
from workers.trial import SPLITS, DonorPool, TrialError, combine_fingerprints

TOKENS = [["Asha", "wa", "Tanga"], ["New", "York"], ["New", "York"]]
TAGS = [[1, 0, 5], [5, 6], [5, 6]]


def source_of(folder, **changes) -> LanguageSource:
    model = make_trial_spec().model
    corpus = path_corpus(folder, **changes)
    return LanguageSource(corpus=corpus, language="sw", model=model, max_length=16)


@pytest.fixture
def folder(tmp_path):
    LOADED.clear()
    for split in SPLITS:
        write_parquet(tmp_path / "sw", split, TOKENS, TAGS)
        write_parquet(tmp_path / "yo", split, [[split]], [[1]])
    yield tmp_path
    LOADED.clear()


def load(source: LanguageSource):
    return load_language(source, ("test",), load_text(source.corpus, "sw"))


def test_a_language_is_one_object_for_all_trials_of_a_process(folder):
    first = load(source_of(folder))
    assert load(source_of(folder)) is first
    assert list(first.splits) == ["train", "test"]
    assert LOADED.num_bytes > 0


@pytest.mark.parametrize(
    "changes", [{"fingerprint": "y"}, {"max_train_sentences": 2}, {"max_eval_sentences": 2}]
)
def test_other_files_and_other_limits_are_another_language(folder, changes):
    assert load(source_of(folder, **changes)) is not load(source_of(folder))


def test_the_limit_of_evaluation_has_no_say_in_a_train_split(folder):
    corpus = path_corpus(folder)
    few = replace(corpus, max_eval_sentences=1)
    assert load_text(few, "sw") is load_text(corpus, "sw")


def test_what_is_stored_of_scored_sentences(folder):
    text = load(source_of(folder, max_train_sentences=1)).scored["test"]
    stored = text.describe()
    assert stored["tokens"] == TOKENS
    assert stored["gold"] == [["B-PER", "O", "B-LOC"], *[["B-LOC", "I-LOC"]] * 2]
    assert stored["is_seen"] == [True, False, False]
    assert stored["num_unseen_entities"] == [0, 1, 1]
    assert all(count >= 2 for count in stored["num_subwords"])
    assert (stored["perturbation"], stored["draw"]) == ("none", 0)


def test_the_id_of_scored_sentences_follows_their_content(folder):
    ids = {
        load(source_of(folder, **changes)).scored["test"].set_id
        for changes in ({}, {"fingerprint": "y"}, {"max_eval_sentences": 2})
    }
    assert len(ids) == 2, "a fingerprint is no content"


def test_labels_are_small_in_memory_and_the_same(folder):
    data = load(source_of(folder))
    assert data.train.labels.dtype == data.scored["test"].text.labels.dtype == np.int8
    words = data.train.labels[data.train.labels >= 0]
    assert words.tolist() == [1, 0, 5, 5, 6, 5, 6]


def trial_on(folder, **changes):
    """A trial on Swahili, with Yoruba as a donor, as it would be planned."""
    pools = (DonorPool(language="sw", perturbation="within_script", donors=("yo",), reason=None),)
    robustness = make_robustness(
        "within_script", donor_fingerprint=fingerprint_folder(folder, "yo", ["train"]), pools=pools
    )
    corpus = path_corpus(folder, fingerprint=fingerprint_language(folder, "sw"))
    return make_trial_spec(**{"corpus": corpus, "robustness": robustness} | changes)


def test_fingerprints_of_a_trial_are_those_of_its_languages_and_donors(folder):
    files = check_files(trial_on(folder))
    assert files.of_languages == {"sw": fingerprint_language(folder, "sw")}
    assert files.of_train == {
        code: fingerprint_folder(folder, code, ["train"]) for code in ("sw", "yo")
    }
    assert files.of_donors == {"yo": fingerprint_folder(folder, "yo", ["train"])}


def test_what_is_held_out_of_a_trials_language_is_not_missing_of_its_donors(folder):
    """So a donor gives the same to languages that have a validation split and to others."""
    for code in ("sw", "yo"):
        write_parquet(folder / code, "train", [[f"{code}{n}"] for n in range(10)], [[1]] * 10)
        (folder / code / "validation-00000-of-00001.parquet").unlink()
    planned = trial_on(folder)
    held = trial_on(folder, corpus=replace(planned.corpus, validation_from_train=0.3))
    splits = replace(held.evaluation, splits=("validation",))
    held = replace(held, evaluation=splits)
    data = finish(load_trial_data(held, check_files(held)))
    assert len(data.train_texts["sw"].text.words) == 7
    assert len(data.languages[0].scored["validation"].text.words) == 3
    assert len(data.donor_texts["yo"].text.words) == len(data.whole_texts["yo"].text.words) == 10


def test_files_of_another_split_of_donors_are_of_the_plan_too(folder):
    planned = trial_on(folder)
    robustness = replace(
        planned.robustness,
        donor_split="validation",
        donor_fingerprint=fingerprint_folder(folder, "yo", ["train", "validation"]),
    )
    spec = replace(planned, robustness=robustness)
    files = check_files(spec)
    assert files.of_donors == {"yo": fingerprint_folder(folder, "yo", ["validation"])}
    data = finish(load_trial_data(spec, files))
    assert data.donor_texts["yo"].text.words.to_pylist() == ["validation"]
    write_parquet(folder / "yo", "validation", [["another"]], [[1]])
    with pytest.raises(TrialError, match=r"/yo has changed since the sweep was planned \("):
        check_files(spec)


def test_several_languages_have_fingerprints_of_their_own(folder):
    both = {code: fingerprint_language(folder, code) for code in ("sw", "yo")}
    corpus = path_corpus(folder, fingerprint=combine_fingerprints(both))
    spec = trial_on(
        folder, regime="multilingual", languages=("sw", "yo"), corpus=corpus, robustness=None
    )
    assert check_files(spec).of_languages == both


def test_a_language_that_is_scored_alone_needs_no_train_split(folder):
    """What is seen is what the trial was trained on."""
    planned = trial_on(folder, robustness=None)
    (folder / "yo" / "train-00000-of-00001.parquet").unlink()
    write_parquet(folder / "yo", "test", [["New", "York"], ["Asha"], ["Ade"]], [[5, 6], [1], [1]])
    evaluation = replace(
        planned.evaluation,
        splits=("test",),
        languages=("yo",),
        language_fingerprints=(fingerprint_scored(folder, "yo"),),
    )
    spec = replace(planned, evaluation=evaluation)
    (text,) = finish(load_trial_data(spec, check_files(spec))).zero_shot
    assert (text.language, text.split, text.text.num_sentences) == ("yo", "test", 3)
    assert text.facts.is_seen.tolist() == [True, False, False]
    assert text.facts.num_unseen_entities.tolist() == [0, 0, 1]
    write_parquet(folder / "yo", "test", [["another"]], [[1]])
    with pytest.raises(TrialError, match=r"/yo has changed since the sweep was planned \("):
        check_files(spec)


def test_what_several_languages_train_on_is_seen_together(folder):
    write_parquet(folder / "yo", "train", [["Ade"], ["Asha"]], [[1], [3]])
    texts = [load_text(path_corpus(folder), code) for code in ("sw", "yo")]
    both = join_texts(texts)
    assert [len(forms) for forms in both.entities] == [2, 1, 2]
    assert all(forms.to_pylist() == sorted(forms.to_pylist()) for forms in both.entities)
    assert len(both.sentences) == 4


def test_a_donor_that_changed_since_planning_is_refused(folder):
    spec = trial_on(folder)
    write_parquet(folder / "yo", "train", [["another"]], [[1]])
    with pytest.raises(TrialError, match=r"/yo has changed since the sweep was planned \("):
        check_files(spec)


def test_a_corpus_without_files_has_the_fingerprint_of_the_plan():
    files = check_files(make_trial_spec())
    assert files.of_languages == {"sw": "0123456789abcdef"}
    assert files.of_train == {"sw": None}
