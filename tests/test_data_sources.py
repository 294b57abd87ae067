"""Each form a corpus may have gives the same records: the sound and the labels that were put in, checked by hand."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import tone
from toy_corpora import SOUND, SPEECH, clip, wav, write_corpus, write_tar
from uniwhisper.audio.load import read as read_audio
from uniwhisper.core.errors import ManifestError
from uniwhisper.data.corpora import parse_description
from uniwhisper.data.decoded import EncodedReader
from uniwhisper.data.indexed import IndexedManifest
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.prepare import prepare, prepare_folder

LABELS = ["rain", "door", "dog bark"]
TAGS = {**SOUND, "tasks": {"sound_tag": {"field": "label"}}}
TALK = {**SPEECH, "tasks": {"transcription": {"field": "text"}}}


def describe(folder: Path, description: dict) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "corpus.json").write_text(json.dumps(description))
    return folder


def labels_of(manifest: Manifest) -> dict[str, str]:
    return {record.id: record.fields["label"] for record in manifest.records}


def sounds(manifest: Manifest) -> list[np.ndarray]:
    reader = EncodedReader(manifest)
    return [reader.read(record) for record in manifest.records]


def check_tones(manifest: Manifest, waves: list[np.ndarray]) -> None:
    """The records sound as the waves, to the rounding of 16-bit storage."""
    assert len(waves) == len(manifest.records)
    for sound, wave in zip(sounds(manifest), waves, strict=True):
        np.testing.assert_allclose(sound, wave, atol=2e-4)


# --- CSV and JSONL --------------------------------------------------------------------------------------------------


@pytest.fixture
def three_files(tmp_path) -> tuple[Path, list[np.ndarray]]:
    folder = describe(tmp_path / "in" / "mine", TAGS)
    waves = [tone(0.5 + 0.1 * index, 300.0 * (index + 1)) for index in range(3)]
    for index, wave in enumerate(waves):
        (folder / "audio").mkdir(exist_ok=True)
        soundfile.write(folder / "audio" / f"{index}.flac", wave, 16_000)
    return folder, waves


def test_a_csv_and_a_jsonl_say_the_same(three_files, tmp_path):
    folder, waves = three_files
    csv = "file_name,label,note\n" + "".join(f'audio/{index}.flac,"{label}",\n' for index, label in enumerate(LABELS))
    (folder / "metadata.csv").write_text(csv)
    first = prepare(tmp_path / "in", tmp_path / "csv")
    assert labels_of(first) == {f"mine/audio/{index}": label for index, label in enumerate(LABELS)}
    check_tones(first, waves)
    (folder / "metadata.csv").unlink()
    lines = (
        json.dumps({"file_name": f"audio/{i}.flac", "label": label, "note": None}) for i, label in enumerate(LABELS)
    )
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n\n")
    assert prepare(tmp_path / "in", tmp_path / "jsonl").hash == first.hash


def test_columns_may_have_other_names_and_rows_may_be_parts_of_a_recording(tmp_path):
    columns = {"file_name": "path", "id": "utt", "start_seconds": "begin", "seconds": "length"}
    folder = describe(tmp_path / "in" / "mine", {**TAGS, "columns": columns})
    rng = np.random.default_rng(0)
    long = (0.2 * rng.standard_normal(16_000 * 4)).astype(np.float32)
    soundfile.write(folder / "long.wav", long, 16_000)
    rows = [("b", 1.5, 0.5), ("a", 0.0, 1.0), ("c", 3.25, "")]
    table = "utt\tpath\tbegin\tlength\tlabel\n" + "".join(
        f"{key}\tlong.wav\t{begin:.2f}\t{length}\train\n" for key, begin, length in rows
    )
    (folder / "metadata.tsv").write_text(table)
    manifest = prepare(tmp_path / "in", tmp_path / "out")
    assert [record.id for record in manifest.records] == ["mine/a", "mine/b", "mine/c"]
    check_tones(manifest, [long[:16_000], long[24_000:32_000], long[52_000:]])
    assert len({record.sha256 for record in manifest.records}) == 1  # one recording: one fold
    assert Manifest.read(tmp_path / "out") == manifest


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("name", ["start_seconds", "seconds", "id"])
def test_a_declared_column_that_is_not_there_stops_also_with_skip_bad(tmp_path, form, name):
    """Without its start every row would be taught as the whole recording."""
    folder = describe(tmp_path / "in" / "mine", {**TAGS, "columns": {name: "onset"}})
    (folder / "a.wav").write_bytes(wav(2.0))
    table = folder / f"metadata.{form}"

    def write(*columns: str) -> None:
        cells = {"file_name": "a.wav", "label": "rain"}
        row = [cells.get(column, 2.0 if name == "seconds" else 1.0) for column in columns]
        csv = f"{','.join(columns)}\n{','.join(map(str, row))}\n"
        table.write_text(csv if form == "csv" else json.dumps(dict(zip(columns, row, strict=True))) + "\n")

    write("file_name", "onset_s", "label")
    with pytest.raises(ManifestError) as caught:
        prepare(tmp_path / "in", tmp_path / "out", skip_bad=True)
    assert "'onset'" in caught.value.expected and name in caught.value.expected
    assert caught.value.got == "the columns 'file_name', 'onset_s', 'label'"
    assert not (tmp_path / "out").exists()
    write("file_name", "onset", "label")
    assert len(prepare(tmp_path / "in", tmp_path / "out").records) == 1


@pytest.mark.parametrize(
    ("row", "where", "got"),
    [
        ("../outside.wav,rain", "metadata.csv, line 3", "'../outside.wav'"),
        ("/etc/passwd,rain", "metadata.csv, line 3", "'/etc/passwd'"),
        (",rain", "metadata.csv, line 3", "columns"),
        ("gone.wav,rain", "mine/gone", "No such file"),
        ("0.wav,rain,more", "metadata.csv, line 3", "3"),
        ("0.wav,", "mine/0", "fields"),
    ],
)
def test_a_bad_row_is_named_and_can_be_skipped(tmp_path, row, where, got):
    folder = describe(tmp_path / "in" / "mine", TAGS)
    for name in ("0.wav", "good.wav", "../outside.wav"):
        (folder / name).write_bytes(wav(0.2))
    (folder / "metadata.csv").write_text(f"file_name,label\ngood.wav,door\n{row}\n")
    with pytest.raises(ManifestError) as caught:
        prepare(tmp_path / "in", tmp_path / "out")
    assert caught.value.problem == where
    assert got in caught.value.got and caught.value.fix
    manifest = prepare(tmp_path / "in", tmp_path / "out", skip_bad=True)
    assert labels_of(manifest) == {"mine/good": "door"}
    (line,) = manifest.skipped
    assert line.startswith(where)


def test_broken_json_is_named_by_its_line(tmp_path):
    folder = describe(tmp_path / "in" / "mine", TAGS)
    (folder / "a.wav").write_bytes(wav(0.2))
    good = json.dumps({"file_name": "a.wav", "label": "rain"})
    (folder / "metadata.jsonl").write_text(f'{good}\n{{"file_name": "b\n[1]\n')
    with pytest.raises(ManifestError, match=r"metadata\.jsonl, line 2"):
        prepare(tmp_path / "in", tmp_path / "out")
    manifest = prepare(tmp_path / "in", tmp_path / "out", skip_bad=True)
    assert [line.partition(":")[0] for line in manifest.skipped] == ["metadata.jsonl, line 2", "metadata.jsonl, line 3"]


def test_a_segment_beyond_the_end_is_no_clip(tmp_path):
    folder = describe(tmp_path / "in" / "mine", TAGS)
    (folder / "a.wav").write_bytes(wav(1.0))
    for start, seconds, text in ((0.5, 2.0, "declared 2.0 seconds"), (1.5, 0.2, r"no sound|longer than 1\.500 s")):
        row = {"file_name": "a.wav", "label": "rain", "start_seconds": start, "seconds": seconds, "id": "x"}
        (folder / "metadata.jsonl").write_text(json.dumps(row) + "\n")
        with pytest.raises(ManifestError, match=text) as caught:
            prepare(tmp_path / "in", tmp_path / "out")
        assert caught.value.problem == "mine/x"


# --- Hugging Face datasets --------------------------------------------------------------------------------------------


def hugging_face_rows(format_: str = "WAV") -> tuple[dict[str, list], list[np.ndarray]]:
    waves = [tone(0.3 + 0.1 * index, 250.0 * (index + 1)) for index in range(5)]
    contents = []
    for wave in waves:
        buffer = io.BytesIO()
        soundfile.write(buffer, wave, 16_000, format=format_)
        contents.append(buffer.getvalue())
    rows = {
        "audio": [{"bytes": content, "path": None} for content in contents],
        "label": [index % 3 for index in range(5)],
    }
    return rows, waves


def as_dataset(rows: dict[str, list]):
    datasets = pytest.importorskip("datasets")
    stored = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features = datasets.Features({"audio": stored, "label": datasets.ClassLabel(names=LABELS)})
    # Encoding into an Audio column needs torchcodec; casting what is already encoded does not.
    return datasets.Dataset.from_dict(rows, features=features).cast_column("audio", datasets.Audio(decode=False))


def test_a_dataset_saved_to_disk_is_read_without_datasets(tmp_path):
    """Offsets into the Arrow file are checked by what is decoded at them."""
    rows, waves = hugging_face_rows("FLAC")
    folder = describe(tmp_path / "in" / "mine", TAGS)
    as_dataset(rows).save_to_disk(folder / "train", num_shards=2)
    manifest = prepare(tmp_path / "in", tmp_path / "out")
    assert list(labels_of(manifest).values()) == [LABELS[index % 3] for index in range(5)]
    assert {record.archive for record in manifest.records} == {
        f"mine/train/data-0000{shard}-of-00002.arrow" for shard in (0, 1)
    }
    check_tones(manifest, waves)
    assert manifest.audio_bytes(manifest.records[4]) == rows["audio"][4]["bytes"]


def test_parquet_as_on_the_hub(tmp_path):
    rows, waves = hugging_face_rows()
    folder = describe(tmp_path / "in" / "mine", TAGS)
    (folder / "data").mkdir()
    as_dataset(rows).to_parquet(folder / "data" / "train-00000-of-00001.parquet", batch_size=2)
    as_dataset(rows).to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    manifest = prepare(tmp_path / "in", tmp_path / "out")
    assert [record.id for record in manifest.records] == [
        f"mine/data/train-00000-of-00001/00000{row}" for row in range(5)
    ]  # the test split is not trained on
    check_tones(manifest, waves)
    assert Manifest.read(tmp_path / "out") == manifest
    everything = prepare(tmp_path / "in", tmp_path / "all", splits=["train", "test"])
    assert len(everything.records) == 10


def test_what_a_parquet_file_may_lack(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    folder = describe(tmp_path / "in" / "mine", {**TAGS, "columns": {"audio": "sound", "id": "name"}})
    table = pa.table({"sound": [wav(0.2), None, b""], "label": ["rain"] * 3, "name": ["x", "y", "z"]})
    pq.write_table(table, folder / "train.parquet")
    manifest = prepare(tmp_path / "in", tmp_path / "out", skip_bad=True)
    assert labels_of(manifest) == {"mine/x": "rain"}
    assert [line.partition(":")[0] for line in manifest.skipped] == ["train.parquet, row 1", "train.parquet, row 2"]
    describe(folder, {**TAGS, "columns": {"audio": "nothing"}})
    with pytest.raises(ManifestError, match="one column of audio"):
        prepare(tmp_path / "in", tmp_path / "out", overwrite=True)
    (folder / "train.parquet").write_bytes(b"PAR1 and then something else PAR1")
    with pytest.raises(ManifestError, match="readable Arrow or Parquet"):
        prepare(tmp_path / "in", tmp_path / "out", overwrite=True)


def test_no_label_in_a_list_of_labels_is_no_label(tmp_path):
    """-1 is none, as in a column of single labels: not the last of the names."""
    datasets = pytest.importorskip("datasets")
    labels = datasets.Sequence(datasets.ClassLabel(names=LABELS))
    stored = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    rows = {"audio": [{"bytes": wav(0.2), "path": None}] * 2, "label": LABELS[:2], "tags": [[0, -1], [-1, 1]]}
    features = datasets.Features({"audio": stored, "label": datasets.Value("string"), "tags": labels})
    dataset = datasets.Dataset.from_dict(rows, features=features).cast_column("audio", datasets.Audio(decode=False))
    dataset.to_parquet(describe(tmp_path / "in" / "mine", TAGS) / "train.parquet")
    records = prepare(tmp_path / "in", tmp_path / "out").records
    assert [record.fields["tags"] for record in records] == [LABELS[:1], LABELS[1:2]]


# --- Lhotse ----------------------------------------------------------------------------------------------------------


def lhotse_recording(folder: Path, name: str, wave: np.ndarray):
    lhotse = pytest.importorskip("lhotse")
    path = folder / "audio" / f"{name}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, 16_000)
    return lhotse.Recording.from_file(path, recording_id=name)


def test_lhotse_recordings_and_supervisions(tmp_path):
    lhotse = pytest.importorskip("lhotse")
    folder = describe(tmp_path / "in" / "talk", TALK)
    rng = np.random.default_rng(0)
    long = (0.1 * rng.standard_normal(48_000)).astype(np.float32)
    recordings = [lhotse_recording(folder, "long", long), lhotse_recording(folder, "short", tone(0.5))]
    segment = lhotse.SupervisionSegment
    supervisions = [
        segment("long-1", "long", start=0.0, duration=1.0, text="one", speaker="s"),
        segment("long-2", "long", start=1.25, duration=1.5, text="two", gender="F", custom={"topic": "x"}),
        segment("short-1", "short", start=0.0, duration=0.5, text="three"),
    ]
    for split in ("train", "test"):
        lhotse.RecordingSet.from_recordings(recordings).to_file(folder / f"x_recordings_{split}.jsonl.gz")
        lhotse.SupervisionSet.from_segments(supervisions).to_file(folder / f"x_supervisions_{split}.jsonl.gz")
    manifest = prepare(tmp_path / "in", tmp_path / "out")
    assert [record.id for record in manifest.records] == ["talk/long-1", "talk/long-2", "talk/short-1"]
    check_tones(manifest, [long[:16_000], long[20_000:44_000], tone(0.5)])
    assert manifest.records[1].fields == {"topic": "x", "text": "two", "gender": "F"}
    assert manifest.records[2].start_seconds is None  # the whole recording


def test_lhotse_cuts_and_shar(tmp_path):
    """Shar's audio is compared with what Lhotse itself loads from it."""
    lhotse = pytest.importorskip("lhotse")
    plain = describe(tmp_path / "in" / "plain", TALK)
    shar = tmp_path / "in" / "shar"
    shar.mkdir()
    cuts = []
    for index in range(5):
        recording = lhotse_recording(plain, f"r.{index}", tone(1.0 + 0.1 * index, 200.0 + 90 * index))
        cut = recording.to_cut()
        cut.supervisions = [
            lhotse.SupervisionSegment(f"s{index}", recording.id, start=0.2, duration=0.5, text=f"text {index}")
        ]
        cuts.append(cut.truncate(offset=0.1, duration=0.7))
    cuts = lhotse.CutSet.from_cuts(cuts)
    cuts.to_file(plain / "cuts.jsonl.gz")
    cuts.to_shar(shar, fields={"recording": "flac"}, shard_size=2)
    loaded = list(lhotse.CutSet.from_shar(in_dir=shar))
    describe(shar, TALK)
    manifest = prepare(tmp_path / "in", tmp_path / "out")
    by_id = {record.id: sound for record, sound in zip(manifest.records, sounds(manifest), strict=True)}
    assert len(by_id) == 10
    for cut in loaded:
        np.testing.assert_allclose(by_id[f"shar/{cut.id}"], cut.load_audio()[0], atol=1e-4)
        np.testing.assert_allclose(by_id[f"plain/{cut.id}"], cut.load_audio()[0], atol=1e-4)
    assert sorted(record.fields["text"] for record in manifest.records) == sorted(2 * [f"text {i}" for i in range(5)])
    next(shar.glob("recording.000001.tar")).unlink()
    with pytest.raises(ManifestError, match=r"recording\.000001\.tar"):
        prepare(tmp_path / "in", tmp_path / "out", overwrite=True)


