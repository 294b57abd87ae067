"""A user's own recordings: what lies near what, and all of it on a map."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from uniwhisper.core.errors import AudioError, OutputError
from uniwhisper.demo.neighbours import nearest
from uniwhisper.demo.output import Steps, fresh_folder, write_facts, write_page
from uniwhisper.demo.pictures import map_picture
from uniwhisper.evaluation.places import places_on_map

if TYPE_CHECKING:
    from uniwhisper.embedding.table import EmbeddingTable
    from uniwhisper.report.page import Page

NEIGHBOURS = 4
# A page with more rows than this is no longer read; all files still are on the map.
MOST_OPEN_ROWS = 200


def run_folder(
    folder: Path,
    output: Path,
    *,
    model: str | None,
    say: Callable[[str], None],
    progress: Callable[[float, float], None] | None = None,
) -> tuple[Path, int]:
    """Embed every audio file below `folder` and write the page.

    Args:
        folder: searched with everything below it; one file works too.
        output: emptied first if an earlier demo made it.
        model: None: the packaged model.
        say: told what happens, a line at a time.
        progress: told the seconds of audio done, and in all.

    Returns:
        The path of the page, and how many files failed (the page names them).

    Raises:
        AudioError: there is no audio, or none that can be read.
        OutputError: `output` holds something else, or some of the audio.
        UserError: the model cannot be used, or an extra is missing.
    """
    from uniwhisper.audio.find import find_audio
    from uniwhisper.embedding.embedder import Embedder

    paths = find_audio([folder])
    _check_apart(paths, output)
    embedder = Embedder.from_pretrained(model)
    fresh_folder(output)
    steps = Steps(say)
    with steps.step(f"embed {len(paths)} {'file' if len(paths) == 1 else 'files'}"):
        table = embedder.embed(paths, on_error="skip", progress=progress)
    if not table.names:
        raise AudioError(
            f"nothing in {folder} can be read",
            expected="at least one readable recording",
            got=f"{len(paths)} that cannot, the first: {table.failures[0].reason}",
            fix="name a folder with other files",
        )
    with steps.step("draw the page"):
        path = write_page(output, page(table, folder, embedder.source))
    write_facts(
        output,
        {
            "kind": "folder",
            "finished": True,
            "files": len(table.names),
            "failed": [{"path": failure.name, "reason": failure.reason} for failure in table.failures],
            "identity": table.identity,
            "seconds": steps.seconds,
        },
    )
    return path, len(table.failures)


def _check_apart(paths: list[Path], output: Path) -> None:
    """Refuse to empty a folder that the audio, or a link to it, lies in."""
    emptied = output.resolve()
    for path in paths:
        if any(emptied in place.parents for place in (path.resolve(), path.parent.resolve() / path.name)):
            raise OutputError(
                f"{path} lies in the output {output}",
                expected="an output apart from the audio: an earlier demo's folder is emptied first",
                got="a recording that would be deleted",
                fix="choose another -o",
            )


def page(table: "EmbeddingTable", folder: Path, model: str) -> str:
    """The page of an embedded folder as HTML."""
    from uniwhisper.report.page import Page

    root = folder if folder.is_dir() else folder.parent
    names = [os.path.relpath(name, root) for name in table.names]
    count, seconds = len(names), float(table.seconds.sum())
    page = Page(
        "Your recordings, as UniWhisper hears them",
        summary=f"{count} {'file' if count == 1 else 'files'}, {seconds / 60:.1f} minutes of audio, each turned into "
        f"one vector of {table.vectors.shape[1]} numbers by the model {model}."
        + (f" {len(table.failures)} more could not be read." if table.failures else ""),
    )
    if count == 1:
        page.text(f"{names[0]} ({seconds:.1f} s) was embedded. Neighbours and a map need at least two files.")
    else:
        _add_map(page, table, names)
        _add_neighbours(page, table, names)
    if table.failures:
        page.heading("What could not be read")
        page.table(
            ["file", "why"],
            [[os.path.relpath(failure.name, root), failure.reason] for failure in table.failures],
            numeric=False,
        )
    page.heading("The vectors themselves")
    page.code(f"uniwhisper embed {shlex.quote(folder.name)} -o vectors.parquet")
    page.facts(table.identity)
    return page.render()


def _add_map(page: "Page", table: "EmbeddingTable", names: list[str]) -> None:
    points, method = places_on_map(table.vectors)
    page.heading("Map")
    drawn = [("", points)], [_group(name) for name in names], [Path(name).stem for name in names]
    page.image(
        map_picture(*drawn),
        alt=f"Scatter plot of {len(names)} recordings",
        caption=f"Near points sound alike to the model. Placed by {method}. A point without room for its name has the "
        "number of its row below.",
        narrow=map_picture(*drawn, narrow=True),
    )


def _add_neighbours(page: "Page", table: "EmbeddingTable", names: list[str]) -> None:
    from uniwhisper.report.page import Cell

    page.heading("Nearest neighbours")
    indices, similarities = nearest(table.vectors, NEIGHBOURS)
    columns = ["file", *("nearest", "second", "third", "fourth")[: indices.shape[1]]]
    rows = [
        [
            Cell(f"{number}. {name}", f"{length:.1f} s"),
            *(Cell(names[other], f"cosine {value:.3f}") for other, value in zip(others, values, strict=True)),
        ]
        for number, (name, length, others, values) in enumerate(
            zip(names, table.seconds, indices, similarities, strict=True), start=1
        )
    ]
    page.table(columns, rows[:MOST_OPEN_ROWS], numeric=False)
    if rows[MOST_OPEN_ROWS:]:
        with page.folded(f"{len(rows) - MOST_OPEN_ROWS} more files"):
            page.table(columns, rows[MOST_OPEN_ROWS:], numeric=False)


def _group(name: str) -> str:
    """First folder of a relative path: what colours the map."""
    parts = Path(name).parts
    return parts[0] if len(parts) > 1 else "."
