"""Measurements of what the README states; never part of the tests. Run them with `make bench`."""
