"""Measure gradual magnitude pruning here beside what people would use instead.

    python -m tests.benchmarks.peers [NAME ...] [--repeats N] [--csv FILE]  # or: make bench-peers

All train one model on the same batches, in the same order, for the same steps, to the same sparsity
along the same schedule: `ours` as `workers.run` does it, the others in the Trainer of Hugging Face,
which is where people use them. `plain` is that Trainer without pruning. Each runs in a process of
its own, so that peak memory is its own, and after a tiny training, so that imports and compilation
are not counted. The peers take turns, and ratios are within a round. Times are medians within a
training, then over the rounds.

Every batch is one padded batch of equal lengths: what is compared is pruning, not batching.
"""

import argparse
import contextlib
import gc
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from orchestrator.planning.plan import make_plan
from orchestrator.spec.sweep_spec import load_sweep_spec
from tests.benchmarks.measurement import (
    Measurement,
    device_name,
    exit_code,
    in_own_process,
    peak_extra_mib,
    ratios,
    write_csv,
)
from tests.factories import make_split
from tests.wikiann_tags import TAGS
from workers.data.align import EncodedSplit, load_encoded
from workers.data.batch import make_batch, training_order
from workers.data.wordpiece import SMALL_VOCAB_SIZE
from workers.pruning.schedule import Schedule
from workers.pruning.scope import prunable_weights
from workers.run import prepare_process
from workers.train import Training
from workers.trial import TrialSpec