def test_what_lhotse_may_hold_that_is_no_plain_file(tmp_path):
    lhotse = pytest.importorskip("lhotse")
    folder = describe(tmp_path / "in" / "talk", TALK)
    (tmp_path / "elsewhere").mkdir()
    outside = lhotse_recording(tmp_path / "elsewhere", "outside", tone(0.5))
    faster = lhotse_recording(folder, "faster", tone(0.5)).perturb_speed(1.1)
    stereo = lhotse_recording(folder, "stereo", np.stack([tone(0.5), tone(0.5, 880.0)], axis=1))
    gone = lhotse_recording(folder, "gone", tone(0.5))
    (folder / "audio" / "gone.wav").unlink()
    cuts = [recording.to_cut() for recording in (outside, faster, gone)]
    cuts.append(lhotse.MonoCut("stereo", 0, 0.5, channel=1, recording=stereo))
    for cut in cuts:
        cut.supervisions = [lhotse.SupervisionSegment(cut.id, cut.recording.id, 0.0, 0.4, text="x")]
    good = lhotse_recording(folder, "good", tone(0.5)).to_cut()
    good.supervisions = [lhotse.SupervisionSegment("good", "good", 0.0, 0.4, text="x")]
    lhotse.CutSet.from_cuts([*cuts, good]).to_file(folder / "cuts.jsonl.gz")
    manifest = prepare(tmp_path / "in", tmp_path / "out", skip_bad=True)
    assert len(manifest.records) == 1
    text = "\n".join(manifest.skipped)
    for part in ("a file below", "1 changes on reading", "No such file", "channel [1] of 2"):
        assert part in text
    assert len(manifest.skipped) == 4


