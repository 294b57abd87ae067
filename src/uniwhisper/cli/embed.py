"""`uniwhisper embed`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from uniwhisper.embedding.decode import Inputs
    from uniwhisper.embedding.embedder import Embedder, Progress
    from uniwhisper.embedding.table import Failure

Block = TypeVar("Block")


def embed(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="FILES-OR-FOLDERS", show_default=False, help="Audio files, or folders to search."),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", show_default=False, help="Parquet file to write.", metavar="FILE")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="MODEL", show_default="the packaged one", help="Folder, OpenAI .pt file or hub id."
        ),
    ] = None,
    frames: Annotated[bool, typer.Option("--frames", help="A row per 20 ms frame instead of a row per file.")] = False,
    every_seconds: Annotated[
        float | None,
        typer.Option(
            "--every",
            metavar="SECONDS",
            show_default="a row per file",
            help="A row per SECONDS of a file instead of a row per file, each embedded as a clip of its own: 30 over a "
            "whole number, as 1, 2.5, 5, 10.",
        ),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option(
            "--layer", metavar="K", show_default="normal output", help="Output of block K; 0 is the first's input."
        ),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to compute; the choice is printed.")
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option("--precision", metavar="float32|bf16|int8", help="bf16 for GPUs and int8 for CPUs: close."),
    ] = "float32",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the encoder first: a minute, for hours of audio.")
    ] = False,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            metavar="local|ray",
            help="ray: on a Ray cluster, from files, folders, .jsonl or .parquet into a folder of parts; go on by "
            "running it again.",
        ),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, show_default="all there is room for", help="Of --engine ray: most actors."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Turn audio files into vectors, one row per file.

    Columns are path, seconds and vector;
    with --frames path, time_seconds and vector;
    with --every path, start_seconds, seconds and vector.
    The schema's metadata says which weights and code made them.

    Exit status 0: all done. 1: some files failed, the rest is written. 2: nothing is written.
    """
    from time import perf_counter

    from uniwhisper.audio.find import audio_paths_and_missing
    from uniwhisper.cli.output import audio_progress, check_ending, note, note_repeats
    from uniwhisper.core.files import atomic_output, check_apart

    settings = {"device": device, "layer": layer, "precision": precision, "compiled": compiled}
    if engine != "local":
        _check_engine(engine, {"--frames": frames, "--every": every_seconds is not None, "--overwrite": overwrite})
        from uniwhisper.cli.embed_parts import embed_in_parts

        embed_in_parts(sources, output, {"source": model, **settings}, workers=workers, as_json=as_json)
        return
    if workers is not None:
        _refuse_workers(workers)
    if every_seconds is not None:
        _check_every(every_seconds, frames=frames)
    check_ending(output, ".parquet", "pandas.read_parquet or pyarrow.parquet.read_table reads it")
    with atomic_output(output, overwrite=overwrite) as temporary:
        repeats: list[str] = []
        paths = audio_paths_and_missing(sources, repeats.append)
        note_repeats(repeats, "embedded")
        check_apart(output, paths)

        from uniwhisper.embedding.decode import Inputs
        from uniwhisper.embedding.device import device_text
        from uniwhisper.embedding.embedder import Embedder
        from uniwhisper.embedding.workers import worker_count

        embedder = Embedder.from_pretrained(model, **settings)
        note(f"device: {device_text(embedder.device)}")
        start = perf_counter()
        count = worker_count(paths, embedder.device.type)
        with Inputs(paths, skip=True, workers=count) as inputs, audio_progress("embedding") as progress:
            written = _write_rows(temporary, embedder, inputs, progress, frames=frames, every_seconds=every_seconds)
            failures = inputs.failures
        speed = written.seconds / (perf_counter() - start)
        if not written.files:
            _print_summary(None, embedder, written, failures, speed, as_json=as_json)
            raise typer.Exit(2)
    _print_summary(output, embedder, written, failures, speed, as_json=as_json)
    if failures:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Written:
    """What went into the output."""

    files: int
    rows: int
    seconds: float
    """Seconds of audio."""