NUM_THREADS = 2
NUM_SUBWORDS = 16  # a row; sentences of WikiANN have 17 on average
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "LOGLEVEL": "WARNING",  # neural-compressor's logs
    "OMP_NUM_THREADS": str(NUM_THREADS),
    # Else a core that another process takes makes steps not 2 but 20 times as long.
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
}
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is trained."""

    num_layers: int
    hidden: int
    num_steps: int


FULL = Size(num_layers=6, hidden=384, num_steps=60)  # 10.6 million prunable weights
WARM_UP = Size(num_layers=1, hidden=64, num_steps=10)


@dataclass(frozen=True)
class Work:
    """What every peer is given."""

    spec: TrialSpec
    split: EncodedSplit
    model: nn.Module

    @property
    def schedule(self) -> Schedule:
        """Sparsity by step, which peers either follow or come to by their own settings."""
        assert self.spec.pruning is not None
        return Schedule.from_spec(self.spec, self.num_steps)

    @property
    def num_steps(self) -> int:
        """Steps to train."""
        return self.spec.training.num_steps or 0

    def linears(self) -> dict[str, nn.Module]:
        """The layers whose weights are pruned, by their names in the model."""
        names = [name.removesuffix(".weight") for name in prunable_weights(self.model, None)]
        prefix = self.model.base_model_prefix
        return {f"{prefix}.{name}": self.model.get_submodule(f"{prefix}.{name}") for name in names}

    def batches(self) -> list[dict[str, Tensor]]:
        """The batch of each step, as `Training` draws them."""
        batch_size, seed = self.spec.training.batch_size, self.spec.seed
        order: list[np.ndarray] = []
        while len(order) < self.num_steps:
            epoch = len(order) // (self.split.num_sequences // batch_size)
            order += training_order(self.split.num_sequences, batch_size, seed, epoch)
        made = [make_batch(self.split, indices, CPU) for indices in order[: self.num_steps]]
        return [
            {"input_ids": b.input_ids, "attention_mask": b.attention_mask, "labels": b.labels}
            for b in made
        ]


def make_work(size: Size) -> Work:
    """A trial on the synthetic corpus and a BERT of that size with random weights."""
    from transformers import AutoModelForTokenClassification, BertConfig

    # The interval divides the span of pruning: neural-compressor prunes at whole intervals only,
    # ours on the end too.
    settings = [
        "languages=[en]",
        "sparsities=[0.9]",
        "seeds=[0]",
        "training.lr=1e-4",
        "pruning.begin=0.1",
    ]
    settings += [
        "pruning.end=0.7",
        "pruning.num_updates=null",
        "pruning.update_every_steps=4",
        f"training.num_steps={size.num_steps}",
    ]
    spec = make_plan(load_sweep_spec("smoke", [*settings, "results=unused"]))[0].spec
    torch.manual_seed(spec.seed)
    config = BertConfig(
        vocab_size=SMALL_VOCAB_SIZE,
        hidden_size=size.hidden,
        num_hidden_layers=size.num_layers,
        num_attention_heads=size.hidden // 32,
        intermediate_size=4 * size.hidden,
        num_labels=len(TAGS),
    )
    model = AutoModelForTokenClassification.from_config(config, dtype=torch.float32).train()
    whole = load_encoded(spec.corpus, spec.model, spec.language, "train", spec.training.max_length)
    return Work(spec, cut_into_rows(whole, spec.training.batch_size), model)


def cut_into_rows(split: EncodedSplit, batch_size: int) -> EncodedSplit:
    """The same sub-words in rows of equal length, as many as make whole batches."""
    num_rows = len(split.input_ids) // NUM_SUBWORDS // batch_size * batch_size
    used = num_rows * NUM_SUBWORDS
    return make_split(split.input_ids[:used], split.labels[:used], [NUM_SUBWORDS] * num_rows)


class Clock:
    """Times of steps, and apart from them of mask updates."""

    def __init__(self) -> None:
        self.step_s: list[float] = []
        self.update_s: list[float] = []
        self._num_counted = 0

    def start(self) -> None:
        """The first step begins."""
        self._started = time.perf_counter()

    def end_step(self) -> None:
        """A step has ended and the next one begins."""
        now = time.perf_counter()
        self.step_s.append(now - self._started - sum(self.update_s[self._num_counted :]))
        self._started, self._num_counted = now, len(self.update_s)

    @contextlib.contextmanager
    def updating(self) -> Iterator[None]:
        """Masks change inside."""
        started = time.perf_counter()
        yield
        self.update_s.append(time.perf_counter() - started)


def train_ours(work: Work, clock: Clock) -> None:
    """As `workers.run` does; all that is known of the inside of `Training` is here."""
    prepare_process(NUM_THREADS, use_gpu=False)
    training = Training(work.spec, work.model, work.split, CPU)
    update_masks = training._update_masks

    def update_on_the_clock() -> None:
        with clock.updating() if work.schedule.is_due(training.step) else contextlib.nullcontext():
            update_masks()

    training._update_masks = update_on_the_clock
    clock.start()
    for _ in training.run():
        clock.end_step()


class Plain:
    """No pruning. What the others override is called in this order."""

    def __init__(self, work: Work):
        self.work = work

    def use_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """The Trainer has made its optimizer."""

    def update(self, step: int) -> None:
        """Change the masks after `step` steps."""

    def finish(self) -> None:
        """Leave the pruned weights in the model."""


class TorchPrune(Plain):
    """torch.nn.utils.prune, globally; each call prunes so many of the weights that are left."""

    def __init__(self, work: Work):
        super().__init__(work)
        self.parameters = [(module, "weight") for module in work.linears().values()]
        self.num_weights = sum(module.weight.numel() for module, _ in self.parameters)
        self.num_pruned = 0

    def update(self, step: int) -> None:
        from torch.nn.utils import prune

        num_pruned = round(self.work.schedule.sparsity(step) * self.num_weights)
        amount = num_pruned - self.num_pruned
        prune.global_unstructured(
            self.parameters, pruning_method=prune.L1Unstructured, amount=amount
        )
        self.num_pruned = num_pruned

    def finish(self) -> None:
        from torch.nn.utils import prune

        for module, name in self.parameters:
            prune.remove(module, name)


class TorchAo(Plain):
    """torch.ao.pruning, each layer by itself: it ranks no layers together.

    Its CubicSL gives the same levels, but is stepped every step and leaves it to the caller when
    masks change.
    """

    def __init__(self, work: Work):
        from torch.ao.pruning import WeightNormSparsifier

        super().__init__(work)
        self.sparsifier = WeightNormSparsifier(sparse_block_shape=(1, 1), zeros_per_block=1, norm=1)
        self.sparsifier.prepare(
            work.model, [{"tensor_fqn": f"{name}.weight"} for name in work.linears()]
        )

    def update(self, step: int) -> None:
        for group in self.sparsifier.groups:
            group["sparsity_level"] = self.work.schedule.sparsity(step)
        self.sparsifier.step()

    def finish(self) -> None:
        self.sparsifier.squash_mask()


class NeuralCompressor(Plain):
    """Intel's neural-compressor, magnitudes over all layers together.

    Its own schedules are not Zhu & Gupta's (its `cube` is slow at first), so its scheduler is
    replaced.
    """

    def use_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        from neural_compressor import WeightPruningConfig
        from neural_compressor.compression.pruner import prepare_pruning

        settings = {
            "target_sparsity": self.work.spec.target_sparsity,
            "pruning_type": "magnitude",
            "criterion_type": "magnitude",
            "pattern": "1x1",
            "pruning_scope": "global",
            "max_sparsity_ratio_per_op": 0.9999,  # others have no bound a layer; 1 is refused
            "op_names": [f"^{name}$" for name in self.work.linears()],
            "excluded_op_names": [],
            "start_step": self.work.schedule.begin_step,
            "end_step": self.work.schedule.end_step,
            "pruning_frequency": self.work.schedule.update_every_steps,
        }
        # Not as keywords: they would be written into a default argument that the next training of
        # the process reads.
        self.pruning = prepare_pruning(self.work.model, WeightPruningConfig([settings]), optimizer)
        (pruner,) = self.pruning.pruners
        pruner.scheduler.update_sparsity_ratio = lambda *_: self.work.schedule.sparsity(
            pruner.global_step
        )

    def update(self, step: int) -> None:
        self.pruning.on_step_begin()  # its hook on the forward pass would do it, and finds it done

    def finish(self) -> None:
        self.pruning.on_train_end()


def train_with_trainer(peer_type: type[Plain], work: Work, clock: Clock) -> None:
    """The Trainer of Hugging Face, with a peer as its callback."""
    from transformers import Trainer, TrainerCallback

    torch.set_num_threads(NUM_THREADS)
    peer, batches = peer_type(work), work.batches()

    class OnTheClock(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock.start()

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if peer_type is not Plain and work.schedule.is_due(state.global_step):
                with clock.updating():
                    peer.update(state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock.end_step()

    class PeerTrainer(Trainer):
        def get_train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(
                batches, batch_size=None, collate_fn=lambda batch: batch
            )

        def create_optimizer(self, *args: Any) -> Any:
            optimizer = super().create_optimizer(*args)
            peer.use_optimizer(optimizer)
            return optimizer

    with tempfile.TemporaryDirectory() as folder:
        PeerTrainer(work.model, trainer_arguments(work, folder), callbacks=[OnTheClock()]).train()
    peer.finish()


def trainer_arguments(work: Work, folder: str) -> Any:
    """The trial's settings in the Trainer's words; it neither evaluates nor saves nor logs."""
    from transformers import TrainingArguments

    settings = work.spec.training
    return TrainingArguments(
        folder,
        max_steps=work.num_steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.lr,
        lr_scheduler_type=settings.lr_schedule,
        weight_decay=settings.weight_decay,
        adam_epsilon=settings.adam_epsilon,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch_fused",
        seed=work.spec.seed,
        use_cpu=True,
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
    )


PEERS: dict[str, Callable[[Work, Clock], None]] = {
    "ours": train_ours,
    "plain": partial(train_with_trainer, Plain),
    "torch.nn.utils.prune": partial(train_with_trainer, TorchPrune),
    "torch.ao.pruning": partial(train_with_trainer, TorchAo),
    "neural-compressor": partial(train_with_trainer, NeuralCompressor),
}
OURS, UNPRUNED = "ours", "plain"
SCOPES = {"plain": "–", "torch.ao.pruning": "layer"}


def measure(name: str) -> dict[str, Any]:
    """Time, memory and sparsity of one training."""
    PEERS[name](make_work(WARM_UP), Clock())
    work, clock = make_work(FULL), Clock()
    layers = list(work.linears())
    gc.collect()
    memory = peak_extra_mib(lambda: PEERS[name](work, clock))
    weights = [work.model.get_submodule(layer).weight for layer in layers]
    num_zeros = sum(weight.numel() - int(torch.count_nonzero(weight)) for weight in weights)
    target = round(work.spec.target_sparsity * sum(weight.numel() for weight in weights))
    return {
        "step": 1e3 * statistics.median(clock.step_s),
        "update": 1e3 * statistics.median(clock.update_s) if clock.update_s else None,
        "memory": None if math.isnan(memory) else memory,
        "error": None if name == UNPRUNED else abs(num_zeros - target),
    }


def count_revivals(name: str) -> dict[str, Any]:
    """How often a pruned weight is not zero in a later forward pass, or at the end."""
    work = make_work(FULL)
    watches = {layer: Revivals(work.schedule) for layer in work.linears()}
    for layer, module in work.linears().items():
        module.register_forward_hook(watches[layer].look)
    PEERS[name](work, Clock())
    for layer, watch in watches.items():
        watch.look(work.model.get_submodule(layer))
    return {"revived": sum(watch.count for watch in watches.values())}


class Revivals:
    """Watches the weight that one layer computes with; there is one forward pass a step."""

    def __init__(self, schedule: Schedule):
        self.schedule, self.step, self.count = schedule, 0, 0
        self.is_pruned: Tensor | None = None

    def look(self, module: nn.Module, *_: Any) -> None:
        """Compare the weight with the zeros that the last mask update left."""
        is_zero = module.weight.detach() == 0
        if self.is_pruned is not None:
            self.count += int((self.is_pruned & ~is_zero).sum())
            is_zero = is_zero if self.schedule.is_due(self.step) else is_zero & self.is_pruned
        if self.step >= self.schedule.begin_step:
            self.is_pruned = is_zero
        self.step += 1


PROPORTIONAL = ("step", "update", "memory")
FIGURES = {"step": "ms", "update": "ms", "memory": "MiB", "error": "weights", "revived": "weights"}
"""What a process reports, and its unit; a figure that does not apply is None."""


@dataclass(frozen=True)
class Peer:
    """What one peer reported: values by figure, one a round; or why there are none."""

    name: str
    values: dict[str, list[float]]
    failure: str = ""


def compare(names: list[str], repeats: int) -> list[Peer]:
    """Let the peers take turns; one that failed is not tried again."""
    peers = {name: Peer(name, {}) for name in names}
    for turn in range(repeats + 1):
        for name in names:
            is_last = turn == repeats
            if peers[name].failure or (is_last and name == UNPRUNED):
                continue
            sys.stderr.write(
                f"{'revivals' if is_last else f'round {turn + 1} of {repeats}'}: {name}\n"
            )
            reported = ask(name, "--revivals" if is_last else "--measure")
            if isinstance(reported, str):
                peers[name] = Peer(name, {}, reported)
                continue
            for figure, value in reported.items():
                if value is not None:
                    peers[name].values.setdefault(figure, []).append(value)
    return list(peers.values())


def ask(name: str, mode: str) -> dict[str, Any] | str:
    """What it reports in a process of its own, or why it reports nothing."""
    try:
        reported: dict[str, Any] = in_own_process("tests.benchmarks.peers", mode, name)
    except RuntimeError as error:
        return f"failed: {error}"
    return reported.get("failure", reported)


def report(name: str, mode: Callable[[str], dict[str, Any]]) -> None:
    """Print what `mode` finds as one line; what libraries print goes to standard error."""
    with contextlib.redirect_stdout(sys.stderr):
        try:
            reported = mode(name)
        except ImportError as error:
            reported = {"failure": f"not installed: {str(error).strip().splitlines()[0]}"}
    print(json.dumps(reported))


def measurements(peers: list[Peer]) -> list[Measurement]:
    """All figures; times and memory also as ratios to ours, which shall lead all that prune."""
    ours = next((peer.values for peer in peers if peer.name == OURS), {})
    measured = []
    for peer in peers:
        for figure, values in peer.values.items():
            is_exact = peer.name == OURS and figure in ("error", "revived")
            what, unit = f"{peer.name}: {figure}", FIGURES[figure]
            measured.append(
                Measurement(
                    what=what, values=tuple(values), unit=unit, at_most=0 if is_exact else None
                )
            )
            if peer.name != OURS and figure in PROPORTIONAL and figure in ours:
                to_ours, target = (
                    ratios(values, ours[figure]),
                    None if peer.name == UNPRUNED else 1.0,
                )
                measured.append(
                    Measurement(what=f"{what} to ours", values=to_ours, unit="x", at_least=target)
                )
    return measured


def make_table(peers: list[Peer], measured: list[Measurement]) -> Table:
    """One row a peer; a ratio above 1 speaks for ours."""
    medians = {one.what: one.median for one in measured}
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, caption=device_name())
    titles = (
        "scope",
        "step ms",
        "to ours",
        "update ms",
        "to ours",
        "peak MiB",
        "to ours",
        "off target",
        "revived",
    )
    table.add_column("peer", no_wrap=True)
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for peer in peers:
        cells = [SCOPES.get(peer.name, "global")]
        for figure in FIGURES:
            value = medians.get(f"{peer.name}: {figure}")
            digits = 1 if value is not None and value % 1 and value < 100 else 0
            cells.append("–" if value is None else f"{value:,.{digits}f}")
            if figure in PROPORTIONAL:
                ratio = medians.get(f"{peer.name}: {figure} to ours")
                cells.append("" if ratio is None else f"{ratio:.2f}")
        table.add_row(peer.name, *([peer.failure.partition(":")[0]] if peer.failure else cells))
    return table


def main() -> int:
    """Compare the peers named on the command line, or all; 1 where ours does not lead."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.peers", description=main.__doc__
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(PEERS)} (default: all)"
    )
    parser.add_argument(
        "--repeats", type=int, default=2, metavar="N", help="rounds (default: %(default)s)"
    )
    parser.add_argument(
        "--csv", type=Path, default=Path("results/bench-peers.csv"), help="(default: %(default)s)"
    )
    parser.add_argument("--measure", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--revivals", choices=PEERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure or args.revivals:
        report(args.measure or args.revivals, measure if args.measure else count_revivals)
        return 0
    if unknown := set(args.names) - set(PEERS):
        parser.error(f"{', '.join(sorted(unknown))}: no such peer; there are {', '.join(PEERS)}")
    os.environ.update(ENVIRONMENT)
    torch.set_num_threads(NUM_THREADS)  # which the table's caption says
    peers = compare(args.names or list(PEERS), args.repeats)
    measured = measurements(peers)
    Console(width=120).print(make_table(peers, measured))
    for peer in peers:
        if peer.failure:
            print(f"{peer.name}: {peer.failure}")
    rows = [("peers", one) for one in measured]
    write_csv(args.csv, rows)
    return exit_code(rows)


if __name__ == "__main__":
    sys.exit(main())
