"""The encoder with its token-classification head, and the folders that one is loaded from."""
