"""Corpora by name: the published ones this package reads itself, and all that Lhotse's recipes read."""

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from uniwhisper.core.errors import ManifestError, MissingExtraError
from uniwhisper.core.files import check_output
from uniwhisper.data.archive import stop_at
from uniwhisper.data.corpora import parse_description
from uniwhisper.data.manifest import MANIFEST_NAME
from uniwhisper.data.manifest_writer import Written
from uniwhisper.data.parallel import Progress
from uniwhisper.data.prepare import Corpus, write_corpora
from uniwhisper.data.published.registry import published_corpora
from uniwhisper.data.sources.clip import OnProblem
from uniwhisper.data.sources.lhotse_manifests import lhotse_clips
from uniwhisper.data.storage import Root, Store, is_url

_PREFIX = "prepare_"
_OUTPUTS = ("output_dir", "manifest_dir", "manifests_dir")


def prepare_named(
    name: str,
    root: Root,
    output: Path,
    *,
    splits: Sequence[str] | None = None,
    skip_bad: bool = False,
    overwrite: bool = False,
    leave_out: Sequence[str] = (),
    workers: int | None = None,
    progress: Progress | None = None,
) -> tuple[Written, list[str]]:
    """Check the clips of the corpus `name`, downloaded and unpacked at `root`, and write `output`/manifest.jsonl.

    Args:
        splits: of Lhotse's recipes; None: those named train…, or all if there are none.
        skip_bad, overwrite, leave_out, workers, progress: as in `prepare`.

    Returns:
        What was written, and the notes of its corpus.

    Raises:
        ManifestError: no such corpus, its folder does not have its layout, or (without `skip_bad`) the first bad clip.
        OutputError: the manifest exists and `overwrite` is False, or it cannot be written.
        MissingExtraError: a package of the extra [data] is missing.
    """
    check_output(Path(output) / MANIFEST_NAME, overwrite=overwrite)
    if not is_url(root) and not Path(root).is_dir():
        fix = "download and unpack the corpus, and name its folder with --root"
        raise ManifestError(f"no corpus at {root}", expected=f"the folder of {name}", got="no such folder", fix=fix)
    problems: list[ManifestError] = []
    on_problem = problems.append if skip_bad else stop_at
    with _open(name, root, splits, on_problem) as corpus:
        written = write_corpora(
            root, [corpus], output, problems=problems, on_problem=on_problem, overwrite=overwrite, leave_out=leave_out,
            workers=workers, progress=progress,
        )  # fmt: skip
    return written, [*corpus.notes, *written.notes]


def lhotse_recipes() -> list[str]:
    """Names of the corpora that the installed Lhotse has a recipe for, without the folders it cannot prepare alone.

    Raises:
        MissingExtraError: Lhotse is not installed.
    """
    recipes = _lhotse_module()
    return sorted(name.removeprefix(_PREFIX) for name in dir(recipes) if name.startswith(_PREFIX))


@contextmanager
def _open(name: str, root: Root, splits: Sequence[str] | None, on_problem: OnProblem) -> Iterator[Corpus]:
    """The corpus, while its listing can be read."""
    published = published_corpora()
    if name in published:
        store = Store(root)
        try:
            clips = published[name].parse(store, on_problem)
            yield Corpus(name, "", published[name].description(), clips)
        except (OSError, KeyError) as error:
            got = f"no column or key {error}" if isinstance(error, KeyError) else f"{error.filename}: {error.strerror}"
            raise ManifestError(
                f"{root} does not hold {published[name].title}",
                expected=f"the layout documented at {published[name].layout}",
                got=got,
                fix=f"download it from {published[name].url}, unpack it, and name the folder above its files",
            ) from None
        return
    if name not in lhotse_recipes():
        raise ManifestError(
            f"no corpus is called {name!r}",
            expected=f"one of {', '.join(published)}; or of Lhotse's: {', '.join(lhotse_recipes())}",
            got=repr(name),
            fix="use one of these names, or leave out --root to prepare a folder of corpora",
        )
    with TemporaryDirectory(prefix="uniwhisper-lhotse-") as temporary:
        manifests = _run_recipe(name, Path(root), Path(temporary))
        corpus = Corpus(name, "", parse_description(describe_recipe(name), name=name), ())
        corpus.clips = lhotse_clips(Store(root), manifests, splits=splits, notes=corpus.notes, on_problem=on_problem)
        yield corpus


def _run_recipe(name: str, root: Path, output: Path) -> list[Path]:
    """Let Lhotse write its manifests of the corpus at `root`; the files that hold recordings or cuts."""
    recipe = getattr(_lhotse_module(), _PREFIX + name)
    folders = {
        argument: root / place for argument, place in described_recipes().get(name, {}).get("folders", {}).items()
    }
    arguments = inspect.signature(recipe).parameters
    needed = [key for key, parameter in arguments.items() if parameter.default is inspect.Parameter.empty]
    open_arguments = [key for key in needed if key not in folders and key not in _OUTPUTS]
    where = f"Lhotse's recipe `{name}`"
    if len(open_arguments) > 1:
        raise ManifestError(
            f"{where} needs more than one folder",
            expected="a recipe with one folder, or an entry in uniwhisper/data/lhotse_recipes.json",
            got=f"the arguments {open_arguments}",
            fix=f"run `lhotse prepare {name.replace('_', '-')}` and put its manifests into FOLDER/{name}/",
        )
    folders |= dict.fromkeys(open_arguments, root)
    destination = next((key for key in _OUTPUTS if key in arguments), None)
    try:
        recipe(**folders, **({destination: output} if destination else {}))
    except (OSError, AssertionError, KeyError, ValueError, StopIteration) as error:
        got = " ".join(f"{type(error).__name__}: {error}".split())
        fix = f"look into {root}: the layout is documented in lhotse/recipes/{name}.py"
        raise ManifestError(where, expected=f"the corpus as published in {root}", got=got, fix=fix) from None
    found = sorted(path for path in output.rglob("*.jsonl*") if "recordings" in path.name or "cuts" in path.name)
    with_cuts = [path for path in found if "cuts" in path.name]
    if not found:
        raise ManifestError(
            where, expected=f"recordings in {root}", got="none", fix=f"name the folder that holds {name} with --root"
        )
    return with_cuts or found


def describe_recipe(name: str) -> dict[str, Any]:
    """Description of a recipe's corpus, in the form of corpora.json."""
    entry = described_recipes().get(name)
    if entry is None:
        licence = f"not recorded here: see lhotse/recipes/{name}.py"
        return {"domain": "speech", "licence": licence, "tasks": {"transcription": {"field": "text"}}}
    return {"domain": "speech", "licence": entry["licence"], "tasks": entry["tasks"]}


@lru_cache(maxsize=1)
def described_recipes() -> Mapping[str, Any]:
    """Lhotse's recipes whose licence and tasks are recorded here, by name."""
    text = files("uniwhisper.data").joinpath("lhotse_recipes.json").read_text(encoding="utf-8")
    return json.loads(text)["recipes"]


def _lhotse_module() -> Any:
    try:
        import lhotse.recipes
    except ImportError:
        raise MissingExtraError.of("lhotse", "data", "Lhotse's recipes") from None
    return lhotse.recipes
