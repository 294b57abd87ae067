"""What was prepared, replaced and prepared again in one process, as in a notebook, is what lies there now."""

import hashlib
import json

from test_data_sources import TAGS, TALK, as_dataset, check_tones, describe, hugging_face_rows
from toy_corpora import wav
from uniwhisper.data.prepare import prepare


def test_a_recording_that_was_replaced_is_measured_again(tmp_path):
    folder = describe(tmp_path / "in" / "talk", TALK)
    row = {"file_name": "long.wav", "text": "one", "start_seconds": 0.25, "seconds": 0.5}
    (folder / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    for seconds in (1.0, 2.0):
        (folder / "long.wav").write_bytes(wav(seconds))
        (record,) = prepare(tmp_path / "in", tmp_path / "out", overwrite=True).records
        content = (folder / "long.wav").read_bytes()
        assert (record.size, record.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_a_parquet_file_that_was_replaced_is_read_again(tmp_path):
    """New labels never come with the sound that lay there before."""
    folder = describe(tmp_path / "in" / "mine", TAGS)
    rows, waves = hugging_face_rows()
    for expected in (waves, waves[::-1]):
        as_dataset(rows).to_parquet(folder / "train.parquet")
        manifest = prepare(tmp_path / "in", tmp_path / "out", overwrite=True)
        check_tones(manifest, expected)
        rows["audio"] = rows["audio"][::-1]
