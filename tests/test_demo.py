"""The synthetic sounds are what their labels say, and the demo's pages hold what they promise."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from command import uniwhisper
from conftest import SAMPLE_RATE_HZ, tone
from small import QUIET, write_encoder, write_language_model
from uniwhisper.core.errors import AudioError, OutputError
from uniwhisper.data.prepare import prepare
from uniwhisper.demo.corpus import variants, write_corpus
from uniwhisper.demo.folder import run_folder
from uniwhisper.demo.neighbours import nearest
from uniwhisper.demo.run import run_demo
from uniwhisper.demo.synth import KINDS, synthesise
from uniwhisper.evaluation.places import places_on_map
from uniwhisper.model.weights import packaged_default
from uniwhisper.recipes.demo import demo
from uniwhisper.training.build import build_model
from uniwhisper.training.overrides import override


def band_power(wave_S: np.ndarray, low_hz: float, high_hz: float) -> float:
    power = np.abs(np.fft.rfft(wave_S)) ** 2
    frequencies = np.fft.rfftfreq(len(wave_S), 1 / SAMPLE_RATE_HZ)
    return power[(frequencies >= low_hz) & (frequencies < high_hz)].sum()


def loud_stretches(wave_S: np.ndarray, window: int = 400) -> int:
    """How often the level rises above half of its highest value."""
    level = np.sqrt((wave_S[: len(wave_S) // window * window].reshape(-1, window) ** 2).mean(1))
    loud = level > 0.5 * level.max()
    return int(loud[0]) + int((loud[1:] & ~loud[:-1]).sum())


@pytest.mark.parametrize("label", KINDS)
def test_a_sound_is_a_function_of_its_number(label):
    one, again, other = synthesise(label, 3), synthesise(label, 3), synthesise(label, 4)
    np.testing.assert_array_equal(one.wave_S, again.wave_S)
    assert len(one.wave_S) != len(other.wave_S) or np.abs(one.wave_S - other.wave_S).max() > 0.01
    assert not np.array_equal(one.wave_S, synthesise(label, 3, seed=1).wave_S[: len(one.wave_S)])


@pytest.mark.parametrize("label", KINDS)
@pytest.mark.parametrize("variant", range(8))
def test_sounds_are_audio_of_one_to_four_seconds(label, variant):
    sound = synthesise(label, variant)
    assert sound.wave_S.dtype == np.float32 and sound.wave_S.ndim == 1
    assert np.isfinite(sound.wave_S).all() and 0.05 < np.abs(sound.wave_S).max() <= 0.91
    assert 1.0 <= sound.seconds <= 4.01 and sound.seconds == len(sound.wave_S) / SAMPLE_RATE_HZ


@pytest.mark.parametrize("variant", range(8))
def test_sounds_do_what_their_labels_say(variant):
    def peaks(label: str) -> np.ndarray:
        wave_S = synthesise(label, variant).wave_S
        rows = wave_S[: len(wave_S) // 1600 * 1600].reshape(-1, 1600) * np.hanning(1600)
        return np.abs(np.fft.rfft(rows)).argmax(1) * 10.0  # loudest frequency in hertz, every 100 ms

    assert np.ptp(peaks("steady tone")) <= 10
    assert (np.diff(peaks("rising sweep")) >= 0).all() and np.ptp(peaks("rising sweep")) > 100
    assert (np.diff(peaks("falling sweep")) <= 0).all() and np.ptp(peaks("falling sweep")) > 100
    assert loud_stretches(synthesise("two beeps", variant).wave_S) == 2
    assert loud_stretches(synthesise("three beeps", variant).wave_S) == 3
    # The first two formants lie together in "ah" (Peterson and Barney: 730, 1090 Hz), far apart in "ee" (270, 2290).
    for vowel, middle_is_louder in (("ah", True), ("ee", False)):
        wave_S = synthesise(f"vowel {vowel}", variant).wave_S
        assert bool(band_power(wave_S, 600, 1500) > band_power(wave_S, 1900, 3600)) == middle_is_louder


def test_held_out_variants_differ_from_training_variants():
    training = {sound.wave_S.tobytes() for sound in variants(0, 3)}
    held_out = {sound.wave_S.tobytes() for sound in variants(3, 3)}
    assert len(training) == len(held_out) == 3 * len(KINDS)
    assert not training & held_out


def test_the_corpus_is_prepared_like_any_other(tmp_path):
    sounds = [sound for sound in variants(0, 1) if sound.label in {"bell", "two beeps"}]
    write_corpus(sounds, tmp_path / "corpora" / "synthetic")
    with tarfile.open(tmp_path / "corpora" / "synthetic" / "sounds.tar") as archive:
        assert len(archive.getnames()) == 2 * len(sounds)
    manifest = prepare(tmp_path / "corpora", tmp_path / "prepared")
    description = manifest.corpora["synthetic"]
    answers = {record.fields["label"]: description.answers(record.id, record.fields) for record in manifest.records}
    assert answers["two beeps"] == {"sound_tag": "two beeps"}
    assert {round(record.seconds, 3) for record in manifest.records} == {round(sound.seconds, 3) for sound in sounds}


def test_the_corpus_is_the_same_bytes_every_time(tmp_path):
    sounds = variants(0, 1)[:2]
    write_corpus(sounds, tmp_path / "one")
    write_corpus(sounds, tmp_path / "two")
    for name in ("sounds.tar", "corpus.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_nearest_neighbours_by_hand():
    # Angles 0, 10, 90 and 200 degrees, lengths that must not matter.
    angles = np.radians([0, 10, 90, 200])
    vectors_ND = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array([[1], [5], [0.1], [2]])
    indices, similarities = nearest(vectors_ND, 2)
    assert indices.tolist() == [[1, 2], [0, 2], [1, 0], [2, 0]]
    np.testing.assert_allclose(similarities[2], np.cos(np.radians([80, 90])), atol=1e-12)
    assert nearest(vectors_ND[:2], 5)[0].tolist() == [[1], [0]]


@pytest.mark.parametrize("count", [2, 3, 29, 30, 70])
def test_the_map_keeps_groups_apart(count):
    draw = np.random.default_rng(0)
    centres = np.eye(6)[[0, 1]] * 10
    groups = np.arange(count) % 2
    points, method = places_on_map(centres[groups] + 0.1 * draw.standard_normal((count, 6)))
    assert points.shape == (count, 2) and np.isfinite(points).all()
    assert ("t-SNE" in method) == (count >= 30)
    gap = np.linalg.norm(points[groups == 0].mean(0) - points[groups == 1].mean(0))
    assert all(np.linalg.norm(points[groups == g] - points[groups == g].mean(0), axis=1).max() < gap for g in (0, 1))


def test_equal_vectors_have_a_map():
    points, _ = places_on_map(np.ones((4, 3)))
    assert np.isfinite(points).all()


def run_quietly(folder: Path, output: Path, model: Path) -> tuple[Path, int]:
    return run_folder(folder, output, model=str(model), say=lambda _: None)


def test_a_folder_of_recordings_becomes_a_page(tiny_model, tmp_path):
    folder = tmp_path / "my <b>sounds</b>"
    for name in ("a/dog.wav", "a/cat & mouse.wav", "b/dog.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, tone(0.5, 200 + 100 * len(name)), SAMPLE_RATE_HZ)
    (folder / "broken.wav").write_bytes(b"not audio")
    done = uniwhisper("demo", "--audio", folder, "-o", tmp_path / "out", "--model", tiny_model)
    assert done.returncode == 1, done.stderr
    assert done.stdout.strip() == str(tmp_path / "out" / "report.html")
    html = (tmp_path / "out" / "report.html").read_text()
    for text in ("a/dog.wav", "b/dog.wav", "a/cat &amp; mouse.wav", "broken.wav", "data:image/png;base64,"):
        assert text in html
    # A phone gets a picture of its own, and what identifies the vectors is not cut.
    assert html.count('<source media="(max-width: 640px)"') == 1
    identity = json.loads((tmp_path / "out" / "demo.json").read_text())["identity"]
    assert all(f"<dt>{name}</dt><dd>{value}</dd>" in html for name, value in identity.items())
    assert "<b>sounds" not in html and "http" not in html.replace("http-equiv", "")
    facts = json.loads((tmp_path / "out" / "demo.json").read_text())
    assert facts["finished"] and facts["files"] == 3 and len(facts["failed"]) == 1


def test_one_recording_has_no_neighbours(tiny_model, tone_files, tmp_path):
    path, failures = run_quietly(tone_files[0], tmp_path / "out", tiny_model)
    assert failures == 0
    assert "at least two files" in path.read_text()


def test_more_rows_than_fit_are_folded(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr("uniwhisper.demo.folder.MOST_OPEN_ROWS", 3)
    for number in range(5):
        soundfile.write(tmp_path / f"{number}.wav", tone(0.2, 200 + 100 * number), SAMPLE_RATE_HZ)
    html = run_quietly(tmp_path, tmp_path / "out", tiny_model)[0].read_text()
    assert "2 more files" in html and html.index("3. 2.wav") < html.index("2 more files") < html.index("4. 3.wav")


def test_a_folder_of_somebody_else_is_not_emptied(tiny_model, tone_files, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="not empty"):
        run_quietly(tone_files[0], output, tiny_model)
    with pytest.raises(OutputError, match="choose another -o"):
        run_demo(output, demo(), say=lambda _: None, console=QUIET)
    assert (output / "thesis.txt").read_text() == "years of work"
    (output / "thesis.txt").unlink()
    for _ in range(2):  # an empty folder is taken, and so is an earlier demo's
        run_quietly(tone_files[0], output, tiny_model)
    assert {path.name for path in output.iterdir()} == {"report.html", "demo.json"}


@pytest.mark.parametrize("linked", [False, True])
def test_recordings_inside_the_output_are_not_deleted(tiny_model, tone_files, tmp_path, linked):
    output = tmp_path / "out"
    run_quietly(tone_files[0], output, tiny_model)
    mine = output / "mine" / "dog.wav"
    mine.parent.mkdir()
    soundfile.write(mine, tone(0.3), SAMPLE_RATE_HZ)
    if linked:
        (tmp_path / "link.wav").symlink_to(mine)
    before = mine.read_bytes()
    for folder in [tmp_path / "link.wav"] if linked else [output, output / "mine", mine]:
        with pytest.raises(OutputError, match="lies in the output"):
            run_quietly(folder, output, tiny_model)
    assert mine.read_bytes() == before and (output / "report.html").is_file()


def test_an_output_that_is_a_file_is_refused(tiny_model, tone_files, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError):
        run_quietly(tone_files[0], tmp_path / "out", tiny_model)
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("content", [{}, {"a.wav": b"", "b.wav": b"text"}])
def test_a_folder_without_usable_audio_is_an_error(content, tiny_model, tmp_path):
    (tmp_path / "sounds").mkdir()
    for name, data in content.items():
        (tmp_path / "sounds" / name).write_bytes(data)
    with pytest.raises(AudioError):
        run_quietly(tmp_path / "sounds", tmp_path / "out", tiny_model)
    assert not (tmp_path / "out" / "report.html").exists()


def test_the_recipe_trains_the_packaged_model_with_its_own_adapter():
    adapter = build_model(demo(), torch.device("cpu")).adapter
    packaged = load_file(packaged_default() / "adapter.safetensors")
    assert set(packaged) == set(adapter.state_dict())
    assert all(torch.equal(weight, packaged[name].float()) for name, weight in adapter.state_dict().items())


def test_the_whole_path_runs(tmp_path):
    """Two steps with a small random model: every step happens, and the page shows what the facts say."""
    start = write_encoder(tmp_path / "start")
    write_language_model(tmp_path / "text").rename(start / "lm")
    recipe = override(demo(), [f"model.start={start}", "steps=2", "data.clips_per_step=4", "loop.log_every_steps=1"])
    said: list[str] = []
    path = run_demo(tmp_path / "out", recipe, say=said.append, console=QUIET, training_variants=2, held_out_variants=3)
    html, facts = path.read_text(), json.loads((tmp_path / "out" / "demo.json").read_text())
    assert facts["finished"] and facts["training_clips"] == 2 * len(KINDS) and facts["held_out_clips"] == 3 * len(KINDS)
    for moment, accuracy in facts["knn_accuracy"].items():
        assert f"{accuracy:.1%} {moment}" in said[-1] and f"<td>{accuracy:.1%}</td>" in html
    assert html.count('<source media="(max-width: 640px)"') == 2
    assert html.count("<audio") == len(KINDS) and all(f'<th scope="row">{label}' in html for label in KINDS)
    assert (tmp_path / "out" / "training" / "model" / "encoder.safetensors").is_file()
