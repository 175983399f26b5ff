"""Pruning: when, which weights, by which score and in what pieces; and the optimizer that does it.

`schedule`, `scope`, `saliency` and `granularity` each hold a registry of choices, and
`compatibility` says which go together. `pruner` reads a trial's choices and tells `masked_adamw`,
the optimizer, what to prune. `ranking` and `checks` are parts of the optimizer.
"""
