"""`uniwhisper report`: results to one page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from uniwhisper.evaluation.suites import Suite
    from uniwhisper.report.build import Differences, SoundMap
    from uniwhisper.report.comparison import Comparison

MOST_MAPPED_TASKS = 3


def report(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULTS...", help="Result files, or folders that hold some.")
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The page; .md, .csv, .json and .png come beside it."),
    ] = Path("report.html"),
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite", help="Use only the results of this suite (name or file); needed where several lie there."
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", metavar="clean|xares", help="Use only its results; needed where both lie there."),
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="MODEL", help="Map some clips as this judged encoder hears them; repeatable."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="For maps: the folder that holds the tasks' folders.")
    ] = None,
    map_tasks: Annotated[
        list[str] | None,
        typer.Option("--map-task", metavar="TASK", help="Task to map; repeatable. Else the first of each domain."),
    ] = None,
    points: Annotated[int, typer.Option("--points", min=3, max=2000, help="Clips on all maps of an encoder.")] = 200,
    audio: Annotated[
        bool, typer.Option("--audio/--no-audio", help="Let the points play their clips: your audio goes into the page.")
    ] = True,
    allow_skips: Annotated[
        bool, typer.Option("--allow-skips", help="Accept results in which some clips could not be used.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Put results into one HTML page, and the same as Markdown with a chart, CSV and JSON.

    Exit status: 0 done; 2 nothing was written.
    """
    from uniwhisper.cli.output import note, print_json
    from uniwhisper.core.errors import OutputError, UserError
    from uniwhisper.core.files import atomic_outputs, check_apart, check_output
    from uniwhisper.report.answers import read_answers
    from uniwhisper.report.build import build, chart
    from uniwhisper.report.comparison import compare, find_results
    from uniwhisper.report.read import read_result
    from uniwhisper.report.results import ResultError

    if maps and data is None:
        raise UserError(
            "where is the audio to map?",
            expected="--data DIR, the folder that holds the tasks' folders",
            got="--map without --data",
            fix="add --data, or leave --map out",
        )
    suite_file = suite if suite and suite.endswith(".json") else None
    if suite_file:
        from uniwhisper.evaluation.suites import load_suite

        suite = load_suite(suite_file).name
    if output.suffix != ".html":
        raise OutputError(
            f"{output} is not a page's name", expected="a name ending in .html", got=output.name, fix="-o report.html"
        )
    paths = [output.with_suffix(suffix) for suffix in (".html", ".md", ".csv", ".json", ".png")]
    for path in paths:
        check_output(path, overwrite=overwrite)
    files = find_results(results)
    for path in paths:
        check_apart(path, files)
    everything = [read_result(file) for file in files]
    read = [
        result
        for result in everything
        if suite in (None, result.suite["name"]) and protocol in (None, result.protocol.get("name"))
    ]
    if not read:
        lying = sorted({f"{result.suite['name']} by {result.protocol.get('name')}" for result in everything})
        raise ResultError(
            f"no result of the suite {suite!r}" + (f" by the protocol {protocol}" if protocol else ""),
            expected="results of that suite and protocol",
            got=f"results of {', '.join(lying)}",
            fix="choose one of these with --suite and --protocol",
        )
    comparison = compare(read, allow_skips=allow_skips)
    answers = [read_answers(result) for result in comparison.results]
    drawn = _maps(comparison, maps, suite_file, data, map_tasks, points, audio) if maps and data else []
    built = build(
        comparison, answers=answers, differences=_differences(comparison), maps=drawn, png_name=paths[-1].name
    )
    texts = [built.html, built.markdown, built.csv, built.json]
    contents = [*(text.encode() for text in texts), chart(comparison)]
    with atomic_outputs(paths, overwrite=overwrite) as temporaries:
        for temporary, content in zip(temporaries, contents, strict=True):
            temporary.write_bytes(content)
    if as_json:
        written = {path.suffix[1:]: str(path) for path in paths}
        print_json({**written, "encoders": comparison.labels, "duplicates": list(comparison.duplicates)})
        return
    if comparison.duplicates:
        note(f"{len(comparison.duplicates)} identical copies left out: {', '.join(comparison.duplicates)}")
    for path in paths:
        print(path)


