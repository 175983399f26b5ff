"""What a trial is scored on: languages, subsets, perturbed test sets and stored predictions."""

from dataclasses import replace

from tests.wikiann_tags import TAGS
from tests.workers.trials import evaluation_of, finish, small_trial, two_languages, undisturbed
from workers.data.corpus import load_sentences
from workers.run import run_trial
from workers.trial import DonorPool, RobustnessSpec


def pool(language: str, perturbation: str, *donors: str) -> DonorPool:
    return DonorPool(
        language=language,
        perturbation=perturbation,
        donors=donors,
        reason=None if donors else "it is alone",
    )


def robustness(*pools: DonorPool, **changes) -> RobustnessSpec:
    names = tuple(dict.fromkeys(one.perturbation for one in pools))
    spec = RobustnessSpec(
        perturbations=names,
        draws=1,
        seed=0,
        donor_fingerprint=None,
        donor_split="train",
        pools=pools,
    )
    return replace(spec, **changes)


def test_multilingual_trial_trains_on_all_and_is_scored_on_each(device):
    result = undisturbed(two_languages(), device)
    assert result.num_train_sentences == 200
    assert {(score.language, score.split) for score in result.scores} == {
        (language, split) for language in ("bn", "ka") for split in ("validation", "test")
    }
    assert {one.sentences.language for one in result.predictions} == {"bn", "ka"}
    assert result.achieved_sparsity == 0.5


def test_other_languages_are_scored_and_change_nothing_else(device):
    """Seen is what the trial's own train sentences have."""
    spec = small_trial()
    plain = undisturbed(spec, device)
    result = undisturbed(evaluation_of(spec, languages=("bn", "hi"), splits=("test",)), device)
    own = [score for score in result.scores if score.language == "ka"]
    assert own == [score for score in plain.scores if score.split == "test"]
    assert result.curve == plain.curve
    assert result.layers == plain.layers
    others = [score for score in result.scores if score.language != "ka"]
    assert {(score.language, score.split) for score in others} == {("bn", "test"), ("hi", "test")}
    seen = {score.num_sentences for score in others if score.subset == "seen"}
    assert seen == {0}, "no sentence in Bengali or Hindi is one in Georgian"
    for one in result.predictions:
        assert one.sentences.is_seen.count(True) == 0 or one.sentences.language == "ka"
    assert [one.sentences.language for one in result.predictions] == ["ka", "bn", "hi"]


def test_predictions_add_up_to_the_scores(device):
    result = undisturbed(small_trial(), device)
    (one,) = result.predictions
    (overall,) = (
        s for s in result.scores if (s.split, s.subset, s.entity_type) == ("test", "all", "micro")
    )
    sums = (sum(one.support), sum(one.num_predicted), sum(one.num_correct))
    assert sums == (overall.support, overall.num_predicted, overall.num_correct)
    sentences = load_sentences(small_trial().corpus, "ka", "test")
    assert one.sentences.tokens == sentences.tokens
    sizes = [len(tokens) for tokens in sentences.tokens]
    assert [len(tags) for tags in one.predicted] == sizes
    assert [len(chances) for chances in one.confidence] == sizes
    least = round(255 / len(TAGS))
    assert all(least <= chance <= 255 for chances in one.confidence for chance in chances)
    assert all(
        count >= len(tokens)
        for count, tokens in zip(one.sentences.num_subwords, sentences.tokens, strict=True)
    )


def test_seen_and_unseen_sentences_are_all_sentences(device):
    scores = undisturbed(small_trial(), device).scores
    by_subset = {s.subset: s for s in scores if (s.split, s.entity_type) == ("test", "micro")}
    assert by_subset["all"].num_sentences == 100
    for name in ("num_sentences", "support", "num_correct"):
        assert getattr(by_subset["seen"], name) + getattr(by_subset["unseen"], name) == getattr(
            by_subset["all"], name
        )


def test_all_trials_meet_the_same_perturbed_sentences_and_empty_pools_say_so(device):
    pools = (
        pool("ka", "within_language", "ka"),
        pool("ka", "within_script"),
        pool("ka", "within_family", "en"),
    )
    spec = evaluation_of(
        small_trial(robustness=robustness(*pools, draws=2)), predictions=("test", "perturbed")
    )
    first = finish(run_trial(spec, device))
    second = finish(run_trial(replace(spec, seed=1, target_sparsity=0.75), device))
    ids = [one.sentences.set_id for one in first.predictions]
    assert ids == [one.sentences.set_id for one in second.predictions]
    assert len(set(ids)) == 1 + 2 * 2, (
        "test as published, and two draws of each perturbation that applies"
    )
    (alone,) = (s for s in first.robustness if s.perturbation == "within_script")
    assert (alone.status, alone.reason, alone.f1, alone.support) == (
        "not_applicable",
        "it is alone",
        None,
        None,
    )
    scored = [s for s in first.robustness if s.status == "scored" and s.entity_type == "micro"]
    assert {(s.perturbation, s.draw) for s in scored} == {
        (name, draw) for name in ("within_language", "within_family") for draw in (0, 1)
    }
    assert all(0 < s.num_replaced <= s.support for s in scored)
    tokens = {one.sentences.perturbation: one.sentences.tokens for one in first.predictions}
    assert tokens["none"] != tokens["within_family"]


def test_nothing_is_stored_where_nothing_is_asked_for(device):
    assert finish(run_trial(evaluation_of(small_trial(), predictions=()), device)).predictions == ()
