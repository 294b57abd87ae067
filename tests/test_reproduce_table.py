"""The chain's page from results and run records made by hand: what scores cost, and the curve over training clips."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from safetensors import safe_open

from small import small_model, write_language_model
from toy_results import TASKS, toy_result, write_result
from uniwhisper.baselines.language_models import ThawedUniWhisper, TrainedLanguageModel
from uniwhisper.core.errors import RecipeError
from uniwhisper.evaluation.compare import open_result
from uniwhisper.reproduce import overview
from uniwhisper.reproduce.chain import Chain
from uniwhisper.reproduce.differences import levels
from uniwhisper.reproduce.efficiency import draw
from uniwhisper.reproduce.growth import fit
from uniwhisper.reproduce.job import Done, Job
from uniwhisper.reproduce.scale import smoke
from uniwhisper.reproduce.table import markdown, summarise, write
from uniwhisper.training.run_folder import cost_facts

ACCURACY = {"S": 0.4, "U-eighth": 0.5, "U-quarter": 0.55, "U": 0.65, "LM-pretrained-trained": 0.66, "multi-head": 0.6}
PARAMETERS = {
    "U": {
        "encoder": {"trained": 8_000_000, "frozen": 0},
        "adapter": {"trained": 1_500_000, "frozen": 0},
        "language_model": {"trained": 0, "frozen": 9_300_000},
    },
    "LM-pretrained-trained": {
        "encoder": {"trained": 8_000_000, "frozen": 0},
        "adapter": {"trained": 1_500_000, "frozen": 0},
        "language_model": {"trained": 9_300_000, "frozen": 0},
    },
    "multi-head": {"encoder": {"trained": 8_000_000, "frozen": 0}, "heads": {"trained": 250_000, "frozen": 0}},
}
SEEDS = (0, 1)


def write_smoke_suite(folder: Path) -> Path:
    task = {
        "name": "one", "description": "d", "domain": "music", "folder": "one", "label": {"field": "label"},
        "folds": {"by": "content", "count": 3, "scored": ["0"]}, "metric": "accuracy",
    }  # fmt: skip
    head = {"format": "uniwhisper-suite", "format_version": 2, "name": "toy", "description": "d", "tasks": [task]}
    (folder / "suite.json").write_text(json.dumps(head))
    return folder / "suite.json"


def made(folder: Path, rows: list[str]) -> list[Done]:
    """Finished jobs: 600 s (seed 0) and 660 s (seed 1) of training, and results drawn by `ACCURACY`."""
    done = []
    for row in rows:
        for seed in SEEDS:
            job = Job(row, seed)
            result = write_result(folder / job.folder_name, "toy", *toy_result(job.folder_name, ACCURACY[row]))
            if row in PARAMETERS:
                record = {"parameters": PARAMETERS[row], "device": "NVIDIA H100 80GB HBM3"}
                (folder / job.folder_name / "run").mkdir()
                (folder / job.folder_name / "run" / "run.json").write_text(json.dumps(record))
            done.append(Done(job, 6_000, 3_600.0, 600.0 + 60 * seed, "model", result, "abc"))
    return done


def chain(folder: Path) -> Chain:
    scale = smoke(write_smoke_suite(folder), start_steps=3_000, steps=6_000)
    return Chain(
        scale=scale, manifest=SimpleNamespace(hash="f" * 64), evaluation=folder, development=folder, output=folder,
        cache=folder, device=torch.device("cpu"), console=None, command="uniwhisper reproduce smoke",
    )  # fmt: skip


def headline(done: list[Done], row: str, seed: int, measure: str) -> float:
    """Mean of the two domains, of one task each, from the file itself."""
    (one,) = [one for one in done if one.job == Job(row, seed)]
    tasks = json.loads(one.result.read_text())["tasks"]
    return float(np.mean([task["scores"]["mean"][measure]["score"] for task in tasks]))


def test_what_scores_cost_is_what_the_runs_wrote(tmp_path):
    done = made(tmp_path, list(ACCURACY))
    found = {row["row"]: row for row in summarise(chain(tmp_path), done)["efficiency"]}
    assert list(found) == ["U", "LM-pretrained-trained", "multi-head"]
    assert [found[row]["trained_parameters"] for row in found] == [9_500_000, 18_800_000, 8_250_000]
    assert [found[row]["frozen_parameters"] for row in found] == [9_300_000, 0, 0]
    u = found["U"]
    assert (u["steps"], u["audio_seconds"], u["device_seconds"]) == (6_000, 3_600.0, 630.0)
    assert u["devices"] == ["NVIDIA H100 80GB HBM3"] and u["seeds"] == [0, 1]
    for measure in ("mlp", "knn"):
        expected = np.mean([headline(done, "U", seed, measure) for seed in SEEDS])
        assert u["scores"][measure]["score"] == pytest.approx(expected)
        assert u["scores"][measure]["low"] < expected < u["scores"][measure]["high"]


def test_the_interval_of_a_row_is_about_that_of_its_clips(tmp_path):
    """One training seed, kNN: half the width is near 1.96 standard errors of the mean of two tasks' accuracies."""
    (run, _) = made(tmp_path, ["U"])
    score, low, high = levels([open_result(run.result)])["knn"]
    tasks = json.loads(run.result.read_text())["tasks"]
    accuracies = [task["scores"]["mean"]["knn"]["score"] for task in tasks]
    sizes = [task["clips"]["scored"] for task in TASKS]
    error = 0.5 * np.sqrt(sum(p * (1 - p) / n for p, n in zip(accuracies, sizes, strict=True)))
    assert score == pytest.approx(np.mean(accuracies))
    # Groups of four clips that share nothing: drawn whole and then by clip, they spread about twice as far in variance.
    assert 1.0 < (high - low) / 2 / (1.96 * error) < 1.8


