"""What a model's folder says it was trained on, in the words of both of its writers: a run's card and a written one."""

import json
import re

import pytest

from conftest import REPOSITORY
from test_evaluation_run import TwoNumbers, judge, suite_content, wav, write_tar
from uniwhisper.data.config import DataConfig
from uniwhisper.data.mixture import Mixture
from uniwhisper.data.prepare import prepare
from uniwhisper.evaluation.clips import find_clips
from uniwhisper.evaluation.encoders import JudgedEncoder
from uniwhisper.evaluation.runner import evaluate
from uniwhisper.evaluation.suites import SuiteError, load_suite
from uniwhisper.evaluation.trained_on import checked_against, corpora_of, require_unheard, trained_on

RUN_CARD = """# UniWhisper encoder

- data: manifest `0123`, 1.0 hours

| corpus | clips | hours | licence |
|---|---|---|---|
| speechocean762_train | 2,500 | 2.88 | CC BY 4.0 |
| `lj_en` | 300 | 0.54 | public domain |

| file | what |
|---|---|
| other | not a corpus |
"""


def test_a_card_names_its_corpora(tmp_path):
    (tmp_path / "README.md").write_text(RUN_CARD)
    assert corpora_of(tmp_path) == ["lj_en", "speechocean762_train"]
    (tmp_path / "config.json").write_text(json.dumps({"trained_on": ["b", "a"]}))
    assert corpora_of(tmp_path) == ["a", "b"], "the configuration comes first"


@pytest.mark.parametrize("card", [None, "# A model\n", "| file | what |\n|---|---|\n| corpus | no |\n"])
def test_nothing_said_is_none_and_not_nothing(tmp_path, card):
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert corpora_of(tmp_path) is None
    assert trained_on("some-model", None) is None
    assert trained_on("log-mel", None) == trained_on("random:tiny:0", None) == []


def test_corpora_in_both_the_packaged_card_and_the_suite():
    corpora = trained_on("default", None)
    named = {name for task in load_suite("mini").tasks for name in task.in_domain_corpora}
    assert named and named <= set(corpora)
    task = {"folder": "speechocean762_test", "in_domain_corpora": ["speechocean762_train", "another"], "notes": []}
    assert checked_against(task, corpora)["trained_on"] == ["speechocean762_train"]
    assert checked_against(task, None)["trained_on"] is None
    scored_itself = checked_against(task | {"folder": "lj_en"}, corpora)
    assert "was trained on lj_en" in scored_itself["notes"][0]


def test_nothing_that_dev_scores_is_drawn_by_a_recipe_that_says_nothing_else(tmp_path):
    dev = load_suite("dev")
    for place, folder in enumerate({task.folder for task in dev.tasks}):
        clips = {
            f"{number:02d}": (
                wav(100.0 + 11 * number + place),
                {
                    "label": "ab"[number % 2],
                    "note": "CD"[number % 2],
                    "speaker": "ef"[number % 2],
                    "sex": "fm"[number % 2],
                }
                | {"age": 8 + 10 * (number % 2)},
            )
            for number in range(80)
        }
        write_tar(tmp_path / "training" / folder / "clips.tar", clips)
        description = {"domain": "sound", "licence": "none", "tasks": {"sound_tag": {"field": "label"}}}
        (tmp_path / "training" / folder / "corpus.json").write_text(json.dumps(description))
    manifest = prepare(tmp_path / "training", tmp_path / "prepared")
    mixture = Mixture([manifest], DataConfig(clips_per_step=64, domain_weights={"sound": 1.0}), seed=0)
    heard = {part.clip.record.sha256 for step in range(40) for draw in mixture.step(step) for part in draw.parts}
    asked = {
        clip.content for task in dev.tasks for clip in find_clips(task, tmp_path / "training").clips if clip.fold == "0"
    }
    assert len(heard) > 0.9 * len(manifest.records) and len(asked) > 5
    assert not heard & asked


def test_recordings_of_dev_that_another_corpus_holds_in_other_files_are_said():
    """A public row says which set it holds without leaving its recordings out; dev reads none such unsaid."""
    rows = {
        path.stem: json.loads(path.read_text()) for path in (REPOSITORY / "src/uniwhisper/data/public/rows").iterdir()
    }
    twins = {(name, held) for name, row in rows.items() for held in re.findall(r"holds the set (\w+)", row["verified"])}
    assert ("fluidr3_all", "fluidr3_notes") in twins
    for task in load_suite("dev").tasks:
        unsaid = {a if b == task.folder else b for a, b in twins if task.folder in (a, b)}
        assert unsaid <= set(task.recordings_also_in), task.name


def test_a_model_that_heard_the_recordings_in_other_files_is_not_scored(tmp_path):
    for fold in (1, 2, 3):
        clips = {f"{label}{n}": (wav(base + n + fold), {"label": label}) for label, base in (("a", 200.0), ("b", 900.0))
                 for n in range(4)}  # fmt: skip
        write_tar(tmp_path / "data" / "tones" / f"fold-{fold}.tar", clips)
    suite = tmp_path / "toy.json"
    suite.write_text(json.dumps(suite_content(recordings_also_in=["lj_en"])))
    (tmp_path / "README.md").write_text(RUN_CARD)
    assert judge(tmp_path / "data", suite).result["tasks"][0]["scores"], "nothing known of it"
    with pytest.raises(SuiteError, match="its recordings were trained on"):
        evaluate(
            JudgedEncoder(TwoNumbers(), "heard", "heard"), load_suite(suite), tmp_path / "data",
            cache=None, model_folder=tmp_path,
        )  # fmt: skip
    require_unheard(load_suite(suite).tasks, ["speechocean762_train"])
    require_unheard(load_suite("dev").tasks, trained_on("default", None))
