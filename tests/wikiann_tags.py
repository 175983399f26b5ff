"""WikiANN's tags by short names, for tests whose tags are these."""

from workers.tags import WIKIANN

TAGS = WIKIANN.tags
ENTITY_TYPES = WIKIANN.entity_types
