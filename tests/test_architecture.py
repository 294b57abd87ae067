"""The rules that keep the project readable: who imports whom, how long files get, what an import loads.

The table in docs/architecture.md is the only source of the import rules; this file reads it.
"""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import REPOSITORY, SLOWEST_FIRST

PACKAGE = REPOSITORY / "src" / "uniwhisper"
LONGEST_FILE = 400
SOURCES = sorted(PACKAGE.rglob("*.py"))

# Embedding and everything it reaches works in the base install, without these.
NOT_FOR_EMBEDDING = {"transformers", "sklearn", "matplotlib", "lhotse", "scipy"}


def import_table() -> dict[str, set[str]]:
    """Folder -> folders it may import, as docs/architecture.md says."""
    rows = re.findall(
        r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", (REPOSITORY / "docs/architecture.md").read_text(), re.MULTILINE
    )
    folders = {folder for folder, _ in rows}
    table = {}
    for folder, cell in rows:
        words = {word.strip() for word in cell.split(",")}
        if "all" in words:
            table[folder] = folders
        else:
            table[folder] = words - {"–"}
            assert table[folder] <= folders, f"the row of `{folder}` names {table[folder] - folders}, which have no row"
    return table


def imports(tree: ast.AST, path: Path) -> Iterator[tuple[str, int]]:
    """Full dotted names that the tree imports and their lines; inside functions and TYPE_CHECKING blocks too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: import by absolute name"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def layer_of(name: str) -> str | None:
    """The folder of uniwhisper that a dotted name lies in; None for other packages and for uniwhisper itself."""
    parts = name.split(".")
    return parts[1] if parts[0] == "uniwhisper" and len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else None


def forbidden_imports(path: Path, text: str, table: dict[str, set[str]]) -> list[str]:
    layer = path.relative_to(PACKAGE).parts[0]
    assert layer in table, f"{path}: the folder `{layer}` has no row in docs/architecture.md"
    return [
        f"{path.relative_to(REPOSITORY)}:{line}: `{layer}` imports `{name}`"
        for name, line in imports(ast.parse(text), path)
        if (target := layer_of(name)) not in (None, layer) and target not in table[layer]
    ]


def module_file(name: str) -> Path | None:
    """File of a dotted name that is a module of ours, or of the module that holds the name."""
    parts = name.split(".")
    if parts[0] != "uniwhisper":
        return None
    for length in (len(parts), len(parts) - 1):
        base = PACKAGE.joinpath(*parts[1:length])
        for candidate in (base.with_suffix(".py"), base / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


def loaded_by(statement: str) -> set[str]:
    """Top-level packages in memory after `statement`, in a fresh interpreter."""
    code = f"import sys, json\n{statement}\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_imports_follow_the_table():
    table = import_table()
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(table) == folders, "docs/architecture.md has a row per folder of the package and no other"
    inside = [path for path in SOURCES if path.parent != PACKAGE]
    assert len(inside) > 10
    broken = [line for path in inside for line in forbidden_imports(path, path.read_text(), table)]
    assert not broken, "\n".join(["", *broken])


@pytest.mark.parametrize(
    "text",
    [
        "import uniwhisper.training.loop",
        "from uniwhisper import training",
        "def f():\n    from uniwhisper.training.loop import train",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from uniwhisper.training import loop",
    ],
)
def test_every_way_to_import_is_seen(text):
    assert forbidden_imports(PACKAGE / "evaluation" / "x.py", text, import_table())
    assert not forbidden_imports(PACKAGE / "recipes" / "x.py", text, import_table())


def test_training_and_evaluation_stay_apart():
    table = import_table()
    assert "evaluation" not in table["training"] and "training" not in table["evaluation"]
    assert not any("demo" in table[folder] for folder in set(table) - {"demo", "reproduce", "cli"})


def test_verbs_import_inside_their_functions():
    for path in (PACKAGE / "cli").glob("*.py"):
        top_level = ast.Module(
            [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)], []
        )
        for name, line in imports(top_level, path):
            layer = layer_of(name)
            assert layer in (None, "core", "cli"), f"{path}:{line}: import `{name}` inside the verb's function"


def test_embedding_reaches_no_optional_package():
    """No file that embedding can reach imports the packages of the extras, not even inside a function."""
    waiting = [path for layer in ("audio", "features", "embedding") for path in (PACKAGE / layer).rglob("*.py")]
    reached: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        for name, line in imports(ast.parse(path.read_text()), path):
            package = name.split(".")[0]
            assert package not in NOT_FOR_EMBEDDING, f"{path}:{line}: embedding reaches `{package}`"
            if (target := module_file(name)) is not None:
                waiting.append(target)
    assert PACKAGE / "model" / "encoder.py" in reached


@pytest.mark.parametrize("module", ["uniwhisper", "uniwhisper.cli.app"])
def test_the_command_line_starts_light(module):
    heavy = {"torch", "numpy", "pyarrow", "soundfile", "soxr", "huggingface_hub", "av"} | NOT_FOR_EMBEDDING
    assert not loaded_by(f"import {module}") & heavy


def test_embedding_starts_without_optional_packages():
    statement = "import uniwhisper.embedding.embedder, uniwhisper.audio.load, uniwhisper.features.logmel"
    loaded = loaded_by(f"{statement}, uniwhisper.model.encoder")
    assert "torch" in loaded
    assert not loaded & (NOT_FOR_EMBEDDING | {"pyarrow", "av"})


def test_writing_vectors_loads_no_pandas(tmp_path):
    """It is no dependency, but pyarrow imports it where it finds it, for a second."""
    pytest.importorskip("pandas")
    statement = f"""
