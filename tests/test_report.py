"""Reports: what may stand in one table, and pages that hold every score and load nothing from elsewhere."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from uniwhisper.report.build import build
from uniwhisper.report.chart import three_digits
from uniwhisper.report.page import Cell, Page
from uniwhisper.report.results import ResultError, compare, find_results, read_result

PNG = b"\x89PNG\r\n\x1a\n"
VOID = {"meta", "img", "source", "br", "link", "input"}


def score(value: float, folds=("a", "b")) -> dict:
    each = [{"fold": fold, "score": value + step, "clips": 10} for step, fold in zip((-0.01, 0.01), folds, strict=True)]
    return {"score": value, "low": value - 0.0456, "high": value + 0.0321, "spread": 0.0141, "folds": each}


def result(label: str = "log-mel", shift: float = 0.0, **changes) -> dict:
    def task(name: str, knn: float, probe: float) -> dict:
        return {
            "name": name,
            "description": f"what {name} is",
            "domain": "music",
            "metric": "accuracy",
            "classes": 4,
            "most_common": 0.277,
            "data": f"data of {name}",
            "clips": {"expected": 1234, "used": 1234, "scored": 1234, "skipped": [], "left_out": {}},
            "scores": {"knn": score(knn + shift), "probe": score(probe + shift)},
            "notes": [],
        }

    return {
        "format": "uniwhisper-result",
        "format_version": 1,
        "protocol": {"name": "clean", "version": 1, "interval": {"level": 0.95}, "knn": {"k": 10}},
        "suite": {"name": "toy", "hash": "5" * 64, "description": "A toy."},
        "model": {
            "label": label,
            "source": label,
            "width": 160,
            "identity": {
                "weights": label.encode().hex().ljust(64, "0"),
                "code": "0.1+c",
                "pooling": "mean",
                "layer": "1",
            },
        },
        "command": f"uniwhisper evaluate --model {label} --suite toy --data DIR",
        "headline": {"knn": score(0.3555 + shift), "probe": score(0.4444 + shift)},
        "tasks": [task("one", 0.3111, 0.4222), task("two", 0.3999, 0.4666)],
        "seeds": {"inner_split": 0, "bootstrap": 0},
        "seconds": {"total": 12.3, "vectors": 4.5},
        "provenance": {"commit": "abc", "code": "0.1+c", "python": "3.11", "packages": {"torch": "2.15"}},
        **changes,
    }


@pytest.fixture
def write(tmp_path: Path):
    def write(content: dict, name: str) -> Path:
        path = tmp_path / "results" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        return path

    return write


class Checker(HTMLParser):
    """Refuses unbalanced elements; collects text and what the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attributes) -> None:
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href", "srcset", "poster", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def parse(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert not checker.open
    assert all(load.startswith("data:") for load in checker.loads)
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    assert "url(" not in style and "@import" not in style and "://" not in style
    assert "script" not in checker.tags and "link" not in checker.tags
    return checker


def comparison_of(*contents: dict, write, **options):
    return compare([read_result(write(content, f"r{place}")) for place, content in enumerate(contents)], **options)


def test_the_page_holds_every_score_and_nothing_foreign(write):
    results = [result("default", 0.1), result("log-mel"), result("random:tiny:0", -0.1)]
    comparison = comparison_of(*results, write=write)
    assert comparison.labels == ["random:tiny:0", "log-mel", "default"]
    built = build(comparison)
    page = parse(built.html)
    text = " ".join(page.words)
    for content in results:
        expected = [*content["headline"].values()]
        expected += [each for task in content["tasks"] for each in task["scores"].values()]
        for each in expected:
            for value in (each["score"], each["low"], each["high"]):
                assert three_digits(value) in text
            assert f"{three_digits(each['score'])} [" in built.markdown
        assert content["command"] in text and content["command"] in built.markdown
        assert content["model"]["identity"]["weights"][:12] in text
    assert "clean 1" in text and "1,234" in text and "95%" in text
    assert built.png.startswith(PNG) and page.tags.count("img") == 1 and page.tags.count("source") == 3


