"""The tags of named-entity recognition, as WikiANN has them."""

TAGS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
"""WikiANN's IOB2 tags; a tag's label is its index (the order of the corpus on the Hugging Face
hub)."""

ENTITY_TYPES = ("PER", "ORG", "LOC")
