"""The code that computes trials is known by its content."""

import shutil

from workers.source import code_folder, code_identity


def test_the_code_is_known_by_its_content_and_not_by_its_place(tmp_path, monkeypatch):
    here = code_identity()
    copy = shutil.copytree(code_folder(), tmp_path / "workers")
    monkeypatch.setattr("workers.source.code_folder", lambda: copy)
    assert code_identity.__wrapped__() == here
    (copy / "tags.py").write_text("x = 1\n")
    assert code_identity.__wrapped__() != here
