"""Differences over several pairs of results: against draws made here clip by clip, by hand, and as they are printed."""

import copy
import json
import re
import shlex
from dataclasses import replace

import numpy as np
import pytest

from command import uniwhisper
from conftest import REPOSITORY
from toy_results import TASKS, toy_result, toy_task, write_result
from uniwhisper.evaluation.compare import CompareError, compare, open_result
from uniwhisper.evaluation.compare_pairs import compare_pairs, in_several
from uniwhisper.evaluation.compare_parts import common_part
from uniwhisper.evaluation.suites import part_hash

ACCURACIES = {"S": (0.55, 0.35, 0.45), "U": (0.55, 0.65, 0.95)}
"""Of the seeds, so that pairs differ by about 0, .3 and .5: most of what is uncertain is the seed of training."""
ALL = (*TASKS, toy_task("three", "speech", 5, 80), toy_task("known", "music", in_domain=True))


def write_seed(folder, row, seed, tasks=ALL, **changes):
    content, arrays = toy_result(f"{row}{seed}", ACCURACIES[row][seed], tasks, **changes)
    return write_result(folder / f"{row}{seed}", "toy", content, arrays)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    for row in ACCURACIES:
        for seed in range(3):
            write_seed(folder, row, seed)
    return folder


def opened(folder, name):
    return replace(open_result(folder / name / "toy.json"), name=name)


def pairs_of(folder, seeds=(0, 1, 2)):
    return [(opened(folder, f"S{seed}"), opened(folder, f"U{seed}")) for seed in seeds]


def test_one_pair_is_what_it_is_alone(folder):
    (pair,) = pairs_of(folder, [1])
    alone, found = compare(*pair), compare_pairs([pair])
    domains = {f"headline/{domain}" for domain in ("music", "speech")}
    assert {of for of, _, _ in alone.averages} == {"headline", "in_domain"}
    assert {of for of, _, _ in found.averages} == {"headline", "in_domain"} | domains
    assert found.tasks.keys() == alone.tasks.keys() and alone.averages.keys() < found.averages.keys()
    for part, before in ((found.tasks, alone.tasks), (found.averages, alone.averages)):
        for key, one in before.items():
            over = part[key].mean
            assert (over.low, over.high, over.p) == (one.low, one.high, one.p)
            assert over.difference == pytest.approx(one.difference, abs=1e-12)
            assert part[key].of_pairs == (over.difference,)


def drawn_again(pairs, domains, pooling, measure, draws, seed):
    """Means of pairs' differences in the mean of the domains' means, each of lists of clips drawn one after another."""
    rng = np.random.default_rng(seed)
    names = [name for inside in domains for name in inside]
    right, groups, folds = {}, {}, {}
    for name in names:
        clips = pairs[0][0].clips
        groups[name] = [np.flatnonzero(clips[f"{name}/group"] == g) for g in np.unique(clips[f"{name}/group"])]
        folds[name] = clips[f"{name}/fold"]
        for place, pair in enumerate(pairs):
            for side, one in enumerate(pair):
                right[name, place, side] = one.clips[f"{name}/{pooling}/{measure}"] == one.clips[f"{name}/label"]
    found = []
    for _ in range(draws):
        chosen = rng.integers(len(pairs), size=len(pairs))
        by_task = {}
        for name in names:
            drawn = [groups[name][place] for place in rng.integers(len(groups[name]), size=len(groups[name]))]
            clips = np.concatenate([rng.choice(group, size=len(group)) for group in drawn])
            seeds = len(right[name, 0, 0])
            probes = [rng.integers(seeds, size=seeds) for _ in (0, 1)]
            # The mean over folds as a mean over clips: a clip of a small fold counts for more.
            counts = np.array([(folds[name] == folds[name][clip]).sum() for clip in clips])
            of_side = [
                [np.average(right[name, place, side][probes[side]][:, clips].mean(axis=0), weights=1 / counts)
                 for side in (0, 1)]
                for place in chosen
            ]  # fmt: skip
            by_task[name] = np.mean([second - first for first, second in of_side])
        found.append(np.mean([np.mean([by_task[name] for name in inside]) for inside in domains]))
    return np.array(found)


