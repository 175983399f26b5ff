"""The peer of `sweep.py`: a sweep as people write it with Ray Tune, the Trainer of Hugging Face and
torch.nn.utils.prune. It takes nothing from this project.

    python tests/benchmarks/tune_and_trainer.py SETTINGS.json RESULTS.json

Libraries are imported where they are used, so that the driver, too, loads no more than it needs.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TAGS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
NO_LABEL = -100


def encode(
    tokens: Sequence[Sequence[str]], tags: Sequence[Sequence[int]], tokenizer: Any, max_length: int
) -> dict[str, Any]:
    """Sub-words of sentences; the first one of each word has its label."""
    encoded = tokenizer(tokens, is_split_into_words=True, truncation=True, max_length=max_length)
    labels = []
    for sentence, sentence_tags in enumerate(tags):
        words = encoded.word_ids(sentence)
        is_first = [
            word is not None and word != before
            for before, word in zip([None, *words], words, strict=False)
        ]
        labels.append(
            [
                sentence_tags[word] if first else NO_LABEL
                for word, first in zip(words, is_first, strict=True)
            ]
        )
    return {**encoded, "labels": labels}


def sparsity_at(step: int, num_steps: int, target: float, pruning: dict[str, Any]) -> float | None:
    """To what sparsity weights are pruned after that many steps (Zhu & Gupta 2017, equation 1);
    None: they are not."""
    begin, end = (round(pruning[name] * num_steps) for name in ("begin", "end"))
    is_due = begin <= step <= end and (
        step == end or (step - begin) % pruning["update_every_steps"] == 0
    )
    return target * (1 - (1 - (step - begin) / (end - begin)) ** 3) if is_due else None


def make_model(encoder: str, init: str) -> Any:
    """The encoder with a new head."""
    from transformers import AutoConfig, AutoModelForTokenClassification

    if init == "random":
        config = AutoConfig.from_pretrained(encoder, num_labels=len(TAGS))
        return AutoModelForTokenClassification.from_config(config)
    return AutoModelForTokenClassification.from_pretrained(encoder, num_labels=len(TAGS))


def make_pruning(model: Any, target: float, settings: dict[str, Any]) -> Any:
    """A callback of the Trainer that prunes the encoder's linear layers together."""
    from torch import nn
    from torch.nn.utils import prune
    from transformers import TrainerCallback

    weights = [
        (module, "weight")
        for module in model.base_model.encoder.modules()
        if isinstance(module, nn.Linear)
    ]
    num_weights = sum(module.weight.numel() for module, _ in weights)

    class Pruning(TrainerCallback):
        num_pruned = 0

        def on_step_begin(self, args, state, control, **_):
            self.prune_to(sparsity_at(state.global_step, state.max_steps, target, settings))

        def on_train_end(self, args, state, control, **_):
            for module, name in weights:
                if prune.is_pruned(module):
                    prune.remove(module, name)

        def prune_to(self, sparsity):
            # `amount` is a number of weights among those that are left.
            amount = round((sparsity or 0) * num_weights) - self.num_pruned
            if amount > 0:
                prune.global_unstructured(weights, prune.L1Unstructured, amount=amount)
                self.num_pruned += amount

        @property
        def achieved(self):
            """The fraction of zeros."""
            zeros = sum(int((module.weight == 0).sum()) for module, _ in weights)
            return zeros / num_weights

    return Pruning()


def compute_f1(predicted: Any) -> dict[str, float]:
    """Micro F1 of entities."""
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    is_word = predicted.label_ids != NO_LABEL
    found, gold = (
        [
            [TAGS[label] for label in labels[words]]
            for labels, words in zip(values, is_word, strict=True)
        ]
        for values in (predicted.predictions.argmax(-1), predicted.label_ids)
    )
    return {"f1": f1_score(gold, found, mode="strict", scheme=IOB2, zero_division=0)}


def train(settings: dict[str, Any]) -> None:
    """One trial: train, prune, evaluate on test, report."""
    import tempfile

    from datasets import load_dataset
    from ray import tune
    from transformers import (
        AutoTokenizer,
        DataCollatorForTokenClassification,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    set_seed(settings["seed"])
    tokenizer = AutoTokenizer.from_pretrained(settings["encoder"])
    folder = Path(settings["corpus"]) / settings["language"]
    files = {split: f"{folder}/{split}*.parquet" for split in ("train", "test")}
    data = load_dataset("parquet", data_files=files).map(
        lambda rows: encode(rows["tokens"], rows["ner_tags"], tokenizer, settings["max_length"]),
        batched=True,
    )
    model = make_model(settings["encoder"], settings["init"])
    pruning = make_pruning(model, settings["sparsity"], settings["pruning"])
    with tempfile.TemporaryDirectory() as output:
        arguments = TrainingArguments(
            output,
            num_train_epochs=settings["num_epochs"],
            per_device_train_batch_size=settings["batch_size"],
            per_device_eval_batch_size=settings["eval_batch_size"],
            learning_rate=settings["lr"],
            lr_scheduler_type="linear",
            optim="adamw_torch_fused",
            bf16=settings["precision"] == "bfloat16",
            use_cpu=True,
            seed=settings["seed"],
            eval_strategy="no",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = Trainer(
            model,
            arguments,
            data_collator=DataCollatorForTokenClassification(tokenizer),
            train_dataset=data["train"],
            eval_dataset=data["test"],
            compute_metrics=compute_f1,
            callbacks=[pruning],
        )
        trainer.train()
        f1 = trainer.evaluate()["eval_f1"]
    tune.report({"f1": f1, "achieved": pruning.achieved})


def main() -> None:
    """All languages at all sparsities, one core a trial, as many at a time as there are cores."""
    import ray
    from ray import tune

    settings = json.loads(Path(sys.argv[1]).read_text())
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    choices = {
        "language": tune.grid_search(settings.pop("languages")),
        "sparsity": tune.grid_search(settings.pop("sparsities")),
    }
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space=settings | choices,
        tune_config=tune.TuneConfig(reuse_actors=True),  # else each trial imports all anew
        run_config=tune.RunConfig(storage_path=settings["storage"], verbose=0),
    )
    results = [
        {
            "language": result.config["language"],
            "sparsity": result.config["sparsity"],
            "f1": result.metrics["f1"],
            "achieved": result.metrics["achieved"],
        }
        for result in tuner.fit()
    ]
    Path(sys.argv[2]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
