"""How much memory a trial takes: as trials took that are stored, or as estimated from its model.

What is counted of a process on a CPU: Python with its libraries; the weights as they were loaded,
which the next trial starts from; weights, gradients and both moments, float32, of all that is
trained, which are not all word embeddings; the activations of a batch of long sentences. RESULTS.md
compares this with what was measured. On a GPU, and beside one, nothing has been measured yet.

Pure: neither torch nor ray is needed.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.planning.assumed_speed import USUAL_GPU, gpu_memory_gib
from orchestrator.planning.plan import PlannedTrial
from orchestrator.planning.speed import Kind, is_alike
from orchestrator.wording import counted
from workers.model.size import ModelSize, size_of
from workers.pruning.saliency import SALIENCIES
from workers.trial import TrialSpec

if TYPE_CHECKING:
    from orchestrator.spec.sweep_spec import Resources

GIB = 2**30
PEAKS = HOST_PEAK, GPU_PEAK = ("peak_memory_gib", "peak_gpu_memory_gib")
"""What this needs of the table `trials`, beside what `orchestrator.planning.speed` needs."""

PROCESS_GIB = 0.8
"""Of a worker with torch, transformers, ray and its compiled kernels, and with its data. Measured
with models that are almost nothing: 0.72 and 0.81 GiB."""

BESIDE_GPU_GIB = 2.0
"""Of a worker that computes on a GPU, on the machine: the same with CUDA's libraries, roughly."""

CONTEXT_GIB = 0.5
"""Of a GPU: CUDA's context and cuBLAS, roughly."""

FLOAT, HALF = 4, 2
"""Bytes."""

BACKWARD = 1.4
"""What a backward pass needs for itself and the allocator does not give back, as a factor of the
activations. Measured on a CPU with multilingual-e5-small, whose estimate is then 0 to 7 % above the
peaks of trials with such sequences."""

USED_ROWS = 0.18
"""Share of the word embeddings that a train split of one language reads: of mBERT's at most so many
(English), half of them a third of that."""

SUBWORDS_OF_SENTENCE = 40
"""Mean of the language of WikiANN whose sentences are longest (Burmese); 17 over all languages."""

ROW_LENGTH = 72
"""Sub-words of a packed row, see `workers.data.packing`; attention keeps its square."""

Basis = Literal["given", "measured", "estimated"]


@dataclass(frozen=True)
class Need:
    """Memory that a trial takes of a machine or of a GPU, in GiB.

    Attributes:
        gib: the largest of the trials'.
        least_gib: what it takes for sure, whatever the estimate is worth; at most `gib`.
        basis: how that is known.
    """

    gib: float
    least_gib: float
    basis: Basis


@dataclass(frozen=True, kw_only=True)
class TrialMemory:
    """What a trial takes.

    Attributes:
        of_host: of the machine, where it computes on a CPU; None: nothing is left, or nothing is
            known of the model.
        of_gpu: of a GPU, where it computes there; None likewise.
        beside_gpu: of the machine, where it computes on a GPU; None likewise.
    """

    of_host: Need | None = None
    of_gpu: Need | None = None
    beside_gpu: Need | None = None


def trial_memory(
    left: Sequence[PlannedTrial], rows: Sequence[Mapping[str, Any]], resources: "Resources"
) -> TrialMemory:
    """What a trial takes, the largest of those that are left.

    Args:
        left: these.
        rows: of the table `trials`, of this sweep or of others.
        resources: of the sweep.
    """
    if not left:
        return TrialMemory()
    spec = left[0].spec
    size = size_of(spec.model)  # the trials of a sweep have the same model and batches
    of_host = _need(left, _measured(spec, rows, "CPU", HOST_PEAK), size, _estimate_on_cpu)
    of_gpu = _need(left, _measured(spec, rows, "GPU", GPU_PEAK), size, _estimate_on_gpu)
    beside = _need(left, _measured(spec, rows, "GPU", HOST_PEAK), size, _estimate_beside_gpu)
    if (given := resources.memory_gib_per_trial) is not None:
        of_host = Need(given, 0.0, "given")
    if of_gpu is not None and of_gpu.basis == "measured":
        of_gpu = Need(of_gpu.gib + CONTEXT_GIB, 0.0, "measured")  # torch does not count that
    return TrialMemory(of_host=of_host, of_gpu=of_gpu, beside_gpu=beside)


def describe_memory(
    memory: TrialMemory,
    resources: "Resources",
    free_bytes: int,
    num_cpus: int,
    gpu_gib: float | None = None,
    place: str = "here",
) -> list[str]:
    """What a person is told: a line, or nothing where nothing is left.

    Args:
        memory: what a trial takes.
        resources: of the sweep.
        free_bytes: memory that is free on this machine.
        num_cpus: its cores that trials may use.
        gpu_gib: memory of the smallest GPU where trials would run; None: not known.
        place: a word for where that is.
    """
    parts = []
    if (need := memory.of_host) is not None and not resources.gpus_per_trial:
        fitting = math.floor(free_bytes / GIB / need.gib)
        by_cpu = num_cpus // resources.cpus_per_trial
        fits = f"room for {counted(min(fitting, by_cpu), 'trial')} at a time"
        if fitting < by_cpu:
            fits += f", and cores for {by_cpu}"
        free = f"here {free_bytes / GIB:.1f} GiB are free, {fits}"
        parts.append(f"{need.gib:.1f} GiB on a CPU, {need.basis} ({free})")
    if (need := memory.of_gpu) is not None and resources.gpus_per_trial != 0:
        share = _describe_share(resources.gpus_per_trial, gpu_gib, place)
        parts.append(f"{need.gib:.1f} GiB of a GPU, {need.basis}{share}")
    if not parts:
        return []
    return [f"memory of a trial: {'; '.join(parts)}"]


