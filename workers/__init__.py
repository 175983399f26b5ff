"""Runs one trial: prunes an encoder while fine-tuning it for named-entity recognition, and returns
its numbers.

Nothing here knows Ray, the result tables, Slurm or Kubernetes.
"""
