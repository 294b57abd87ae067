"""Clips that `data prepare --leave-out` goes without, on real WAV files beside a table."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from uniwhisper.cli.data import app
from uniwhisper.core.errors import ManifestError
from uniwhisper.data.indexed import IndexedManifest
from uniwhisper.data.left_out import Rule
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.measured import measure
from uniwhisper.data.merge import merge
from uniwhisper.data.overlap import OverlapReport, without_overlap
from uniwhisper.data.prepare import prepare, prepare_folder

CLIPS = (
    {"id": "a", "label": "rain", "license": "CC BY 4.0", "clear_terms": True},
    {"id": "b", "label": "rain", "license": "CC BY-NC 4.0", "clear_terms": True},
    {"id": "c", "label": "wind", "license": "MIT", "clear_terms": False},
    {"id": "e", "label": "wind", "license": ""},
    {"id": "d", "label": "wind", "tags": ["wind", "night"], "age": 3.0},
)


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    folder = tmp_path / "corpora" / "weather"
    folder.mkdir(parents=True)
    description = {"domain": "sound", "licence": "mixed", "tasks": {"sound_tag": {"field": "label", "clean": "words"}}}
    (folder / "corpus.json").write_text(json.dumps(description))
    generator = np.random.default_rng(0)
    lines = []
    for clip in CLIPS:
        name = f"{clip['id']}.wav"
        soundfile.write(folder / name, 0.1 * generator.standard_normal(8000), 16_000)
        lines.append(json.dumps({"file_name": name, **{key: value for key, value in clip.items() if key != "id"}}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder.parent


def kept(manifest: Manifest) -> set[str]:
    return {record.id.rpartition("/")[2].removesuffix(".wav") for record in manifest.records}


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ([], "abcde"),
        (["license=*nc*"], "acde"),  # whatever the case
        (["clear_terms=false"], "abde"),
        (["clear_terms=false", "license=*-NC *"], "ade"),
        (["label=wind"], "ab"),
        (["tags=night"], "abce"),  # one of several values
        (["label=win"], "abcde"),  # the whole value, not a part
        (["age=3"], "abce"),  # as a table with gaps holds a whole number
        (["age=3.0"], "abce"),
        (["license=mixed"], "abc"),  # a clip without one, or with an empty one, has its corpus's
    ],
)
def test_clips_of_such_fields_are_not_in_the_manifest(corpora, tmp_path, rules, left):
    assert kept(prepare(corpora, tmp_path / "prepared", leave_out=rules)) == set(left)


def test_what_is_left_out_is_counted_and_never_decoded(corpora, tmp_path):
    (corpora / "weather" / "c.wav").write_bytes(b"no sound at all")
    _, notes = prepare_folder(corpora, tmp_path / "prepared", leave_out=["clear_terms=false"])
    assert notes == ["weather: 1 clip left out by clear_terms=false"]
    with pytest.raises(ManifestError):
        prepare_folder(corpora, tmp_path / "again")


def test_a_rule_about_a_field_that_no_clip_has_is_refused_and_nothing_is_written(corpora, tmp_path):
    with pytest.raises(ManifestError, match=r"licence=.* is about nothing") as caught:
        prepare(corpora, tmp_path / "prepared", leave_out=["licence=*NC*"])
    assert caught.value.expected.endswith(": age, clear_terms, label, license, tags")
    assert not list((tmp_path / "prepared").glob("*"))
    with pytest.raises(ManifestError, match=r"0 bad clips; 5 left out .*\n.*or leave out less"):
        prepare(corpora, tmp_path / "prepared", leave_out=["label=*"])


def test_such_a_rule_is_refused_before_any_audio_is_read(corpora, tmp_path):
    for clip in CLIPS:
        (corpora / "weather" / f"{clip['id']}.wav").write_bytes(b"no sound at all")
    done: list[int] = []
    for skip_bad in (False, True):
        with pytest.raises(ManifestError, match=r"licence=.* is about nothing"):
            prepare(
                corpora, tmp_path / "prepared", leave_out=["age=9", "licence=*NC*"], skip_bad=skip_bad,
                progress=lambda clips, _: done.append(clips),
            )  # fmt: skip
    assert not done


@pytest.mark.parametrize("rule", ["age=9", "label=fog"])  # in the last clip only; in every clip
def test_a_rule_that_leaves_nothing_out_changes_no_clip(corpora, tmp_path, rule):
    without = prepare(corpora, tmp_path / "without")
    assert prepare(corpora, tmp_path / "with", leave_out=[rule]).records == without.records


def test_a_rule_that_no_clip_is_like_is_said(corpora, tmp_path):
    _, notes = prepare_folder(corpora, tmp_path / "prepared", leave_out=["license=NC", "label=rain"])
    assert notes == [
        "weather: 2 clips left out by label=rain",
        "no clip left out by license=NC: no license is like that",
    ]
    # One whose clips another rule took is like some.
    _, notes = prepare_folder(corpora, tmp_path / "again", leave_out=["label=wind", "clear_terms=false"])
    assert notes == ["weather: 3 clips left out by label=wind"]


def header(folder: Path) -> dict:
    return json.loads((folder / "manifest.jsonl").read_text().split("\n")[0])


def test_the_manifest_says_what_was_left_out_by_which_rule(corpora, tmp_path):
    rules = ["label=rain", "license=CC*", "label=fog"]  # a clip of both counts for the first; the last is like none
    manifest = prepare(corpora, tmp_path / "prepared", leave_out=rules)
    assert manifest.left_out == {"label=rain": {"weather": 2}, "license=CC*": {}, "label=fog": {}}
    assert list(manifest.left_out) == rules
    assert header(tmp_path / "prepared")["left_out"] == [
        {"rule": "label=rain", "clips": {"weather": 2}},
        {"rule": "license=CC*", "clips": {}},
        {"rule": "label=fog", "clips": {}},
    ]
    # It is known of the manifest, and no part of what identifies a training set.
    assert Manifest.of(manifest.records, manifest.corpora, manifest.root).hash == manifest.hash
    assert IndexedManifest.open(tmp_path / "prepared").left_out == manifest.left_out
    manifest.write(tmp_path / "copy")
    assert Manifest.read(tmp_path / "copy").left_out == manifest.left_out


def test_the_first_line_of_a_manifest_without_rules_has_no_word_of_them(corpora, tmp_path):
    manifest = prepare(corpora, tmp_path / "prepared")
    known = {"format", "version", "hash", "root", "counts", "corpora", "skipped"}
    assert set(header(tmp_path / "prepared")) == known and manifest.left_out == {}


def test_what_was_left_out_is_still_said_of_manifests_made_of_it(corpora, tmp_path):
    (corpora / "other").mkdir()
    for path in (corpora / "weather").iterdir():
        (corpora / "other" / path.name).write_bytes(path.read_bytes())
    for name in ("weather", "other"):
        (tmp_path / name).mkdir()
        (corpora / name).rename(tmp_path / name / name)
        rules = ["label=rain", "age=3"] if name == "other" else ["label=rain"]
        prepare(tmp_path / name, tmp_path / f"prepared-{name}", leave_out=rules)
    merge([tmp_path / "prepared-weather", tmp_path / "prepared-other"], tmp_path / "merged")
    merged = Manifest.read(tmp_path / "merged")
    assert merged.left_out == {"label=rain": {"weather": 2, "other": 2}, "age=3": {"other": 1}}
    measure(merged, tmp_path / "measured")
    assert Manifest.read(tmp_path / "measured").left_out == merged.left_out
    report = OverlapReport(merged.hash, "", 0, 0, 0, ())
    assert without_overlap(merged, report).left_out == merged.left_out


@pytest.mark.parametrize("wrong", [3, ["label=rain"], [{"rule": "label=rain"}], [{"rule": "a=b", "clips": {"c": "x"}}]])
def test_a_first_line_that_says_it_otherwise_is_refused(corpora, tmp_path, wrong):
    prepare(corpora, tmp_path / "prepared")
    path = tmp_path / "prepared" / "manifest.jsonl"
    first, rest = path.read_text().split("\n", 1)
    path.write_text(json.dumps(json.loads(first) | {"left_out": wrong}) + "\n" + rest)
    with pytest.raises(ManifestError, match=r"line 1\n.*`left_out`"):
        Manifest.read(path)


def test_the_command_takes_several_rules_and_says_what_they_did(corpora, tmp_path):
    arguments = ["prepare", str(corpora), "-o", str(tmp_path / "prepared"), "--json"]
    done = CliRunner().invoke(app, [*arguments, "--leave-out", "license=*-NC*", "--leave-out", "clear_terms=false"])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert [row["clips"] for row in summary["corpora"]] == [3]
    assert sorted(summary["notes"]) == [
        "weather: 1 clip left out by clear_terms=false",
        "weather: 1 clip left out by license=*-NC*",
    ]


@given(st.text(min_size=1).filter(lambda text: not set(text) & set("*?[")))
def test_a_value_without_wildcards_is_like_itself_in_any_case_and_like_nothing_longer(value):
    rule = Rule("field", value)
    assert rule.matches({"field": value}) and rule.matches({"field": [None, value]})
    assert not rule.matches({"field": value + "x"}) and not rule.matches({"other": value})
    assert rule.matches({"field": value.casefold()})


@pytest.mark.parametrize("text", ["license", "=NC", "license="])
def test_a_rule_of_another_form_is_refused(text):
    with pytest.raises(ManifestError, match="FIELD=PATTERN"):
        Rule.parse(text)
