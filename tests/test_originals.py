"""Public originals -> the folders that the suite `mini` reads, on made-up originals of the documented layouts."""

import hashlib
import io
import json
import shutil
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from command import uniwhisper
from toy_originals import BY_NAME, RATE_HZ, archived, part, small, tone, write_original
from uniwhisper.core.errors import OutputError
from uniwhisper.evaluation.clips import find_clips
from uniwhisper.evaluation.originals.make import make_sets
from uniwhisper.evaluation.originals.sets import MINI, Original
from uniwhisper.evaluation.suites import load_suite


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


def test_lengths_are_heard_not_read_from_headers(tmp_path):
    """A file cut off after its header is named, whatever length it promises."""
    original = small("fsdd")
    paths = write_original(original, tmp_path / "sources")
    whole = paths[3].read_bytes()
    paths[3].write_bytes(whole[: len(whole) // 2])
    (report,) = make_sets([original], tmp_path / "sources", tmp_path / "out")
    assert len(report.problems) == 1 and paths[3].name in report.problems[0]