@pytest.mark.parametrize(
    ("of", "domains"), [("headline", [["one"], ["two", "three"]]), ("headline/speech", [["two", "three"]])]
)
def test_the_interval_of_three_pairs_is_that_of_clips_drawn_one_by_one(folder, of, domains):
    pairs = pairs_of(folder)
    found = compare_pairs(pairs).averages[of, "mean", "mlp"]
    by_hand = []
    for pair in pairs:
        first, second = (
            {task["name"]: task["scores"]["mean"]["mlp"]["score"] for task in side.result["tasks"]} for side in pair
        )
        by_hand.append(np.mean([np.mean([second[name] - first[name] for name in inside]) for inside in domains]))
    assert found.of_pairs == pytest.approx(by_hand)
    assert found.mean.difference == pytest.approx(np.mean(by_hand))
    draws = drawn_again(pairs, domains, "mean", "mlp", 2000, seed=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert high - low > 0.3, "pairs differ"
    assert (found.mean.low, found.mean.high) == pytest.approx((low, high), abs=0.02)
    # Clips alone say less.
    alone = compare(*pairs[1]).averages["headline", "mean", "mlp"]
    assert alone.high - alone.low < 0.75 * (high - low)


def test_pairs_that_are_alike_in_what_they_answer_have_the_interval_of_one(folder):
    """Then nothing is uncertain about the seed of training."""
    pair = pairs_of(folder, [1])[0]
    pairs = [pair]
    for number in (1, 2):
        sides = [replace(side, result=copy.deepcopy(side.result)) for side in pair]
        for side in sides:
            side.result["model"]["identity"]["weights"] += str(number)
        pairs.append(tuple(sides))
    alone = compare(*pair).averages["headline", "mean", "knn"]
    found = compare_pairs(pairs).averages["headline", "mean", "knn"]
    assert (found.mean.low, found.mean.high) == pytest.approx((alone.low, alone.high), abs=1e-12)


def test_the_command_of_the_results_page_gives_its_first_line_and_its_first_pairs_the_published_table():
    """Every figure of that; p may differ by a draw that is 0 but for rounding."""
    page = (REPOSITORY / "docs" / "results.md").read_text()
    (script,) = re.findall(r"```bash\n(cd [^`]*uniwhisper compare [^`]*)```", page)
    into, folder, command, *words = shlex.split(script.replace("\\\n", ""))
    assert (into, command) == ("cd", "uniwhisper")
    done = uniwhisper(*words, "--json", cwd=REPOSITORY / folder)
    assert done.returncode == 0, done.stderr
    (line,) = re.findall(r"^\| U − S: .*$", page, re.MULTILINE)
    assert line.endswith(f"| {len(json.loads(done.stdout)['pairs'])} |")
    cells = line.split("|")[2:4]
    for measure, cell in zip(("knn", "mlp"), cells, strict=True):
        (row,) = (
            one
            for one in json.loads(done.stdout)["differences"]
            if (one["of"], one["pooling"], one["measure"]) == ("headline", "mean", measure)
        )
        signed = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*(row[name] for name in ("difference", "low", "high")))
        assert cell.strip() == signed.replace("0.", ".")

    of_table = words[: 3 + 3 * 4]
    assert of_table[0] == "compare" and all(word == "--pair" or word.startswith("tiny/") for word in of_table[1:])
    done = uniwhisper(*of_table, "--json", cwd=REPOSITORY / folder)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    table = json.loads((REPOSITORY / folder / "tiny" / "table.json").read_text())
    (published,) = (one for one in table["compared"] if (one["first"], one["second"]) == ("S", "U"))
    seeds = [(f"S-seed{seed}", f"U-seed{seed}") for seed in published["seeds"]]
    assert [(pair["first"], pair["second"]) for pair in printed["pairs"]] == seeds and len(seeds) == 5
    found = {(row["of"], row["pooling"], row["measure"]): row for row in printed["differences"]}
    domains = {of.partition("/")[2] for of, _, _ in found} - {""}
    assert domains == {"environment", "music", "speech"} and len(published["differences"]) == 24
    for one in published["differences"]:
        row = found[f"headline/{one['of']}" if one["of"] in domains else one["of"], "mean", one["measure"]]
        for name in ("difference", "low", "high"):
            assert row[name] == pytest.approx(one[name], abs=1e-9)
        assert row["p"] == pytest.approx(one["p"], abs=0.0021)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["protocol"].update(version=1), "different protocols"),
        (lambda r: r["suite"].update(hash="0"), "different suites"),
        (lambda r: r["seeds"].update(first=1), "different seeds"),
        (lambda r: r["tasks"][0].update(data="0"), "different data"),
        (lambda r: r["tasks"][0]["clips"].update(scored=35), "different numbers of clips"),
    ],
)
def test_a_pair_of_something_else_is_refused(folder, change, message):
    """Its two results are alike, and the first pair's are."""
    pairs = pairs_of(folder, [0, 1])
    for side in pairs[1]:
        change(side.result)
    assert compare(*pairs[1]).tasks
    with pytest.raises(CompareError, match=message) as refused:
        compare_pairs(pairs)
    assert refused.value.expected.startswith("S0: ") and refused.value.got.startswith("S1: ")


