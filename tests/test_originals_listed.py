"""Which clips the sets of `mini` are made of, their labels and folds, and that `--list` says where they come from.

Compared with what was written down from the sets of the published figures, and with the shared audio where it is.
"""

import json
from pathlib import Path

import pytest

from command import uniwhisper
from toy_originals import BY_NAME, archived
from uniwhisper.evaluation.originals.sets import MINI, hash_labels
from uniwhisper.evaluation.suites import load_suite

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
