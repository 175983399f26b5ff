"""Where the user's files are, and what is said where no home is known."""

from pathlib import Path

import pytest

from cluster.user_folders import config_folder, state_folder


@pytest.mark.parametrize(
    ("folder", "variable", "default"),
    [
        (config_folder, "XDG_CONFIG_HOME", "/home/me/.config/sparsweep"),
        (state_folder, "XDG_STATE_HOME", "/home/me/.local/state/sparsweep"),
    ],
)
def test_folders_follow_the_variables_and_else_the_home(folder, variable, default, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv(variable, raising=False)
    assert folder() == Path(default)
    monkeypatch.setenv(variable, "/elsewhere")
    assert folder() == Path("/elsewhere/sparsweep")


@pytest.mark.parametrize(
    ("folder", "variable"), [(config_folder, "XDG_CONFIG_HOME"), (state_folder, "XDG_STATE_HOME")]
)
def test_user_without_a_home_is_told_what_to_set(folder, variable, homeless):
    with pytest.raises(FileNotFoundError, match=f"home folder is known; set HOME or {variable}$"):
        folder()
