"""Sweeps as jobs of a Ray cluster that runs already."""
