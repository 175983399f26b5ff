"""Which entity types trials on some languages tell apart, and what is said of how files are
read."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.errors import SpecError
from orchestrator.wording import counted
from workers.tags import MAX_TYPES, WIKIANN

if TYPE_CHECKING:
    from workers.data.corpus import CorpusFacts

MOST_UNSTARTED = 0.5
"""The part of entities that may begin with I- before that is said; WikiANN's ja and zh have few."""

Types = tuple[str, ...] | None
"""As `workers.trial.CorpusSpec.entity_types`: None stands for WikiANN's."""


def resolve_entity_types(
    listed: Sequence[str] | None,
    trained: Mapping[str, "CorpusFacts"],
    others: Mapping[str, "CorpusFacts"],
) -> Types:
    """The entity types of trials on some languages.

    Args:
        listed: what the sweep names, in the order of labels; None: what train splits have.
        trained: by code, the languages that they are trained on.
        others: those that they are only scored on.

    Raises:
        SpecError: a type is in a scored split and in no train split, numbers of tags have no
            names, or there are too many types.
    """
    if listed is not None:
        return _stored(tuple(listed))
    from workers.data.corpus import in_order

    known = {name for facts in trained.values() for name in facts.types.get("train", ())}
    splits = [
        (f"{code} {split}", types)
        for facts_by_code in (trained, others)
        for code, facts in facts_by_code.items()
        for split, types in facts.types.items()
    ]
    found = {name for _, types in splits for name in types}
    if found <= set(WIKIANN.entity_types):
        return None
    for where, types in splits:
        if new := [name for name in types if name not in known]:
            raise SpecError(
                f"corpus: {where} has the entity type {new[0]!r}, which no train split of these "
                f"trials has (there: {', '.join(sorted(known)) or 'none'}); list all types in "
                "corpus.entity_types, or take it out of the split"
            )
    for facts_by_code in (trained, others):
        for code, facts in facts_by_code.items():
            for split in facts.unnamed:
                raise SpecError(
                    f"corpus: {code} {split} has numbers in place of tags and no names for them, "
                    "where other splits have names; list the types in the order of the numbers in "
                    "corpus.entity_types"
                )
    if len(known) > MAX_TYPES:
        raise SpecError(
            f"corpus: {len(known)} entity types; at most {MAX_TYPES} are told apart: "
            f"{', '.join(sorted(known)[:5])}, …"
        )
    return _stored(in_order([facts.types["train"] for facts in trained.values()]))


def _stored(types: tuple[str, ...]) -> Types:
    return None if types == WIKIANN.entity_types else types


def refuse_other_types(
    facts: "CorpusFacts", code: str, types: Types, codes: Collection[str]
) -> None:
    """Refuse a language that gives entities of a type that trials do not have.

    Raises:
        SpecError: it has one.
    """
    known = types or WIKIANN.entity_types
    for split, found in facts.types.items():
        if new := [name for name in found if name not in known]:
            raise SpecError(
                f"robustness.donors: {code} {split} has the entity type {new[0]!r}, which trials "
                f"on {', '.join(codes)} do not have; list all types in corpus.entity_types"
            )


def describe_reading(code: str, facts: "CorpusFacts") -> list[str]:
    """What of a language's files is read otherwise than it stands there: a line each; nothing, as a
    rule."""
    lines = []
    if facts.is_held_out:
        held = facts.num_sentences["validation"]
        lines.append(
            f"{code}: validation is {counted(held, 'sentence')} of train, drawn once for all "
            "(corpus.validation_from_train)"
        )
    for split, mended in facts.mended.items():
        if mended.num_converted:
            odd = f"; ill-formed entities in it: {mended.num_odd:,}" if mended.num_odd else ""
            lines.append(
                f"{code} {split}: {counted(mended.num_converted, 'tag')} of another scheme read as "
                f"IOB2{odd}"
            )
        if mended.num_prefixed:
            lines.append(
                f"{code} {split}: a prefix such as {code}: was taken off "
                f"{counted(mended.num_prefixed, 'word')}"
            )
    for split, (num_entities, num_unstarted) in facts.num_starts.items():
        if num_unstarted > MOST_UNSTARTED * num_entities:
            lines.append(
                f"{code} {split}: of {num_entities:,} entities {num_unstarted:,} begin with I-, as "
                "in IOB1 and IO; if that is how they are marked, set corpus.scheme=iob1 or io"
            )
    for split in facts.unnamed:
        lines.append(
            f"{code} {split}: numbers in place of tags, without names; read in the order of "
            "corpus.entity_types, or else of WikiANN"
        )
    return lines
