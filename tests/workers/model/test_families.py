"""Encoders of every family, tiny and made here: trained, pruned, stopped, resumed and reused.

Weights are random, so nothing is learnt; what counts is that every family ends at its sparsity, and
at the same bits on whatever way.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForTokenClassification

from tests.factories import PRUNING, make_split
from tests.workers.trials import checkpoint_at, finish, numbers, run_steps, small_trial
from workers.data.align import NO_LABEL
from workers.data.batch import Batch, make_batch
from workers.data.packing import PackedBatches
from workers.data.wordpiece import small_tokenizer
from workers.model.encoder import make_model
from workers.model.folder import fingerprint_model_folder
from workers.model.positions import READ_PACKED_ROWS, first_position, reads_packed_rows
from workers.run import run_trial
from workers.tags import TAGS
from workers.trial import ModelSpec, TrialError, TrialSpec

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")

COMMON = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "pad_token_id": 0,
    "max_position_embeddings": 140,
}
KV = COMMON | {"num_key_value_heads": 2}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "pad_token_id": 0}
FAMILIES = {
    "canine": COMMON | {"num_hash_buckets": 64},
    "esmc": KV | {"head_dim": 8},
    "flaubert": {"emb_dim": 16, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 140},
    "gemma2": KV | {"head_dim": 8},
    "gte": COMMON,
    "jina_embeddings_v3": COMMON,
    "layoutlmv3": COMMON
    | {"hidden_size": 24, "coordinate_size": 4, "shape_size": 4, "visual_embed": False},
    "lilt": COMMON | {"hidden_size": 24, "channel_shrink_ratio": 2},
    "llama": KV,
    "luke": COMMON | {"entity_vocab_size": 10, "entity_emb_size": 8},
    "markuplm": COMMON,
    "mra": COMMON,
    "nomic_bert": COMMON,
    "nystromformer": COMMON,
    "openai_privacy_filter": KV | {"head_dim": 8},
    "qwen3": KV | {"head_dim": 8},
    "roberta-prelayernorm": COMMON,
    "ultrabert": COMMON,
    "albert": COMMON | {"embedding_size": 8},
    "bert": COMMON,
    "big_bird": COMMON | {"attention_type": "block_sparse", "block_size": 16},
    "camembert": COMMON,
    "convbert": COMMON | {"embedding_size": 16},
    "data2vec-text": COMMON,
    "deberta": COMMON | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": COMMON | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "distilbert": {
        "dim": 16,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 32,
        "max_position_embeddings": 140,
    },
    "electra": COMMON | {"embedding_size": 8},
    "ernie": COMMON,
    "esm": COMMON | {"mask_token_id": 4, "position_embedding_type": "rotary"},
    "eurobert": COMMON | {"num_key_value_heads": 2},
    "fnet": COMMON,
    "funnel": {
        "d_model": 16,
        "n_head": 2,
        "d_head": 8,
        "d_inner": 32,
        "block_sizes": [1, 1],
        "num_decoder_layers": 1,
    },
    "layoutlm": COMMON,
    "longformer": COMMON | {"attention_window": 16},
    "megatron-bert": COMMON,
    "mobilebert": COMMON
    | {"embedding_size": 8, "intra_bottleneck_size": 16, "true_hidden_size": 16},
    "modernbert": COMMON | {"global_attn_every_n_layers": 2},
    "mpnet": COMMON,
    "mt5": T5,
    "rembert": COMMON | {"input_embedding_size": 8, "output_embedding_size": 8},
    "roberta": COMMON,
    "roc_bert": COMMON | {"enable_pronunciation": False, "enable_shape": False},
    "roformer": COMMON | {"embedding_size": 16},
    "t5": T5,
    "umt5": T5,
    "xlm": {"emb_dim": 16, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 140},
    "xlm-roberta": COMMON,
    "xlm-roberta-xl": COMMON,
    "xlnet": {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32},
    "xmod": COMMON | {"languages": ["en_XX"], "default_language": "en_XX"},
    "yoso": COMMON | {"use_expectation": True, "num_hash": 8},
}


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    small_tokenizer(0, ["ka"]).save_pretrained(folder)
    return folder


def write_encoder(folder, tokenizer_folder, family: str) -> ModelSpec:
    for file in tokenizer_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    sizes = FAMILIES.get(family, COMMON | {"embedding_size": 16})
    config = AutoConfig.for_model(family, **sizes | {"vocab_size": 8000})
    torch.manual_seed(0)
    AutoModelForTokenClassification.from_config(config).base_model.save_pretrained(folder)
    fingerprint = fingerprint_model_folder(folder, "pretrained")
    return ModelSpec(name=str(folder), revision=None, init="pretrained", fingerprint=fingerprint)


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("squeezebert", "SqueezeBert"),  # grouped convolutions
        ("ibert", "IBert"),  # layers that are quantized
        ("gpt2", "GPT2"),  # Conv1D, whose weights lie the other way round
    ],
)
def test_a_family_without_linear_layers_is_refused_by_name(
    device, tmp_path, tokenizer_folder, family, name
):
    model = write_encoder(tmp_path, tokenizer_folder, family)
    with pytest.raises(TrialError, match=f"{name}ForTokenClassification has no linear layers"):
        finish(run_trial(trial_on(model), device))


def test_a_family_that_reads_more_than_text_is_refused_by_name(tmp_path, tokenizer_folder):
    message = "bros, which needs the boxes of words on a page; choose one that reads text alone"
    with pytest.raises(TrialError, match=message):
        write_encoder(tmp_path, tokenizer_folder, "bros")
    (tmp_path / "config.json").write_text('{"model_type": "layoutlmv2"}')
    with pytest.raises(TrialError, match="layoutlmv2, which needs the image of a page"):
        fingerprint_model_folder(tmp_path, "pretrained")


def trial_on(model: ModelSpec, **changes) -> TrialSpec:
    pruning = replace(PRUNING, begin=0.3, update_every_steps=2, scope="layer", saliency="movement")
    spec = small_trial(model=model, pruning=pruning, target_sparsity=0.75, **changes)
    corpus = replace(spec.corpus, max_train_sentences=30, max_eval_sentences=4)
    training = replace(spec.training, num_steps=5, batch_size=8)
    evaluation = replace(spec.evaluation, splits=("test",))
    return replace(spec, corpus=corpus, training=training, evaluation=evaluation)


@pytest.mark.parametrize("family", sorted(READ_PACKED_ROWS))
def test_a_family_computes_the_same_for_packed_sentences(tmp_path, tokenizer_folder, family):
    model = make_model(write_encoder(tmp_path, tokenizer_folder, family), 0, CPU).eval()
    assert reads_packed_rows(model)
    rng, lengths = np.random.default_rng(0), [5, 128, 30, 3, 17, 60]
    ids, labels = rng.integers(5, 8000, sum(lengths)), rng.integers(0, len(TAGS), sum(lengths))
    split, all_of_them = make_split(ids, labels, lengths), np.arange(len(lengths))
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def loss_and_gradients(batch: Batch) -> list[torch.Tensor]:
        logits = model(**batch.inputs).logits.flatten(0, 1)
        loss = nn.functional.cross_entropy(logits, batch.labels.flatten(), ignore_index=NO_LABEL)
        return [loss, *torch.autograd.grad(loss, parameters, allow_unused=True)]

    packed = PackedBatches(split, CPU, first_position(model)).make(all_of_them)
    padded = make_batch(split, all_of_them, CPU)
    assert packed.input_ids.numel() < 1.2 * split.lengths.sum() < padded.input_ids.numel()
    for found, expected in zip(loss_and_gradients(packed), loss_and_gradients(padded), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_trains_to_the_same_bits_fresh_reused_and_resumed(
    device, tmp_path, tokenizer_folder, family, caplog
):
    caplog.set_level("WARNING")
    (tmp_path / "model").mkdir()
    spec = trial_on(write_encoder(tmp_path / "model", tokenizer_folder, family))
    fresh = finish(run_trial(spec, device))
    assert all(layer.num_zeros == round(0.75 * layer.num_weights) for layer in fresh.layers)

    interrupted = run_trial(spec, device, checkpoint_at(tmp_path, spec))
    run_steps(interrupted, 3)
    interrupted.close()
    resumed = finish(run_trial(spec, device, checkpoint_at(tmp_path, spec)))
    assert (resumed.num_resumes, caplog.text) == (1, "")
    assert numbers(resumed) == numbers(fresh)