def test_scores_stand_in_the_row_and_column_they_belong_to(write):
    built = build(comparison_of(result("a"), result("b", 0.05), write=write))
    knn = built.markdown.split("## kNN\n\n")[1].split("\n\n")[0].splitlines()
    assert [line.split(" | ")[0] for line in knn[2:]] == ["| a", "| b"]
    assert knn[0] == "| encoder | one | two | mean |"
    assert [cell.split(" ")[0] for cell in knn[3].strip("| ").split(" | ")] == ["b", ".361", ".450", ".405"]


def test_the_markdown_shows_the_chart_beside_it(write):
    comparison = comparison_of(result("a"), write=write)
    assert re.search(r"^!\[[^]]+\]\(report\.png\)$", build(comparison).markdown, re.MULTILINE)
    assert "](a%20%281%29.png)\n" in build(comparison, png_name="a (1).png").markdown


def test_everything_is_escaped(write):
    nasty = '<script>alert("x")</script>|&'
    content = result(nasty, command=nasty, suite={"name": nasty, "hash": "5", "description": nasty})
    for task in content["tasks"]:
        task |= {"name": task["name"] + nasty, "description": nasty, "notes": [nasty]}
    built = build(comparison_of(content, write=write))
    page = parse(built.html)
    assert nasty in "".join(page.words)
    assert "<script" not in built.markdown
    rows = [line for line in built.markdown.splitlines() if line.startswith("|") and "alert" in line]
    assert rows and all(r"\|" in row for row in rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": {"name": "xares", "version": 1}}, "cannot mix protocols"),
        ({"protocol": {"name": "clean", "version": 2}}, "cannot mix protocols"),
        ({"suite": {"name": "dev", "hash": "5" * 64, "description": ""}}, "cannot mix suites"),
        ({"suite": {"name": "toy", "hash": "6" * 64, "description": ""}}, "cannot mix versions of one suite"),
        ({"seeds": {"inner_split": 1, "bootstrap": 1}}, "cannot mix seeds"),
    ],
)
def test_mixtures_are_refused(write, change, message):
    with pytest.raises(ResultError, match=message) as error:
        comparison_of(result("a"), result("b", **change), write=write)
    assert "r0.json" in error.value.expected and "r1.json" in error.value.got


@pytest.mark.parametrize(("key", "message"), [("clips", "mix numbers of clips"), ("data", "mix data")])
def test_other_clips_are_refused(write, key, message):
    other = result("b")
    if key == "clips":
        other["tasks"][1]["clips"] |= {"expected": 1233, "used": 1233}
    else:
        other["tasks"][1]["data"] = "changed"
    with pytest.raises(ResultError, match=message):
        comparison_of(result("a"), other, write=write)


def test_skipped_clips_are_refused_unless_allowed(write):
    content = result("a")
    content["tasks"][0]["clips"] |= {"used": 1233, "skipped": [{"id": "fold-2/broken", "reason": "cut off"}]}
    with pytest.raises(ResultError, match="1 clips were skipped") as error:
        comparison_of(content, write=write)
    assert "fold-2/broken" in error.value.got and "--allow-skips" in error.value.fix
    page = parse(build(comparison_of(content, write=write, allow_skips=True)).html)
    assert any("fold-2/broken" in words for words in page.words)


def test_copies_are_counted_and_contradictions_refused(write):
    comparison = comparison_of(result("a"), result("b"), result("a", seconds={"total": 9, "vectors": 1}), write=write)
    assert comparison.duplicates == ("r2.json",) and len(comparison.results) == 2
    assert any("r2.json" in words for words in parse(build(comparison).html).words)
    with pytest.raises(ResultError, match="two different scores"):
        comparison_of(result("a"), result("a", 0.01), write=write)


