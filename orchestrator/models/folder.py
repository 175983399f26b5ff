"""A model as a folder that plain transformers loads, and such a folder on the hub."""

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from orchestrator.errors import SweepError
from orchestrator.models.kept import OpenedModel

CARD = "README.md"


def refuse_folder(folder: str) -> Path:
    """The folder, where it can be made.

    Raises:
        SweepError: the name is empty, there is something of this name, or its parent cannot be
            written.
    """
    if not folder:
        raise SweepError("the folder's name is empty; give a new folder")
    path = Path(folder).expanduser()
    if path.exists() or path.is_symlink():
        raise SweepError(f"{folder}: is there already; give a new folder, or remove it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise SweepError(
            f"{folder}: cannot be written ({error.strerror}); give a folder where you may write"
        ) from error
    return path


def write_folder(opened: OpenedModel, card: str, folder: Path) -> None:
    """Write config with labels, weights as safetensors, tokenizer and card; the folder is there as
    a whole or not at all.

    Raises:
        SweepError: somebody has made a folder of this name meanwhile.
        OSError: the disk is full or fails.
    """
    config: Any = opened.model.config
    config.id2label = dict(enumerate(opened.tags))
    config.label2id = {tag: label for label, tag in enumerate(opened.tags)}
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        opened.model.save_pretrained(made)
        opened.tokenizer.save_pretrained(made)
        (made / CARD).write_text(card, encoding="utf-8")
        mask = os.umask(0)
        os.umask(mask)
        made.chmod(0o777 & ~mask)  # a temporary folder is its owner's alone, and so are weights
        for file in made.iterdir():
            file.chmod(0o666 & ~mask)
        made.rename(folder)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise SweepError(f"{folder}: is there already; give a new folder") from error
        raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def push(folder: Path, repository: str) -> str:
    """Upload a folder to a repository of the hub, which is made, private, where there is none.

    Args:
        folder: from `write_folder`.
        repository: its name, such as user/model. The token is that of `hf auth login` or HF_TOKEN.

    Returns:
        The address of what was uploaded.

    Raises:
        SweepError: the name is none, there is no token, the hub refuses or does not answer.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, HTTPError

    api = HfApi(library_name="sparsweep")
    try:
        made = api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(
            repo_id=made.repo_id, folder_path=folder, commit_message="A model of sparsweep"
        )
        return str(made)
    except HFValidationError as error:
        raise SweepError(
            f"--push: {repository!r} is no name of a repository; give one such as user/model"
        ) from error
    except (HTTPError, OSError) as error:  # OSError: no token, or told to be offline
        said = " ".join(str(error).split())[:300]
        raise SweepError(
            f"--push: {repository} was not uploaded ({said}); {folder} is whole: check your token "
            "(`hf auth login`, or HF_TOKEN) and the network, then `hf upload` it"
        ) from error
