"""Errors that a person can mend."""

import pytest

from orchestrator.errors import SweepError, check_name


def test_an_unknown_name_gets_a_close_one_and_all_there_are():
    with pytest.raises(SweepError) as raised:
        check_name("--theme", "papr", ("paper", "light"), "theme")
    message = "--theme: no theme 'papr'; did you mean paper? there are: paper, light"
    assert str(raised.value) == message
    with pytest.raises(SweepError, match="no theme 'x'; there are: paper"):
        check_name("--theme", "x", ("paper",), "theme")
    check_name("--theme", "paper", ("paper",), "theme")
