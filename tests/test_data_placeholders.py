"""Labels such as N/A: taught, since they may be meant, but never unnoticed."""

import json

import soundfile

from conftest import tone
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.prepare import prepare_folder


def prepared(folder, rows: list[str], **rules):
    """What preparing a table with the columns label, heard notes, and its records."""
    (folder / "in" / "mine").mkdir(parents=True)
    description = {"domain": "sound", "licence": "CC0", "tasks": rules}
    (folder / "in" / "mine" / "corpus.json").write_text(json.dumps(description))
    for index in range(len(rows)):
        soundfile.write(folder / "in" / "mine" / f"{index}.wav", tone(0.1, 200.0 + 50 * index), 16_000)
    lines = "".join(f"{index}.wav,{row}\n" for index, row in enumerate(rows))
    (folder / "in" / "mine" / "table.csv").write_text("file_name,label,heard\n" + lines)
    written, notes = prepare_folder(folder / "in", folder / "out")
    return notes, Manifest.read(written.path).records


def test_they_are_counted_by_task_with_what_leaves_them_out(tmp_path):
    rows = ["N/A,", "N/A,rain;dog", "nan,dog;-", "owl,nothing;dog", "none,dog", ",dog", "unknown,dog"]
    rules = {"sound_tag": {"field": "label"}, "sound_tags": {"field": "heard", "separator": ";"}}
    notes, records = prepared(tmp_path, rows, **rules)
    assert [line.partition(" with ")[0] + line.partition(" with ")[2].partition(",")[0] for line in notes] == [
        "mine: warning: 2 clips answer sound_tag'N/A'",
        "mine: warning: 1 clip answers sound_tag'nan'",
        "mine: warning: 1 clip answers sound_tags'-'",
    ]
    assert notes[2].endswith("take it out of heard")
    assert len(records) == len(rows)  # nothing was dropped
    # What the warning says to write is what silences it.
    exclude = {"label": {}}
    for line in notes[:2]:
        exclude["label"] |= json.loads(line.partition('"exclude": ')[2])["label"]
    rules = {"sound_tag": {"field": "label", "exclude": exclude}, "sound_tags": {"field": "heard", "separator": ";"}}
    again = tmp_path / "again"
    silenced, _ = prepared(again, ["owl,", *rows[1:]], **rules)
    assert [line for line in silenced if " sound_tag " in line] == [] and len(silenced) == 1


def test_what_a_rule_names_is_not_warned_of(tmp_path):
    notes, _ = prepared(
        tmp_path, ["-,", "owl,"], sound_tag={"field": "label", "values": {"-": "silence", "owl": "owl"}}
    )
    assert notes == []
