"""Shipped training recipes, one function per file, and finding a recipe by name or in a file."""

import importlib.util
import pkgutil
import traceback
from collections.abc import Callable
from pathlib import Path

from uniwhisper.core.errors import RecipeError
from uniwhisper.training.recipe import Recipe


def shipped_recipes() -> list[str]:
    """Names of the recipes in this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_recipe(reference: str) -> Recipe:
    """A shipped name (`mini`), or `file.py:function` for a function without arguments that returns a `Recipe`.

    Raises:
        RecipeError: nothing is there, or it returns something else.
    """
    path, colon, function_name = reference.rpartition(":")
    if not colon:
        if reference not in shipped_recipes():
            raise RecipeError(
                f"no recipe {reference!r}",
                expected=f"one of {', '.join(shipped_recipes())}, or file.py:function",
                got=reference,
                fix=f"name the function in it: {reference}:FUNCTION"
                if reference.endswith(".py")
                else "uniwhisper train mini -o runs/mini",
            )
        module = importlib.import_module(f"uniwhisper.recipes.{reference}")
        return getattr(module, reference)()
    if not Path(path).is_file() or Path(path).suffix != ".py":
        got = "another kind of file" if Path(path).is_file() else "nothing there"
        raise RecipeError(f"no recipe file {path}", expected="a Python file (.py)", got=got, fix="check the path")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None and spec.loader is not None, f"{path} is a file, so it has a loader"
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        function: Callable[[], Recipe] | None = getattr(module, function_name, None)
        made = function() if callable(function) else None
    except RecipeError:
        raise
    except Exception as error:
        # Whatever somebody's own file raises; the line is what they need to mend it.
        line = traceback.extract_tb(error.__traceback__)[-1].lineno
        raise RecipeError(
            f"the recipe file {path} failed",
            expected=f"a function {function_name}() -> Recipe",
            got=f"{type(error).__name__} in line {line}: {error}",
            fix="mend the file",
        ) from error
    if not isinstance(made, Recipe):
        raise RecipeError(
            f"{reference} is no recipe",
            expected=f"a function {function_name}() -> Recipe in {path}",
            got="no such function" if function is None else f"{type(made).__name__}",
            fix="see uniwhisper/recipes/mini.py for one",
        )
    return made
