"""Answers that need no labels: what is measured on the sound itself, added to a manifest's records.

    spectrum           level of each band:      l_b = min(9, floor(10 (mean_f m_bf - m_max + 2) / 2))
    spectrum_changes   variation of each band:  v_b = min(9, floor(16 std_f m_bf))

m: log-mel as Whisper normalises it (`features.logmel`; 2 below its largest entry m_max is its floor), 80 rows averaged
by fours into 20 bands, of the first 30 s. What log-mel statistics say of a clip can then be asked of an encoder that is
trained by questions alone: nothing else keeps it from forgetting pitch and timbre that no label names.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from uniwhisper.core.errors import ManifestError
from uniwhisper.core.files import check_output
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.corpora import CorpusDescription
from uniwhisper.data.decoded import ClipReader, EncodedReader
from uniwhisper.data.manifest import MANIFEST_NAME, Manifest, Record
from uniwhisper.data.manifest_writer import ManifestWriter, Written
from uniwhisper.data.parallel import Progress, in_threads
from uniwhisper.features.logmel import log_mel

BANDS = 20
MEL_BINS = 80
FIELDS = ("spectrum", "spectrum_changes")
"""Of a record, and the tasks that ask for them."""
_MOST_SECONDS = 30


def spectrum(wave_S: np.ndarray) -> tuple[str, str]:
    """Levels and variations of the bands, the lowest first, as the tasks answer them.

    Args:
        wave_S: (S,) float32 at 16 kHz, S >= 1.
    """
    wave_1S = torch.from_numpy(wave_S[: _MOST_SECONDS * SAMPLE_RATE_HZ])[None]
    mel_1MF, _ = log_mel(wave_1S, torch.tensor([wave_1S.shape[1]]), mel_bins=MEL_BINS)
    bands_BF = mel_1MF[0].unflatten(0, (BANDS, -1)).mean(dim=1)
    levels_B = 10 * (bands_BF.mean(dim=1) - mel_1MF.max() + 2) / 2
    changes_B = 16 * bands_BF.std(dim=1, correction=0)
    return _written(levels_B), _written(changes_B)


def _written(values_B: torch.Tensor) -> str:
    return " ".join(str(int(value)) for value in values_B.floor().clamp(0, 9))


def measure(
    manifest: Manifest,
    output: Path,
    *,
    reader: ClipReader | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write the manifest again, with what is measured on each clip.

    Args:
        reader: of its sound; None: every clip is decoded.
        workers: threads; None: one for each usable core.

    Raises:
        ManifestError: a clip already has such a field, or an archive is not what it was.
        OutputError: the output exists and `overwrite` is False, or it cannot be written.
    """
    check_output(Path(output) / MANIFEST_NAME, overwrite=overwrite)
    reader = EncodedReader(manifest) if reader is None else reader

    def measured(record: Record) -> Record:
        taken = sorted(set(FIELDS) & record.fields.keys())
        if taken:
            raise ManifestError(
                f"{record.id} cannot be measured",
                expected=f"no field {' or '.join(FIELDS)}",
                got=f"{taken[0]}: {record.fields[taken[0]]!r}",
                fix="measure the manifest that `uniwhisper data prepare` wrote, once",
            )
        return replace(
            record, fields={**record.fields, **dict(zip(FIELDS, spectrum(reader.read(record)), strict=True))}
        )

    corpora = {name: _asked(description) for name, description in manifest.corpora.items()}
    with ManifestWriter(output, corpora, manifest.root, overwrite=overwrite) as writer:
        for done, record in enumerate(in_threads(measured, manifest.records, workers), start=1):
            writer.add(record)
            if progress is not None:
                progress(done, len(manifest.records))
        return writer.finish(manifest.skipped, left_out=manifest.left_out)


def _asked(description: CorpusDescription) -> CorpusDescription:
    return replace(description, tasks={**description.tasks, **{name: {"field": name} for name in FIELDS}})
