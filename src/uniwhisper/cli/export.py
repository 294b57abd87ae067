"""`uniwhisper export`."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    kind: Annotated[
        Literal["hub", "transformers", "onnx"],
        typer.Argument(
            show_default=False,
            help="hub: folder to publish, read by this program and sentence-transformers. transformers: folder that "
            "WhisperModel loads. onnx: one file, audio samples in.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", show_default=False, help="Folder or file to write.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="MODEL", show_default="the packaged one", help="Folder, OpenAI .pt file or hub id."
        ),
    ] = None,
    mels: Annotated[bool, typer.Option("--mels", help="onnx: log-mel in instead of samples.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="onnx: int8 weights, for CPUs.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
) -> None:
    """Write the encoder in a form that other programs load.

    Exit status 0: written. 2: nothing is written.
    """
    from uniwhisper.cli.output import check_ending, print_facts
    from uniwhisper.core.errors import UserError
    from uniwhisper.core.files import check_apart, check_output
    from uniwhisper.model.weights import load_encoder

    if kind != "onnx" and (mels or int8):
        raise UserError(
            "--mels and --int8 belong to another kind of export",
            expected="uniwhisper export onnx",
            got=f"uniwhisper export {kind}",
            fix="leave them out",
        )
    if kind == "onnx":
        check_ending(output, ".onnx", "onnxruntime reads it")
    check_output(output, overwrite=overwrite, folder_with=None if kind == "onnx" else "config.json")
    check_apart(output, [model or "default"])
    loaded = load_encoder(model)
    if kind == "hub":
        from uniwhisper.core.files import atomic_output
        from uniwhisper.integrations.hub import HubEncoder

        with atomic_output(output, overwrite=overwrite, folder_with="config.json") as temporary:
            HubEncoder(loaded.encoder, source=loaded.source).save_pretrained(temporary)
    elif kind == "transformers":
        from uniwhisper.integrations.transformers_folder import export_transformers

        export_transformers(loaded.encoder, output, overwrite=overwrite)
    else:
        _write_onnx(loaded.encoder, output, from_samples=not mels, int8=int8, overwrite=overwrite)
    print_facts({"model": loaded.source, "weights": loaded.identity[:12], "output": str(output)})


def _write_onnx(encoder, output: Path, *, from_samples: bool, int8: bool, overwrite: bool) -> None:
    from tempfile import TemporaryDirectory

    from uniwhisper.integrations.onnx import export_onnx, quantise_int8

    if not int8:
        export_onnx(encoder, output, from_samples=from_samples, overwrite=overwrite)
        return
    with TemporaryDirectory() as folder:
        export_onnx(encoder, Path(folder) / "float.onnx", from_samples=from_samples)
        quantise_int8(Path(folder) / "float.onnx", output, overwrite=overwrite)
