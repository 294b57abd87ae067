"""What a model's folder says it was trained on, in the words of both of its writers: a run's card and a written one."""

import json

import pytest

from uniwhisper.evaluation.suites import load_suite
from uniwhisper.evaluation.trained_on import checked_against, corpora_of, trained_on

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
