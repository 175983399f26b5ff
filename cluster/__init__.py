"""Obtains a Ray cluster: how to start one and what this machine offers it. Today the cluster is a private local one.

Nothing here imports ray, torch, `orchestrator` or `workers`: what a cluster needs is decided before any of them loads.
"""
