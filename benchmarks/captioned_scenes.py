"""Captioned scenes of real sounds, where there is no Clotho: two ESC-50 clips in a row, five captions, in its archives.

    python benchmarks/captioned_scenes.py evaluation/ scenes/
    uniwhisper evaluate --model M --suite scenes/scenes.json --data scenes/ -o results/

Synthetic: the captions are five forms around the names of the two classes. Learnt from are scenes of folds 1 to 4,
scored are those of fold 5, so no sound is on both sides. Needs `esc50` in the first folder; the same scenes every time.
"""

import io
import json
import re
import sys
import tarfile
from pathlib import Path

import numpy as np
import soundfile

from uniwhisper.audio.load import read
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.evaluation.suites import SHIPPED

FORMS = (
    "{0} followed by {1}",
    "first {0} and then {1}",
    "the sound of {0} before {1}",
    "{0} is heard, later {1}",
    "somebody recorded {0} with {1}",
)
PART_SECONDS = 2.5
SPLITS = (
    ("clotho_development", (1, 2, 3, 4), 800),
    ("clotho_evaluation", (1, 2, 3, 4), 20),
    ("clotho_validation", (5,), 200),
)
"""Archive, folds of ESC-50, scenes."""

Sound = tuple[str, bytes]
"""Its class in words, and its file."""


def sounds_of(archive: Path) -> list[Sound]:
    audio, found = {}, []
    with tarfile.open(archive) as members:
        for member in members:
            stream = members.extractfile(member)
            assert stream is not None, "ESC-50's archives hold files only"
            key, _, suffix = member.name.rpartition(".")
            if suffix == "json":
                found.append((json.loads(stream.read())["label"].replace("_", " "), audio[key]))
            else:
                audio[key] = stream.read()
    return found


def scene(sounds: list[Sound]) -> tuple[bytes, bytes]:
    """Its wav and its JSON."""
    wave_S = np.concatenate([read(file)[: round(PART_SECONDS * SAMPLE_RATE_HZ)] for _, file in sounds])
    stream = io.BytesIO()
    soundfile.write(stream, wave_S, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    names = [name for name, _ in sounds]
    captions = {f"caption_{place}": form.format(*names) for place, form in enumerate(FORMS, 1)}
    return stream.getvalue(), json.dumps(captions).encode()


def main(source: Path, target: Path) -> None:
    folds = {}
    for archive in sorted((source / "esc50").glob("*.tar")):
        match = re.search(r"fold-(\d)", archive.name)
        assert match, f"{archive.name}: the archives are named by fold"
        folds[int(match[1])] = sounds_of(archive)
    generator = np.random.default_rng(0)
    (target / "clotho").mkdir(parents=True, exist_ok=True)
    for split, numbers, count in SPLITS:
        pool = [sound for number in numbers for sound in folds[number]]
        with tarfile.open(target / "clotho" / f"{split}-000000.tar", "w") as archive:
            for number in range(count):
                places = generator.choice(len(pool), 2, replace=False)
                for suffix, content in zip(("wav", "json"), scene([pool[place] for place in places]), strict=True):
                    member = tarfile.TarInfo(f"scene{number:04d}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    suite = json.loads((SHIPPED / "xares-22.json").read_text(encoding="utf-8"))
    suite["tasks"] = [task for task in suite["tasks"] if task["name"] == "clotho"]
    about = {"name": "scenes", "description": "Synthetic scenes of two ESC-50 clips, captioned by form, as Clotho is."}
    (target / "scenes.json").write_text(json.dumps(suite | about, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
