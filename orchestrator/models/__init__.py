"""Kept models, handed on: as a Hugging Face folder, and as tags of a text."""
