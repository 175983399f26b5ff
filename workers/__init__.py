"""Runs one trial: prunes an encoder while fine-tuning it for named-entity recognition, and returns
its numbers.

Nothing here knows Ray, the result tables, Slurm or Kubernetes.
"""

import os

# torch reads this when it is imported, which happens below. Batches differ in length: without it
# the memory that torch holds of a GPU grows from trial to trial, in pieces that fit nothing. Who
# has set either variable knows better.
if "PYTORCH_CUDA_ALLOC_CONF" not in os.environ:
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
