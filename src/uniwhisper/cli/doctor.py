"""`uniwhisper doctor`: what is here, what is missing, and what to type to get it."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

BASE_PACKAGES = ("torch", "numpy", "safetensors", "huggingface-hub", "soundfile", "soxr", "pyarrow", "typer", "rich")
EXTRAS = {
    "train": ("transformers",),
    "eval": ("scikit-learn", "matplotlib", "jiwer"),
    "data": ("lhotse", "urllib3", "fsspec", "mido"),
    "m4a": ("av",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
}


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show versions, devices, decoders, the model, and what is missing.

    Exit status: 0 if embedding can work here, 1 if something it needs is missing.
    """
    from uniwhisper.cli.output import print_json

    findings = examine()
    if as_json:
        print_json(findings)
    else:
        _print(findings)
    raise typer.Exit(1 if findings["problems"] else 0)


def examine() -> dict[str, Any]:
    """All findings as a JSON object; `problems` are what keeps embedding from working, each with its remedy."""
    problems: list[str] = []
    packages = {name: _installed(name) for name in BASE_PACKAGES}
    problems += [f"{name} is not installed: pip install uniwhisper" for name, found in packages.items() if not found]
    extras = {
        extra: {
            "packages": {name: _installed(name) for name in names},
            "install": None if all(map(_installed, names)) else f"pip install 'uniwhisper[{extra}]'",
        }
        for extra, names in EXTRAS.items()
    }
    return {
        "uniwhisper": _own_version(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": packages,
        "extras": extras,
        "devices": _devices(problems),
        "decoders": _decoders(problems, extras["m4a"]),
        "model": _model(problems),
        "hub": _hub(),
        "problems": problems,
    }


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _own_version() -> dict[str, str]:
    from uniwhisper import __version__
    from uniwhisper.core.identity import code_identity

    return {"version": __version__, "code": code_identity(), "folder": str(_package_folder())}


def _package_folder() -> Path:
    import uniwhisper

    return Path(uniwhisper.__file__).parent


def _devices(problems: list[str]) -> list[str]:
    # A broken installation fails in many ways on import (missing libraries, wrong CPU): all are findings here.
    try:
        import torch
    except Exception as error:
        problems.append(f"torch cannot be imported ({_first_line(error)}): reinstall it, see https://pytorch.org")
        return []
    devices = [f"cpu: {os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"]
    try:
        for index in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(index)
            devices.append(f"cuda:{index}: {found.name}, {found.total_memory / 2**30:.0f} GiB")
    except RuntimeError as error:
        problems.append(f"CUDA does not start ({_first_line(error)}): see nvidia-smi, or use --device cpu")
    return devices


def _decoders(problems: list[str], m4a: dict[str, Any]) -> dict[str, str | None]:
    found: dict[str, str | None] = {"libsndfile": None, "formats": None}
    try:
        import soundfile
    except Exception as error:
        problems.append(f"soundfile cannot be imported ({_first_line(error)}): pip install --force-reinstall soundfile")
    else:
        found = {
            "libsndfile": soundfile.__libsndfile_version__,
            "formats": ", ".join(sorted(name.lower() for name in soundfile.available_formats())),
        }
    return {**found, "m4a, aac": m4a["packages"]["av"] and f"av {m4a['packages']['av']}"}


def _model(problems: list[str]) -> dict[str, str | None]:
    """The model that comes with the package. Its identity needs the weights opened, so also shows that they open."""
    folder = _package_folder() / "pretrained" / "default"
    if not (folder / "config.json").is_file():
        problems.append("no packaged model: reinstall uniwhisper, or pass --model with a folder, .pt file or hub id")
        return {"folder": None, "weights": None}
    try:
        from uniwhisper.model.weights import load_encoder

        weights = load_encoder(folder).identity
    except Exception as error:
        problems.append(f"the packaged model does not open ({_first_line(error)}): reinstall uniwhisper")
        weights = None
    return {"folder": str(folder), "weights": weights}


def _hub() -> dict[str, Any]:
    try:
        from huggingface_hub import constants
    except ImportError:
        return {"cache": None, "offline": None}
    return {"cache": constants.HF_HUB_CACHE, "offline": bool(constants.HF_HUB_OFFLINE)}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _print(findings: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")

    def section(title: str, rows: list[tuple[str, str | Text]]) -> None:
        for position, (name, value) in enumerate(rows):
            table.add_row("" if position else title, Text(name), value if isinstance(value, Text) else Text(value))
        table.add_section()
        table.add_row()

    def found(value: str | None, remedy: str) -> Text:
        return Text(value) if value else Text(remedy, "yellow")

    own = findings["uniwhisper"]
    section(
        "uniwhisper",
        [
            ("version", own["version"]),
            ("code", own["code"]),
            ("folder", own["folder"]),
            ("python", f"{findings['python']} on {findings['system']}"),
        ],
    )
    section("packages", [(name, found(value, "missing")) for name, value in findings["packages"].items()])
    section(
        "extras",
        [
            (f"[{extra}] {name}", found(value, f"missing: {details['install']}"))
            for extra, details in findings["extras"].items()
            for name, value in details["packages"].items()
        ],
    )
    section("devices", [tuple(device.split(": ", 1)) for device in findings["devices"]] or [("none", "")])
    m4a_remedy = f"missing: {findings['extras']['m4a']['install']}"
    section(
        "decoders",
        [
            (name, found(value, m4a_remedy if "m4a" in name else "missing"))
            for name, value in findings["decoders"].items()
        ],
    )
    section("model", [(name, found(value, "missing")) for name, value in findings["model"].items()])
    hub = findings["hub"]
    section("hub", [("cache", found(hub["cache"], "unknown")), ("offline", "yes" if hub["offline"] else "no")])

    # Of a folder that is cut into lines, nothing can be copied, and `grep` finds half.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 400)
    console.print(table)
    if not findings["problems"]:
        console.print(Text("Everything that embedding needs is here.", "green"))
    for problem in findings["problems"]:
        console.print(Text.assemble(("problem: ", "bold red"), problem), soft_wrap=True)
