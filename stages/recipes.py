"""Recipes: complete `prepare` and `train` sections under a name, put into params.yaml or queued."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stages.common.errors import FacetError
from stages.common.params import (
    PrepareParams,
    Section,
    TrainParams,
    explain_validation,
    load_params,
    read_yaml,
)
from stages.patch import format_value, list_leaves, load_nodes, patch_text
from stages.queueing import (
    PARAMS,
    name_experiment,
    queue_experiments,
    read_state,
    split_sweeps,
    try_settings,
)

FOLDER = Path("recipes")
Keys = tuple[str, ...]


class RecipeSections(Section):
    """What a recipe's file holds: both sections, each of them complete."""

    prepare: PrepareParams
    train: TrainParams


@dataclass(frozen=True)
class Recipe:
    """values: keys to a value on one line of YAML, of both sections. about: its first sentence."""

    name: str
    about: str
    values: dict[Keys, str]


@dataclass(frozen=True)
class Change:
    """A parameter that gets another value; both as YAML."""

    keys: Keys
    old: str
    new: str

    def __str__(self) -> str:
        return f"{'.'.join(self.keys)}: {self.old} -> {self.new}"


def list_recipes(folder: Path = FOLDER) -> list[Recipe]:
    """All recipes by name.

    Raises:
        FacetError: there is no such folder, or a recipe is not what it must be.
    """
    if not folder.is_dir():
        raise FacetError(f"{folder}: no such folder; run from the repository's root")
    return [load_recipe(path.stem, folder) for path in sorted(folder.glob("*.yaml"))]


def load_recipe(name: str, folder: Path = FOLDER) -> Recipe:
    """Read and validate a recipe.

    Raises:
        FacetError: no such recipe, or its sections are not what params.yaml's must be.
    """
    path = folder / f"{name}.yaml"
    if Path(name).name != name or not path.is_file():
        names = ", ".join(sorted(path.stem for path in folder.glob("*.yaml"))) or "none"
        raise FacetError(f"{path}: expected a recipe; there are: {names}")
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise FacetError(f"{path}: expected the sections prepare and train")
    try:
        RecipeSections.model_validate(values)
    except ValidationError as error:
        raise FacetError(explain_validation(path, values, error, RecipeSections)) from None
    text = path.read_text(encoding="utf-8")
    comment = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    about = " ".join(line.lstrip("#").strip() for line in comment).partition(". ")[0].rstrip(".")
    leaves = list_leaves(load_nodes(text))
    return Recipe(name, about, {keys: format_value(value) for keys, value in leaves})


def apply_recipe(recipe: Recipe, params: Path = PARAMS) -> list[Change]:
    """Put a recipe's values into params.yaml, whose comments stay; returns what changed.

    Raises:
        FacetError: params.yaml is not valid, before or after.
    """
    changes = compare(recipe.values, params)
    text = params.read_text(encoding="utf-8")
    try:
        patched = patch_text(text, recipe.values)
    except FacetError as error:
        raise FacetError(f"{params}: {error}") from None
    if patched != text:
        temporary = params.with_name(f".{params.name}.tmp")
        temporary.write_text(patched, encoding="utf-8")
        try:
            load_params(temporary)
        except FacetError:
            temporary.unlink()
            raise
        temporary.replace(params)
    return changes


def compare(values: Mapping[Keys, str], params: Path = PARAMS) -> list[Change]:
    """Which of `values` differ from params.yaml, by what they mean, not by how they are written.

    Raises:
        FacetError: params.yaml is not valid, or lacks a key.
    """
    load_params(params)
    now = dict(list_leaves(load_nodes(params.read_text(encoding="utf-8"))))
    changes = []
    for keys, text in values.items():
        if keys not in now:
            raise FacetError(f"{params}: {'.'.join(keys)}: expected this key; it is missing")
        if plain(now[keys]) != plain(load_nodes(f"k: {text}")["k"]):
            changes.append(Change(keys, format_value(now[keys]), text))
    return changes


def plain(value: Any) -> Any:
    """A value with its kind, as 1 and true are equal in Python."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    kind = bool if isinstance(value, bool) else float if isinstance(value, float) else type(value)
    return (kind.__name__.replace("ScalarInt", "int"), value)


def queue_recipes(
    recipes: Iterable[Recipe], extra: Sequence[str] = (), params: Path = PARAMS
) -> dict[str, str]:
    """Queue a DVC experiment per recipe; what became of each by name.

    Args:
        recipes: The recipes.
        extra: More settings, as `-S` takes them (`train.n_epochs=1`); a sweep is several
            experiments.
        params: The parameters that they are compared with.

    Raises:
        FacetError: a setting is wrong, nothing is queued then; or DVC refuses.
    """
    planned = {}
    sweeps = split_sweeps(extra)
    state = read_state()
    for recipe in recipes:
        own = list_settings(compare(recipe.values, params))
        for sweep in sweeps:
            try:
                experiment = try_settings([*own, *sweep], params)
            except FacetError as error:
                call = " -S ".join([recipe.name, *sweep])
                raise FacetError(f"{call}: {error}") from None
            name = name_experiment(recipe.name, experiment, state)
            planned[name] = [*own, *sweep]
    return queue_experiments(planned)


def list_settings(changes: Iterable[Change]) -> list[str]:
    """Changes as `dvc exp run -S` takes them."""
    return [f"{'.'.join(change.keys)}={quote(change.new)}" for change in changes]


def quote(value: str) -> str:
    """A value in the grammar of `-S`: in quotes where it holds more than a name or a number."""
    if value.startswith("[") or re.fullmatch(r"[\w.+/-]+", value):
        return value
    return "'" + value.strip("'\"").replace("'", "\\'") + "'"
