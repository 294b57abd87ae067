"""A second version of every clip, through a lossy codec: for audio that lies on a device, which cannot encode.

Each recording has one codec and level, which its content decides. The file is as that of decoded audio, whose neighbour
it is, and is named after this layer's source as well, which holds the codecs.
"""

from pathlib import Path

import numpy as np

from uniwhisper.core.identity import layer_identity
from uniwhisper.data.augment import through_drawn_codec
from uniwhisper.data.decoded import DecodedReader, decode, write_samples
from uniwhisper.data.manifest import Manifest, Record
from uniwhisper.data.parallel import Progress


def code(
    manifest: Manifest, folder: Path, *, workers: int | None = None, progress: Progress | None = None
) -> DecodedReader:
    """Encode every clip of the manifest with loss and decode it again into `folder`, unless that was done before.

    Args:
        folder: where `decode` keeps the clips as they are, which are made first where they are not there.
        workers: threads; None: one for each usable core.

    Raises:
        ManifestError: an archive is not what it was when the manifest was written.
        OutputError: the folder cannot be written.
    """
    path = Path(folder) / f"coded-{manifest.hash[:16]}-{layer_identity('audio', 'data')}.int16"
    if not path.exists():
        reader = decode(manifest, folder, workers=workers)

        def coded(record: Record) -> np.ndarray:
            stream = np.random.default_rng(list(bytes.fromhex(record.sha256)))
            return through_drawn_codec(reader.read(record), stream)

        write_samples(manifest, path, coded, workers=workers, progress=progress)
    return DecodedReader(manifest, path)
