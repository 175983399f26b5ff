"""What a job's folder keeps of the driver's log."""

from pathlib import Path

from cluster.kubernetes.kept import keep_words, keeping, kept_lines, words_before


def test_lines_pass_and_are_kept_one_by_one(tmp_path: Path) -> None:
    lines = keeping(tmp_path, iter(["ɛ", "two"]))

    assert next(lines) == "ɛ"
    assert kept_lines(tmp_path) == ["ɛ"]
    assert list(lines) == ["two"]
    assert kept_lines(tmp_path) == ["ɛ", "two"]


def test_a_log_that_has_nothing_to_say_any_more_does_not_replace_what_is_kept(
    tmp_path: Path,
) -> None:
    list(keeping(tmp_path, ["one"]))

    assert list(keeping(tmp_path, [])) == []
    assert kept_lines(tmp_path) == ["one"]


def test_a_folder_that_is_not_there_keeps_nothing_and_loses_nothing(tmp_path: Path) -> None:
    away = tmp_path / "away"

    assert list(keeping(away, ["one", "two"])) == ["one", "two"]
    keep_words(away, "pod", "x")
    assert kept_lines(away) == []
    assert words_before(away, None) == ""


def test_last_words_are_those_of_the_pod_before(tmp_path: Path) -> None:
    for pod, words in (("a", "first"), ("b", "second"), ("c", "third")):
        keep_words(tmp_path, pod, words)

    assert words_before(tmp_path, "c") == "second"
    assert words_before(tmp_path, None) == "third"
