"""Corpora and a suite of the demo's synthetic sounds, one set for each domain: what the chain runs on without a corpus.

Speech is sung vowels, one or two a clip, whose transcript is their names; music is a plucked string or a bell; sound is
everything else. Training and evaluation are other draws of the same formulas.
"""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from uniwhisper.core.files import atomic_output
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.demo.synth import KINDS, synthesise

Clip = tuple[np.ndarray, dict[str, Any]]
LICENCE = "Apache-2.0 (made by this project's code)"
MUSIC = ("plucked string", "bell")
VOWELS = {"vowel ah": "ah", "vowel ee": "ee"}
SPOKEN = (("vowel ah",), ("vowel ee",), ("vowel ah", "vowel ee"), ("vowel ee", "vowel ah"))
SOUND = tuple(kind for kind in KINDS if kind not in (*MUSIC, *VOWELS))
_TASKS = {
    "speech": {"transcription": {"field": "text"}, "language": {"field": "language"}},
    "sound": {"sound_tag": {"field": "label"}},
    "music": {"instrument": {"field": "label"}},
}
_DOMAIN_OF_SUITE = {"speech": "speech", "sound": "environment", "music": "music"}
SMOKE_FOLDS = 3
"""Content folds of each set, of which the first is scored, and of the training sets held out."""
SUITE_NAME, DEVELOPMENT_NAME = "suite.json", "development.json"


def write_smoke_data(folder: Path, *, training_variants: int = 12, evaluation_variants: int = 9) -> Path:
    """Write `folder`/training, `folder`/evaluation and two suite files; returns the path of the evaluation's.

    The other one, `DEVELOPMENT_NAME` beside it, asks about what is held out of the training sets.

    Args:
        training_variants, evaluation_variants: clips of each kind.

    Raises:
        OutputError: the folder exists and is none of these, or cannot be written.
    """
    suite = folder / SUITE_NAME
    if suite.is_file() and suite.with_name(DEVELOPMENT_NAME).is_file():
        return suite
    with atomic_output(folder, overwrite=True, folder_with=SUITE_NAME) as temporary:
        for domain in _TASKS:
            description = {"domain": domain, "licence": LICENCE, "tasks": _TASKS[domain]}
            corpus = temporary / "training" / f"made_{domain}"
            _write(corpus, _clips(domain, 0, training_variants))
            (corpus / "corpus.json").write_text(json.dumps(description, indent=2) + "\n")
            _write(temporary / "evaluation" / f"new_{domain}", _clips(domain, 1000, evaluation_variants))
        about = "Synthetic sounds in three domains: shows that the chain works, and nothing else."
        held_out = "What is held out of the synthetic training sets: for choosing, never a result."
        _write_suite(temporary / SUITE_NAME, "smoke", "new", "other draws of the synthetic", about)
        _write_suite(temporary / DEVELOPMENT_NAME, "smoke-development", "made", "held out of the synthetic", held_out)
    return suite


def _clips(domain: str, first: int, count: int) -> Iterator[Clip]:
    for variant in range(first, first + count):
        if domain == "speech":
            for number, kinds in enumerate(SPOKEN):
                # Another draw for each use, so that no vowel is heard twice.
                parts = [synthesise(kind, variant * 100 + 10 * number + place) for place, kind in enumerate(kinds)]
                text = " ".join(VOWELS[kind] for kind in kinds)
                wave_S = np.concatenate([part.wave_S[:SAMPLE_RATE_HZ] for part in parts])
                yield wave_S, {"text": text, "label": text, "language": "English"}
        else:
            for kind in MUSIC if domain == "music" else SOUND:
                yield synthesise(kind, variant * 100).wave_S, {"label": kind}


def _write(folder: Path, clips: Iterator[Clip]) -> None:
    folder.mkdir(parents=True)
    with tarfile.open(folder / "clips.tar", "w") as archive:
        for number, (wave_S, fields) in enumerate(clips):
            sound = io.BytesIO()
            soundfile.write(sound, wave_S, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
            for suffix, content in (("flac", sound.getvalue()), ("json", json.dumps(fields).encode())):
                member = tarfile.TarInfo(f"{number:04d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def _write_suite(path: Path, name: str, prefix: str, what: str, description: str) -> None:
    tasks = [
        {
            "name": f"{prefix}_{domain}",
            "description": f"{what} {domain}",
            "domain": _DOMAIN_OF_SUITE[domain],
            "folder": f"{prefix}_{domain}",
            "label": {"field": "label"},
            "folds": {"by": "content", "count": SMOKE_FOLDS, "scored": ["0"]},
            "metric": "accuracy",
        }
        for domain in _TASKS
    ]
    head = {"format": "uniwhisper-suite", "format_version": 2, "name": name, "description": description}
    path.write_text(json.dumps(head | {"tasks": tasks}, indent=2) + "\n")
