"""Reports: what may stand in one table, and pages that hold every score and load nothing from elsewhere."""

import base64
import csv
import hashlib
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile

from toy_results import TASKS, toy_result, toy_task, write_result
from uniwhisper.core.errors import OutputError, UserError
from uniwhisper.report.answers import confusion, read_answers
from uniwhisper.report.build import Difference, Differences, SoundMap, build, chart
from uniwhisper.report.comparison import compare, find_results
from uniwhisper.report.drawings import Point, matrix_svg
from uniwhisper.report.page import Bar, Bars, Cell, Page
from uniwhisper.report.read import read_result
from uniwhisper.report.results import ResultError
from uniwhisper.report.words import signed, three_digits

PNG = b"\x89PNG\r\n\x1a\n"
VOID = {"meta", "img", "source", "br", "link", "input", "rect", "path"}


class Checker(HTMLParser):
    """Refuses unbalanced elements; collects text, tables and what the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.tables: list[list[list[str]]] = []

    def handle_starttag(self, tag, attributes) -> None:
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href", "srcset", "poster", "action")]
        assert not any(name.startswith("on") for name, _ in attributes), f"a handler in <{tag}>"
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)
        if {"td", "th"} & set(self.open) and "small" not in self.open:
            self.tables[-1][-1][-1] += data


def parse(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert not checker.open
    assert all(load.startswith("data:") for load in checker.loads)
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    assert "url(" not in style and "@import" not in style and "://" not in style
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:;")
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert re.findall(r"script-src ([^;]*)", policy) == [f"'sha256-{each}'" for each in hashes]
    assert checker.tags.count("script") == len(scripts) and "link" not in checker.tags
    return checker


@pytest.fixture
def comparison_of(tmp_path: Path):
    """Write results (content, arrays) and compare them."""

    def make(*results, **options):
        paths = [write_result(tmp_path / "results", f"r{place}", *result) for place, result in enumerate(results)]
        return compare([read_result(path) for path in paths], **options)

    return make


def table(page: Checker, corner: str, place: int = 0) -> list[list[str]]:
    return [rows for rows in page.tables if rows[0][0] == corner][place]


def test_the_page_holds_every_score_and_nothing_foreign(comparison_of):
    results = [toy_result("default", 0.7), toy_result("log-mel", 0.5), toy_result("random:tiny:0", 0.3)]
    comparison = comparison_of(*results)
    assert comparison.labels == ["random:tiny:0", "log-mel", "default"]
    built = build(comparison)
    page = parse(built.html)
    text = " ".join(page.words)
    for content, _ in results:
        for task in content["tasks"]:
            for scores in task["scores"].values():
                for each in scores.values():
                    assert all(three_digits(each[key]) in text for key in ("score", "low", "high"))
        for measure, each in content["averages"]["headline"]["mean"].items():
            numbers = [each["score"], each["low"], each["high"], each["clip_weighted"], *each["domains"].values()]
            assert all(three_digits(number) in text for number in numbers), measure
            assert f"{three_digits(each['score'])} [" in built.markdown
        assert content["command"] in text and content["command"] in built.markdown
        assert content["model"]["identity"]["weights"][:12] in text
    assert "clean 4" in text and "95%" in text and "default" in text
    assert "script" not in page.tags and "img" not in page.tags


def test_scores_stand_in_the_row_and_column_they_belong_to(comparison_of):
    first, second = toy_result("a", 0.4), toy_result("b", 0.8)
    page = parse(build(comparison_of(first, second)).html)
    knn = table(page, "task")
    assert [row[0] for row in knn] == ["task", "one", "two", "mean of the domains' means"]
    assert knn[0][1:] == ["a", "b"]
    for row, name in ((1, "one"), (2, "two")):
        for column, (content, _) in ((1, first), (2, second)):
            (task,) = [task for task in content["tasks"] if task["name"] == name]
            assert knn[row][column] == three_digits(task["scores"]["mean"]["knn"]["score"])
    mlp = table(page, "task", 3)
    assert mlp[3][2] == three_digits(second[0]["averages"]["headline"]["mean"]["mlp"]["score"])
    domains = table(page, "domain")
    assert domains[1][0] == "music" and domains[1][1] == knn[1][1]  # one task: the domain's mean is its score


def test_the_table_for_programs_has_a_line_for_every_score(comparison_of):
    results = [toy_result("a", 0.4), toy_result("=b", 0.8)]
    built = build(comparison_of(*results))
    rows = list(csv.DictReader(io.StringIO(built.csv)))
    assert len(rows) == 2 * (2 * 2 * 4 + 2 * 4)  # encoders x (tasks x poolings x measures + averages)
    for content, _ in results:
        (row,) = [
            row
            for row in rows
            if row["weights"] == content["model"]["identity"]["weights"]
            and (row["task"], row["pooling"], row["measure"]) == ("two", "mean_deviation", "mlp")
        ]
        score = content["tasks"][1]["scores"]["mean_deviation"]["mlp"]
        assert (float(row["score"]), float(row["low"])) == (score["score"], score["low"])
        assert float(row["fold_deviation"]) == score["spread"]
    assert {row["encoder"] for row in rows} == {"a", "'=b"}  # no formula in a spreadsheet
    content = json.loads(built.json)
    assert content["protocol"]["name"] == "clean" and [each["label"] for each in content["encoders"]] == ["a", "=b"]
    assert len(content["scores"]) == len(rows)


def test_the_markdown_shows_the_chart_beside_it(comparison_of):
    comparison = comparison_of(toy_result("a"))
    built = build(comparison)
    assert chart(comparison).startswith(PNG)
    assert re.search(r"^!\[[^]]+\]\(report\.png\)$", built.markdown, re.MULTILINE)
    assert "](a%20%281%29.png)\n" in build(comparison, png_name="a (1).png").markdown


def test_tasks_that_were_not_run_are_named(comparison_of):
    assert "clotho" not in build(comparison_of(toy_result("a"))).html
    built = build(comparison_of(toy_result("a", not_run=["clotho"]), toy_result("b", not_run=["clotho"])))
    assert "clotho: of a kind that this protocol does not score" in built.html


def test_everything_is_escaped(comparison_of):
    nasty = '<script>alert("x")</script>|&'
    tasks = tuple(toy_task(f"{name}{nasty}", description=nasty, notes=[nasty], domain=nasty) for name in ("one", "two"))
    suite = {"name": nasty, "hash": "5", "description": nasty}
    content, arrays = toy_result(nasty, tasks=tasks, command=nasty, suite=suite)
    arrays = {key: values if "/classes" not in key else values + np.array(nasty) for key, values in arrays.items()}
    comparison = comparison_of((content, arrays))
    point = Point(0.1, 0.2, nasty, nasty, b"x")
    built = build(
        comparison,
        answers=[read_answers(result) for result in comparison.results],
        differences=[Differences(nasty, nasty, (Difference(nasty, nasty, nasty, 0.1, 0.0, 0.2, 0.03),))],
        maps=[SoundMap(nasty, nasty, nasty, (point,) * 3, 'audio/x"><script>')],
    )
    page = parse(built.html)
    assert nasty in "".join(page.words) and page.tags.count("script") == 1
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
        ({"seeds": {"first": 1}}, "cannot mix seeds"),
        ({"tasks": (TASKS[0], toy_task("two", "speech", 3, 57))}, "cannot mix numbers of clips"),
        ({"tasks": (TASKS[0], TASKS[1] | {"data": "other"})}, "cannot mix data"),
    ],
)
def test_mixtures_are_refused(comparison_of, change, message):
    with pytest.raises(ResultError, match=message) as error:
        comparison_of(toy_result("a"), toy_result("b", **change))
    assert "r0.json" in error.value.expected and "r1.json" in error.value.got


def test_skipped_clips_are_refused_unless_allowed(comparison_of):
    content, arrays = toy_result("a")
    content["tasks"][0]["clips"] |= {"used": 39, "skipped": [{"id": "fold-2/broken", "reason": "cut off"}]}
    with pytest.raises(ResultError, match="1 clips were skipped") as error:
        comparison_of((content, arrays))
    assert "fold-2/broken" in error.value.got and "--allow-skips" in error.value.fix
    page = parse(build(comparison_of((content, arrays), allow_skips=True)).html)
    assert any("fold-2/broken" in words for words in page.words)


def test_copies_are_counted_and_contradictions_refused(comparison_of):
    again = toy_result("a", seconds={"total": 9, "vectors": 1})
    comparison = comparison_of(toy_result("a"), toy_result("b"), again)
    assert comparison.duplicates == ("r2.json",) and len(comparison.results) == 2
    assert any("r2.json" in words for words in parse(build(comparison).html).words)
    with pytest.raises(ResultError, match="two different scores"):
        comparison_of(toy_result("a"), toy_result("a", 0.9))


def test_two_checkpoints_of_one_name_stay_apart(comparison_of):
    other, arrays = toy_result("a", 0.9)
    other["model"]["identity"]["weights"] = "f" * 64
    labels = comparison_of(toy_result("a"), (other, arrays)).labels
    assert len(set(labels)) == 2 and all(label.startswith("a ") for label in labels)


def test_in_domain_tasks_and_variants_are_averaged_apart(comparison_of):
    tasks = (*TASKS, toy_task("three", in_domain=True), toy_task("four", variant_of="one", synthetic=True))
    built = build(comparison_of(toy_result("a", tasks=tasks), toy_result("b", 0.8, tasks=tasks)))
    page = parse(built.html)
    averages = [
        rows for rows in page.tables if rows[0] == ["encoder", "kNN", "kNN, standardised", "linear probe", "MLP probe"]
    ]
    assert len(averages) == 2
    text = " ".join(page.words)
    assert "in-domain tasks" in text and "variant of one" in text and "synthetic" in text
    assert "| three (in-domain) |" in built.markdown and "| mean, in-domain tasks |" in built.markdown


def test_an_encoder_without_a_score_has_a_dash(comparison_of):
    content, arrays = toy_result("own", 0.9)
    content |= {"poolings": ["own"], "averages": {"headline": {"own": {}}, "in_domain": {}}}
    for measure in ("knn", "mlp"):
        content["averages"]["headline"]["own"][measure] = toy_result()[0]["averages"]["headline"]["mean"][measure]
    for task in content["tasks"]:
        task["scores"] = {"own": {name: task["scores"]["mean"][name] for name in ("knn", "mlp")}}
    speech = toy_task("asr", "speech", kind="asr", metric="1 - WER", classes=0)
    other, other_arrays = toy_result("a", 0.5)
    ctc = other["tasks"][0]["scores"]["mean"]["mlp"] | {"wer": 0.4, "cer": 0.2, "low": None, "high": None}
    content["tasks"].append(speech | {"scores": {"frames": {"ctc": ctc | {"score": 0.123}}}})
    other["tasks"].append(speech | {"scores": {"frames": {"ctc": ctc | {"score": 0.456}}}})
    page = parse(build(comparison_of((content, arrays), (other, other_arrays))).html)
    standardised, mlp = table(page, "task", 1), table(page, "task", 3)
    own = standardised[0].index("own")
    assert [row[own] for row in standardised[1:3]] == ["–", "–"]
    assert "asr" not in [row[0] for row in standardised]  # no kNN of transcripts
    (asr,) = [row for row in mlp if row[0] == "asr"]
    assert asr[own] == ".123" and asr[3 - own] == ".456"


def test_confusions_are_counted_from_the_answers(comparison_of):
    content, arrays = toy_result("a")
    arrays["one/label"] = np.array([0, 0, 0, 1, 2, 3] + [3] * 34)
    answers = np.array([[0, 1, 1, 1, 2, 3] + [3] * 34, [0, 0, 1, 1, 2, 0] + [3] * 34])
    arrays["one/mean/mlp"] = answers
    comparison = comparison_of((content, arrays))
    found = read_answers(comparison.results[0])
    counted = confusion(found, "one", "mean", "mlp")
    expected = np.array([[1.5, 1.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0.5, 0, 0, 34.5]])
    np.testing.assert_allclose(counted.counts_CC, expected)
    assert counted.worst(8) == [("class 0", "class 1", 1.5, 3), ("class 3", "class 0", 0.5, 35)]
    page = parse(build(comparison, answers=[found]).html)
    assert page.tags.count("svg") == 2
    assert ["class 0", "class 1", "1.5", "3"] in table(page, "most often")
    assert confusion(found, "one", "mean", "absent") is None and confusion({}, "one", "mean", "mlp") is None


def test_answers_of_another_result_are_refused(comparison_of, tmp_path):
    comparison = comparison_of(toy_result("a"))
    (tmp_path / "results" / "r0.npz").write_bytes(b"other")
    with pytest.raises(ResultError, match=r"r0\.npz does not belong to r0\.json"):
        read_answers(comparison.results[0])
    (tmp_path / "results" / "r0.npz").unlink()
    assert read_answers(comparison.results[0]) == {}
    assert parse(build(comparison, answers=[{}]).html).tags.count("svg") == 0
    outside = toy_result("a", clips_file={"name": "../secret.npz", "sha256": "0"})
    (tmp_path / "secret.npz").write_bytes(b"x")
    assert read_answers(comparison_of(outside).results[0]) == {}


def test_a_matrix_of_many_classes_stays_small():
    shares = np.eye(300)
    assert len(matrix_svg(shares.tolist(), [f"class {place}" for place in range(300)])) < 20_000
    few = matrix_svg([[0.75, 0.25], [0, 1]], ["a", "b"])
    assert re.findall(r">(\d+)</text>", few) == ["75", "25", "100"]


def test_bars_share_one_scale():
    page = Page("x")
    bars = [Bar("a", 0.4, 0.3, 0.5, ".400"), Bar("b", 0.1, None, None, ".100", quiet=True)]
    page.bars([Bars("t", bars, 0.25)])
    html = page.render()
    parse(html)
    assert re.findall(r'fill" style="width:([\d.]+)%', html) == ["80.00", "20.00"]  # of 0.5, the highest interval
    assert re.findall(r'whisker" style="left:([\d.]+)%;width:([\d.]+)%', html) == [("60.00", "40.00")]
    assert html.count('class="mark" style="left:50.00%"') == 2


def test_clear_differences_are_bold_and_signed(comparison_of):
    rows = (
        Difference("headline", "mean", "mlp", 0.05, 0.01, 0.09, 0.012),
        Difference("one", "mean", "mlp", -0.02, -0.05, 0.01, 0.3),
    )
    comparison = comparison_of(toy_result("a"), toy_result("b", 0.9))
    built = build(comparison, differences=[Differences("b", "a", rows)])
    parse(built.html)
    assert "b minus a" in built.html and "<strong>+.050</strong>" in built.html and "<td>−.020" in built.html
    assert "| all tasks | mean of the frames | MLP probe | +.050 [+.010, +.090] | 0.012 |" in built.markdown
    assert json.loads(built.json)["differences"][0]["rows"][1]["low"] == -0.05


def test_a_map_plays_what_it_was_given(comparison_of):
    points = tuple(
        Point(place / 4, 0.5, f"group {place % 2}", f"clip {place}", b"mp3" if place else None) for place in range(5)
    )
    comparison = comparison_of(toy_result("a"))
    page = parse(build(comparison, maps=[SoundMap("a", "one", "t-SNE", points, "audio/mpeg")]).html)
    assert page.tags.count("audio") == 4 and page.tags.count("circle") == 5 and page.tags.count("script") == 1
    assert "data:audio/mpeg;base64," + base64.b64encode(b"mp3").decode() in page.loads
    silent = tuple(Point(point.x, point.y, point.group, point.name, None) for point in points)
    page = parse(build(comparison, maps=[SoundMap("a", "one", "t-SNE", silent, "audio/mpeg")]).html)
    assert page.tags.count("audio") == 0 and page.tags.count("script") == 1


def test_what_is_no_result_is_refused(tmp_path):
    def broken(message: str, **changes) -> None:
        content, _ = toy_result(**changes)
        with pytest.raises(ResultError, match=message):
            read_result(write_result(tmp_path, "broken", content))

    broken("is not uniwhisper-result", format="other")
    broken("format_version 1", format_version=1)
    broken("holds no scores", tasks=())
    broken("a score of 1.3", tasks=(TASKS[0] | {"most_common": 1.3},))
    broken("1000 used and 0 skipped of 40", tasks=(TASKS[0] | {"clips": TASKS[0]["clips"] | {"used": 1000}},))
    broken("two tasks have one name", tasks=(TASKS[0], TASKS[0]))
    content, _ = toy_result()
    del content["averages"]
    with pytest.raises(ResultError, match="lacks 'averages'"):
        read_result(write_result(tmp_path, "broken", content))
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
    page.image(PNG, alt='quote "', caption="Figure", narrow=PNG)
    page.audio(b"RIFF", media_type="audio/wav", caption="Sound")
    page.facts({"key": "value"})
    page.code("a\n  b")
    with page.folded("more"):
        page.text("hidden")
    checker = parse(page.render())
    assert {"h1", "h2", "table", "caption", "picture", "audio", "dl", "pre", "details"} <= set(checker.tags)
    assert "a\n  b" in checker.words and "1 < 2" in checker.words


def test_a_row_of_another_length_is_a_mistake():
    with pytest.raises(AssertionError, match="a cell per column"):
        Page("x").table(["a", "b"], [["1"]])


@pytest.mark.parametrize(("value", "text"), [(0.2644, ".264"), (0.0, ".000"), (1.0, "1.000"), (0.9996, "1.000")])
def test_three_digits(value, text):
    assert three_digits(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.2644, "+.264"), (-0.0104, "−.010"), (-0.0001, ".000")])
def test_signed(value, text):
    assert signed(value) == text


def test_reports_need_no_torch():
    code = "import sys, uniwhisper.report.build; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_verb_writes_all_files(tmp_path, monkeypatch, capsys):
    from uniwhisper.cli.report import report

    monkeypatch.chdir(tmp_path)
    results = Path("results")
    write_result(results, "a", *toy_result("a", 0.4))
    write_result(results, "b", *toy_result("b", 0.9))
    write_result(results, "c", *toy_result("c", suite={"name": "dev", "hash": "7", "description": ""}))
    with pytest.raises(ResultError, match="choose one: --suite dev or --suite toy"):
        report([results])
    assert not Path("report.html").exists()
    beside = results / "report.html"
    report([results], output=beside, suite="toy", as_json=True)
    assert json.loads(capsys.readouterr().out)["encoders"] == ["a", "b"]
    page = parse(beside.read_text())
    assert "b minus a" in " ".join(page.words) and page.tags.count("svg") == 4
    assert beside.with_suffix(".png").read_bytes().startswith(PNG)
    assert {path.suffix for path in results.glob("report.*")} == {".html", ".md", ".csv", ".json", ".png"}
    with pytest.raises(OutputError, match="--overwrite"):
        report([results], output=beside, suite="toy")
    with pytest.raises(ResultError, match="no result of the suite 'none'"):  # nor is the report taken for a result
        report([results], suite="none")
    with pytest.raises(OutputError, match="a name ending in"):
        report([results], output=Path("page.pdf"), suite="toy")
    with pytest.raises(UserError, match="where is the audio to map"):
        report([results], suite="toy", maps=["log-mel"])


def test_the_picture_is_named_as_the_page(comparison_of):
    markdown = build(comparison_of(toy_result("a")), png_name="my page.png").markdown
    assert unquote(re.search(r"!\[.*\]\((.*)\)", markdown)[1]) == "my page.png"


def test_a_map_holds_every_class_evenly_and_plays(tmp_path):
    from test_evaluation_run import clips_of_fold, suite_content, write_tar
    from uniwhisper.evaluation.adapters.log_mel import LogMelStatistics
    from uniwhisper.evaluation.clips import find_clips
    from uniwhisper.evaluation.sound_map import task_map
    from uniwhisper.evaluation.suites import load_suite

    for fold in (1, 2, 3):
        write_tar(tmp_path / "data" / "tones" / f"fold-{fold}.tar", clips_of_fold(fold))
    (tmp_path / "toy.json").write_text(json.dumps(suite_content()))
    (task,) = load_suite(tmp_path / "toy.json").tasks
    found = find_clips(task, tmp_path / "data")
    made = task_map(LogMelStatistics(), found, most=10, sounds=True)
    labels = [clip.label for clip in made.clips]
    assert len(labels) == 10 and labels.count("low") == labels.count("high") == 5
    assert min(clip.x for clip in made.clips) == 0 and max(clip.y for clip in made.clips) == 1
    low = np.mean([[clip.x, clip.y] for clip in made.clips if clip.label == "low"], axis=0)
    high = np.mean([[clip.x, clip.y] for clip in made.clips if clip.label == "high"], axis=0)
    assert np.linalg.norm(low - high) > 0.3  # tones apart by octaves do not lie together
    for clip in made.clips:
        wave_S, rate_hz = soundfile.read(io.BytesIO(clip.sound))
        assert rate_hz == 16_000 and 0.15 < len(wave_S) / rate_hz < 0.4 and len(clip.sound) < 2_000
    assert task_map(LogMelStatistics(), found, most=10, sounds=True) == made
    silent = task_map(LogMelStatistics(), found, most=10, sounds=False)
    assert all(clip.sound is None for clip in silent.clips)
