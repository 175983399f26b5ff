"""What a job's folder keeps of the driver's log."""

import contextlib
from pathlib import Path

from cluster.kubernetes.kept import LogKeeper, keep_words, kept_lines, words_before


def keep(folder: Path, *lines: str) -> None:
    with contextlib.closing(LogKeeper(folder)) as keeper:
        for line in lines:
            keeper.add(line)


def test_lines_are_kept_one_by_one_for_their_owner(tmp_path: Path) -> None:
    with contextlib.closing(LogKeeper(tmp_path)) as keeper:
        keeper.add("ɛ")
        assert kept_lines(tmp_path) == ["ɛ"]
        keeper.add("two")
        assert kept_lines(tmp_path) == ["ɛ", "two"]
    assert (tmp_path / "driver.log").stat().st_mode & 0o777 == 0o600


def test_only_a_log_that_says_something_replaces_what_is_kept(tmp_path: Path) -> None:
    keep(tmp_path, "one", "two")
    keep(tmp_path)
    assert kept_lines(tmp_path) == ["one", "two"]

    keep(tmp_path, "three")
    assert kept_lines(tmp_path) == ["three"]


def test_a_reading_that_breaks_off_does_not_replace_what_is_kept(tmp_path: Path) -> None:
    keep(tmp_path, "one", "two", "three")
    with contextlib.closing(LogKeeper(tmp_path)) as keeper:
        for line, kept in (("one", 3), ("two", 3), ("three", 3), ("four", 4)):
            keeper.add(line)
            assert len(kept_lines(tmp_path)) == kept
    keep(tmp_path, "one", "two")

    assert kept_lines(tmp_path) == ["one", "two", "three", "four"]
    assert [file.name for file in tmp_path.iterdir()] == ["driver.log"]


def test_a_folder_that_is_not_there_keeps_nothing(tmp_path: Path) -> None:
    away = tmp_path / "away"

    keep(away, "one", "two")
    keep_words(away, "pod", "x")
    assert kept_lines(away) == []
    assert words_before(away, None) == ""


def test_last_words_are_those_of_the_pod_before(tmp_path: Path) -> None:
    for pod, words in (("a", "first"), ("b", "second"), ("c", "third")):
        keep_words(tmp_path, pod, words)

    assert words_before(tmp_path, "c") == "second"
    assert words_before(tmp_path, None) == "third"
