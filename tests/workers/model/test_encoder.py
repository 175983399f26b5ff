"""Models as they are loaded from folders."""

import shutil
from dataclasses import replace

import pytest

from tests.workers.trials import finish, real_trial
from workers.model.folder import fingerprint_model_folder
from workers.run import run_trial
from workers.trial import TrialError


def test_folder_that_lacks_encoder_weights_is_refused(device, wikiann, pretrained, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(f"{pretrained.name}/{file}", tmp_path)
    weights = load_file(f"{pretrained.name}/model.safetensors")
    weights.pop("encoder.layer.1.output.dense.weight")
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    broken = replace(
        pretrained, name=str(tmp_path), fingerprint=fingerprint_model_folder(tmp_path, "pretrained")
    )
    with pytest.raises(
        TrialError, match="lacks 1 weights of the encoder, first bert.encoder.layer.1.output.dense"
    ):
        finish(run_trial(real_trial(wikiann, broken), device))
