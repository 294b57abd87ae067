"""The tower inside a plain transformers model gives what the joined model gives."""

import json
import shutil
import subprocess
import sys

import pytest
import soundfile
import torch

from conftest import REPOSITORY, SAMPLE_RATE_HZ, tone
from uniwhisper.core.errors import WeightsError
from uniwhisper.features.logmel import log_mel
from uniwhisper.integrations.audio_tower import AudioTower
from uniwhisper.model.language_model import FrozenLanguageModel
from uniwhisper.model.uniwhisper import UniWhisper
from uniwhisper.model.weights import packaged_default


def test_the_example_answers_like_the_joined_model(tmp_path):
    """Greedy decoding, one step at a time through the project's own model, against the example's `generate`."""
    wave_S = torch.from_numpy(tone(1.3, 330))
    soundfile.write(tmp_path / "clip.wav", wave_S.numpy(), SAMPLE_RATE_HZ, subtype="FLOAT")
    question = "What is heard?"
    command = [sys.executable, "examples/audio_llm.py", tmp_path / "clip.wav", question]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    tower = AudioTower.from_pretrained()
    language_model = FrozenLanguageModel.load(packaged_default() / "lm")
    model = UniWhisper(tower.encoder, tower.adapter, language_model)
    tokenizer, given = language_model.tokenizer, []
    asked = tokenizer.encode(f"{question}\n", add_special_tokens=False)
    with torch.inference_mode():
        frames = model.encoder(*log_mel(wave_S[None], torch.tensor([len(wave_S)]), mel_bins=80))
        audio_BAH, audio_counts_B = model.adapter(*frames)
        while len(given) < 40:
            text_BLH = language_model.embed(torch.tensor([asked + given]))
            inputs = torch.cat([audio_BAH[:, : int(audio_counts_B[0])], text_BLH], dim=1)
            token = int(language_model.logits(language_model.hidden(inputs)[0, -1]).argmax())
            if token == tokenizer.eos_token_id:
                break
            given.append(token)
    assert done.stdout == tokenizer.decode(given, skip_special_tokens=True) + "\n"


def test_a_folder_without_an_adapter_is_refused(tiny_model, tmp_path):
    with pytest.raises(WeightsError, match="no adapter"):
        AudioTower.from_pretrained(tiny_model)
    folder = tmp_path / "mixed"
    shutil.copytree(packaged_default(), folder, ignore=shutil.ignore_patterns("lm"))
    config = json.loads((folder / "config.json").read_text())
    config["adapter"]["hidden_width"] = 8
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="cannot load the adapter"):
        AudioTower.from_pretrained(folder)
