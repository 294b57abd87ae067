"""U against its floors, and the content tasks: differences by hand from the scores in result files."""

import numpy as np
import pytest

from toy_results import TASKS, toy_result, toy_task, write_result
from uniwhisper.evaluation.compare import open_result
from uniwhisper.reproduce.content import content
from uniwhisper.reproduce.floors import floors, markdown
from uniwhisper.reproduce.job import Job

OUTSIDE_THE_HEADLINE = toy_task("side", "speech", 3, 60, in_domain=True, in_domain_corpora=["x"])


RECOGNITION = toy_task("read", "speech", 3, 60, kind="asr", in_domain=True, in_domain_corpora=["x"])


def recognised(made: tuple, errors: int):
    """The result with `errors` of five words wrong in every clip of `read`."""
    entry = made[0]["tasks"][-1]
    entry["scores"] = {"frames": {"ctc": {"score": 1 - errors / 5}}}
    arrays = {name: array for name, array in made[1].items() if not name.startswith("read/mean")}
    clips = len(arrays["read/id"])
    arrays |= {"read/words": np.full(clips, 5), "read/frames/ctc_errors": np.full((2, clips), errors)}
    return made[0], arrays


@pytest.fixture
def results(tmp_path):
    found = {}
    rows = (("log-mel", 7, 0.4, 4), ("U", 0, 0.8, 1), ("U", 1, 0.9, 1), ("S", 0, 0.1, 3), ("random", 0, 0.5, 4))
    for row, seed, accuracy, errors in rows:
        job = Job(row, seed)
        made = toy_result(job.folder_name, accuracy, (*TASKS, OUTSIDE_THE_HEADLINE, RECOGNITION))
        found[job] = open_result(write_result(tmp_path / job.folder_name, "toy", *recognised(made, errors)))
    return found


def score(results, job: Job, task: str, measure: str) -> float:
    (entry,) = [one for one in results[job].result["tasks"] if one["name"] == task]
    return entry["scores"]["mean"][measure]["score"]


def test_every_clip_task_is_compared_with_the_one_floor_over_all_seeds(results):
    found = floors(results)
    assert {(one["floor"], one["task"], one["measure"]) for one in found} == {
        (floor, task, measure)
        for floor in ("log-mel", "random")
        for task in ("one", "two", "side")
        for measure in ("mlp", "knn")
    }
    judged = {"log-mel": Job("log-mel", 7), "random": Job("random", 0)}
    for one in found:
        floor = score(results, judged[one["floor"]], one["task"], one["measure"])
        of_seeds = [score(results, Job("U", seed), one["task"], one["measure"]) for seed in (0, 1)]
        assert one["seeds"] == [0, 1]
        assert one["difference"] == pytest.approx(sum(of_seeds) / 2 - floor)
        assert one["low"] < one["difference"] < one["high"]
    page = "\n".join(markdown(found))
    assert page.count("| U − log-mel | ") == page.count("| U − random | ") == 3
    assert "- U above log-mel? MLP: yes (3 of 3 with the interval above 0). kNN: yes (3 of 3" in page


def test_where_u_is_below_a_floor_is_named(results):
    swapped = {Job("U", 0): results[Job("log-mel", 7)], Job("log-mel", 7): results[Job("U", 0)]}
    page = "\n".join(markdown(floors(swapped)))
    assert "- U above log-mel? MLP: NO, not on one -" in page and "(0 of 3 with the interval above 0)" in page


def test_a_content_task_without_a_score_by_neighbours_is_compared_by_its_frames(results):
    found = [one for one in content(results, ["read", "two", "elsewhere"]) if one["task"] == "read"]
    assert [(one["first"], one["second"], one["measure"], one["seeds"]) for one in found] == [
        ("log-mel", "S", "mlp", [0]), ("S", "U", "mlp", [0])
    ]  # fmt: skip
    assert [one["difference"] for one in found] == pytest.approx([0.2, 0.4])
    assert all(one["low"] == pytest.approx(one["difference"]) == one["high"] for one in found)  # no clip differs


def test_without_floors_there_is_nothing_to_say(results):
    assert markdown(floors({job: one for job, one in results.items() if job.row in ("U", "S")})) == []
