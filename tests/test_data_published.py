"""Parsers of published corpora, on folders generated with the layout and file formats that the publishers document.

What is checked is the layout as documented, not the corpora themselves: they are not at hand.
"""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from uniwhisper.core.errors import ManifestError
from uniwhisper.data.corpora import DOMAINS
from uniwhisper.data.decoded import EncodedReader
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.named import prepare_named
from uniwhisper.data.published.registry import published_corpora

FORMATS = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".mp3": ("MP3", None), ".au": ("AU", "PCM_16")}


def sound(path: Path, seconds: float, rate: int, channels: int = 1) -> None:
    """Noise in the format that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.1 * np.random.default_rng(len(path.name)).standard_normal((round(seconds * rate), channels))
    format_, subtype = FORMATS[path.suffix.lower()]
    soundfile.write(path, wave, rate, format=format_, subtype=subtype)


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines))


def speech_commands(root: Path) -> dict[str, dict]:
    for name in ("bed/0a_nohash_0.wav", "seven/0b_nohash_1.wav", "bed/0c_nohash_0.wav", "bed/0d_nohash_0.wav"):
        sound(root / name, 1.0, 16_000)
    sound(root / "_background_noise_" / "pink_noise.wav", 2.0, 16_000)
    text(root / "validation_list.txt", "bed/0c_nohash_0.wav")
    text(root / "testing_list.txt", "bed/0d_nohash_0.wav")
    return {
        "bed/0a_nohash_0": {"keyword": "bed", "transcription": "bed"},
        "seven/0b_nohash_1": {"keyword": "seven", "digit": "seven", "transcription": "seven"},
    }


def fluent_speech_commands(root: Path) -> dict[str, dict]:
    path = "wavs/speakers/2BqVo8kVB2Skwgyb/0a3129c0-4474-11e9-a9a5-5dbec3b8816a.wav"
    header = ",path,speakerId,transcription,action,object,location"
    for split in ("train", "valid", "test"):
        text(root / "data" / f"{split}_data.csv", header, f"0,{path},2BqVo8kVB2Skwgyb,Lights on,activate,lights,none")
    sound(root / path, 1.2, 16_000)
    return {Path(path).stem: {"intent": ("activate", (("object", "lights"),)), "transcription": "Lights on"}}


def crema_d(root: Path) -> dict[str, dict]:
    text(root / "VideoDemographics.csv", "ActorID,Age,Sex,Race,Ethnicity", "1001,51,Male,Caucasian,Not Hispanic")
    sound(root / "AudioWAV" / "1001_DFA_ANG_XX.wav", 1.0, 16_000)
    return {"1001_DFA_ANG_XX": {"emotion": "angry", "speaker_sex": "male", "age_group": "adult"}}


def covost2(root: Path) -> dict[str, dict]:
    text(
        root / "de" / "covost_v2.de_en.tsv",
        "path\ttranslation\tsplit",
        'common_voice_de_1.mp3\tHe said "no" twice.\ttrain',
        "common_voice_de_2.mp3\tNot this one.\ttest",
    )
    sound(root / "de" / "clips" / "common_voice_de_1.mp3", 1.5, 48_000)
    answers = {"speech_translation": 'He said "no" twice.', "language": "German"}
    return {"de/common_voice_de_1": answers}


def asvspoof2019_la(root: Path) -> dict[str, dict]:
    lines = ("LA_0079 LA_T_1138215 - - bonafide", "LA_0079 LA_T_1271820 - A01 spoof")
    text(root / "ASVspoof2019_LA_cm_protocols" / "ASVspoof2019.LA.cm.train.trn.txt", *lines)
    for name in ("LA_T_1138215", "LA_T_1271820"):
        sound(root / "ASVspoof2019_LA_train" / "flac" / f"{name}.flac", 1.0, 16_000)
    return {"LA_T_1138215": {"spoofing": "genuine"}, "LA_T_1271820": {"spoofing": "spoofed"}}


def speechocean762(root: Path) -> dict[str, dict]:
    clip, train = "000010011", root / "train"
    sound(root / "WAVE" / "SPEAKER0001" / f"{clip}.WAV", 1.0, 16_000)
    text(train / "wav.scp", f"{clip}\tWAVE/SPEAKER0001/{clip}.WAV")
    text(train / "text", f"{clip}\tONE TWO")
    text(train / "utt2spk", f"{clip} 0001")
    text(train / "spk2gender", "0001 m")
    text(train / "spk2age", "0001 6")
    scores = {clip: {"text": "ONE TWO", "accuracy": 8, "completeness": 10.0, "fluency": 9, "prosodic": 9, "total": 8}}
    text(root / "resource" / "scores.json", json.dumps(scores))
    answers = {"pronunciation": 8, "transcription": "One two", "speaker_sex": "male", "age_group": "child"}
    return {clip: answers}


def fsd50k(root: Path) -> dict[str, dict]:
    lines = ('64760,"Wind,Rain_on_surface","/m/03m9d0z,/m/0x",train', '16399,"Dog","/m/0bt9lr",val')
    text(root / "FSD50K.ground_truth" / "dev.csv", "fname,labels,mids,split", *lines)
    sound(root / "FSD50K.dev_audio" / "64760.wav", 1.0, 44_100)
    return {"64760": {"sound_tags": ("Rain on surface", "Wind")}}


def clotho(root: Path) -> dict[str, dict]:
    captions = [f"caption number {number}, with a comma" for number in range(1, 6)]
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["file_name", *(f"caption_{number}" for number in range(1, 6))])
    writer.writerow(["Rain in the yard.wav", *captions])
    text(root / "clotho_captions_development.csv", buffer.getvalue())
    header = "file_name,keywords,sound_id,sound_link,start_end_samples,manufacturer,license"
    text(root / "clotho_metadata_development.csv", header, "Rain in the yard.wav,rain;yard,123,x,[0 1],me,CC0")
    sound(root / "development" / "Rain in the yard.wav", 1.0, 44_100)
    return {f"Rain in the yard#{number}": {"caption": caption} for number, caption in enumerate(captions, 1)}


def vocalsound(root: Path) -> dict[str, dict]:
    entry = {"wav": "/data/someone/vocalsound/data_44k/m0003_0_throatclearing.wav", "labels": "/m/0dl9sf8"}
    text(root / "datafiles" / "tr.json", json.dumps({"data": [entry]}))
    text(root / "datafiles" / "te.json", json.dumps({"data": [{**entry, "wav": "f0001_0_sigh.wav"}]}))
    sound(root / "audio_16k" / "m0003_0_throatclearing.wav", 1.0, 16_000)
    return {"m0003_0_throatclearing": {"vocal_sound": "throat clearing", "speaker_sex": "male"}}


def desed(root: Path) -> dict[str, dict]:
    part = Path("train") / "synthetic21_train"
    lines = ("12.wav\t2.14\t2.5\tDog", "12.wav\t0.1\t1.36\tAlarm_bell_ringing")
    text(root / "metadata" / part / "soundscapes.tsv", "filename\tonset\toffset\tevent_label", *lines)
    sound(root / "audio" / part / "soundscapes" / "12.wav", 3.0, 16_000)
    events = ((0.1, 1.36, "Alarm bell ringing"), (2.14, 2.5, "Dog"))
    answers = {"event_detection": events, "sound_tags": ("Alarm bell ringing", "Dog")}
    return {"synthetic21_train/12": answers}


def tau_urban_scenes(root: Path) -> dict[str, dict]:
    name = "audio/metro_station-lisbon-1000-40000-a.wav"
    text(root / "evaluation_setup" / "fold1_train.csv", "filename\tscene_label", f"{name}\tmetro_station")
    text(root / "evaluation_setup" / "fold1_test.csv", "filename")
    sound(root / name, 1.0, 44_100)
    return {Path(name).stem: {"scene": "metro station"}}


def nsynth(root: Path) -> dict[str, dict]:
    key = "guitar_acoustic_001-082-050"
    entry = {
        "note": 278915, "note_str": key, "instrument": 27, "instrument_str": "guitar_acoustic_001", "pitch": 82,
        "velocity": 50, "sample_rate": 16000, "qualities": [0] * 10, "qualities_str": [], "instrument_family": 3,
        "instrument_family_str": "synth_lead", "instrument_source": 0, "instrument_source_str": "acoustic",
    }  # fmt: skip
    text(root / "nsynth-train" / "examples.json", json.dumps({key: entry}))
    sound(root / "nsynth-train" / "audio" / f"{key}.wav", 4.0, 16_000)
    return {key: {"instrument": "synth lead", "note": "A#5"}}


def maestro(root: Path) -> dict[str, dict]:
    import mido

    midi = mido.MidiFile(ticks_per_beat=480)
    track = mido.MidiTrack()
    midi.tracks.append(track)
    track.append(mido.MetaMessage("set_tempo", tempo=500_000))  # 480 ticks are half a second
    track.append(mido.Message("note_on", note=60, velocity=64, time=480))
    track.append(mido.Message("note_on", note=64, velocity=64, time=480))
    track.append(mido.Message("note_off", note=60, velocity=0, time=480))
    track.append(mido.Message("note_on", note=64, velocity=0, time=4320))  # as a release; 6 s
    (root / "2018").mkdir(parents=True)
    midi.save(root / "2018" / "piece.midi")
    header = "canonical_composer,canonical_title,split,year,midi_filename,audio_filename,duration"
    row = '"Someone","Sonata, No. 1",train,2018,2018/piece.midi,2018/piece.wav,7.0'
    text(root / "maestro-v3.0.0.csv", header, row, row.replace("train", "test").replace("piece", "other"))
    sound(root / "2018" / "piece.wav", 7.0, 44_100, channels=2)
    first = ((0.5, 1.5, "C4"), (1.0, 5.0, "E4"))
    return {
        "2018/piece@00000000": {"note_transcription": first, "instrument": "piano"},
        "2018/piece@00005000": {"note_transcription": ((0.0, 1.0, "E4"),), "instrument": "piano"},
    }


def mtg_jamendo(root: Path) -> dict[str, dict]:
    header = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS"
    tags = "genre---jazz\tmood/theme---calm\tinstrument---bass"
    line = f"track_0000214\tartist_000014\talbum_000031\t14/214.mp3\t32.5\t{tags}"
    text(root / "data" / "splits" / "split-0" / "autotagging-train.tsv", header, line)
    sound(root / "audio" / "14" / "214.mp3", 32.5, 44_100, channels=2)
    return {"track_0000214@00000000": {"genre": ("jazz",), "mood": ("calm",)}}


def gtzan(root: Path) -> dict[str, dict]:
    sound(root / "genres" / "hiphop" / "hiphop.00012.au", 1.0, 22_050)
    sound(root / "genres" / "blues" / "blues.00000.wav", 1.0, 22_050)
    return {"hiphop.00012": {"genre": ("hip-hop",)}, "blues.00000": {"genre": ("blues",)}}


def magnatagatune(root: Path) -> dict[str, dict]:
    header = '"clip_id"\t"no voice"\t"harp"\t"rock"\t"mp3_path"'
    lines = ('"2"\t"1"\t"1"\t"0"\t"4/a-b-01.mp3"', '"6"\t"1"\t"0"\t"0"\t"f/c.mp3"', '"8"\t"0"\t"0"\t"0"\t"0/d.mp3"')
    text(root / "annotations_final.csv", header, *lines)
    sound(root / "4" / "a-b-01.mp3", 1.0, 16_000)
    return {"2": {"sound_tags": ("harp", "no voice")}}


def fma(root: Path) -> dict[str, dict]:
    lines = (
        ",album,set,set,track,track", ",title,split,subset,genre_top,title", "track_id,,,,,",
        '2,x,training,small,Hip-Hop,"a, b"', "3,x,validation,small,Rock,c", "5,x,training,large,Folk,d",
    )  # fmt: skip
    text(root / "fma_metadata" / "tracks.csv", *lines)
    sound(root / "fma_small" / "000" / "000002.mp3", 1.0, 44_100, channels=2)
    return {"000002": {"genre": ("Hip-Hop",)}}


GENERATORS: dict[str, Callable[[Path], dict[str, dict]]] = {
    make.__name__: make
    for make in (
        speech_commands, fluent_speech_commands, crema_d, covost2, asvspoof2019_la, speechocean762, fsd50k, clotho,
        vocalsound, desed, tau_urban_scenes, nsynth, maestro, mtg_jamendo, gtzan, magnatagatune, fma,
    )
}  # fmt: skip


def test_every_corpus_has_a_generated_folder_and_each_domain_at_least_four():
    corpora = published_corpora()
    assert corpora.keys() == GENERATORS.keys()
    counts = {domain: sum(corpus.domain == domain for corpus in corpora.values()) for domain in DOMAINS}
    assert min(counts.values()) >= 4, counts


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generated_folder_becomes_clips_with_these_answers(tmp_path, name):
    """Ids, answers and the sound itself: nothing of another split, nothing lost."""
    expected = GENERATORS[name](tmp_path / "root")
    corpus = published_corpora()[name]
    prepare_named(name, tmp_path / "root", tmp_path / "out")
    manifest = Manifest.read(tmp_path / "out")
    description = manifest.corpora[name]
    found = {r.id.removeprefix(f"{name}/"): description.answers(r.id, r.fields) for r in manifest.records}
    assert found == expected
    assert all(record.domain == corpus.domain for record in manifest.records)
    known = {rule["field"] for rule in corpus.tasks.values()} | corpus.unused.keys()
    assert {field for record in manifest.records for field in record.fields} <= known
    for record in manifest.records:
        assert len(EncodedReader(manifest).read(record)) == record.samples > 0
    assert corpus.url.startswith("http") and corpus.licence and corpus.layout and corpus.hours > 0


def librispeech(root: Path) -> None:
    for split in ("train-clean-100", "test-clean"):
        folder = root / split / "103" / "1240"
        sound(folder / "103-1240-0000.flac", 1.5, 16_000)
        text(folder / "103-1240.trans.txt", "103-1240-0000 CHAPTER ONE")


def test_lhotse_prepares_librispeech_without_its_test_set(tmp_path):
    librispeech(tmp_path / "LibriSpeech")
    _, notes = prepare_named("librispeech", tmp_path / "LibriSpeech", tmp_path / "out")
    (record,) = Manifest.read(tmp_path / "out").records
    assert record.archive == "train-clean-100/103/1240/103-1240-0000.flac"
    assert record.samples == 24_000
    description = Manifest.read(tmp_path / "out").corpora["librispeech"]
    answers = description.answers(record.id, record.fields)
    assert answers == {"transcription": "Chapter one", "language": "English"}
    assert notes == ["splits left out: test-clean"]
    written, _ = prepare_named("librispeech", tmp_path / "LibriSpeech", tmp_path / "test", splits=["test-clean"])
    assert written.counts["librispeech"]["clips"] == 1


def test_a_recipe_that_nothing_is_recorded_about_asks_for_its_text(tmp_path):
    text(tmp_path / "root" / "metadata.csv", "LJ001-0001|In 1862|In eighteen sixty-two")
    sound(tmp_path / "root" / "wavs" / "LJ001-0001.wav", 2.0, 22_050)
    prepare_named("ljspeech", tmp_path / "root", tmp_path / "out")
    manifest = Manifest.read(tmp_path / "out")
    assert "not recorded here" in manifest.corpora["ljspeech"].licence
    assert [record.fields["text"] for record in manifest.records] == ["In 1862"]


def test_every_recipe_of_the_table_is_lhotses():
    from uniwhisper.data.corpora import parse_description
    from uniwhisper.data.named import describe_recipe, described_recipes, lhotse_recipes

    assert set(described_recipes()) <= set(lhotse_recipes())
    for name in described_recipes():
        assert parse_description(describe_recipe(name), name=name).tasks


@pytest.mark.parametrize(
    ("name", "text_"),
    [("nobody", "no corpus is called"), ("fsd50k", "does not hold FSD50K"), ("maestro", "does not hold MAESTRO"),
     ("librispeech", "librispeech"), ("callhome_egyptian", "more than one folder")],
)  # fmt: skip
def test_a_folder_without_the_corpus_says_what_was_expected(tmp_path, name, text_):
    (tmp_path / "root").mkdir()
    with pytest.raises(ManifestError, match=text_) as caught:
        prepare_named(name, tmp_path / "root", tmp_path / "out")
    assert caught.value.fix
    with pytest.raises(ManifestError, match="no corpus at"):
        prepare_named(name, tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_corpus_with_a_bad_clip_and_one_of_an_unknown_label(tmp_path):
    tau_urban_scenes(tmp_path / "root")
    table = tmp_path / "root" / "evaluation_setup" / "fold1_train.csv"
    table.write_text(table.read_text() + "audio/moon-lisbon-1-2-a.wav\tmoon\naudio/tram-lisbon-1-3-a.wav\ttram\n")
    sound(tmp_path / "root" / "audio" / "moon-lisbon-1-2-a.wav", 1.0, 44_100)
    with pytest.raises(ManifestError, match="moon"):
        prepare_named("tau_urban_scenes", tmp_path / "root", tmp_path / "out")
    written, _ = prepare_named("tau_urban_scenes", tmp_path / "root", tmp_path / "out", skip_bad=True)
    assert written.counts["tau_urban_scenes"]["clips"] == 1
    assert [line.split(":")[0].split(",")[0] for line in written.skipped] == [
        "tau_urban_scenes/moon-lisbon-1-2-a",
        "tau_urban_scenes/tram-lisbon-1-3-a",
    ]


def test_a_corpus_known_by_name_is_prepared_without_clips_of_some_label(tmp_path):
    speech_commands(tmp_path / "root")
    rules = ["word=bed", "word=nobody says this"]
    _, notes = prepare_named("speech_commands", tmp_path / "root", tmp_path / "out", leave_out=rules)
    assert [record.fields["word"] for record in Manifest.read(tmp_path / "out").records] == ["seven"]
    assert notes[-2:] == [
        "1 clip left out by word=bed",
        "no clip left out by word=nobody says this: no word is like that",
    ]
