"""The sets of the suite `mini`: where each one's original is public, which of its files are clips, and their labels.

The clips are lists beside this file (`clips/<set>.tsv`: file, milliseconds, fold, and the label where the name of the
file does not tell it). What a file's name tells is read from it here; what only the original knows (the texts of
speechocean762) is read from the original. `labels_hash` says whether all of it came out as it should.
"""

import csv
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from uniwhisper.core.errors import ManifestError

_LISTS = Path(__file__).parent / "clips"


@dataclass(frozen=True, slots=True)
class ListedClip:
    """One line of a set's list."""

    file: str
    """End of its path in the original; with the folder only where names recur in several."""
    seconds: float
    fold: str
    label: str | None


@dataclass(frozen=True, slots=True)
class LabelledClip:
    """A clip as the suite wants it."""

    listed: ListedClip
    key: str
    fields: Mapping[str, Any]


Labels = Callable[[Sequence[ListedClip], Callable[[str], Path]], list[LabelledClip]]
"""(clips, end of a path -> the file of the original) -> their keys and fields, without `seconds`."""


@dataclass(frozen=True, slots=True)
class Original:
    """A public data set and the part of it that a suite judges on."""

    name: str
    """Of the set's folder, in the suite and below SOURCES."""
    title: str
    url: str
    download: str
    """What of it, in words."""
    licence: str
    archive: str
    """Name of a fold's tar."""
    labels: Labels
    labels_hash: str
    """`hash_labels` of all clips."""
    longest_seconds: float | None = None
    """Longer recordings are cut there."""

    def clips(self) -> list[ListedClip]:
        """In the order of the list."""
        with (_LISTS / f"{self.name}.tsv").open(encoding="utf-8", newline="") as file:
            return [
                ListedClip(row["file"], int(row["milliseconds"]) / 1000, row["fold"], row.get("label"))
                for row in csv.DictReader(file, delimiter="\t")
            ]


def hash_labels(clips: Sequence[LabelledClip]) -> str:
    """Identity of keys, labels and lengths, whatever their order."""
    rows = sorted([clip.key, {**clip.fields, "seconds": clip.listed.seconds}] for clip in clips)
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def _named(key: str, fields: Callable[[Mapping[str, str], ListedClip], dict[str, Any]], pattern: str = "") -> Labels:
    """Labels from the list and from the groups of `pattern` in the file's path without its ending."""

    def labels(clips: Sequence[ListedClip], _: Callable[[str], Path]) -> list[LabelledClip]:
        found = []
        for clip in clips:
            match = re.fullmatch(pattern, re.sub(r"[.]\w+$", "", clip.file)) if pattern else None
            groups = match.groupdict() if match else {}
            digest = hashlib.sha1(_hashed(clip).encode(), usedforsecurity=False).hexdigest()[:6]
            stem = PurePosixPath(clip.file).stem
            name = key.format(stem=stem, label=clip.label, digest=digest, path=re.sub(r"[/.]", "_", clip.file))
            found.append(LabelledClip(clip, name, fields(groups, clip)))
        return found

    return labels


def _hashed(clip: ListedClip) -> str:
    """What the six digits at the end of a key are the hash of: the path where the set was made, less an `.mp3`."""
    return clip.file.removesuffix(".mp3") if clip.label is None else f"{clip.label}/{clip.file}"


def _speechocean(clips: Sequence[ListedClip], find: Callable[[str], Path]) -> list[LabelledClip]:
    texts, speakers, sexes, ages = (
        _pairs(find(f"test/{name}")) for name in ("text", "utt2spk", "spk2gender", "spk2age")
    )
    found: list[LabelledClip] = []
    heard: dict[str, int] = {}
    for clip in sorted(clips, key=lambda clip: clip.file):
        name = PurePosixPath(clip.file).stem
        try:
            speaker = speakers[name]
            fields = {"text": texts[name], "speaker": speaker, "sex": sexes[speaker], "age": int(ages[speaker])}
        except (KeyError, ValueError) as error:
            raise ManifestError(
                f"speechocean762: {name} has no labels",
                expected="its line in test/text and test/utt2spk, its speaker's in test/spk2gender and test/spk2age",
                got=f"{type(error).__name__} {error}",
                fix="unpack the original again, all of it",
            ) from None
        heard[speaker] = heard.get(speaker, 0) + 1
        found.append(LabelledClip(clip, f"so_{name}", {**fields, "language": "en", "index": heard[speaker]}))
    return found


