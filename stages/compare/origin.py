"""Where a run comes from: the recipe it equals, or nearly, and the command that makes it again."""

import io
import json
import shlex
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stages.common.errors import FacetError
from stages.common.records import git_tags
from stages.patch import format_value
from stages.recipes import quote

Leaves = dict[str, Any]
#: Sections that say what a recipe is, and all that a run depends on.
OWN = ("prepare.", "train.")
MISSING = object()


@dataclass(frozen=True)
class Origin:
    """Where a run comes from.

    recipe: The nearest recipe's name, '' where there is none.
    changes: (parameter, the recipe's value, the run's value), as YAML; empty where it equals.
    commit: The commit to start from, in full: seven digits such as 9762e16 read as a number;
            '' outside of git.
    commands: What to type there.
    note: Why the commands may not be enough, or ''.
    """

    recipe: str
    changes: tuple[tuple[str, str, str], ...]
    commit: str
    commands: tuple[str, ...]
    note: str = ""


def describe_origin(root: Path, params: Mapping[str, Any], baseline: str) -> Origin:
    """Compare a run's parameters with params.yaml and the recipes at the commit it began at.

    Args:
        root: The repository.
        params: The parameters that were used, nested.
        baseline: The commit that the experiment began at.
    """
    used = dict(list_values(params))
    commit = git_text(root, "rev-parse", "--verify", baseline).strip()
    before = dict(list_values(read_text(git_text(root, "show", f"{baseline}:params.yaml"))))
    recipes = read_recipes(str(root), commit) if commit else {}
    nearest = min(recipes, key=lambda name: (len(differ(recipes[name], used)), name), default="")
    changes = []
    if nearest:
        for key in differ(recipes[nearest], used):
            changes.append((key, show(recipes[nearest].get(key, MISSING)), show(used.get(key))))
    commands, note = find_commands(used, before, nearest, recipes.get(nearest, {}))
    if baseline == "HEAD" and git_tags().get("facet.git_dirty") == "true":
        note = "the code differs from that commit’s"
    return Origin(nearest, tuple(changes), commit, tuple(commands), note if commit else "")


def find_commands(used: Leaves, before: Leaves, name: str, recipe: Leaves) -> tuple[list[str], str]:
    """The commands with the fewest settings: from params.yaml as it was, or by way of a recipe.

    Returns:
        Commands, and a note where a parameter was unknown then and cannot be set so.
    """
    direct = differ(used, before)
    unknown = [key for key in direct if key not in before]
    note = f"params.yaml of that commit lacks {', '.join(unknown)}" if unknown and before else ""
    if not direct:
        return ["dvc repro"], note
    by_recipe = differ(used, before | recipe)
    if recipe and len(by_recipe) + 1 < len(direct):
        return [join(f"facet recipe {name} --queue", used, by_recipe), "dvc queue start"], note
    return [join("dvc exp run", used, direct)], note


def join(command: str, used: Leaves, keys: list[str]) -> str:
    """A command with `-S key=value` for each key, quoted for a shell."""
    settings = [shlex.quote(f"{key}={quote(format_value(used[key]))}") for key in keys]
    return " ".join([command, *(f"-S {setting}" for setting in settings)])


def differ(a: Leaves, b: Leaves) -> list[str]:
    """Keys of `a` whose value in `b` is another, in order; 1 and 1.0 are the same."""
    return [key for key, value in a.items() if canonical(value) != canonical(b.get(key, MISSING))]


def canonical(value: Any) -> str:
    """A value as text that two equal values share."""
    if value is MISSING:
        return "missing"
    return json.dumps(json.loads(json.dumps(value), parse_int=float))


def show(value: Any) -> str:
    """A value as YAML on one line."""
    return "not there" if value is MISSING else format_value(value)


def list_values(params: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted key, value) of everything that is no mapping; lists as plain lists."""
    found: list[tuple[str, Any]] = []
    for key, value in params.items():
        if isinstance(value, Mapping):
            found += list_values(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found


@cache
def read_recipes(root: str, commit: str) -> dict[str, Leaves]:
    """Prepare and train of every recipe at a commit, by name."""
    command = ["git", "-C", root, "archive", "--format=tar", commit, "recipes"]
    done = subprocess.run(command, capture_output=True)
    if done.returncode:
        return {}
    recipes = {}
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member) if member.isfile() else None
            path = Path(member.name)
            if content is not None and path.suffix == ".yaml":
                leaves = list_values(read_text(content.read().decode()))
                recipes[path.stem] = {k: v for k, v in leaves if k.startswith(OWN)}
    return recipes


def read_text(text: str) -> dict[str, Any]:
    """YAML as plain values; empty where it is none.

    Raises:
        FacetError: it is no YAML.
    """
    try:
        values = YAML(typ="safe", pure=True).load(text)
    except Exception as error:
        raise FacetError(f"expected YAML; {error}") from None
    return values if isinstance(values, dict) else {}


def git_text(root: Path, *arguments: str) -> str:
    """What git prints; '' where it fails."""
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""
