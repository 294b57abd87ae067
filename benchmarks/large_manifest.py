"""How long a resumed run waits for its first batch on a manifest of millions of records, and what memory it takes.

    python benchmarks/large_manifest.py --records 14000000

Writes a synthetic manifest (all records point at a few short recordings), makes its index once, then starts a fresh
process that opens it and asks for the batch of one late step.
"""

import argparse
import hashlib
import io
import json
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

CORPORA = {"music_a": "music", "sound_a": "sound", "sound_b": "sound", "speech_a": "speech"}
RECORDINGS = 16
LABELS = ("bell", "bird", "dog", "door", "rain", "train", "water", "wind")


def write(folder: Path, records: int) -> None:
    """A tar of recordings and a manifest of `records` records in `folder`, in canonical form with its hash."""
    from uniwhisper.data.corpora import parse_description

    generator = np.random.default_rng(0)
    places = []
    with tarfile.open(folder / "audio.tar", "w") as archive:
        for number in range(RECORDINGS):
            samples = 4_000 + 2_000 * number
            encoded = io.BytesIO()
            wave = 0.1 * generator.standard_normal(samples)
            soundfile.write(encoded, wave, 16_000, format="WAV", subtype="PCM_16")
            member = tarfile.TarInfo(f"{number}.wav")
            member.size = len(encoded.getvalue())
            archive.addfile(member, io.BytesIO(encoded.getvalue()))
            offset = archive.offset - -(-member.size // 512) * 512
            places.append((offset, samples, hashlib.sha256(encoded.getvalue()).hexdigest(), member.size))
    tasks = {"sound_tag": {"field": "label"}, "domain": {"field": "domain"}}
    corpora = {name: {"domain": kind, "licence": "CC0", "tasks": tasks, "unused": {}} for name, kind in CORPORA.items()}
    described = {name: parse_description(value, name=name).as_json() for name, value in corpora.items()}
    canonical = {"sort_keys": True, "separators": (",", ":"), "ensure_ascii": False}
    digest = hashlib.sha256()

    def add(part: bytes) -> bytes:
        digest.update(len(part).to_bytes(8, "little") + part)
        return part

    for name in sorted(described):
        add(json.dumps({name: described[name]}, **canonical).encode())
    header = {"format": "uniwhisper-manifest", "version": 1, "hash": "0" * 64, "root": ".", "counts": {},
              "corpora": described, "skipped": []}  # fmt: skip
    first_line = json.dumps(header, **canonical).encode()
    each = records // len(CORPORA)
    with (folder / "manifest.jsonl").open("w+b") as file:
        file.write(first_line + b"\n")
        for name, kind in sorted(CORPORA.items()):
            ends = [
                f',"offset":{offset},"samples":{samples},"sha256":"{sha256}","size":{size}}}'
                for offset, samples, sha256, size in places
            ]
            starts = [
                f'{{"archive":"audio.tar","corpus":"{name}","domain":"{kind}",'
                f'"fields":{{"domain":"{kind}","label":"{label}"}},"id":"{name}/'
                for label in LABELS
            ]
            for number in range(each):
                line = f'{starts[number % len(starts)]}{number:09d}"{ends[number % RECORDINGS]}'.encode()
                file.write(add(line) + b"\n")
        # The hash is known last and is as long as what stands for it.
        file.seek(0)
        file.write(first_line.replace(b"0" * 64, digest.hexdigest().encode()))


class Letters:
    """One token per byte."""

    eos_token_id = 256

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:  # noqa: ARG002
        return list(text.encode())


def measure(folder: Path, step: int) -> None:
    """Print as JSON how long the first batch took after all imports, and the most memory that was used."""
    from uniwhisper.data.config import DataConfig
    from uniwhisper.data.indexed import IndexedManifest
    from uniwhisper.data.loader import step_batches

    imported, computed = time.perf_counter(), time.process_time()
    manifest = IndexedManifest.open(folder)
    config = DataConfig(seconds_per_step=400.0, questions_per_clip=2, group_steps=32, max_seconds=8.0)
    batches = step_batches(manifest, Letters(), config, seed=0, start_step=step, stop_step=step + 1, workers=0)
    drawn, batch = next(iter(batches))
    print(
        json.dumps(
            {
                "records": len(manifest.records),
                "step": drawn,
                "clips": len(batch),
                "first_batch_seconds": time.perf_counter() - imported,
                "first_batch_cpu_seconds": time.process_time() - computed,
                "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            }
        )
    )


def main() -> None:
    """Write, index and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=14_000_000)
    parser.add_argument("--step", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="keep manifest and index here; default: a temporary folder")
    parser.add_argument("--measure", action="store_true", help="only measure, in --folder")
    options = parser.parse_args()
    if options.measure:
        measure(options.folder, options.step)
        return
    from uniwhisper.data.indexed import IndexedManifest

    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "manifest.jsonl").exists():
            started = time.perf_counter()
            write(folder, options.records)
            print(f"synthetic manifest: {time.perf_counter() - started:.0f} s", file=sys.stderr)
        started = time.perf_counter()
        IndexedManifest.open(folder)
        print(f"index, once: {time.perf_counter() - started:.0f} s", file=sys.stderr)
        again = [sys.executable, __file__, "--measure", "--folder", str(folder), "--step", str(options.step)]
        subprocess.run(again, check=True)


if __name__ == "__main__":
    main()