import numpy as np
from pathlib import Path
from uniwhisper.embedding.parquet import write_vectors
from uniwhisper.embedding.table import EmbeddingTable
table = EmbeddingTable(["a", "ü"], np.ones(2), np.ones((2, 3), np.float32), [], {{}})
write_vectors(Path({str(tmp_path / "v.parquet")!r}), [table], 3, {{}})"""
    loaded = loaded_by(statement)
    assert "pyarrow" in loaded and "pandas" not in loaded


def test_files_stay_short():
    lengths = {str(path.relative_to(REPOSITORY)): len(path.read_text().splitlines()) for path in SOURCES}
    long = {path: length for path, length in lengths.items() if length > LONGEST_FILE}
    assert not long, f"more than {LONGEST_FILE} lines: {long}"


def public_functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef, str]]:
    """Public functions and methods, `__init__` among them: name, node, and all docstring text that is about them."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node, ast.get_docstring(node) or ""
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            methods = [method for method in node.body if isinstance(method, ast.FunctionDef)]
            for method in methods:
                if method.name == "__init__" or not method.name.startswith("_"):
                    text = f"{ast.get_docstring(node) or ''}\n{ast.get_docstring(method) or ''}"
                    yield f"{node.name}.{method.name}", method, text


def undocumented_arrays(tree: ast.Module) -> list[str]:
    """Arguments of public functions whose annotation holds Tensor or ndarray and which no docstring names."""
    missing = []
    for name, function, text in public_functions(tree):
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        for argument in arguments:
            annotation = ast.unparse(argument.annotation) if argument.annotation else ""
            if re.search(r"\b(Tensor|ndarray)\b", annotation) and not re.search(rf"\b{argument.arg}\b", text):
                missing.append(f"{function.lineno}: {name}({argument.arg})")
    return missing


def test_docstrings_name_every_array_argument():
    missing = [
        f"{path.relative_to(REPOSITORY)}:{entry}"
        for path in SOURCES
        for entry in undocumented_arrays(ast.parse(path.read_text()))
    ]
    assert not missing, "\n".join(["say shape, dtype and unit of these in the docstring:", *missing])


def test_an_undocumented_array_is_found():
    text = 'def f(wave_S: np.ndarray, *, mask_B: "Tensor | None"):\n    """Takes wave_S, float32."""'
    assert undocumented_arrays(ast.parse(text)) == ["1: f(mask_B)"]


def test_no_file_names_a_machine():
    """Paths that exist only where the code was written do not belong into it."""
    machine_path = re.compile(r"(?<![\w.~}/])/(?:work|farm|root|home|Users|tmp)/[\w.]")
    kept = ["src", "tests", "docs", "benchmarks", ".ci", "Makefile", "README.md", "pyproject.toml"]
    files = [file for name in kept for file in [REPOSITORY / name, *(REPOSITORY / name).rglob("*")] if file.is_file()]
    found = []
    for file in files:
        # `make bench` builds an environment of its own in there.
        if file.suffix in {".pyc", ".safetensors", ".png"} or ".venv" in file.parts:
            continue
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
            if machine_path.search(line):
                found.append(f"{file.relative_to(REPOSITORY)}:{number}: {line.strip()[:100]}")
    assert len(files) > 20
    assert not found, "\n".join(["", *found])


def test_the_files_that_are_begun_first_are_there():
    assert len(set(SLOWEST_FIRST)) == len(SLOWEST_FIRST)
    assert set(SLOWEST_FIRST) <= {path.name for path in (REPOSITORY / "tests").glob("test_*.py")}
