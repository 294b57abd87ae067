"""Differences between rows where domains have several tasks: what is shown is the difference of the two headlines."""

import json

import numpy as np
import pytest

from toy_results import toy_result, toy_task, write_result
from uniwhisper.evaluation.averages import weights_of
from uniwhisper.evaluation.compare import open_result
from uniwhisper.evaluation.compare_pairs import compare_pairs
from uniwhisper.reproduce.differences import HEADLINE, differences, levels

TASKS = (
    toy_task("esc", "environment"),
    toy_task("pitch", "music", 5, 80),
    toy_task("instrument", "music", 3),
    *(toy_task(f"speech{number}", "speech", 3, 60) for number in range(4)),
)


def test_every_domain_weighs_alike_and_so_does_each_task_in_it():
    weights = weights_of(TASKS)
    assert weights == pytest.approx([1 / 3, 1 / 6, 1 / 6, *[1 / 12] * 4])
    assert sum(weights) == pytest.approx(1.0)


@pytest.fixture
def runs(tmp_path):
    found = {}
    for row, accuracy in {"S": 0.4, "U": 0.6}.items():
        for seed in (0, 1):
            path = write_result(tmp_path / f"{row}{seed}", "toy", *toy_result(f"{row}{seed}", accuracy, TASKS))
            found[row, seed] = path
    return found


def test_a_difference_is_that_of_the_headlines_and_of_the_domains(runs):
    read = {key: json.loads(path.read_text())["averages"]["headline"]["mean"]["mlp"] for key, path in runs.items()}
    found = differences([(open_result(runs["S", seed]), open_result(runs["U", seed])) for seed in (0, 1)])
    expected = np.mean([read["U", seed]["score"] - read["S", seed]["score"] for seed in (0, 1)])
    one = found[HEADLINE, "mlp"]
    assert one.difference == pytest.approx(expected)
    assert one.low < expected < one.high
    for domain in ("environment", "music", "speech"):
        expected = np.mean([read["U", seed]["domains"][domain] - read["S", seed]["domains"][domain] for seed in (0, 1)])
        assert found[domain, "mlp"].difference == pytest.approx(expected)
        assert found[domain, "mlp"].low < expected < found[domain, "mlp"].high


def test_what_a_chain_says_of_its_rows_is_what_compare_says_of_their_files(runs):
    pairs = [(open_result(runs["S", seed]), open_result(runs["U", seed])) for seed in (0, 1)]
    compared = compare_pairs(pairs)
    found = differences(pairs)
    domains = ("environment", "music", "speech")
    assert {of for of, _ in found} == {HEADLINE, *domains, *(task["name"] for task in TASKS)}
    for (of, measure), one in found.items():
        name = f"{HEADLINE}/{of}" if of in domains else of
        assert (compared.averages | compared.tasks)[name, "mean", measure].mean == one


def test_the_interval_of_a_row_holds_its_score(runs):
    score, low, high = levels([open_result(runs["U", seed]) for seed in (0, 1)])["knn"]
    assert low < score < high and score == pytest.approx(
        np.mean([json.loads(runs["U", s].read_text())["averages"]["headline"]["mean"]["knn"]["score"] for s in (0, 1)])
    )


def test_the_interval_of_a_row_reaches_over_each_of_its_seeds(runs):
    """One of four draws of two seeds is the one alone, one the other: a weak and a strong run, far apart."""
    weak, strong = open_result(runs["S", 0]), open_result(runs["U", 0])
    alone = {name: levels([run])["knn"][0] for name, run in (("weak", weak), ("strong", strong))}
    assert alone["strong"] - alone["weak"] > 0.1
    _, low, high = levels([weak, strong])["knn"]
    assert low < alone["weak"] and high > alone["strong"]
