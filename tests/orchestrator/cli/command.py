"""The command line, run in this process."""

import pytest

from orchestrator.cli.main import main


def run(capsys, *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(words)
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err
