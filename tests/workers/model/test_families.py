"""Encoders of every family, tiny and made here: trained, pruned, stopped, resumed and reused.

Weights are random, so nothing is learnt; what counts is that every family ends at its sparsity, and
at the same bits on whatever way.
"""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import nn
from transformers import AutoConfig, AutoModelForTokenClassification, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES

from tests.factories import PRUNING, make_split
from tests.wikiann_tags import TAGS
from tests.workers.trials import (
    finish,
    numbers,
    small_trial,
    stop_and_resume,
)
from workers.data.align import NO_LABEL
from workers.data.batch import Batch, make_batch
from workers.data.packing import PackedBatches
from workers.data.wordpiece import small_tokenizer
from workers.model.encoder import describe_prunable, make_model
from workers.model.folder import fingerprint_model_folder, refuse_model_without_linear_layers
from workers.model.keyed_dropout import KeyedDropout
from workers.model.positions import READ_PACKED_ROWS, first_position, reads_packed_rows
from workers.model.projections import find_projections
from workers.model.rounded import read_rounded
from workers.run import run_trial
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
DECODER = KV | {"head_dim": 8}
EXPERTS = DECODER | {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
LATENT = KV | {  # attention to a narrow copy of keys and values
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "n_routed_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
}
PART = DECODER | {"vocab_size": 8000}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "pad_token_id": 0}
FAMILIES = {
    "canine": COMMON | {"num_hash_buckets": 64},
    "esmc": DECODER,
    "flaubert": {"emb_dim": 16, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 140},
    "gemma2": DECODER,
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
    "openai_privacy_filter": DECODER,
    "qwen3": DECODER,
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
    "apertus": DECODER,
    "arcee": DECODER,
    "axk1": LATENT,
    "axk2": DECODER,
    "biogpt": COMMON,
    "bloom": COMMON,
    "deepseek_v3": LATENT | {"first_k_dense_replace": 1},
    "diffllama": DECODER,
    "exaone4": DECODER,
    "falcon": COMMON | {"num_kv_heads": 2, "ffn_hidden_size": 32},
    "gemma": DECODER,
    "glm": DECODER,
    "glm4": DECODER,
    "gpt_bigcode": COMMON,
    "gpt_neo": {
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 2,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 16,
        "max_position_embeddings": 140,
        "pad_token_id": 0,
    },
    "gpt_neox": COMMON,
    "gpt_oss": DECODER | {"num_local_experts": 2, "num_experts_per_tok": 1},
    "helium": DECODER,
    "minimax": DECODER | {"num_local_experts": 2, "num_experts_per_tok": 1},
    "ministral": DECODER,
    "ministral3": DECODER,
    "mistral": DECODER,
    "mistral4": LATENT | {"first_k_dense_replace": 1},
    "mixtral": DECODER | {"num_local_experts": 2, "num_experts_per_tok": 1},
    "mpt": {"d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 140, "pad_token_id": 0},
    "nemotron": DECODER,
    "persimmon": COMMON,
    "phi": COMMON,
    "phi3": KV,
    "qwen2": KV,
    "qwen2_moe": EXPERTS | {"shared_expert_intermediate_size": 16},
    "qwen3_moe": EXPERTS,
    "qwen3_next": EXPERTS
    | {
        "shared_expert_intermediate_size": 16,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "seed_oss": DECODER,
    "smollm3": DECODER,
    "stablelm": KV,
    "starcoder2": KV,
    "t5gemma": {"encoder": PART, "decoder": PART},
}

WITHOUT_LINEAR_LAYERS = {
    "squeezebert": "SqueezeBert",  # grouped convolutions
    "ibert": "IBert",  # layers that are quantized
    "gpt2": "GPT2",  # Conv1D, whose weights lie the other way round
    "gpt-sw3": "GPT2",  # whose model_type it has
}
READ_MORE = {
    "bros": "needs the boxes of words on a page",
    "layoutlmv2": "needs the image of a page",
    "modernvbert": "reads images beside text",
    "qwen3_5": "reads images beside text",
    "qwen3_asr": "reads sound beside text",
    "t5gemma2": "reads images beside text",
    "ultravbert": "reads images beside text",
}
"""What is refused by name, and for what reason."""

MAKES_BYTES = {"qwen2"}
"""Families of which transformers makes a tokenizer of bytes, whatever tokenizer.json has."""


def test_each_family_that_transformers_has_is_tried_or_refused():
    tried = {*FAMILIES, *WITHOUT_LINEAR_LAYERS, *READ_MORE}
    assert set(MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES) == tried


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    small_tokenizer(0, ["ka"]).save_pretrained(folder)
    return folder


def write_tokenizer_of_bytes(folder) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(["the same as that of the model that is published"], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    text = json.dumps({"pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>"})
    (folder / "tokenizer_config.json").write_text(text)


def small_config(family: str) -> PretrainedConfig:
    sizes = FAMILIES.get(family, COMMON | {"embedding_size": 16})
    return AutoConfig.for_model(family, **sizes | {"vocab_size": 8000})


def write_encoder(folder, tokenizer_folder, family: str) -> ModelSpec:
    if family in MAKES_BYTES:
        write_tokenizer_of_bytes(folder)
    else:
        for file in tokenizer_folder.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
    torch.manual_seed(0)
    AutoModelForTokenClassification.from_config(small_config(family)).base_model.save_pretrained(
        folder
    )
    fingerprint = fingerprint_model_folder(folder, "pretrained")
    return ModelSpec(name=str(folder), revision=None, init="pretrained", fingerprint=fingerprint)


def test_weights_that_are_never_pruned_are_named(tmp_path, tokenizer_folder):
    model = write_encoder(tmp_path, tokenizer_folder, "mixtral")
    assert describe_prunable(model, None)[-4:] == [
        "never pruned, since no linear layers hold them (75% of the encoder):",
        "  layers.{0-1}.mlp.gate.weight 2x16 x2",
        "  layers.{0-1}.mlp.experts.gate_up_proj 2x64x16 x2",
        "  layers.{0-1}.mlp.experts.down_proj 2x16x32 x2",
    ]
    (tmp_path / "bert").mkdir()
    bert = write_encoder(tmp_path / "bert", tokenizer_folder, "bert")
    assert not any("never" in line for line in describe_prunable(bert, None))


def test_embeddings_are_named_beside_what_is_pruned(tmp_path, tokenizer_folder):
    model = write_encoder(tmp_path, tokenizer_folder, "albert")
    lines = describe_prunable(model, PRUNING)
    where = lines.index("word embeddings, dense without pruning.embedding_sparsity:")
    assert lines[where + 1].startswith("  embeddings.word_embeddings.weight ")
    assert lines[where + 2 :] == [
        "dense in any case, beside the word embeddings:",
        "  embeddings.position_embeddings.weight 140x8 x1",
        "  embeddings.token_type_embeddings.weight 2x8 x1",
    ]
    assert "  encoder.embedding_hidden_mapping_in.weight 16x8 x1" in lines[:where]
    lines = describe_prunable(model, replace(PRUNING, embedding_sparsity=0.5))
    assert lines[0].startswith("  embeddings.word_embeddings.weight ")
    assert not any("dense without" in line for line in lines)


def test_a_tokenizer_that_leaves_nothing_of_words_is_refused(
    device, tmp_path, tokenizer_folder, monkeypatch
):
    monkeypatch.setattr(f"{__name__}.MAKES_BYTES", set())
    model = write_encoder(tmp_path, tokenizer_folder, "qwen2")
    with pytest.raises(TrialError, match="leaves nothing of the word 'a', as where transformers"):
        finish(run_trial(trial_on(model), device))


@pytest.mark.parametrize(("family", "name"), WITHOUT_LINEAR_LAYERS.items())
def test_a_family_without_linear_layers_is_refused_by_name(
    device, tmp_path, tokenizer_folder, family, name
):
    model = write_encoder(tmp_path, tokenizer_folder, family)
    with pytest.raises(TrialError, match="which has no linear layers to prune; choose"):
        refuse_model_without_linear_layers(tmp_path)
    with pytest.raises(TrialError, match=f"{name}ForTokenClassification has no linear layers"):
        finish(run_trial(trial_on(model), device))


@pytest.mark.parametrize(("family", "fault"), READ_MORE.items())
def test_a_family_that_reads_more_than_text_is_refused_by_name(tmp_path, family, fault):
    AutoConfig.for_model(family).save_pretrained(tmp_path)
    message = f"of the architecture {family}, which {fault}; choose one that reads text alone"
    with pytest.raises(TrialError, match=message):
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


WITHOUT_DROPOUT = {"eurobert", "nomic_bert", "ultrabert"}
"""As their configs have it where nothing is said."""


@pytest.mark.parametrize("family", sorted(READ_PACKED_ROWS))
def test_a_family_drops_by_keys_alone(tmp_path, tokenizer_folder, family):
    model = make_model(write_encoder(tmp_path, tokenizer_folder, family), 0, CPU)
    split = make_split(np.arange(5, 45), np.ones(40, np.int64), [40])
    batch = PackedBatches(split, CPU, first_position(model)).make(np.arange(1))
    dropout = KeyedDropout(0, "reference")

    def logits(step: int) -> torch.Tensor:
        dropout.begin(step)
        with dropout:
            return model(**batch.inputs).logits

    before = torch.get_rng_state()
    first, second, again = logits(0), logits(1), logits(0)
    assert torch.equal(torch.get_rng_state(), before), "torch's generator was used"
    assert torch.equal(first, again)
    assert torch.equal(first, second) == (family in WITHOUT_DROPOUT)


NOISE = 1e-4
"""Of gradients that are sums of numbers which cancel out, as those of the biases of keys are."""


# xmod cannot compute under autocast: it puts bfloat16 into a tensor of float32.
@pytest.mark.parametrize("family", sorted(READ_PACKED_ROWS - {"xmod"}))
def test_a_family_computes_with_rounded_copies_what_it_computes_under_autocast(
    tmp_path, tokenizer_folder, monkeypatch, family
):
    model = make_model(write_encoder(tmp_path, tokenizer_folder, family), 0, CPU)
    rng, lengths = np.random.default_rng(0), [5, 30, 3, 17]
    ids, labels = rng.integers(5, 8000, sum(lengths)), rng.integers(0, len(TAGS), sum(lengths))
    split = make_split(ids, labels, lengths)
    batch = PackedBatches(split, CPU, first_position(model)).make(np.arange(len(lengths)))

    def loss() -> torch.Tensor:
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(**batch.inputs).logits.flatten(0, 1)
        loss = nn.functional.cross_entropy(
            logits.float(), batch.labels.flatten(), ignore_index=NO_LABEL
        )
        loss.backward()
        return loss

    expected = loss()
    gradients = {one: one.grad for one in model.parameters()}
    names = [name for name, _ in model.named_parameters()]
    model.zero_grad()
    assert list(find_projections(model)), "query, key and value are computed apart"
    together = copy.deepcopy(model)
    with monkeypatch.context() as patch:
        patch.setattr("workers.model.rounded.find_projections", lambda model: ())
        copies = read_rounded(model)
    assert torch.equal(loss(), expected)
    for name, one in model.named_parameters():
        grad = copies[one].grad if one in copies else one.grad
        assert (grad is None) == (gradients[one] is None), name
        assert grad is None or torch.equal(grad.float(), gradients[one]), name
        assert one not in copies or one.grad is None, f"{name} is read itself, too"

    model, copies = together, read_rounded(together)
    torch.testing.assert_close(loss(), expected, rtol=0.01, atol=0)
    found = [copies.get(one, one).grad for one in model.parameters()]
    for name, grad, wanted in zip(names, found, gradients.values(), strict=True):
        assert (grad is None) == (wanted is None), name
        assert grad is None or (grad - wanted).norm() <= 0.05 * (wanted.norm() + NOISE), name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_trains_to_the_same_bits_fresh_reused_and_resumed(
    device, tmp_path, tokenizer_folder, family, caplog
):
    caplog.set_level("WARNING")
    (tmp_path / "model").mkdir()
    spec = trial_on(write_encoder(tmp_path / "model", tokenizer_folder, family))
    fresh = finish(run_trial(spec, device))
    assert all(layer.num_zeros == round(0.75 * layer.num_weights) for layer in fresh.layers)

    resumed = stop_and_resume(spec, device, tmp_path, 3)
    assert (resumed.num_resumes, caplog.text) == (1, "")
    assert numbers(resumed) == numbers(fresh)