def _describe_share(gpus_per_trial: float | None, gpu_gib: float | None, place: str) -> str:
    """What a trial may fill of the GPU that it shares; nothing where it has one to itself."""
    if gpus_per_trial is None or gpus_per_trial >= 1:
        return ""
    if gpu_gib is not None:
        of_gpu = f"of the {gpu_gib:.0f} GiB {place}"
    else:
        gpu_gib = gpu_memory_gib(USUAL_GPU) or 0.0
        of_gpu = f"of an assumed {USUAL_GPU} with {gpu_gib:.0f}"
    return f" (it may fill {gpus_per_trial:g} {of_gpu}, {gpus_per_trial * gpu_gib:.1f} GiB)"


def memory_as_json(memory: TrialMemory) -> dict[str, Any]:
    """The same as JSON values."""
    return {name: need and asdict(need) for name, need in vars(memory).items()}


def _need(
    left: Sequence[PlannedTrial],
    measured: Mapping[str, float],
    size: ModelSize | None,
    estimate: Callable[[TrialSpec, ModelSize], Need],
) -> Need | None:
    languages = {trial.spec.language for trial in left}
    needs = [Need(measured[code], 0.0, "measured") for code in languages & measured.keys()]
    if languages - measured.keys():
        if size is None:
            return None
        distinct = {trial.spec.pruning: trial.spec for trial in left}.values()
        needs += [estimate(spec, size) for spec in distinct]
    return max(needs, key=lambda need: need.gib)


def _measured(
    spec: TrialSpec, rows: Iterable[Mapping[str, Any]], kind: Kind, column: str
) -> dict[str, float]:
    """The largest peak of each language, of trials with this model and these batches.

    Args:
        spec: says which model and batches.
        rows: of the table `trials`.
        kind: where these trials computed.
        column: which peak.
    """
    peaks: dict[str, float] = defaultdict(float)
    for row in rows:
        is_of_kind = (row["device"] != "cpu") == (kind == "GPU")
        if is_of_kind and row["status"] == "completed" and is_alike(row, spec):
            peaks[row["language"]] = max(peaks[row["language"]], row[column] or 0.0)
    return {language: peak for language, peak in peaks.items() if peak}


def _estimate_beside_gpu(spec: TrialSpec, size: ModelSize) -> Need:
    """Of the machine: the weights as they were loaded, and those that go to the GPU."""
    return Need(BESIDE_GPU_GIB + FLOAT * 2 * size.num_parameters / GIB, 0.0, "estimated")


def _estimate_on_cpu(spec: TrialSpec, size: ModelSize) -> Need:
    return _estimate(spec, size, "CPU")


def _estimate_on_gpu(spec: TrialSpec, size: ModelSize) -> Need:
    return _estimate(spec, size, "GPU")


def _estimate(spec: TrialSpec, size: ModelSize, kind: Kind) -> Need:
    pruning, embeddings = spec.pruning, size.num_embedding_weights
    encoder = size.num_parameters - embeddings
    are_pruned = pruning is not None and pruning.embedding_sparsity is not None
    gradients_score = pruning is not None and bool(SALIENCIES[pruning.saliency].accumulate)
    is_whole = len(spec.languages) > 1 or (are_pruned and gradients_score)
    used = embeddings if is_whole else round(USED_ROWS * embeddings)

    copies = 4  # weights, gradients, two moments
    process_gib = PROCESS_GIB if kind == "CPU" else CONTEXT_GIB
    # In bfloat16 there are gradients in it where no batch is padded.
    saved = FLOAT - HALF if spec.training.precision == "bfloat16" else 0
    least_gib = process_gib + ((FLOAT * copies - saved) * encoder + FLOAT * embeddings) / GIB

    more = FLOAT * copies * used + saved * encoder + _activations(spec, size, kind)
    if kind == "CPU" and spec.model.init == "pretrained":
        more += FLOAT * encoder  # as loaded; the next trial starts from them
    if are_pruned:
        more += FLOAT * 3 * embeddings  # those that are not used, and two moments
    elif spec.training.weight_decay:
        more += FLOAT * embeddings  # those that are not used decay
    if spec.evaluation.selection == "best_epoch":
        more += FLOAT * (size.num_parameters if are_pruned else encoder + used)
    if gradients_score:
        more += FLOAT * (size.num_parameters if are_pruned else encoder)
    return Need(least_gib + more / GIB, least_gib, "estimated")


def _activations(spec: TrialSpec, size: ModelSize, kind: Kind) -> int:
    """Bytes that a forward pass keeps for the backward pass, of a batch of long sentences.

    Counted in BERT's graph in torch 2.13. A CPU keeps the attention's scores, weights and those
    after dropout; kernels for GPUs compute them again.
    """
    training, is_half = spec.training, spec.training.precision == "bfloat16"
    of_width, of_inner_width = (42, 4) if is_half else (48, 8)
    of_token = of_width * size.width + of_inner_width * size.inner_width
    if kind == "CPU":
        of_token += 12 * size.num_heads * min(ROW_LENGTH, training.max_length)
    num_subwords = training.batch_size * min(SUBWORDS_OF_SENTENCE, training.max_length)
    kept = size.num_layers * num_subwords * of_token
    # Those that forward passes read, which lie beside the weights, or that autocast makes.
    copies = HALF * (size.num_parameters - size.num_embedding_weights) if is_half else 0
    return copies + (round(BACKWARD * kept) if kind == "CPU" else kept)
