"""`python -m orchestrator.cli`: the `sparsweep` command, where it is not installed as one."""

from orchestrator.cli.main import main

main()