def _pairs(path: Path) -> dict[str, str]:
    """A Kaldi table: key, white space, the rest of the line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {key: value.strip() for key, value in (line.split(maxsplit=1) for line in lines if line.strip())}


_EMOTIONS = dict(
    enumerate(("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"), start=1)
)  # as RAVDESS numbers them
_WAV_FOLDS = "wds-audio-fold-{fold}-000000.tar"

MINI = (
    Original(
        name="esc50",
        title="ESC-50",
        url="https://github.com/karolpiczak/ESC-50",
        download="a checkout, or the repository's zip",
        licence="CC BY-NC 3.0",
        archive=_WAV_FOLDS,
        labels=_named(
            "{stem}",
            lambda name, clip: {"label": clip.label, "target": int(name["target"]), "fold": int(clip.fold)},
            r".*-(?P<target>\d+)",
        ),
        labels_hash="42059dd43ece6214bf1a6775cca2e201a614a1acec6f13dfcb0f7253f2a98534",
    ),
    Original(
        name="fsdd",
        title="Free Spoken Digit Dataset",
        url="https://github.com/Jakobovski/free-spoken-digit-dataset",
        download="a checkout, or the repository's zip",
        licence="CC BY-SA 4.0",
        archive="wds-audio-speaker-{fold}-000000.tar",
        labels=_named("{stem}", lambda name, clip: {"label": name["digit"], "speaker": clip.fold}, r"(?P<digit>\d)_.*"),
        labels_hash="db717986bb8d2c07f3589ac176c25631b093e1b47b2098db0c0377b5d4a6ab61",
    ),
    Original(
        name="speech_commands_v2_testset",
        title="Speech Commands 0.02, the test set",
        url="https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_test_set_v0.02.tar.gz",
        download="the archive of the test set, not the one of all recordings: only that has `_silence_`",
        licence="CC BY 4.0",
        archive=_WAV_FOLDS,
        labels=_named(
            "{path}_{digest}",
            lambda name, clip: {"label": name["label"], "speaker": name["speaker"], "fold": int(clip.fold)},
            r"(?P<label>\w+)/(?:\d+|(?:[a-z]+_)?(?P<speaker>[0-9a-f]{8})_nohash_\d+(?:[.]wav)?)",
        ),
        labels_hash="f3e989977afa54008d131277e4c0ad52bce5c8fddd4f200c5ba44df431d69ada",
    ),
    Original(
        name="ravdess",
        title="RAVDESS, speech",
        url="https://zenodo.org/records/1188976",
        download="Audio_Speech_Actors_01-24.zip",
        licence="CC BY-NC-SA 4.0",
        archive="ravdess_fold_{fold}_0000000.tar",
        labels=_named(
            "rav_{stem}",
            lambda name, clip: {
                "label": _EMOTIONS[int(name["emotion"])],
                "intensity": name["intensity"],
                "actor": int(name["actor"]),
                "fold": int(clip.fold),
            },
            r"03-01-(?P<emotion>\d\d)-(?P<intensity>\d\d)-\d\d-\d\d-(?P<actor>\d\d)",
        ),
        labels_hash="50f6394acaf77cefb110fedef6a8b8d309f89e8c7ca04ccde953d5cae2c7655e",
    ),
    Original(
        name="speechocean762_test",
        title="speechocean762",
        url="https://www.openslr.org/101",
        download="speechocean762.tar.gz",
        licence="CC BY 4.0",
        archive="wds-audio-{fold}-000000.tar",
        labels=_speechocean,
        labels_hash="6afbfcb9f11bc77d81d99a12de2a1ef2f670e9be460b7aab5af91bdb355d62a4",
    ),
    Original(
        name="fsd_instrument10",
        title="FSDKaggle2018",
        url="https://zenodo.org/records/2552860",
        download="FSDKaggle2018.audio_train.zip and FSDKaggle2018.audio_test.zip",
        licence="CC BY or CC0, clip by clip (its meta data say which)",
        archive=_WAV_FOLDS,
        labels=_named("{label}_{path}_{digest}", lambda _, clip: {"label": clip.label, "fold": int(clip.fold)}),
        labels_hash="dfcaba77c04c60cb5db5f695e7b009ca8f877588027b94f43624cdd56647a41e",
        longest_seconds=10.0,
    ),
    Original(
        name="philharmonia",
        title="Philharmonia Orchestra sound samples",
        url="https://philharmonia.co.uk/resources/sound-samples/",
        download="all samples, with the archives in the archive unpacked too",
        licence="free to use; not to be sold or handed on as samples",
        archive=_WAV_FOLDS,
        labels=_named(
            "{stem}_{digest}",
            lambda name, clip: {
                "label": "cor anglais" if name["label"] == "english-horn" else name["label"].replace("-", " "),
                **{part: name[part] for part in ("pitch", "length", "dynamic", "articulation")},
                "fold": int(clip.fold),
            },
            r"(?P<label>[^_]+)_(?P<pitch>[^_]+)_(?P<length>[^_]+)_(?P<dynamic>[^_]+)_(?P<articulation>[^_]+)",
        ),
        labels_hash="15a9e9eabc79593f99d169a70c3e8561a7709db38a228c8b09dd5948087f1320",
        longest_seconds=4.0,
    ),
)

ORIGINALS: Mapping[str, tuple[Original, ...]] = {"mini": MINI}
"""Suite -> its sets. The sets of the others are downloaded as they are judged on."""


def originals_of(suite: str) -> tuple[Original, ...]:
    """The sets of a shipped suite that are made from public originals; none for a suite that is downloaded."""
    return ORIGINALS.get(suite, ())
