"""Trials in other projects' trackers, where people already look at curves."""
