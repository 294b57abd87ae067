"""The plan: its sums by hand, its tasks and readers against the registries, and what the terminal shows."""

import json
import math
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from uniwhisper.core.errors import ManifestError
from uniwhisper.data.corpus_plan import FLOPS_PER_AUDIO_SECOND, H100_FLOPS, TERMS, cost_of, make_plan
from uniwhisper.data.named import described_recipes
from uniwhisper.data.published.registry import published_corpora
from uniwhisper.data.tasks import simple_tasks

NAMED_IN_THE_PLAN = (
    "librispeech gigaspeech commonvoice mls voxpopuli covost2 voxceleb voxlingua107 fluent_speech_commands",
    "speech_commands crema_d meld audioset fsd50k vggsound clotho audiocaps wavcaps desed tau_urban_scenes vocalsound",
    "fma mtg_jamendo nsynth maestro musiccaps gtzan magnatagatune",
)


@pytest.fixture(scope="module")
def plan():
    return make_plan("paper-38k")


def test_the_plan_is_as_large_as_promised(plan):
    names = [corpus.name for corpus in plan.corpora]
    assert len(names) == len(set(names)) >= 40
    assert set(" ".join(NAMED_IN_THE_PLAN).split()) <= set(names)
    assert plan.total_hours >= 38_000
    assert all(len(plan.of(domain)) >= 10 for domain in ("speech", "sound", "music"))


def test_every_row_names_tasks_terms_and_a_reader_that_exist(plan):
    for corpus in plan.corpora:
        assert corpus.tasks and set(corpus.tasks) <= simple_tasks().keys(), corpus
        assert corpus.terms in TERMS and corpus.licence, corpus
        assert corpus.reader in ("own", "lhotse", "table", "hub"), corpus
        assert corpus.reader != "lhotse" or corpus.name in described_recipes()
        non_commercial = "NC" in corpus.licence or "non-commercial" in corpus.licence
        assert not (non_commercial and corpus.terms == "open"), corpus
    assert {corpus.name for corpus in plan.corpora if corpus.reader == "own"} == published_corpora().keys()


def test_weights_steps_and_cost_follow_from_hours(plan):
    """Librispeech by hand: a third of the draws is speech, shared by the square root of hours."""
    assert sum(corpus.weight for corpus in plan.corpora) == pytest.approx(1)
    speech = plan.of("speech")
    row = next(corpus for corpus in speech if corpus.name == "librispeech")
    weight = math.sqrt(960) / sum(math.sqrt(corpus.hours) for corpus in speech) / 3
    assert row.weight == pytest.approx(weight)
    heard_hours = weight * plan.total_hours
    assert row.steps == pytest.approx(heard_hours * 3600 / 3840)
    assert row.passes == pytest.approx(heard_hours / 960)
    assert row.gpu_hours == pytest.approx(heard_hours * FLOPS_PER_AUDIO_SECOND / (0.3 * H100_FLOPS))
    assert row.disk_gib == pytest.approx(960 * 3600 * 140_000 / 8 / 2**30)
    twice = make_plan("paper-38k", passes=2.0, step_seconds=7680.0, utilisation=0.6)
    assert sum(c.steps for c in twice.corpora) == pytest.approx(sum(c.steps for c in plan.corpora))
    assert sum(c.gpu_hours for c in twice.corpora) == pytest.approx(sum(c.gpu_hours for c in plan.corpora))


def test_permissive_only_leaves_out_what_is_not_open_and_says_the_cost(plan):
    smaller = make_plan("paper-38k", permissive_only=True)
    assert {corpus.terms for corpus in smaller.corpora} == {"open"}
    cost = cost_of(plan, smaller)
    assert {c.name for c in cost.left_out} == {c.name for c in plan.corpora if c.terms != "open"}
    assert sum(cost.hours_by_terms.values()) == pytest.approx(plan.total_hours - smaller.total_hours)
    assert set(cost.tasks_lost) == plan.tasks - smaller.tasks
    assert sum(corpus.weight for corpus in smaller.corpora) == pytest.approx(1)


def test_an_unknown_plan_is_an_error():
    with pytest.raises(ManifestError, match="no plan"):
        make_plan("everything")


def invoke(*arguments: str):
    from uniwhisper.cli.data import app

    return CliRunner().invoke(app, ["plan", *arguments])


def test_the_json_holds_what_a_program_needs():
    value = json.loads(invoke("paper-38k", "--json").stdout)
    assert value["total_hours"] == pytest.approx(sum(corpus["hours"] for corpus in value["corpora"]))
    for corpus in value["corpora"]:
        assert {"name", "domain", "hours", "licence", "tasks", "weight"} <= corpus.keys()
    smaller = json.loads(invoke("paper-38k", "--permissive-only", "--json").stdout)
    assert set(smaller["left_out"]) | {c["name"] for c in smaller["corpora"]} == {c["name"] for c in value["corpora"]}


@pytest.mark.parametrize("columns", [80, 140])
def test_every_corpus_is_whole_on_a_terminal_of_this_width(plan, columns):
    code = "from uniwhisper.cli.data import app; app(['plan', 'paper-38k', '--permissive-only'])"
    environment = {**os.environ, "COLUMNS": str(columns)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert max(map(len, done.stdout.splitlines())) <= columns
    for corpus in plan.corpora:
        if corpus.terms == "open":
            assert corpus.name in done.stdout
    assert "What that costs" in done.stdout
