"""U against its floors: differences by hand from the scores in result files."""

import pytest

from toy_results import TASKS, toy_result, toy_task, write_result
from uniwhisper.evaluation.compare import open_result
from uniwhisper.reproduce.floors import floors, markdown
from uniwhisper.reproduce.job import Job

OUTSIDE_THE_HEADLINE = toy_task("side", "speech", 3, 60, in_domain=True, in_domain_corpora=["x"])


@pytest.fixture
def results(tmp_path):
    found = {}
    for row, seed, accuracy in (("log-mel", 7, 0.4), ("U", 0, 0.8), ("U", 1, 0.9), ("S", 0, 0.1)):
        job = Job(row, seed)
        made = toy_result(job.folder_name, accuracy, (*TASKS, OUTSIDE_THE_HEADLINE))
        found[job] = open_result(write_result(tmp_path / job.folder_name, "toy", *made))
    return found


def score(results, job: Job, task: str, measure: str) -> float:
    (entry,) = [one for one in results[job].result["tasks"] if one["name"] == task]
    return entry["scores"]["mean"][measure]["score"]


def test_every_clip_task_is_compared_with_the_one_floor_over_all_seeds(results):
    found = floors(results)
    assert {(one["floor"], one["task"], one["measure"]) for one in found} == {
        ("log-mel", task, measure) for task in ("one", "two", "side") for measure in ("mlp", "knn")
    }
    for one in found:
        floor = score(results, Job("log-mel", 7), one["task"], one["measure"])
        of_seeds = [score(results, Job("U", seed), one["task"], one["measure"]) for seed in (0, 1)]
        assert one["seeds"] == [0, 1]
        assert one["difference"] == pytest.approx(sum(of_seeds) / 2 - floor)
        assert one["low"] < one["difference"] < one["high"]
    page = "\n".join(markdown(found))
    assert page.count("| U − log-mel | ") == 3 and "random" not in page
    assert "- U above log-mel? MLP: yes (3 of 3 with the interval above 0). kNN: yes (3 of 3" in page


def test_where_u_is_below_a_floor_is_named(results):
    swapped = {Job("U", 0): results[Job("log-mel", 7)], Job("log-mel", 7): results[Job("U", 0)]}
    page = "\n".join(markdown(floors(swapped)))
    assert "- U above log-mel? MLP: NO, not on one -" in page and "(0 of 3 with the interval above 0)" in page


def test_without_floors_there_is_nothing_to_say(results):
    assert markdown(floors({job: one for job, one in results.items() if job.row != "log-mel"})) == []