def _differences(comparison: "Comparison") -> list["Differences"]:
    """The best encoder minus each other one; pairs that cannot be compared are named on stderr."""
    from uniwhisper.cli.output import note
    from uniwhisper.evaluation.compare import CompareError, compare, open_result
    from uniwhisper.report.build import Difference, Differences

    pairs = []
    *others, best = zip(comparison.labels, comparison.results, strict=True)
    for label, result in reversed(others):
        try:
            found = compare(open_result(result.file), open_result(best[1].file))
        except CompareError as error:
            note(f"no differences between {best[0]} and {label}: {error.one_line}")
            continue
        # One pooling is enough to read: the first that both were judged by, which is the headline's.
        shown = (next(pooling for pooling in best[1].poolings if pooling in result.poolings), "frames")
        rows = tuple(
            Difference(of, pooling, measure, each.difference, each.low, each.high, each.p)
            for part in (found.averages, found.tasks)
            for (of, pooling, measure), each in part.items()
            if pooling in shown
        )
        pairs.append(Differences(best[0], label, rows))
    return pairs


def _maps(
    comparison: "Comparison",
    models: list[str],
    suite_file: str | None,
    data: Path,
    tasks: list[str] | None,
    points: int,
    audio: bool,
) -> list["SoundMap"]:
    from uniwhisper.cli.output import note, stderr_console
    from uniwhisper.core.errors import UserError
    from uniwhisper.evaluation.clips import find_clips
    from uniwhisper.evaluation.sound_map import MEDIA_TYPE, task_map
    from uniwhisper.evaluation.suites import load_suite
    from uniwhisper.report.build import SoundMap
    from uniwhisper.report.page import Point

    first = comparison.results[0]
    suite = load_suite(suite_file or first.suite["name"])
    if suite.hash != first.suite["hash"]:
        raise UserError(
            f"the suite {suite.name} is not the one of the results",
            expected=f"suite {first.suite['hash'][:12]}",
            got=suite.hash[:12],
            fix="name the suite's file with --suite, or evaluate again",
        )
    chosen = _mapped_tasks(suite, tasks)
    drawn = []
    for model in models:
        label, encoder = _judged(comparison, model)
        for name in chosen:
            note(f"map of {name}, {label}")
            (task,) = [task for task in suite.tasks if task.name == name]
            with stderr_console().status(f"{name}, {label}"):
                found = task_map(encoder, find_clips(task, data), most=points // len(chosen), sounds=audio)
            placed = tuple(Point(clip.x, clip.y, clip.label, clip.id, clip.sound) for clip in found.clips)
            drawn.append(SoundMap(label, name, found.method, placed, MEDIA_TYPE))
    return drawn


def _mapped_tasks(suite: "Suite", tasks: list[str] | None) -> list[str]:
    """Names of the tasks to map: as asked, else the first of each domain."""
    from uniwhisper.core.errors import UserError

    possible = [task.name for task in suite.tasks if task.kind == "clip"]
    if tasks:
        unknown = [name for name in tasks if name not in possible]
        if unknown:
            raise UserError(
                f"no task {unknown[0]!r} to map",
                expected=f"a clip task of {suite.name}: {', '.join(possible)}",
                got=unknown[0],
                fix="correct --map-task",
            )
        return tasks
    domains = {task.domain: task.name for task in reversed(suite.tasks) if task.name in possible}
    return [name for name in possible if name in domains.values()][:MOST_MAPPED_TASKS]


def _judged(comparison: "Comparison", model: str):
    """Label and encoder of a model that is in the comparison."""
    from uniwhisper.core.errors import UserError
    from uniwhisper.evaluation.encoders import open_encoder, require_identity

    encoder = open_encoder(model).encoder
    identity = require_identity(encoder)
    for label, result in zip(comparison.labels, comparison.results, strict=True):
        if all(result.identity[part] == identity[part] for part in ("weights", "layer")):
            return label, encoder
    raise UserError(
        f"{model} is none of the encoders in the report",
        expected=f"one of {', '.join(comparison.labels)}, by its weights",
        got=f"weights {identity['weights'][:12]}",
        fix="name the model as in `uniwhisper evaluate --model`, or report its result too",
    )