def test_a_pair_given_twice_is_refused_also_from_another_folder(folder, tmp_path):
    twice = pairs_of(folder, [0, 1, 1])
    with pytest.raises(CompareError, match="given twice") as refused:
        compare_pairs(twice)
    assert refused.value.got == "S1 U1 and S1 U1, of the same two models"
    write_seed(tmp_path, "U", 1)
    with pytest.raises(CompareError, match="given twice"):
        compare_pairs([*twice[:2], (twice[2][0], opened(tmp_path, "U1"))])


def test_a_model_on_both_sides_is_refused(folder):
    zero, one = pairs_of(folder, [0, 1])
    for other in ((one[0], zero[0]), (zero[1], one[1]), (one[0], one[0])):
        with pytest.raises(CompareError, match="on both sides"):
            compare_pairs([zero, other])
    with pytest.raises(CompareError, match="on both sides") as refused:
        compare_pairs([zero, zero[::-1]])
    assert refused.value.got == "U0 is a first, and U0, of the same model, a second"


def called(pairs, labels):
    for pair, both in zip(pairs, labels, strict=True):
        for side, label in zip(pair, both, strict=True):
            side.result["model"]["label"] = label
    return pairs


@pytest.mark.parametrize(
    "labels",
    [
        [("S-seed0", "U-seed0"), ("U-seed1", "S-seed1"), ("S-seed2", "U-seed2")],
        [("S0", "U0"), ("S1", "U1"), ("U2", "S2")],
        [("a", "b"), ("b", "a"), ("a", "b")],
        [("S-seed0", "U-seed0"), ("U-seed1", "C-seed1"), ("S-seed2", "U-seed2")],
    ],
)
def test_a_recipe_on_both_sides_is_refused_where_names_tell(folder, labels):
    with pytest.raises(CompareError, match="recipe that is on both sides"):
        compare_pairs(called(pairs_of(folder), labels))


@pytest.mark.parametrize(
    "labels",
    [
        [("model", "model")] * 3,  # `--model runs/x/model`: nothing is known
        [("S-seed0", "S-seed1"), ("S-seed2", "S-seed3"), ("S-seed4", "S-seed5")],  # what the seed alone makes
        [("S-seed0", "S-seed0"), ("U-seed0", "U-seed0"), ("U-seed1", "U-seed1")],  # two experiments, over their rows
        [("log-mel", "U-seed0"), ("log-mel", "U-seed1"), ("log-mel", "U-long-seed0")],
        [("large-v2", "U-seed0"), ("S-seed0", "large-v3"), ("S-seed1", "U-seed1")],  # a version is no seed
    ],
)
def test_names_that_tell_nothing_refuse_nothing(folder, labels):
    assert compare_pairs(called(pairs_of(folder), labels)).tasks


def test_a_model_that_has_no_seeds_may_be_in_every_pair(folder):
    """As log-mel is: all of the spread is then the other side's."""
    pairs = [(opened(folder, "S0"), opened(folder, f"U{seed}")) for seed in range(3)]
    assert in_several(pairs) == {"S0": 3} and in_several(pairs_of(folder)) == {}
    found = compare_pairs(pairs).tasks["one", "mean", "knn"]
    scores = [side.result["tasks"][0]["scores"]["mean"]["knn"]["score"] for pair in pairs for side in pair]
    assert found.of_pairs == pytest.approx([scores[1] - scores[0], scores[3] - scores[0], scores[5] - scores[0]])