def test_two_checkpoints_of_one_name_stay_apart(write):
    other = result("a", 0.01)
    other["model"]["identity"]["weights"] = "f" * 64
    labels = comparison_of(result("a"), other, write=write).labels
    assert len(set(labels)) == 2 and all(label.startswith("a ") for label in labels)


def test_what_is_no_result_is_refused(write, tmp_path):
    broken = [
        ({"format": "other"}, "is not uniwhisper-result"),
        (result(format_version=2), "format_version 2"),
        ({key: value for key, value in result().items() if key != "tasks"}, "lacks 'tasks'"),
        (result(tasks=[]), "same measures"),
        (result(headline={"knn": score(0.3), "probe": score(1.3)}), "a score of"),
        (result(headline={"knn": score(0.3), "probe": {**score(0.3), "low": None}}), "float"),
    ]
    for content, message in broken:
        with pytest.raises(ResultError, match=message):
            read_result(write(content, "broken"))
    inconsistent = result()
    inconsistent["tasks"][0]["clips"]["used"] = 1000
    with pytest.raises(ResultError, match="1000 used and 0 skipped of 1234"):
        read_result(write(inconsistent, "broken"))
    (tmp_path / "text.json").write_text("no json")
    with pytest.raises(ResultError, match="cannot be used"):
        read_result(tmp_path / "text.json")


def test_nothing_to_report_is_an_error(tmp_path):
    with pytest.raises(ResultError, match=r"no \.json file"):
        find_results([tmp_path])
    with pytest.raises(ResultError, match="no such file"):
        find_results([tmp_path / "absent.json"])


def test_a_page_of_every_part():
    page = Page("A & B", summary="1 < 2")
    page.heading("Section")
    page.text("first", "second")
    page.table(["name", "value"], [["x", Cell("1", "small", strong=True)]], caption="Table")
    page.image(PNG, alt='quote "', caption="Figure", dark=PNG)
    page.audio(b"RIFF", media_type="audio/wav", caption="Sound")
    page.facts({"key": "value"})
    page.code("a\n  b")
    with page.folded("more"):
        page.text("hidden")
    checker = parse(page.render())
    assert {"h1", "h2", "table", "caption", "picture", "audio", "dl", "pre", "details"} <= set(checker.tags)
    assert "a\n  b" in checker.words and "1 < 2" in checker.words
    assert "default-src 'none'" in page.render()


def test_a_row_of_another_length_is_a_mistake():
    with pytest.raises(AssertionError, match="a cell per column"):
        Page("x").table(["a", "b"], [["1"]])


@pytest.mark.parametrize(("value", "text"), [(0.2644, ".264"), (0.0, ".000"), (1.0, "1.000"), (0.9996, "1.000")])
def test_three_digits(value, text):
    assert three_digits(value) == text


def test_reports_need_no_torch():
    code = "import sys, uniwhisper.report.build; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_verb(write, tmp_path):
    write(result("a"), "a")
    write(result("b", suite={"name": "dev", "hash": "7", "description": ""}), "b")

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "uniwhisper", "report", "results", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    mixed = run()
    assert mixed.returncode == 2 and "--suite" in mixed.stderr and not (tmp_path / "report.html").exists()
    one = run("--suite", "toy", "--json")
    assert one.returncode == 0 and json.loads(one.stdout)["encoders"] == ["a"]
    parse((tmp_path / "report.html").read_text())
    assert (tmp_path / "report.png").read_bytes().startswith(PNG)
    assert run("--suite", "toy", "-o", "my page.html").returncode == 0
    image = re.search(r"!\[.*\]\((.*)\)", (tmp_path / "my page.md").read_text())[1]
    assert (tmp_path / unquote(image)).read_bytes().startswith(PNG)
    again = run("--suite", "toy")
    assert again.returncode == 2 and "--overwrite" in again.stderr
    assert run("--suite", "none", "--overwrite").returncode == 2
    assert run("--suite", "toy", "-o", "page.pdf").returncode == 2
