"""The same task and encoder through the real X-ARES and through us: time, processor time, disk.

    make benchmark-xares DATA=folder

ESC-50 with the packaged encoder, both with X-ARES's probe and kNN, each in its own environment, one after the other on
the same machine; imports are not counted on either side. X-ARES encodes as its Whisper example does (10 s chunks padded
to 30 s) and stores frames; we encode what sounds and store one vector per clip. `--encode padded` makes us encode the
padding too, so that only the storing and scoring differ, and the scores can be compared.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from uniwhisper.audio.load import read
from uniwhisper.data.archive import index_archive, read_member
from uniwhisper.embedding.embedder import Embedder
from uniwhisper.evaluation.xares.pooling import PaddedWhisper, pooled_vectors
from uniwhisper.evaluation.xares.scoring import score_clips
from uniwhisper.model.checkpoint_formats import HUGGING_FACE

COMPAT = Path(__file__).parents[1] / "compat" / "xares"
THREADS = 2  # what X-ARES sets


def subset(data: Path, folder: Path, clips_per_fold: int | None) -> None:
    """Copy each fold's tar, or evenly spaced clips of it."""
    folder.mkdir(parents=True)
    for archive in sorted(data.glob("*.tar")):
        clips = index_archive(archive)
        if clips_per_fold is not None:
            clips = [clips[place] for place in np.linspace(0, len(clips) - 1, clips_per_fold).astype(int)]
        with tarfile.open(folder / archive.name, "w") as tar:
            for clip in clips:
                content = read_member(archive, clip.offset, clip.size)
                for name, member in (
                    (clip.audio_member, content),
                    (f"{clip.key}.json", json.dumps(clip.fields).encode()),
                ):
                    info = tarfile.TarInfo(name)
                    info.size = len(member)
                    tar.addfile(info, io.BytesIO(member))


def export(embedder: Embedder, path: Path) -> None:
    """The encoder's tensors by transformers' names."""
    state = embedder.encoder.state_dict()
    tensors = {HUGGING_FACE.translate(name): tensor.numpy() for name, tensor in state.items()}
    np.savez(path, heads=embedder.encoder.config.heads, **tensors)


def theirs(embedder: Embedder, work: Path) -> dict[str, float]:
    export(embedder, work / "weights.npz")
    with (work / "real.log").open("w") as log:
        subprocess.run(
            [
                COMPAT / ".venv/bin/python",
                COMPAT / "real_task.py",
                work / "weights.npz",
                work / "env",
                work / "out.npz",
            ],
            check=True,
            stdout=log,
            stderr=log,
            env=os.environ | {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": str(THREADS)},
        )
    return {name: float(value) for name, value in np.load(work / "out.npz").items()}


def ours(embedder: Embedder, work: Path, encode: str) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    sources, labels, folds = [], [], []
    for archive in sorted((work / "env" / "esc50").glob("*.tar")):
        for clip in index_archive(archive):
            sources.append(read_member(archive, clip.offset, clip.size))
            labels.append(clip.fields["target"])
            folds.append(archive.name)
    if encode == "padded":
        vectors_ND = pooled_vectors(PaddedWhisper(embedder.encoder), map(read, sources))
    else:
        vectors_ND = embedder.embed(sources).vectors
    np.save(work / "vectors.npy", vectors_ND)
    encoded = time.perf_counter()
    scores = score_clips(vectors_ND, np.array(labels), folds)
    return {
        "probe": scores.probe[0],
        "knn": scores.knn,
        "encode_seconds": encoded - wall,
        "score_seconds": time.perf_counter() - encoded,
        "cpu_seconds": time.process_time() - cpu,
        "embedding_bytes": (work / "vectors.npy").stat().st_size,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds esc50")
    parser.add_argument("--clips-per-fold", type=int, help="evenly spaced clips of each fold; default all 400")
    parser.add_argument("--encode", choices=["sound", "padded"], default="sound")
    parser.add_argument("--output", type=Path, help="write the figures there as JSON")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    embedder = Embedder.from_pretrained(device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        subset(options.data / "esc50", work / "env" / "esc50", options.clips_per_fold)
        sides = {"ours": ours(embedder, work, options.encode), "xares 0.1.3": theirs(embedder, work)}
    for side in sides.values():
        side["seconds"] = side["encode_seconds"] + side["score_seconds"]
    ratios = {
        name: sides["xares 0.1.3"][name] / sides["ours"][name]
        for name in ("seconds", "encode_seconds", "score_seconds", "cpu_seconds", "embedding_bytes")
    }
    result = {
        "task": "ESC-50",
        "clips_per_fold": options.clips_per_fold or 400,
        "encode": options.encode,
        "sides": sides,
        "ratios": ratios,
    }
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n")
    print("| | xares 0.1.3 | ours | ratio |\n|---|---:|---:|---:|")
    for name in (*ratios, "probe", "knn"):
        ratio = f"{ratios[name]:.1f}" if name in ratios else ""
        print(f"| {name} | {sides['xares 0.1.3'][name]:,.3f} | {sides['ours'][name]:,.3f} | {ratio} |")
    sys.exit(not (ratios["seconds"] >= 10 and ratios["embedding_bytes"] >= 100))


if __name__ == "__main__":
    main()
