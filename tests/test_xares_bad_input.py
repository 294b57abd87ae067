"""What the protocol `xares` refuses, or counts by name, in folders of events and captions."""

import re
from pathlib import Path

import pytest
import torch

import xares_corpora as corpora
from conftest import tone
from test_xares_suite import HOP, MODEL, SOUNDS, encode, only, task_of
from uniwhisper.core.errors import UserError, WeightsError
from uniwhisper.evaluation.encoders import EncoderError
from uniwhisper.evaluation.kept import Kept
from uniwhisper.evaluation.xares.kinds import Judged
from uniwhisper.evaluation.xares.language import CaptionTokenizer, open_tokenizer
from uniwhisper.evaluation.xares.pooling import TimedEncode
from uniwhisper.evaluation.xares.run import evaluate


@pytest.fixture
def folder(tmp_path) -> Path:
    corpora.write_desed(tmp_path, SOUNDS, (4, 3), seconds=2)
    corpora.write_maestro(tmp_path, {60: [tone(0.4)]}, (2, 2, 2), seconds=2)
    corpora.write_clotho(tmp_path, {"cat": [tone(1)]}, (2, 2, 2))
    return tmp_path


def untouched(_: torch.Tensor) -> torch.Tensor:
    pytest.fail("encoded before all labels were read")


def refuse(data: Path, *names: str, match: str, judged: Judged | None = None) -> UserError:
    judged = judged or Judged(untouched, TimedEncode(untouched, HOP))
    with pytest.raises(UserError, match=match) as error:
        evaluate(judged, MODEL, only(*names), data)
    return error.value


def test_a_missing_split_is_refused(folder):
    (folder / "maestro" / "maestro_valid-000000.tar").unlink()
    assert "maestro_valid" in refuse(folder, "desed", "maestro", match="folds are missing").got


@pytest.mark.parametrize(
    ("name", "split", "labels", "match"),
    [
        ("desed", "wds-audio-eval", [{"onset": 0, "offset": 1, "label": "Cat,Horse"}], "event outside the list"),
        ("desed", "wds-audio-eval", [{"onset": 2, "offset": 1, "label": "Cat"}], "label of another kind"),
        ("maestro", "maestro_test", [{"start": 0, "end": 1, "note": 108}], "event outside the list"),
        ("maestro", "maestro_test", [{"start": 0, "note": 60}], "label of another kind"),
    ],
)
def test_a_label_outside_the_list_is_refused_before_anything_is_encoded(folder, name, split, labels, match):
    corpora.write_split(folder / name, split, [("odd", tone(2), labels)])
    assert f"{split}-000000/odd" in refuse(folder, name, match=match).problem


def test_a_clip_without_five_captions_is_refused(folder):
    corpora.write_split(folder / "clotho", "clotho_evaluation", [("odd", tone(2), {"caption_1": "a cat"})])
    judged = Judged(untouched, tokenizer=CaptionTokenizer(list, 1, "none", "0" * 64))
    error = refuse(folder, "clotho", match="odd has another label", judged=judged)
    assert error.got == "1 fields, 1 of them text"


def test_a_clip_that_does_not_decode_is_counted_and_changes_no_other(folder):
    archive = folder / "desed" / "wds-audio-eval-000000.tar"
    content = archive.read_bytes()
    place = content.rindex(b"RIFF")
    archive.write_bytes(content[:place] + b"JUNK" + content[place + 4 :])
    kept = Kept(folder / "kept")
    judged = Judged(encode, TimedEncode(encode, HOP))
    task = task_of(evaluate(judged, MODEL, only("desed"), folder, kept=kept), "desed")
    assert task["clips"]["expected"] == 7 and task["clips"]["used"] == 6
    assert [skip["id"] for skip in task["clips"]["skipped"]] == ["wds-audio-eval-000000/Y001"]
    assert task_of(evaluate(judged, MODEL, only("desed"), folder, kept=kept), "desed") == task


def test_a_split_of_which_no_clip_decodes_is_refused(folder):
    archive = folder / "desed" / "wds-audio-eval-000000.tar"
    archive.write_bytes(archive.read_bytes().replace(b"RIFF", b"JUNK"))
    refuse(
        folder,
        "desed",
        match="no clip of wds-audio-eval could be decoded",
        judged=Judged(encode, TimedEncode(encode, HOP)),
    )


def test_frames_that_are_not_a_hop_apart_are_refused(folder):
    """As X-ARES's Whisper example had them: 10 ms said, 20 ms given."""
    with pytest.raises(EncoderError, match="not as far apart") as error:
        evaluate(Judged(encode, TimedEncode(encode, 0.01)), MODEL, only("desed"), folder)
    assert re.search(r"200 frames of 10 ms for 2 s", error.value.expected) and error.value.got == "100 frames"


def test_frames_that_are_not_finite_are_refused(folder):
    def broken(wave_BS):
        return encode(wave_BS) / 0

    refuse(folder, "desed", match="not finite", judged=Judged(broken, TimedEncode(broken, HOP)))


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(WeightsError, match="no tokenizer"):
            open_tokenizer(folder)
