"""Answers from results: how sparsity changes quality and robustness across languages (Ogueji et al.
2022).

`analyze` has the entry, `tables` every table and column, `show` their look on a terminal. Other
modules compute, one topic each: `quality`, `robustness`, `disagreement`, `error_kinds`, `intervals`
and `inference`, from `frames` and `predictions`. All but `tables` and `show` import pandas, so
import them where they are used.
"""
