"""Sweeps in the background of this machine."""
