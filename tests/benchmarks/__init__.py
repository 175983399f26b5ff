"""Measurements of what RESULTS.md states; never part of the tests. Run them with `make bench`."""
