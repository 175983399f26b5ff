"""Answers from results: how sparsity changes quality and robustness across languages (Ogueji et al.
2022).

`analyze` has the entry, `tables` every table and column, `show` their look on a terminal. `topics`
compute, one topic each, from `inputs`, with `statistics`. All but `tables` and `show` import
pandas, so import them where they are used.
"""
