"""An error of validation as one line: file, line, key, expected and got."""

import difflib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML


def explain_validation(
    path: Path, values: dict[str, Any], error: ValidationError, model: type[BaseModel]
) -> str:
    """The first failure of a ValidationError as one line: file:line: key: expected; got.

    Args:
        path: The file.
        values: What it holds.
        error: What is wrong with that.
        model: What it should have been, for a hint at the key that was meant.
    """
    failures = error.errors(include_url=False)
    # A misspelt key is missing under its right name too: the typo is what the user wrote.
    failure = min(failures, key=lambda failure: failure["type"] == "missing")
    keys = tuple(key for key in failure["loc"] if key_exists(values, key, failure["loc"]))
    # A key that is in no file is a branch of a union ('int', 'literal[...]'), or the one missing.
    named = (*keys, failure["loc"][-1]) if failure["type"] == "missing" else keys
    dotted = ".".join(str(key) for key in named)
    where = f"{path}:{find_line(path, keys)}"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    kind, got = failure["type"], describe(failure["input"])
    if kind == "value_error":
        return f"{where}: {failure['ctx']['error']}{more}"
    if kind == "missing":
        return f"{where}: {dotted}: expected this key; it is missing{more}"
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(
            str(failure["loc"][-1]), _siblings(model, failure["loc"]), n=1
        )
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{where}: {dotted}: unknown key{hint}{more}"
    expected = failure["msg"].replace("Input should be", "expected")
    expected = expected.replace("a valid integer", "an integer").replace("a valid ", "a ")
    return f"{where}: {dotted}: {expected}; got {got}{more}"


def describe(value: Any) -> str:
    """A value as a user wrote it, short, with its type where that helps."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"the text '{value[:60]}'"
    if isinstance(value, dict):
        return "a mapping"
    return str(value)[:60]


def key_exists(values: Any, key: Any, loc: tuple[Any, ...]) -> bool:
    """True where `key` of an error's location is a key of the file, not a branch of a union."""
    for step in loc:
        if (isinstance(values, dict) and step in values) or (
            isinstance(values, list) and isinstance(step, int) and step < len(values)
        ):
            if step == key:
                return True
            values = values[step]
    return False


def find_line(path: Path, keys: tuple[Any, ...]) -> int:
    """The line (from 1) at which the deepest of `keys` stands in a YAML file."""
    node: Any = YAML().load(path.read_text(encoding="utf-8"))
    line = 1
    for key in keys:
        try:
            place = node.lc.key if hasattr(node, "keys") else node.lc.item
            line = place(key)[0] + 1
            node = node[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return line


def _siblings(model: Any, loc: tuple[Any, ...]) -> list[str]:
    """Keys beside the one at `loc`; none where it is no place in a file of that model."""
    for key in loc[:-1]:
        field = getattr(model, "model_fields", {}).get(key)
        if field is None:
            return []
        model = field.annotation
    return list(getattr(model, "model_fields", {}))
