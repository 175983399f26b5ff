"""Which choices cannot go together, and why.

What a tensor's shape forbids is checked by `granularity`, where the model is known. Adding an entry
to a registry touches nothing here: rules ask entries for what they need.
"""

import math
import re
from collections.abc import Collection, Iterator

from workers.pruning.granularity import GRANULARITIES
from workers.pruning.saliency import SALIENCIES
from workers.pruning.schedule import SCHEDULES
from workers.pruning.scope import SCOPES
from workers.trial import PruningSpec

REGISTRIES: dict[str, Collection[str]] = {
    "sparsity_schedule": SCHEDULES,
    "scope": SCOPES,
    "saliency": SALIENCIES,
    "granularity": GRANULARITIES,
}
"""Fields of `PruningSpec` that name an entry of a registry. A new entry is accepted in sweep files
and documented there by itself."""


def refusals(pruning: PruningSpec, target: float) -> list[str]:
    """Why these settings cannot prune to `target`.

    Args:
        pruning: resolved, see `PruningSpec`.
        target: sparsity of the encoder, in (0, 1).

    Returns:
        A line for each reason, with the field, its value and what to do; empty when there is none.
    """
    unknown = list(_unknown_names(pruning))
    if unknown:
        return unknown
    return [
        *_schedule_refusals(pruning, target),
        *_saliency_refusals(pruning),
        *_granularity_refusals(pruning),
        *_n_of_m_refusals(pruning, target),
        *_pattern_refusals(pruning),
    ]


def _unknown_names(pruning: PruningSpec) -> Iterator[str]:
    for field, registry in REGISTRIES.items():
        if (name := getattr(pruning, field)) not in registry:
            yield f"pruning.{field}: {name} is unknown; there are {', '.join(registry)}"


def _targets(pruning: PruningSpec, target: float) -> list[tuple[str, float]]:
    """What is asked of the encoder, and of the word embeddings if they have a target."""
    embedding = pruning.embedding_sparsity
    return [
        ("the target", target),
        *([] if embedding is None else [("embedding_sparsity", embedding)]),
    ]


def _schedule_refusals(pruning: PruningSpec, target: float) -> Iterator[str]:
    name, curve = pruning.sparsity_schedule, SCHEDULES[pruning.sparsity_schedule]
    begin = pruning.begin if curve.uses_begin else 0.0
    unused = {
        "initial_sparsity": (curve.uses_initial, 0.0),
        "begin": (curve.uses_begin, 0.0),
        "end": (curve.uses_end, begin),
    }
    for field, (is_used, fixed) in unused.items():
        if not is_used and (value := getattr(pruning, field)) != fixed:
            yield (
                f"pruning.{field}: {value} with sparsity_schedule {name}; {curve.reason}, "
                f"leave {field} out"
            )
    for what, sparsity in _targets(pruning, target):
        if curve.uses_initial and pruning.initial_sparsity > sparsity:
            yield (
                f"pruning.initial_sparsity: {pruning.initial_sparsity} is above {what} {sparsity}; "
                "give at most that"
            )


def _saliency_refusals(pruning: PruningSpec) -> Iterator[str]:
    name, saliency = pruning.saliency, SALIENCIES[pruning.saliency]
    others = " or ".join(
        other for other, criterion in SALIENCIES.items() if not criterion.needs_gradients
    )
    if saliency.needs_gradients and not SCHEDULES[pruning.sparsity_schedule].uses_begin:
        yield (
            f"pruning.saliency: {name} with sparsity_schedule {pruning.sparsity_schedule}; "
            f"its masks are fixed before the first gradient, use {others}"
        )
    elif saliency.needs_gradients and pruning.begin == 0:
        yield (
            f"pruning.saliency: {name} with begin 0; there is no gradient yet, begin later or "
            f"use {others}"
        )
    if pruning.semantics == "dense_shadow" and saliency.start is not None:
        yield (
            f"pruning.saliency: {name} with semantics dense_shadow; pruned weights have a "
            "magnitude and nothing else, use magnitude or semantics hard"
        )


def _granularity_refusals(pruning: PruningSpec) -> Iterator[str]:
    name = pruning.granularity
    if pruning.semantics == "dense_shadow" and name != "unstructured":
        yield (
            f"pruning.granularity: {name} with semantics dense_shadow; only single weights return, "
            "use unstructured or semantics hard"
        )
    for other, granularity in GRANULARITIES.items():
        if granularity.setting is None:
            continue
        value, field = getattr(pruning, granularity.setting), f"pruning.{granularity.setting}"
        if other == name and value is None:
            yield f"{field}: missing with granularity {name}; give two numbers"
        if other != name and value is not None:
            yield (
                f"{field}: {list(value)} with granularity {name}; leave it out, or use "
                f"granularity {other}"
            )
        if value is not None and (len(value) != 2 or min(value) < 1):
            yield f"{field}: {list(value)} are not two numbers from 1 on; give two"


def _n_of_m_refusals(pruning: PruningSpec, target: float) -> Iterator[str]:
    value = pruning.n_of_m
    if pruning.granularity != "n_of_m" or value is None or len(value) != 2 or min(value) < 1:
        return
    n, m = value
    if n >= m:
        yield f"pruning.n_of_m: {n} of {m} prunes nothing; give n below m"
        return
    share = 1 - n / m
    for what, sparsity in _targets(pruning, target):
        if not math.isclose(sparsity, share, abs_tol=1e-6):
            yield (
                f"pruning.n_of_m: {n} of {m} is sparsity {share:.6g} and {what} is {sparsity}; "
                "make them equal"
            )
    if pruning.scope != "layer":
        yield (
            f"pruning.scope: {pruning.scope} with granularity n_of_m; every run of weights has the "
            "same share, use scope layer"
        )


def _pattern_refusals(pruning: PruningSpec) -> Iterator[str]:
    for field in ("include", "exclude"):
        for pattern in getattr(pruning, field):
            try:
                re.compile(pattern)
            except re.error as error:
                yield f"pruning.{field}: {pattern!r} is no regular expression ({error}); correct it"
