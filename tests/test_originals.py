"""Public originals -> the folders that the suite `mini` reads: made-up originals of the documented layouts.

Nothing of the real sets is here; what they hold is compared with the shared audio where that lies beside the checkout.
"""

import hashlib
import io
import json
import shutil
import wave
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from command import uniwhisper
from uniwhisper.core.errors import OutputError
from uniwhisper.data.archive import index_archive, read_member
from uniwhisper.evaluation.clips import find_clips
from uniwhisper.evaluation.originals.make import make_sets
from uniwhisper.evaluation.originals.sets import MINI, Original, hash_labels
from uniwhisper.evaluation.suites import load_suite

BY_NAME = {original.name: original for original in MINI}
RATE_HZ = 8_000
IN_THE_ORIGINAL = {
    "esc50": "ESC-50-master/audio",
    "fsdd": "free-spoken-digit-dataset/recordings",
    "ravdess": "Actor_{actor}",
    "fsd_instrument10": "FSDKaggle2018.audio_train",
    "philharmonia": "all-samples/{instrument}",
    "speech_commands_v2_testset": "",
    "speechocean762_test": "speechocean762/WAVE/SPEAKER{speaker}",
}
"""Where the publishers' own descriptions put the files."""


def tone(seconds: float, number: int, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Int16, another pitch for every number."""
    time_S = np.arange(round(seconds * rate_hz)) / rate_hz
    return (8000 * np.sin(2 * np.pi * (200 + number) * time_S)).astype(np.int16)


def part(original: Original, clips: list, labels_hash: str | None = None) -> Original:
    """The set with these clips only."""

    class Part(Original):
        __slots__ = ()

        def clips(self):
            return clips

    values = {entry.name: getattr(original, entry.name) for entry in fields(Original)}
    return Part(**values | {"labels_hash": labels_hash or hash_labels(original.labels(clips, Path))})


def small(name: str, count: int = 4) -> Original:
    """The set with its first, its last and some clips between."""
    listed = BY_NAME[name].clips()
    return part(BY_NAME[name], [listed[place] for place in np.linspace(0, len(listed) - 1, count).astype(int)])


def write_original(original: Original, sources: Path) -> list[Path]:
    paths = []
    for number, clip in enumerate(original.clips()):
        stem = Path(clip.file).stem
        folder = IN_THE_ORIGINAL[original.name].format(
            actor=stem[-2:], instrument=stem.split("_")[0], speaker=stem[1:5]
        )
        path = sources / original.name / folder / clip.file
        path.parent.mkdir(parents=True, exist_ok=True)
        seconds = clip.seconds + (1.5 if clip.seconds == original.longest_seconds else 0)
        kind = "MP3" if path.suffix == ".mp3" else "WAV"
        rate_hz = 44_100 if kind == "MP3" else RATE_HZ
        soundfile.write(path, tone(seconds, number, rate_hz), rate_hz, format=kind)
        paths.append(path)
    return paths


def archived(folder: Path) -> dict[str, tuple[str, str, dict, bytes]]:
    """Key -> archive, name of the audio, fields, audio."""
    return {
        clip.key: (path.name, clip.audio_member, clip.fields, read_member(path, clip.offset, clip.size))
        for path in folder.glob("*.tar")
        for clip in index_archive(path)
    }


# What the sets of the published figures hold, written down from them.
KNOWN = [
    ("esc50", "1-100032-A-0", "wds-audio-fold-1-000000.tar",
     {"label": "dog", "target": 0, "fold": 1, "seconds": 5.0}),
    ("fsdd", "8_george_26", "wds-audio-speaker-george-000000.tar",
     {"label": "8", "speaker": "george", "seconds": 0.446}),
    ("speech_commands_v2_testset", "on_e1469561_nohash_2_wav_1d9633", "wds-audio-fold-0-000000.tar",
     {"label": "on", "speaker": "e1469561", "fold": 0, "seconds": 1.0}),
    ("speech_commands_v2_testset", "_silence__4776_wav_c60a66", "wds-audio-fold-0-000000.tar",
     {"label": "_silence_", "speaker": None, "fold": 0, "seconds": 1.0}),
    ("speech_commands_v2_testset", "_unknown__visual_8769c34c_nohash_0_wav_wav_771a43", "wds-audio-fold-2-000000.tar",
     {"label": "_unknown_", "speaker": "8769c34c", "fold": 2, "seconds": 1.0}),
    ("ravdess", "rav_03-01-08-02-01-02-01", "ravdess_fold_0_0000000.tar",
     {"label": "surprised", "intensity": "02", "actor": 1, "fold": 0, "seconds": 3.57}),
    ("fsd_instrument10", "Acoustic_guitar_10da16fb_wav_695c3a", "wds-audio-fold-0-000000.tar",
     {"label": "Acoustic_guitar", "fold": 0, "seconds": 3.34}),
    ("philharmonia", "english-horn_A3_05_pianissimo_normal_072f88", "wds-audio-fold-2-000000.tar",
     {"label": "cor anglais", "pitch": "A3", "length": "05", "dynamic": "pianissimo", "articulation": "normal",
      "fold": 2, "seconds": 1.358}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "key", "archive", "expected"), KNOWN)
def test_a_clip_has_the_key_labels_and_fold_of_the_published_figures(name, key, archive, expected):
    original = BY_NAME[name]
    (clip,) = [clip for clip in original.labels(original.clips(), Path) if clip.key == key]
    assert {**clip.fields, "seconds": clip.listed.seconds} == expected
    assert original.archive.format(fold=clip.listed.fold) == archive


@pytest.mark.parametrize("original", MINI, ids=lambda original: original.name)
def test_every_set_of_the_suite_is_listed_whole(original):
    tasks = [task for task in load_suite("mini").tasks if task.folder == original.name and not task.synthetic]
    clips = original.clips()
    assert len(clips) == max(task.expected_clips for task in tasks)
    assert len({clip.file for clip in clips}) == len(clips)
    if original.name != "speechocean762_test":  # its texts are in the original alone
        assert hash_labels(original.labels(clips, Path)) == original.labels_hash


def test_the_sets_are_those_of_the_suite():
    assert {task.folder for task in load_suite("mini").tasks} == set(BY_NAME)


@pytest.mark.shared_audio
@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "speechocean762_test"])
def test_keys_labels_and_folds_are_those_of_the_shared_audio(shared_set, name):
    original = BY_NAME[name]
    shared = {key: entry[::2] for key, entry in archived(shared_set("evaluation", name)).items()}
    made = {
        clip.key: (original.archive.format(fold=clip.listed.fold), {**clip.fields, "seconds": clip.listed.seconds})
        for clip in original.labels(original.clips(), Path)
    }
    assert made == shared


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "speechocean762_test"])
def test_audio_goes_in_as_it_lies_there(tmp_path, name):
    original = small(name)
    paths = write_original(original, tmp_path / "sources")
    (report,) = make_sets([original], tmp_path / "sources", tmp_path / "out")
    assert report.problems == [] and report.clips == 4
    found = archived(tmp_path / "out" / name)
    assert len(found) == 4
    by_file = {path.name: path for path in paths}
    for clip in original.labels(original.clips(), Path):
        _, member, written, audio = found[clip.key]
        assert list(written) == [*clip.fields, "seconds"]
        source = by_file[Path(clip.listed.file).name]
        if clip.listed.seconds != original.longest_seconds:
            assert audio == source.read_bytes() and member == clip.key + source.suffix
    note = json.loads((tmp_path / "out" / name / "origin.json").read_text())
    assert note["clips"] == 4 and note["url"].startswith("https://") and note["left_out"] == []


def test_a_longer_recording_is_cut_at_its_own_rate_sample_by_sample(tmp_path):
    original = BY_NAME["fsd_instrument10"]
    (clip,) = [clip for clip in original.clips() if clip.seconds == 10.0][:1]
    original = part(original, [clip])
    (path,) = write_original(original, tmp_path / "sources")
    (report,) = make_sets([original], tmp_path / "sources", tmp_path / "out")
    assert report.cut == 1
    ((_, _, _, audio),) = archived(tmp_path / "out" / original.name).values()
    with wave.open(io.BytesIO(audio)) as file, wave.open(str(path)) as whole:
        assert file.getparams()[:4] == (1, 2, RATE_HZ, 10 * RATE_HZ)
        assert whole.getnframes() == 11.5 * RATE_HZ
        assert file.readframes(10 * RATE_HZ) == whole.readframes(10 * RATE_HZ)


def test_opus_is_the_same_sound_in_fewer_bytes(tmp_path):
    pytest.importorskip("av", reason="writing Opus needs the extra [m4a]")
    whole = BY_NAME["fsd_instrument10"]
    original = part(whole, [clip for clip in whole.clips() if clip.seconds in (10.0, 4.52)][:2])
    paths = {path.stem: path for path in write_original(original, tmp_path / "sources")}
    (report,) = make_sets([original], tmp_path / "sources", tmp_path / "out", opus=True)
    found = archived(tmp_path / "out" / original.name)
    assert report.cut == 1 and len(found) == 2
    for _, member, written, audio in found.values():
        (path,) = [path for stem, path in paths.items() if stem in member]
        wave_S, rate_hz = soundfile.read(io.BytesIO(audio))
        source_S, _ = soundfile.read(path)
        assert member.endswith(".ogg") and len(audio) < path.stat().st_size / 2
        assert len(wave_S) / rate_hz == pytest.approx(written["seconds"], abs=0.01)
        loudest_hz = [np.abs(np.fft.rfft(x)).argmax() * r / len(x) for x, r in ((wave_S, rate_hz), (source_S, RATE_HZ))]
        assert loudest_hz[0] == pytest.approx(loudest_hz[1], abs=0.5)


def speechocean(sources: Path, *, text: str = "MARK IS HERE") -> Original:
    """Two speakers, three clips, Kaldi's files beside them; the hash is over what is written down here."""
    listed = BY_NAME["speechocean762_test"].clips()
    clips = [listed[13], listed[0], listed[1]]
    rows = [
        ("so_000030012", "0003", "m", 6, 1), ("so_000030024", "0003", "m", 6, 2), ("so_000240031", "0024", "f", 7, 1)
    ]  # fmt: skip
    expected = sorted(
        [key, {"text": "MARK IS HERE", "speaker": speaker, "sex": sex, "age": age, "language": "en", "index": index,
               "seconds": next(clip.seconds for clip in clips if clip.file[:9] == key[3:])}]
        for key, speaker, sex, age, index in rows
    )  # fmt: skip
    folder = sources / "speechocean762_test" / "speechocean762" / "test"
    folder.mkdir(parents=True)
    names = [key[3:] for key, *_ in rows]
    (folder / "text").write_text("".join(f"{name}\t{text}\n" for name in names))
    (folder / "utt2spk").write_text("".join(f"{key[3:]} {speaker}\n" for key, speaker, *_ in rows))
    (folder / "spk2gender").write_text("0003 m\n0024 f\n")
    (folder / "spk2age").write_text("0003\t6\n0024\t7\n")

    digest = hashlib.sha256(json.dumps(expected, sort_keys=True).encode()).hexdigest()
    return part(BY_NAME["speechocean762_test"], clips, digest)


def test_speechocean_takes_its_labels_from_the_original(tmp_path):
    original = speechocean(tmp_path / "sources")
    write_original(original, tmp_path / "sources")
    (report,) = make_sets([original], tmp_path / "sources", tmp_path / "out")
    assert report.problems == []
    found = archived(tmp_path / "out" / original.name)
    assert {key: entry[2]["index"] for key, entry in found.items()} == {
        "so_000030012": 1, "so_000030024": 2, "so_000240031": 1
    }  # fmt: skip


def test_another_edition_of_the_texts_is_refused(tmp_path):
    original = speechocean(tmp_path / "sources", text="MARK WAS HERE")
    write_original(original, tmp_path / "sources")
    (report,) = make_sets([original], tmp_path / "sources", tmp_path / "out", skip_bad=True)
    assert not report.written and "another edition" in report.problems[0]
    assert not (tmp_path / "out").exists()


def damaged(tmp_path: Path) -> tuple[Original, list[Path]]:
    """Of six clips one is missing, one a pointer, one of another length."""
    original = small("fsdd", 6)
    paths = write_original(original, tmp_path / "sources")
    paths[1].unlink()
    paths[2].write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n")
    soundfile.write(paths[4], tone(3.0, 4), RATE_HZ)
    return original, paths


def test_bad_files_are_named_and_nothing_stays(tmp_path):
    original, paths = damaged(tmp_path)
    (report,) = make_sets([original], tmp_path / "sources", tmp_path / "out")
    assert not report.written and len(report.problems) == 3
    for problem, path, word in zip(report.problems, (paths[1], paths[2], paths[4]), ("missing", "LFS", "3.000 s"),
                                   strict=True):  # fmt: skip
        assert path.name in problem and word in problem
    assert not (tmp_path / "out").exists()


def test_a_set_without_its_bad_files_is_made_when_asked(tmp_path):
    original, _ = damaged(tmp_path)
    (report,) = make_sets([original], tmp_path / "sources", tmp_path / "out", skip_bad=True)
    assert report.written and report.clips == len(archived(tmp_path / "out" / "fsdd")) == 3
    assert len(json.loads((tmp_path / "out" / "fsdd" / "origin.json").read_text())["left_out"]) == 3


def test_the_same_original_gives_the_same_bytes(tmp_path):
    original = small("fsdd")
    write_original(original, tmp_path / "sources")
    (first,) = make_sets([original], tmp_path / "sources", tmp_path / "one")
    (second,) = make_sets([original], tmp_path / "sources", tmp_path / "two")
    assert first.hash == second.hash
    tars = sorted(path.name for path in (tmp_path / "one" / "fsdd").glob("*.tar"))
    assert tars
    assert all((tmp_path / "one/fsdd" / name).read_bytes() == (tmp_path / "two/fsdd" / name).read_bytes()
               for name in tars)  # fmt: skip


def test_copies_are_taken_and_different_files_of_one_name_are_not(tmp_path):
    original = small("ravdess")
    paths = write_original(original, tmp_path / "sources")
    again = tmp_path / "sources" / "ravdess" / "audio_speech_actors_01-24"
    for path in paths:
        (again / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, again / path.parent.name)
    (report,) = make_sets([original], tmp_path / "sources", tmp_path / "out")
    assert report.clips == 4
    soundfile.write(again / paths[0].parent.name / paths[0].name, tone(1.0, 9), RATE_HZ)
    (report,) = make_sets([original], tmp_path / "sources", tmp_path / "other")
    assert not report.written and "more than once" in report.problems[0]


def test_the_folder_tells_files_of_one_name_apart(tmp_path):
    """Speech Commands names a speaker's recordings alike in every word's folder."""
    (word,) = [
        clip for clip in BY_NAME["speech_commands_v2_testset"].clips() if clip.file == "on/e1469561_nohash_2.wav"
    ]
    original = part(BY_NAME["speech_commands_v2_testset"], [word])
    (path,) = write_original(original, tmp_path / "sources")
    for other in ("off", "_unknown_", "common"):
        (path.parents[1] / other).mkdir()
        soundfile.write(path.parents[1] / other / path.name, tone(1.0, 50), RATE_HZ)
    (report,) = make_sets([original], tmp_path / "sources", tmp_path / "out")
    ((_, _, _, audio),) = archived(tmp_path / "out" / original.name).values()
    assert report.clips == 1 and audio == path.read_bytes()


def test_what_exists_is_refused_before_anything_is_made(tmp_path):
    first, second = small("fsdd"), small("ravdess")
    for original in (first, second):
        write_original(original, tmp_path / "sources")
    make_sets([second], tmp_path / "sources", tmp_path / "out")
    with pytest.raises(OutputError, match="exists"):
        make_sets([first, second], tmp_path / "sources", tmp_path / "out")
    assert not (tmp_path / "out" / "fsdd").exists()
    reports = make_sets([first, second], tmp_path / "sources", tmp_path / "out", overwrite=True)
    assert all(report.written for report in reports)
    (tmp_path / "out" / "fsdd" / "origin.json").unlink()  # now a folder that was not made here
    with pytest.raises(OutputError, match="not replaced"):
        make_sets([first], tmp_path / "sources", tmp_path / "out", overwrite=True)


def test_a_failed_replacement_leaves_the_old_set(tmp_path):
    original = small("fsdd")
    paths = write_original(original, tmp_path / "sources")
    make_sets([original], tmp_path / "sources", tmp_path / "out")
    before = archived(tmp_path / "out" / "fsdd")
    paths[0].unlink()
    (report,) = make_sets([original], tmp_path / "sources", tmp_path / "out", overwrite=True)
    assert not report.written and archived(tmp_path / "out" / "fsdd") == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["fsdd"]


def test_what_is_stopped_leaves_nothing(tmp_path):
    original = small("fsdd")
    write_original(original, tmp_path / "sources")

    def stop(done, _):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_sets([original], tmp_path / "sources", tmp_path / "out", progress=stop)
    assert not (tmp_path / "out").exists()


def test_evaluate_reads_what_was_made(tmp_path):
    """Through the suite's own rules, on four clips a speaker."""
    whole = BY_NAME["fsdd"]
    clips = [clip for clip in whole.clips() if clip.file[2:].split("_")[1] in ("1.wav", "10.wav")]
    original = part(whole, clips)
    write_original(original, tmp_path / "sources")
    make_sets([original], tmp_path / "sources", tmp_path / "out")
    (task,) = [task for task in load_suite("mini").tasks if task.name == "fsdd"]
    found = find_clips(replace(task, expected_clips=None, expected_classes=None), tmp_path / "out")
    assert len(found.clips) == len(clips) > 20
    assert {clip.fold for clip in found.clips} == {"george", "jackson", "lucas", "nicolas", "theo", "yweweler"}
    assert all(clip.label == clip.id.rpartition("/")[2][0] for clip in found.clips)


def test_the_command_makes_what_is_there_and_names_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr("uniwhisper.evaluation.originals.sets.ORIGINALS", {"mini": (small("fsdd"), small("ravdess"))})
    write_original(small("fsdd"), tmp_path / "sources")
    (tmp_path / "sources" / "ravdess").mkdir()
    (tmp_path / "sources" / "ravdess" / "Audio_Speech_Actors_01-24.zip").write_bytes(b"PK")
    done = uniwhisper("data", "suite", "mini", "sources", "-o", "evaluation", cwd=tmp_path)
    assert done.returncode == 1 and "evaluation/fsdd  4 clips, hash " in done.stdout
    assert "still packed" in done.stderr
    assert "https://zenodo.org/records/1188976" in done.stderr and "CC BY-NC-SA 4.0" in done.stderr
    again = uniwhisper("data", "suite", "mini", "sources", "-o", "evaluation", cwd=tmp_path)
    assert again.returncode == 2 and "--overwrite" in again.stderr
    one = uniwhisper(
        "data", "suite", "mini", "sources", "-o", "evaluation", "--set", "fsdd", "--overwrite", "--json", cwd=tmp_path
    )
    assert one.returncode == 0 and json.loads(one.stdout)["sets"][0]["clips"] == 4


def test_no_original_at_all_is_an_error(tmp_path):
    (tmp_path / "sources").mkdir()
    done = uniwhisper("data", "suite", "mini", "sources", "-o", "evaluation", cwd=tmp_path)
    assert done.returncode == 2 and "no set of mini was made" in done.stderr
    assert all(original.url in done.stderr and original.licence in done.stderr for original in MINI)
    assert not (tmp_path / "evaluation").exists()
    done = uniwhisper("data", "suite", "mini", "nowhere", "-o", "evaluation", cwd=tmp_path)
    assert done.returncode == 2 and "nowhere is no folder" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dev", "x", "-o", "y"], "not made here"),
        (["minni", "x", "-o", "y"], "no suite"),
        (["mini", "x", "-o", "y", "--set", "esc"], "has no set"),
        (["mini", "x"], "-o"),
        (["mini", "x", "-o", "y", "--audio", "mp3"], "kept or opus"),
    ],
)
def test_wrong_words_are_refused(tmp_path, words, said):
    done = uniwhisper("data", "suite", *words, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_the_lists_name_every_origin(tmp_path):
    listed = uniwhisper("data", "suite", "mini", cwd=tmp_path)
    tasks = uniwhisper("evaluate", "--list", cwd=tmp_path)
    rows = json.loads(uniwhisper("evaluate", "--list", "--json", cwd=tmp_path).stdout)
    (mini,) = [suite for suite in rows if suite["name"] == "mini"]
    assert "uniwhisper data suite mini SOURCES -o DIR" in tasks.stdout
    of_mini = tasks.stdout.partition("\nmini: ")[2].partition("\npaper-20: ")[0].splitlines()
    for original in MINI:
        assert original.url in listed.stdout and original.licence in listed.stdout
        of_set = [task for task in mini["tasks"] if task["folder"] == original.name]
        assert of_set and all(task["download"] == original.url for task in of_set)
        lines = [line for line in of_mini if f"DIR/{original.name} " in line]
        assert lines and all(original.url in line for line in lines)


def test_lengths_are_heard_not_read_from_headers(tmp_path):
    """A file cut off after its header is named, whatever length it promises."""
    original = small("fsdd")
    paths = write_original(original, tmp_path / "sources")
    whole = paths[3].read_bytes()
    paths[3].write_bytes(whole[: len(whole) // 2])
    (report,) = make_sets([original], tmp_path / "sources", tmp_path / "out")
    assert len(report.problems) == 1 and paths[3].name in report.problems[0]
