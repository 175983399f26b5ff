"""Sends a sweep to a cluster: profiles, jobs, and how long it will take."""