def test_a_run_without_a_record_leaves_dashes_and_is_not_drawn(tmp_path):
    done = made(tmp_path, ["S", "U"])
    for one in done:
        (tmp_path / one.job.folder_name / "run" / "run.json").unlink(missing_ok=True)
    (row,) = summarise(chain(tmp_path), done)["efficiency"]
    assert row["trained_parameters"] is None and row["devices"] == [] and row["scores"]["mlp"] is not None
    assert not draw([row], tmp_path / "x.png")


def test_the_page_holds_both_tables_and_links_the_picture(tmp_path):
    done = made(tmp_path, list(ACCURACY))
    summary = summarise(chain(tmp_path), done)
    page = write(chain(tmp_path), summary).read_text()
    assert (tmp_path / "efficiency.png").read_bytes().startswith(b"\x89PNG")
    assert "](efficiency.png)" in page and "](efficiency.png)" not in markdown(summary)
    (line,) = [line for line in page.splitlines() if line.startswith("| LM-pretrained-trained | full fine-tuning")]
    assert (
        "| 18.8 M | encoder 8.0 M, adapter 1.5 M, language model 9.3 M | 0.0 M | 6,000 | 1.00 | 10.5 | NVIDIA" in line
    )
    gain = np.mean([headline(done, "U", seed, "mlp") - headline(done, "S", seed, "mlp") for seed in SEEDS])
    (line,) = [line for line in page.splitlines() if line.startswith("| × 1 |")]
    assert line.split(" | ")[1] == f"{gain:+.3f}"


def test_every_row_is_drawn_where_its_seeds_scored(tmp_path, monkeypatch):
    """What Matplotlib was told, against the result files."""
    done = made(tmp_path, list(ACCURACY))
    summary = summarise(chain(tmp_path), done)
    page = write(chain(tmp_path), summary).read_text()
    assert "](rows.png)" in page and (tmp_path / "rows.png").read_bytes().startswith(b"\x89PNG")
    drawn = {"bars": [], "marks": []}
    monkeypatch.setattr(Axes, "errorbar", lambda _, x, y, **style: drawn["bars"].append((x[0], y[0], style["xerr"])))
    monkeypatch.setattr(Axes, "plot", lambda _, x, y, *__, **___: drawn["marks"].append((list(x), list(y))))
    assert overview.draw(summary["rows"], tmp_path / "rows.png")
    places = [(measure, row) for measure in ("knn", "mlp") for row in ACCURACY]
    assert len(drawn["bars"]) == len(drawn["marks"]) == len(places)
    for (measure, row), (at, place, spread), (seeds, _) in zip(places, drawn["bars"], drawn["marks"], strict=True):
        expected = [headline(done, row, seed, measure) for seed in SEEDS]
        assert seeds == pytest.approx(expected) and at == pytest.approx(np.mean(expected))
        assert place == list(ACCURACY).index(row)
        assert spread[0][0] > 0 and spread[1][0] > 0


