"""`uniwhisper report`: results to one page."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULTS...", help="Result files, or folders that hold some.")
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The page; .md, .csv, .json and .png come beside it."),
    ] = Path("report.html"),
    suite: Annotated[
        str | None, typer.Option("--suite", help="Use only the results of this suite; needed where several lie there.")
    ] = None,
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
    from uniwhisper.core.errors import OutputError
    from uniwhisper.core.files import atomic_output, check_output
    from uniwhisper.report.answers import read_answers
    from uniwhisper.report.build import build
    from uniwhisper.report.comparison import compare, find_results
    from uniwhisper.report.results import ResultError, read_result

    if output.suffix != ".html":
        raise OutputError(
            f"{output} is not a page's name", expected="a name ending in .html", got=output.name, fix="-o report.html"
        )
    paths = [output.with_suffix(suffix) for suffix in (".html", ".md", ".csv", ".json", ".png")]
    for path in paths:
        check_output(path, overwrite=overwrite)
    everything = [read_result(file) for file in find_results(results)]
    read = [result for result in everything if suite in (None, result.suite["name"])]
    if not read:
        raise ResultError(
            f"no result of the suite {suite!r}",
            expected="results of that suite",
            got=f"results of {', '.join(sorted({result.suite['name'] for result in everything}))}",
            fix="choose one of these with --suite",
        )
    comparison = compare(read, allow_skips=allow_skips)
    answers = [read_answers(result) for result in comparison.results]
    built = build(comparison, answers=answers, png_name=paths[-1].name)
    texts = [built.html, built.markdown, built.csv, built.json]
    contents = [*(text.encode() for text in texts), built.png]
    for path, content in zip(paths, contents, strict=True):
        with atomic_output(path, overwrite=overwrite) as temporary:
            temporary.write_bytes(content)
    if as_json:
        written = {path.suffix[1:]: str(path) for path in paths}
        print_json({**written, "encoders": comparison.labels, "duplicates": list(comparison.duplicates)})
        return
    if comparison.duplicates:
        note(f"{len(comparison.duplicates)} identical copies left out: {', '.join(comparison.duplicates)}")
    for path in paths:
        print(path)