def test_only_what_all_pairs_have_is_shown(folder):
    pairs = pairs_of(folder)
    pairs[1][1].result["poolings"] = ["mean_deviation"]
    # One that could not be scored on a task by a measure has an average over the others.
    lacking = pairs[0][0].result
    del lacking["tasks"][0]["scores"]["mean_deviation"]["linear"]
    lacking["averages"]["headline"]["mean_deviation"]["linear"]["tasks"] = ["two", "three"]
    found = compare_pairs(pairs)
    assert {pooling for _, pooling, _ in found.averages | found.tasks} == {"mean_deviation"}
    assert ("one", "mean_deviation", "linear") not in found.tasks
    assert ("two", "mean_deviation", "linear") in found.tasks
    assert not any(of.startswith("headline") and measure == "linear" for of, _, measure in found.averages)
    assert ("headline/music", "mean_deviation", "mlp") in found.averages
    pairs[2][1].result["poolings"] = ["own"]
    with pytest.raises(CompareError, match="different poolings"):
        compare_pairs(pairs)


def test_parts_of_a_suite_are_compared_on_what_all_have(folder, tmp_path):
    whole = pairs_of(folder, [0, 1])
    names = ["one", "three"]
    tasks = tuple(task for task in ALL if task["name"] in names)
    suite = {"name": "toy-part", "hash": part_hash("5" * 64, names), "description": ""}
    write_seed(tmp_path, "U", 2, tasks, suite=suite)
    third = (opened(folder, "S2"), opened(tmp_path, "U2"))
    cut, shared = common_part([side for pair in [*whole, third] for side in pair])
    assert shared.tasks == ("one", "three") and shared.left_out == (("two", "known"),) * 5 + ((),)
    found = compare_pairs(list(zip(cut[::2], cut[1::2], strict=True)))
    assert {task for task, _, _ in found.tasks} == {"one", "three"}
    one, three = (found.tasks[name, "mean", "knn"].of_pairs for name in names)
    assert found.averages["headline", "mean", "knn"].of_pairs == pytest.approx(np.add(one, three) / 2)
    words = ["compare", "S0/toy.json", "U0/toy.json", "--pair", "S2/toy.json", tmp_path / "U2" / "toy.json"]
    done = uniwhisper(*words, cwd=folder)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("compared on the 2 tasks that all results have, and averages over these alone")
    assert last.endswith("left out: 2 of S0/toy.json, U0/toy.json, S2/toy.json: two, known")
    assert done.stdout.count("all results have") == 1 and "tasks" not in done.stderr
    printed = json.loads(uniwhisper(*words, "--json", cwd=folder).stdout)
    assert (printed["tasks_of_all"], printed["left_out"]) == (["one", "three"], ["two", "known"])


FILES = [f"{row}{seed}/toy.json" for seed in range(3) for row in "SU"]
WORDS = ["compare", *FILES[:2], "--pair", *FILES[2:4], f"--pair={FILES[4]}", FILES[5]]


