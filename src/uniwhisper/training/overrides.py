"""Changing fields of a recipe from text: `--set optimizer.warmup_steps=100`."""

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal

from uniwhisper.core.errors import RecipeError
from uniwhisper.training.recipe import Recipe, require


def override(recipe: Recipe, assignments: Sequence[str]) -> Recipe:
    """Recipe with `field=value` changes; fields of parts are written `optimizer.warmup_steps=10`, values as JSON.

    All changes are made before the recipe validates itself, so fields that depend on each other can change together.

    Raises:
        RecipeError: an unknown field, a value of another type, or one that the recipe's own validation refuses.
    """
    changes: dict[str, Any] = {}
    for assignment in assignments:
        field, equals, text = (part.strip() for part in assignment.partition("="))
        if not equals:
            raise RecipeError(
                f"--set {assignment}", expected="field=value", got="no '='", fix=f"--set {assignment}=VALUE"
            )
        part, inner = recipe, changes
        *outer, name = field.split(".")
        for step in outer:
            _require_field(part, step, field, recipe)
            part, inner = getattr(part, step), inner.setdefault(step, {})
            require(dataclasses.is_dataclass(part), field, f"a field of {step}", f"{step} has no fields")
        _require_field(part, name, field, recipe)
        require(not dataclasses.is_dataclass(getattr(part, name)), field, f"one of its fields, e.g. {field}.…", text)
        inner[name] = _parsed(text, typing.get_type_hints(type(part))[name], field)
    return _changed(recipe, changes)


def _changed(part: Any, changes: dict[str, Any]) -> Any:
    is_part = {name: dataclasses.is_dataclass(getattr(part, name)) for name in changes}
    values = {name: _changed(getattr(part, name), value) if is_part[name] else value for name, value in changes.items()}
    return dataclasses.replace(part, **values)


def _require_field(part: Any, name: str, field: str, recipe: Recipe) -> None:
    if name not in {item.name for item in dataclasses.fields(part)}:
        # Of the part where the path goes wrong: all eighty fields would hide the advice.
        here = [f"{each.name}.…" if dataclasses.is_dataclass(getattr(part, each.name)) else each.name
                for each in dataclasses.fields(part)]  # fmt: skip
        raise RecipeError(
            f"unknown recipe field {field!r}",
            expected=f"for {name}, one of {', '.join(here)}",
            got=field,
            fix=_nearest(field, _field_names(recipe)) or "uniwhisper train --help",
        )


def _parsed(text: str, annotation: Any, field: str) -> Any:
    try:
        value = json.loads(text.lower() if text in ("None", "True", "False") else text)
    except json.JSONDecodeError:
        value = None if text == "None" else text
    if text == "none":
        value = None
    if isinstance(value, list):
        value = tuple(value)
    if not _fits(value, annotation):
        raise RecipeError(
            f"recipe field {field}",
            expected=annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", ""),
            got=f"{text!r}",
            fix=f"--set {field}=VALUE with a value of that type",
        )
    return float(value) if annotation is float else value


def _fits(value: Any, annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(annotation))
    if origin is Literal:
        return value in typing.get_args(annotation)
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is type(None):
        return value is None
    return isinstance(value, origin or annotation)


def _field_names(part: Any, prefix: str = "") -> list[str]:
    names = []
    for item in dataclasses.fields(part):
        value = getattr(part, item.name)
        if dataclasses.is_dataclass(value):
            names += _field_names(value, f"{prefix}{item.name}.")
        else:
            names.append(f"{prefix}{item.name}")
    return names


def _nearest(name: str, options: Sequence[str]) -> str | None:
    """Advice naming the closest option: by spelling, or a full name whose last part was meant."""
    same_end = [option for option in options if option.rpartition(".")[2] == name.rpartition(".")[2]]
    close = same_end or difflib.get_close_matches(name, options, n=1)
    return f"did you mean {close[0]}?" if close else None
