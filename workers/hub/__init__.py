"""Repositories of the Hugging Face hub: which commit is meant, which files of it are needed, and
how they get into the hub's own cache.

A worker and the command `fetch` take the same way, so what was fetched is what a worker finds.
"""