def test_the_verb_prints_mean_interval_and_the_difference_of_each_pair(folder):
    done = uniwhisper(*WORDS, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["pairs"] == [{"first": f"S{seed}", "second": f"U{seed}"} for seed in range(3)]
    found = compare_pairs(pairs_of(folder))
    rows = {(row["of"], row["pooling"], row["measure"]): row for row in printed["differences"]}
    assert rows.keys() == (found.averages | found.tasks).keys() and len(rows) == len(printed["differences"])
    for key, one in (found.averages | found.tasks).items():
        assert rows[key]["of_pairs"] == list(one.of_pairs)
        assert (rows[key]["difference"], rows[key]["low"], rows[key]["p"]) == (
            one.mean.difference,
            one.mean.low,
            one.mean.p,
        )
    done = uniwhisper(*WORDS, cwd=folder)
    one = found.averages["headline", "mean", "knn"]
    shown = [f"{value:+.3f}" for value in (one.mean.difference, one.mean.low, one.mean.high, *one.of_pairs)]
    lines = done.stdout.splitlines()
    row = lines[lines.index("headline, mean") + 1]
    assert row.replace("[", "").replace(",", "").replace("]", "").replace("*", "").split() == ["knn", *shown]
    assert "mean of 3 pairs" in lines[0] and done.stdout.count("] *") == sum(
        row["low"] > 0 or row["high"] < 0 for row in printed["differences"]
    )
    assert [line.strip() for line in lines if " minus " in line] == [f"U{seed} minus S{seed}" for seed in range(3)]


def test_differences_without_room_in_a_line_are_in_the_next(tmp_path):
    words = []
    for seed in range(12):
        for row, accuracy in (("S", 0.4), ("U", 0.6)):
            content, arrays = toy_result(f"{row}-{seed}", accuracy)
            content["model"]["label"] = row
            write_result(tmp_path / f"{row}{seed}", "toy", content, arrays)
        words += [*(["--pair"] if words else []), f"S{seed}/toy.json", f"U{seed}/toy.json"]
    printed = json.loads(uniwhisper("compare", *words, "--json", cwd=tmp_path).stdout)
    (row,) = (
        row["of_pairs"] for row in printed["differences"]
        if (row["of"], row["pooling"], row["measure"]) == ("one", "mean", "mlp")
    )  # fmt: skip
    lines = uniwhisper("compare", *words, cwd=tmp_path).stdout.splitlines()
    place = lines.index("one, mean") + 7  # below three measures of two lines each
    values = [f"{value:+.3f}" for value in row]
    assert lines[place].endswith("  " + " ".join(values[:10])) and lines[place + 1].split() == values[10:]
    assert lines[place + 1].index(values[10]) == lines[place].index("] ") + 5
    assert max(map(len, lines[:place])) <= 120
    # Labels that are all the same tell no pair from another, files do.
    assert "  U3/toy.json minus S3/toy.json" in lines


def test_the_verb_refuses_with_what_to_type(folder):
    done = uniwhisper(*WORDS, "--pair", FILES[0], cwd=folder)
    assert done.returncode == 2 and "takes two values" in done.stderr
    assert " none " in uniwhisper("compare", *FILES[:2], "--pair", cwd=folder).stderr
    done = uniwhisper("compare", *FILES[:2], "--pair", FILES[2], "--json", cwd=folder)
    assert done.returncode == 2 and "takes two values" in done.stderr
    done = uniwhisper(*WORDS, "--pair", *FILES[:2], cwd=folder)
    assert (done.returncode, done.stdout) == (2, "") and "given twice" in done.stderr
    assert "S0/toy.json U0/toy.json and S0/toy.json U0/toy.json" in " ".join(done.stderr.split())
    done = uniwhisper("compare", *FILES[:2], "--pair", FILES[1], FILES[3], cwd=folder)
    assert done.returncode == 2 and "on both sides" in done.stderr
    done = uniwhisper("compare", *FILES[:2], "--pair", FILES[3], FILES[2], cwd=folder)
    assert (done.returncode, done.stdout) == (2, "") and "U1/toy.json (U1) is a first" in done.stderr
    done = uniwhisper("compare", *FILES[:2], "--pair", FILES[0], FILES[3], cwd=folder)
    assert done.returncode == 0 and "S0/toy.json is in 2 pairs" in done.stderr


def test_an_average_over_other_tasks_is_left_out_and_said(tmp_path):
    """One encoder was trained on the corpus of a task: for it that task stands apart."""
    known = (toy_task("one", "music", 4), toy_task("two", "speech", 3, 60, in_domain=True, in_domain_corpora=["x"]))
    write_result(tmp_path, "a", *toy_result("a", 0.4))
    write_result(tmp_path, "b", *toy_result("b", 0.8, known))
    done = uniwhisper("compare", "a.json", "b.json", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {row["of"] for row in json.loads(done.stdout)["differences"]} == {"one", "two"}
    assert "no average headline: two counts there for some of these results only" in done.stderr
    assert "no average in_domain: two counts there" in done.stderr
    write_result(tmp_path, "c", *toy_result("c", 0.8))
    assert "no average" not in uniwhisper("compare", "a.json", "c.json", cwd=tmp_path).stderr