def _check_engine(engine: str, refused: Mapping[str, bool]) -> None:
    from uniwhisper.core.errors import UserError

    if engine != "ray":
        raise UserError(f"engine {engine!r}", expected="local or ray", got=engine, fix="leave --engine out")
    for option in (option for option, given in refused.items() if given):
        raise UserError(
            "--engine ray writes vectors of files into a folder that it adds to",
            expected=f"none of {', '.join(refused)}",
            got=option,
            fix="leave it out, or use --engine local",
        )


def _check_every(every_seconds: float, *, frames: bool) -> None:
    from uniwhisper.core.errors import UserError
    from uniwhisper.embedding.segments import segment_samples

    segment_samples(every_seconds)
    if frames:
        raise UserError(
            "a row is a frame or a segment",
            expected="--frames or --every",
            got=f"--frames and --every {every_seconds!r}",
            fix="leave one out",
        )


def _refuse_workers(workers: int) -> None:
    from uniwhisper.core.errors import UserError

    raise UserError(
        "--workers counts Ray's actors",
        expected="it with --engine ray",
        got=f"--workers {workers} with --engine local, which chooses its own number of threads or processes",
        fix="leave it out, or add --engine ray",
    )


@dataclass
class _Tally:
    """What goes by on its way into a file."""

    files: int = 0
    seconds: float = 0.0

    def of(self, blocks: Iterable[Block], measure: Callable[[Block], tuple[int, float]]) -> Iterator[Block]:
        """The same blocks; `measure` says how many files begin in one, and its seconds of audio."""
        for block in blocks:
            files, seconds = measure(block)
            self.files += int(files)
            self.seconds += float(seconds)
            yield block


def _write_rows(
    path: Path,
    embedder: "Embedder",
    inputs: "Inputs",
    progress: "Progress",
    *,
    frames: bool,
    every_seconds: float | None,
) -> Written:
    """A row per clip, frame or segment."""
    from uniwhisper.embedding.parquet import metadata_of, write_frames, write_segments, write_vectors

    tally, rest = _Tally(), (embedder.width, metadata_of(embedder))
    if every_seconds is not None:
        pieces = embedder.segment_blocks(inputs, every_seconds=every_seconds, progress=progress)
        counted = tally.of(pieces, lambda block: (block.start_seconds[0] == 0, block.seconds.sum()))
        rows = write_segments(path, counted, *rest, every_seconds=every_seconds)
    elif frames:
        parts = embedder.frame_blocks(inputs, progress=progress)
        rows = write_frames(path, tally.of(parts, lambda block: (block.first_frame == 0, block.seconds)), *rest)
    else:
        clips = embedder.clip_blocks(inputs, progress=progress)
        rows = write_vectors(path, tally.of(clips, lambda block: (len(block.names), block.seconds.sum())), *rest)
    return Written(tally.files, rows, tally.seconds)


def _print_summary(
    output: Path | None,
    embedder: "Embedder",
    written: Written,
    failures: "list[Failure]",
    speed: float,
    *,
    as_json: bool,
) -> None:
    from uniwhisper.cli.output import duration, note, print_facts, print_failures, print_json
    from uniwhisper.embedding.device import device_text

    if failures:
        print_failures(failures)
    if as_json:
        print_json(
            {
                "output": None if output is None else str(output),
                "files": written.files,
                "failed": [{"path": failure.name, "reason": failure.reason} for failure in failures],
                "rows": written.rows,
                "audio_seconds": written.seconds,
                "audio_seconds_per_second": round(speed, 1),
                "width": embedder.width,
                "device": device_text(embedder.device),
                "model": embedder.source,
                "identity": embedder.identity,
            }
        )
    elif output is not None:
        print_facts(
            {
                "files": f"{written.files:,}" + (f" ({len(failures):,} more failed)" if failures else ""),
                "audio": duration(written.seconds),
                "rows": f"{written.rows:,} × {embedder.width} numbers",
                "speed": f"{speed:,.0f} seconds of audio per second",
                "output": str(output),
            }
        )
    if output is None:
        note(f"nothing was written: none of the {len(failures):,} files could be embedded")
