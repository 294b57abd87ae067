"""Small real things for tests: a language model, a corpus, a model. Made by the project's own code, cheap to make."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import soundfile
import torch
from rich.console import Console

from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.prepare import prepare
from uniwhisper.data.reading_text import ReadingText
from uniwhisper.model.adapter import Adapter, AdapterConfig
from uniwhisper.model.config import EncoderConfig
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.language_model import FrozenLanguageModel
from uniwhisper.model.uniwhisper import UniWhisper
from uniwhisper.model.weights import save_encoder
from uniwhisper.training.pretrain_lm import LanguageModelRecipe, pretrain_lm

SMALL_ENCODER = EncoderConfig(mel_bins=80, width=32, heads=2, layers=2)
QUIET = Console(stderr=True, quiet=True)


LANGUAGE_MODEL = LanguageModelRecipe(
    vocabulary=300,
    width=32,
    layers=2,
    heads=2,
    feedforward_width=64,
    context_tokens=32,
    sequences_per_step=4,
    steps=3,
    exercises_per_step=4,
    exercise_tokens=32,
)
READING = ReadingText(
    ("Write down what is said.",),
    ((("What do you hear?", "a bell", ("a bell",)),), (("What is this?", "rain", ("rain",)),)),
)


def write_texts(folder: Path) -> list[Path]:
    """Two short texts, the same each time."""
    folder.mkdir(parents=True)
    for index in range(2):
        (folder / f"{index}.txt").write_text("The bell rings once. A dog barks at the rain. " * 40)
    return list(folder.glob("*.txt"))


def write_language_model(folder: Path) -> Path:
    """A two-layer language model pretrained for a few steps on two short texts."""
    pretrain_lm(
        write_texts(folder / "texts"),
        READING,
        folder / "lm",
        LANGUAGE_MODEL,
        device=torch.device("cpu"),
        overwrite=False,
        console=QUIET,
    )
    return folder / "lm"


def write_encoder(folder: Path) -> Path:
    """Random weights of `SMALL_ENCODER` in our format."""
    torch.manual_seed(0)
    save_encoder(WhisperEncoder(SMALL_ENCODER), folder)
    return folder


def small_model(language_model: Path, seed: int = 0, *, mean_tokens: int = 1, unit_means: bool = False) -> UniWhisper:
    """Small encoder, adapter and the given language model, float32 on the CPU."""
    torch.manual_seed(seed)
    encoder = WhisperEncoder(SMALL_ENCODER)
    lm = FrozenLanguageModel.load(language_model)
    shape = AdapterConfig(
        frame_width=32,
        stack=4,
        hidden_width=48,
        token_width=lm.width,
        mean_tokens=mean_tokens,
        unit_means=unit_means,
    )
    adapter = Adapter(shape)
    adapter.initialise(token_std=0.02, generator=torch.Generator().manual_seed(seed))
    return UniWhisper(encoder, adapter, lm)


def write_corpus(root: Path, *, clips: int = 24, corpus: str = "tones") -> Path:
    """A WebDataset corpus of labelled tones and noises of unequal length, with its `corpus.json`."""
    folder = root / corpus
    folder.mkdir(parents=True)
    tasks = {"sound_tag": {"field": "label"}, "caption": {"field": "caption"}}
    description = {"domain": "sound", "licence": "CC0", "tasks": tasks}
    (folder / "corpus.json").write_text(json.dumps(description))
    generator = np.random.default_rng(0)
    with tarfile.open(folder / "shard-000000.tar", "w") as tar:
        for index in range(clips):
            label = ("low tone", "high tone", "noise")[index % 3]
            seconds = float(generator.uniform(0.3, 1.5))
            time = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
            wave = {
                "low tone": np.sin(2 * np.pi * 220 * time),
                "high tone": np.sin(2 * np.pi * 1760 * time),
                "noise": generator.normal(0, 0.3, len(time)),
            }[label]
            encoded = io.BytesIO()
            soundfile.write(encoded, 0.5 * wave.astype(np.float32), SAMPLE_RATE_HZ, format="FLAC")
            _add(tar, f"clip{index:03d}.flac", encoded.getvalue())
            fields = {"label": label, "caption": f"a {label}", "seconds": len(time) / SAMPLE_RATE_HZ}
            _add(tar, f"clip{index:03d}.json", json.dumps(fields).encode())
    return folder


def prepared_corpus(root: Path) -> Path:
    """Folder of `write_corpus` prepared, below `root`."""
    write_corpus(root)
    prepare(root, root / "prepared")
    return root / "prepared"


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
