"""The tags of named-entity recognition, as a value: which entity types a corpus has."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

OUTSIDE = "O"
"""The tag of words that are in no entity; its label is 0."""

MAX_TYPES = 63
"""With so many types a label still fits into an int8."""


@dataclass(frozen=True)
class TagSet:
    """The entity types of a corpus, and the IOB2 tags that they make.

    A tag's label is its index in `tags`: 0 for O, then two a type, that of B- and that of I-. So
    the type of a label is `(label - 1) // 2`, and odd labels begin an entity.

    Attributes:
        entity_types: their names, each once, in the order that labels follow.
    """

    entity_types: tuple[str, ...]

    @cached_property
    def tags(self) -> tuple[str, ...]:
        """The tags by label."""
        pairs = (f"{prefix}-{name}" for name in self.entity_types for prefix in "BI")
        return (OUTSIDE, *pairs)

    def __len__(self) -> int:
        """Labels that there are."""
        return 1 + 2 * len(self.entity_types)

    @property
    def num_types(self) -> int:
        """Entity types."""
        return len(self.entity_types)

    def as_labels(self, tags: Sequence[str]) -> list[int]:
        """The labels of tags.

        Raises:
            KeyError: one is no tag of this set.
        """
        return [self._label_of_tag[tag] for tag in tags]

    def as_tags(self, labels: Sequence[int]) -> list[str]:
        """The tags that labels stand for."""
        tags = self.tags
        return [tags[label] for label in labels]

    @cached_property
    def _label_of_tag(self) -> dict[str, int]:
        return {tag: label for label, tag in enumerate(self.tags)}


WIKIANN = TagSet(("PER", "ORG", "LOC"))
"""WikiANN's, in the order of the corpus on the Hugging Face hub."""


def fault_of_type(name: str) -> str:
    """Why a name cannot be that of an entity type; empty where it can.

    Stored tags stand one beside another with blanks between them, and `micro` stands for all types.
    """
    if not name or len(name) > 60:
        return "a name has 1 to 60 letters"
    if name == "micro":
        return "micro stands for all types together"
    if not name.isprintable() or any(letter.isspace() or letter in ";+," for letter in name):
        return "a name has no blanks, nor any of ; + ,"
    return ""


def union_of(sets: Sequence[TagSet]) -> TagSet:
    """The types of several sets: WikiANN's first, where any of them is there, then the others in
    the order in which they come."""
    known = {name for one in sets for name in one.entity_types}
    first = [name for name in WIKIANN.entity_types if name in known]
    rest = [name for one in sets for name in one.entity_types]
    return TagSet(tuple(dict.fromkeys([*first, *rest])))