def test_the_curve_goes_through_gains_over_s(tmp_path):
    done = made(tmp_path, list(ACCURACY))
    curves = {one["measure"]: one for one in summarise(chain(tmp_path), done)["growth"]}
    for measure, one in curves.items():
        rows = {"U-eighth": 1 / 8, "U-quarter": 1 / 4, "U": 1.0}
        gains = [
            np.mean([headline(done, row, seed, measure) - headline(done, "S", seed, measure) for seed in SEEDS])
            for row in rows
        ]
        assert one["rows"] == list(rows) and one["seeds"] == [0, 1]
        expected = fit(np.array(list(rows.values())), np.array(gains))
        points = {point["share"]: point for point in one["at"]}
        assert [points[share]["measured"] for share in rows.values()] == pytest.approx(gains)
        assert points[0.5]["measured"] is None and max(points) == 10.0
        for share, point in points.items():
            assert point["gain"] == pytest.approx(expected.at(share))
            assert point["low"] <= point["gain"] <= point["high"] or share > 1
        with pytest.raises(RecipeError):
            expected.at(10.5)


def test_one_seed_gives_no_interval_and_two_shares_no_curve(tmp_path):
    done = [one for one in made(tmp_path, list(ACCURACY)) if one.job.seed == 0]
    assert all(point["low"] is None for one in summarise(chain(tmp_path), done)["growth"] for point in one["at"])
    assert "+" in markdown(summarise(chain(tmp_path), done))
    fewer = [one for one in done if one.job.row != "U-eighth"]
    assert summarise(chain(tmp_path), fewer)["growth"] == []


def test_a_seed_is_a_column_of_what_the_row_answers(tmp_path):
    done = made(tmp_path, ["S", "U"])
    assert summarise(chain(tmp_path), done)["answers"] == []
    for seed in SEEDS:

        def score(value: float) -> dict[str, float]:
            return {"score": value, "low": value - 0.1, "high": value + 0.1}

        task = {
            "task": "instrument", "scores": {"accuracy": score(0.5 + 0.1 * seed)}, "clips": {"asked": 70},
            "most_common": {"answer": "piano", "scores": {"accuracy": score(0.2)}}, "unreadable": {"count": 3 + seed},
        }  # fmt: skip
        (tmp_path / f"U-seed{seed}" / "answers").mkdir()
        (tmp_path / f"U-seed{seed}" / "answers" / "answers.json").write_text(json.dumps({"tasks": [task]}))
    page = markdown(summarise(chain(tmp_path), done))
    assert "| instrument | accuracy | 0.500 [0.400, 0.600] | 0.600 [0.500, 0.700] | 0.200 | 3 / 4 | 70 |" in page
    assert "[seed 1](U-seed1/answers/answers.md)" in page


def test_a_run_writes_down_what_it_trains_and_what_is_frozen(tmp_path):
    folder = write_language_model(tmp_path)
    with safe_open(folder / "model.safetensors", "pt") as file:
        stored = sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118
    model = small_model(folder)
    facts = cost_facts(model, torch.device("cpu"))
    assert facts["device"] == "CPU"
    assert facts["parameters"]["language_model"] == {"trained": 0, "frozen": stored}
    trained = sum(part["trained"] for part in facts["parameters"].values())
    assert trained == sum(p.numel() for p in model.parameters() if p.requires_grad)
    thawed = ThawedUniWhisper(model.encoder, model.adapter, TrainedLanguageModel.load(folder))
    assert cost_facts(thawed, torch.device("cpu"))["parameters"]["language_model"] == {"trained": stored, "frozen": 0}
