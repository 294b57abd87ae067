"""A folder with a folder of audio for each label, as `uniwhisper finetune` takes one too. There is no table.

Each file is a clip with the fields `label` (the folder directly below the corpus's that it lies in, at any depth) and
`file` (its name without the ending). Where the folders below are `train`, `test` and the like, they are splits, and
the label is the folder below those.
"""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from uniwhisper.audio.formats import AUDIO_EXTENSIONS
from uniwhisper.data.sources.clip import SourceClip
from uniwhisper.data.sources.splits import choose_splits

_SPLITS = {"train", "training", "test", "testing", "valid", "validation", "dev", "eval", "evaluation"}


def audio_among(names: Sequence[str]) -> list[str]:
    """Those of the file names that end as audio does."""
    return [name for name in names if PurePosixPath(name).suffix.lower() in AUDIO_EXTENSIONS]


def audio_folder_clips(names: Sequence[str], *, splits: Sequence[str] | None, notes: list[str]) -> Iterator[SourceClip]:
    """Clips of the audio files `names`, which are relative to the corpus's folder.

    Args:
        splits: as in `choose_splits`, where the folders directly below are splits.
        notes: is told which splits were left out.
    """
    tops = {parts[0] for name in names if len(parts := PurePosixPath(name).parts) > 1}
    split = bool(tops) and {top.lower() for top in tops} <= _SPLITS
    chosen, left_out = choose_splits(tops, splits) if split else ([], [])
    if left_out:
        notes.append(f"splits left out: {', '.join(left_out)}")
    for name in names:
        pure = PurePosixPath(name)
        folders = pure.parts[:-1]
        if split and folders:
            if folders[0] not in chosen:
                continue
            folders = folders[1:]
        yield SourceClip(str(pure.with_suffix("")), name, {"label": folders[0] if folders else None, "file": pure.stem})
