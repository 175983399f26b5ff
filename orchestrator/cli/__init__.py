"""The `sparsweep` command: the only place that prints or exits."""