# --- object stores --------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket():
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield memory
    memory.store.clear()


def upload(folder: Path, memory, target: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"{target}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def test_an_object_store_gives_what_the_disk_gives(tmp_path, bucket):
    """Tars, a table with a segment, and Parquet, from fsspec's memory file system."""
    write_corpus(tmp_path / "in" / "tars", TAGS, [*clip("a", {"label": "x"}, 0.3), *clip("b", {"label": "y"}, 0.4)])
    table = describe(tmp_path / "in" / "table", TAGS)
    (table / "long.wav").write_bytes(wav(1.0))
    row = {"file_name": "long.wav", "label": "rain", "start_seconds": 0.25, "seconds": 0.5}
    (table / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    rows, _ = hugging_face_rows()
    as_dataset(rows).to_parquet(describe(tmp_path / "in" / "hub", TAGS) / "train.parquet")
    as_dataset(rows).save_to_disk(describe(tmp_path / "in" / "arrow", TAGS) / "train")
    upload(tmp_path / "in", bucket, "/bucket/corpora")
    local = prepare(tmp_path / "in", tmp_path / "local")
    remote = prepare("memory://bucket/corpora", tmp_path / "remote")
    assert remote.root == "memory://bucket/corpora"
    assert remote.hash == local.hash
    for opened in (Manifest.read(tmp_path / "remote"), IndexedManifest.open(tmp_path / "remote")):
        assert opened.root == remote.root
        for one, other in zip(sounds(local), sounds(opened), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_store_that_cannot_be_reached_or_lacks_a_file(tmp_path, bucket):
    with pytest.raises(ManifestError, match="cannot reach nowhere://"):
        prepare("nowhere://bucket", tmp_path / "out")
    write_corpus(tmp_path / "in" / "tars", TAGS, clip("a", {"label": "x"}, 0.3))
    upload(tmp_path / "in", bucket, "/bucket/corpora")
    manifest = prepare("memory://bucket/corpora", tmp_path / "out")
    bucket.rm("/bucket/corpora/tars/shard-000000.tar")
    with pytest.raises(ManifestError, match="tars/a"):
        manifest.audio_bytes(manifest.records[0])


# --- segments of audio ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format_", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", None)]
)
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_segment_is_what_whole_decoding_gives_there(tmp_path, format_, subtype, rate):
    from uniwhisper.audio.load import read_segment

    rng = np.random.default_rng(1)
    wave = np.convolve(rng.standard_normal(rate * 40), np.ones(64) / 64, mode="same").astype(np.float32)
    path = tmp_path / f"x.{format_.lower()}"
    soundfile.write(path, 0.5 * wave, rate, format=format_, subtype=subtype)
    whole = read_audio(path)
    for start, seconds in ((0.0, 1.0), (17.3, 2.5), (38.0, 1.0)):
        begin, count = round(start * 16_000), round(seconds * 16_000)
        part = read_segment(path, start_seconds=start, samples=count)
        assert len(part) == count
        # The resampler's filter sees silence instead of the neighbours, so a few edge samples differ.
        np.testing.assert_allclose(part[200:-200], whole[begin + 200 : begin + count - 200], atol=2e-3)
    assert len(read_segment(path, start_seconds=39.5, samples=16_000)) == pytest.approx(8_000, abs=1200)


# --- A folder with a folder for each label, a table of any name, tars with .cls and .txt -----------------------------


def audio_files(folder: Path, *names: str) -> None:
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, tone(0.2, 300.0 * (index + 1)), 16_000)


def test_a_folder_for_each_label_needs_no_table(tmp_path):
    folder = describe(tmp_path / "in" / "mine", TAGS)
    audio_files(folder, "rain/a.flac", "dög 猫/deep/b.WAV", ".hidden/c.wav")
    manifest = prepare(tmp_path / "in", tmp_path / "out")
    assert labels_of(manifest) == {"mine/rain/a": "rain", "mine/dög 猫/deep/b": "dög 猫"}
    assert {record.fields["file"] for record in manifest.records} == {"a", "b"}
    check_tones(manifest, [tone(0.2, 600.0), tone(0.2, 300.0)])  # in the order of their names: d before r


def test_folders_named_after_splits_are_splits_and_the_test_set_stays_out(tmp_path):
    folder = describe(tmp_path / "in" / "mine", TAGS)
    audio_files(folder, "train/rain/a.flac", "test/rain/b.flac", "train/door/c.flac")
    written, notes = prepare_folder(tmp_path / "in", tmp_path / "out")
    assert labels_of(Manifest.read(written.path)) == {"mine/train/rain/a": "rain", "mine/train/door/c": "door"}
    assert notes == ["mine: splits left out: test"]
    only = prepare(tmp_path / "in", tmp_path / "asked", splits=["test"])
    assert labels_of(only) == {"mine/test/rain/b": "rain"}


def test_a_described_folder_takes_its_one_table_whatever_its_name(three_files, tmp_path):
    folder, waves = three_files
    rows = "".join(f"audio/{index}.flac,{label}\n" for index, label in enumerate(LABELS))
    (folder / "my list.csv").write_text("file_name,label\n" + rows)
    manifest = prepare(tmp_path / "in", tmp_path / "out")
    assert list(labels_of(manifest).values()) == LABELS
    check_tones(manifest, waves)
    (folder / "other.csv").write_text("a,b\n")
    with pytest.raises(ManifestError, match=r"my list\.csv, other\.csv") as caught:
        prepare(tmp_path / "in", tmp_path / "again")
    assert "metadata.csv" in caught.value.fix


@pytest.mark.usefixtures("three_files")
def test_a_described_folder_without_clips_is_refused_and_an_undescribed_one_named(tmp_path):
    rows = "".join(f"audio/{index}.flac,{label}\n" for index, label in enumerate(LABELS))
    (tmp_path / "in" / "mine" / "metadata.csv").write_text("file_name,label\n" + rows)
    (tmp_path / "in" / "papers").mkdir()
    (tmp_path / "in" / "papers" / "list.csv").write_text("a,b\n")
    _, notes = prepare_folder(tmp_path / "in", tmp_path / "out")
    assert notes == ["papers: left out, it holds no corpus and no corpus.json"]
    describe(tmp_path / "in" / "empty", TAGS)
    with pytest.raises(ManifestError, match=r"no corpus in .*empty"):
        prepare(tmp_path / "in", tmp_path / "again")


def test_the_corpus_itself_is_sent_to_its_parent(three_files, tmp_path):
    folder, _ = three_files
    with pytest.raises(ManifestError) as caught:
        prepare(folder, tmp_path / "out")
    assert caught.value.fix == f"name its parent: {folder.parent}"


def test_tars_may_hold_their_labels_as_cls_and_txt(tmp_path):
    description = {**SOUND, "tasks": {"sound_tag": {"field": "cls"}, "caption": {"field": "txt"}}}
    members = [
        ("a.wav", wav(0.2)), ("a.cls", "Käuzchen\n".encode()), ("a.txt", b"an owl"),
        ("b.wav", wav(0.3)), ("b.txt", b" "), ("b.json", b'{"cls": "door"}'),
    ]  # fmt: skip
    write_tar(describe(tmp_path / "in" / "mine", description) / "0.tar", members)
    manifest = prepare(tmp_path / "in", tmp_path / "out")
    assert [record.fields for record in manifest.records] == [
        {"cls": "Käuzchen", "txt": "an owl"},
        {"cls": "door", "txt": None},
    ]


def test_several_labels_in_one_cell_and_in_a_list():
    description = {**SOUND, "tasks": {"sound_tags": {"field": "tags", "separator": ";", "clean": "words"}}}
    parsed = parse_description(description, name="mine")
    assert parsed.answers("x", {"tags": "rain; dog_bark;"}) == {"sound_tags": ("dog bark", "rain")}
    assert parsed.answers("x", {"tags": ["wind"]}) == {"sound_tags": ("wind",)}
    assert parsed.answers("x", {"tags": " ; "}) == {}
    with pytest.raises(ManifestError, match="sound_tags") as caught:
        parse_description({**SOUND, "tasks": {"sound_tags": {"field": "tags"}}}, name="mine").answers(
            "x", {"tags": "rain; wind"}
        )
    assert '"separator": ";"' in caught.value.fix


def test_a_list_of_several_is_no_single_label():
    parsed = parse_description(TAGS, name="mine")
    assert parsed.answers("x", {"label": ["rain"]}) == {"sound_tag": "rain"}
    assert parsed.answers("x", {"label": []}) == parsed.answers("x", {"label": [None]}) == {}
    for labels in (["rain", "wind"], [["rain"]], {"rain": 1}):
        with pytest.raises(ManifestError) as caught:
            parsed.answers("x", {"label": labels})
        assert caught.value.expected == "one label" and "sound_tags" in caught.value.fix
