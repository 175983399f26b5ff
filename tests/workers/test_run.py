"""A whole trial: the same bits every time, also in a worker that ran others before."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.factories import PRUNING, make_split
from tests.workers.trials import (
    finish,
    numbers,
    real_trial,
    small_trial,
    stop_and_resume,
    training_of,
    two_languages,
)
from workers.data.align import NO_LABEL
from workers.data.corpus import fingerprints_before, load_sentences
from workers.data.languages import LanguageData, LanguageSource
from workers.data.wordpiece import small_tokenizer
from workers.model.encoder import make_model
from workers.model.folder import fingerprint_model_folder
from workers.pruning.used_rows import used_rows
from workers.result import Vocabulary
from workers.run import describe_vocabulary, prepare_process, run_trial
from workers.trial import ModelSpec, TrialError


def test_trial_hits_its_sparsity_and_reports_what_it_did(device):
    result = finish(run_trial(small_trial(), device))
    zeros = sum(layer.num_zeros for layer in result.layers)
    assert zeros == round(0.5 * result.num_prunable)
    assert result.achieved_sparsity == 0.5
    assert result.overall_sparsity == zeros / result.num_parameters
    assert [point.step for point in result.curve] == [10, 20, 23]
    assert result.curve[-1].loss < result.curve[0].loss
    assert {score.split for score in result.scores} == {"validation", "test"}
    assert (result.num_steps, result.num_train_sentences, result.num_resumes) == (23, 100, 0)
    assert result.num_train_subwords > 0
    assert 0.1 < result.peak_memory_gib < 8


def test_data_has_a_fingerprint_that_follows_its_content(device):
    def fingerprint(**corpus) -> str:
        spec = small_trial()
        spec = replace(
            spec,
            training=replace(spec.training, num_steps=1),
            corpus=replace(spec.corpus, **corpus),
        )
        return finish(run_trial(spec, device)).data_fingerprint

    assert fingerprint() == fingerprint(max_train_sentences=100)
    assert (
        len(
            {fingerprint(), fingerprint(max_train_sentences=99), fingerprint(max_eval_sentences=99)}
        )
        == 3
    )


def test_gpu_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(
        TrialError,
        match="was given a GPU, but torch .* sees none .* set resources.gpus_per_trial=0",
    ) as caught:
        prepare_process(1, use_gpu=True)
    assert caught.value.kind == "device"


def test_two_runs_are_equal_and_another_seed_is_not(device):
    first = finish(run_trial(small_trial(), device))
    assert numbers(finish(run_trial(small_trial(), device))) == numbers(first)
    assert finish(run_trial(small_trial(seed=1), device)).curve != first.curve


def test_a_process_that_ran_other_trials_gives_the_bits_of_a_fresh_one(device, tmp_path):
    (tmp_path / "trial.json").write_text(small_trial().to_json())
    finish(run_trial(small_trial(languages=("bn",), seed=5), device))
    reused = finish(run_trial(small_trial(), device))
    command = [sys.executable, "-m", "workers.run", str(tmp_path / "trial.json"), "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    fresh = json.loads(done.stdout)
    assert [row["f1"] for row in fresh["scores"]] == [score.f1 for score in reused.scores]
    assert [point["loss"] for point in fresh["curve"]] == [point.loss for point in reused.curve]
    assert [layer["num_zeros"] for layer in fresh["layers"]] == [
        layer.num_zeros for layer in reused.layers
    ]


def test_embeddings_are_pruned_when_asked(device):
    spec = small_trial(pruning=replace(PRUNING, embedding_sparsity=0.5, scope="layer"))
    result = finish(run_trial(spec, device))
    (embeddings,) = (layer for layer in result.layers if "word_embeddings" in layer.name)
    assert embeddings.num_zeros == round(0.5 * embeddings.num_weights)


def test_what_each_language_uses_of_the_vocabulary_is_counted(device, tmp_path, monkeypatch):
    made = []

    def keep(*arguments):
        made.append(make_model(*arguments))
        return made[-1]

    monkeypatch.setattr("workers.run.make_model", keep)
    spec = two_languages(pruning=replace(PRUNING, embedding_sparsity=0.5, update_every_steps=4))
    result = stop_and_resume(spec, device, tmp_path, 13)
    assert result.num_resumes == 1
    table, tokenizer = used_rows(made[-1]).table(), small_tokenizer(0)
    zeros = (table == 0).sum(dim=1)
    for language, found in zip(("bn", "ka"), result.vocabulary, strict=True):
        sentences = load_sentences(spec.corpus, language, "train")
        words = [word for sentence in sentences.tokens for word in sentence]
        pieces = [piece for word in words for piece in tokenizer.tokenize(word)]
        ids = sorted(set(tokenizer.convert_tokens_to_ids(pieces)))
        assert found == Vocabulary(
            language=language,
            num_words=len(words),
            num_subwords=len(pieces),
            num_unknown=pieces.count(tokenizer.unk_token),
            num_pieces=len(ids),
            num_weights=128 * len(ids),
            num_zeros=int(zeros[ids].sum()),
        )
        assert 0 < found.num_zeros < found.num_weights
    assert result.vocabulary[0].num_pieces != result.vocabulary[1].num_pieces


def test_embeddings_that_are_not_pruned_have_no_zeros(device):
    (found,) = finish(run_trial(training_of(small_trial(), num_steps=2), device)).vocabulary
    assert (found.language, found.num_zeros) == ("ka", 0)
    assert found.num_weights == 128 * found.num_pieces


class WithoutEmbeddings(nn.Linear):
    base_model = None


def test_models_and_tokenizers_may_lack_what_is_counted():
    ids, labels = np.array([5, 7, 7, 5, 6]), np.array([0, 0, NO_LABEL, 0, 0])
    source = LanguageSource(
        corpus=small_trial().corpus, language="ka", model=small_trial().model, max_length=9
    )
    data = LanguageData(source=source, train=make_split(ids, labels, [3, 2]), scored={})
    found = describe_vocabulary(WithoutEmbeddings(1, 1), data)
    assert found == Vocabulary(
        language="ka", num_words=4, num_subwords=5, num_unknown=0, num_pieces=3,
        num_weights=None, num_zeros=None,
    )  # fmt: skip
    unknown = replace(data, train=replace(data.train, unknown_id=7))
    assert describe_vocabulary(WithoutEmbeddings(1, 1), unknown).num_unknown == 2


def test_memory_that_is_not_there_is_named(device, tmp_path):
    from transformers import BertConfig

    small_tokenizer(0).save_pretrained(tmp_path)
    BertConfig(vocab_size=10**11).save_pretrained(tmp_path)
    model = ModelSpec(
        name=str(tmp_path),
        revision=None,
        init="random",
        fingerprint=fingerprint_model_folder(tmp_path, "random"),
    )
    with pytest.raises(
        TrialError, match=r"can't allocate memory.* lower training.batch_size \(32\)"
    ) as caught:
        finish(run_trial(small_trial(model=model), device))
    assert caught.value.kind == "out_of_memory"


def test_files_that_changed_since_planning_are_refused(device, wikiann, pretrained):
    spec = real_trial(wikiann, pretrained)
    other_corpus = replace(spec, corpus=replace(spec.corpus, fingerprint="another"))
    with pytest.raises(
        TrialError,
        match=r"corpus.path: .*/ka has changed since the sweep was planned \(another, now",
    ):
        finish(run_trial(other_corpus, device))
    other_model = replace(spec, model=replace(spec.model, fingerprint="another"))
    with pytest.raises(
        TrialError, match=r"model.name: .* has changed since the sweep was planned \(another, now"
    ):
        finish(run_trial(other_model, device))


def test_files_that_an_earlier_version_planned_are_the_same_files(device, wikiann, pretrained):
    spec = real_trial(wikiann, pretrained)
    fingerprint, _ = fingerprints_before(wikiann, ["ka"])
    before = replace(spec, corpus=replace(spec.corpus, fingerprint=fingerprint))
    assert before.trial_id() != spec.trial_id()
    assert numbers(finish(run_trial(before, device))) == numbers(finish(run_trial(spec, device)))


def test_sequences_longer_than_the_model_takes_are_refused(device):
    spec = small_trial()
    long = replace(spec, training=replace(spec.training, max_length=513))
    with pytest.raises(
        TrialError, match=r"training.max_length: 513 is more than the model's 512 positions"
    ):
        finish(run_trial(long, device))


def test_real_wikiann_with_a_pretrained_folder(device, wikiann, pretrained):
    spec = real_trial(wikiann, pretrained)
    first = finish(run_trial(spec, device))
    finish(run_trial(real_trial(wikiann, pretrained, seed=3), device))
    again = finish(run_trial(spec, device))
    assert numbers(again) == numbers(first), "the weights were put back between trials"
    assert first.achieved_sparsity == 0.5
    assert first.num_train_sentences == 40


def test_same_seed_starts_dense_and_sparse_trials_from_the_same_weights_and_data(
    device, wikiann, pretrained
):
    sparse = finish(run_trial(real_trial(wikiann, pretrained), device))
    dense = finish(
        run_trial(real_trial(wikiann, pretrained, target_sparsity=0.0, pruning=None), device)
    )
    late = replace(PRUNING, begin=1.0, end=1.0)
    pruned_at_the_end = finish(run_trial(real_trial(wikiann, pretrained, pruning=late), device))
    assert [point.loss for point in pruned_at_the_end.curve] == [
        point.loss for point in dense.curve
    ]
    assert sparse.curve != dense.curve
