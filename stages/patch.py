"""Values put into a YAML file line by line, so that its comments, order and layout stay.

A round trip through a YAML library moves comments about, and a second one moves them again: what a
file looks like would depend on what it was before. Here it does not.
"""

import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML

from stages.common.errors import FacetError

#: Column of a comment behind a value; behind a longer value it stands two spaces after it.
COMMENT_COLUMN = 28
Path = tuple[str, ...]


def load_nodes(text: str) -> Any:
    """The mapping of a YAML text, with the place of every key, floats as they are written."""
    return YAML().load(text)


def list_leaves(node: Mapping[str, Any], prefix: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield (keys, value) of everything in nested mappings that is no mapping itself."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from list_leaves(value, (*prefix, str(key)))
        else:
            yield (*prefix, str(key)), value


def format_value(value: Any) -> str:
    """A scalar or a list as YAML on one line: `1.0e-3` as it was written, `[64, 256]`, `null`."""
    yaml = YAML()
    yaml.default_flow_style = True
    yaml.width = 10**6
    stream = io.StringIO()
    yaml.dump({"k": flatten(value)}, stream)
    return stream.getvalue().strip().removeprefix("{k:").removesuffix("}").strip()


def flatten(value: Any) -> Any:
    """Lists without the layout they had in their file."""
    return [flatten(item) for item in value] if isinstance(value, list) else value


def patch_text(text: str, values: Mapping[Path, str]) -> str:
    """A YAML text with other values.

    Args:
        text: The text; each of the keys stands in it, with no mapping as its value.
        values: Keys to a value on one line.

    Raises:
        FacetError: a key is missing, or shares its line with another one.
    """
    nodes = load_nodes(text)
    lines = text.splitlines()
    n_keys = Counter(line for _, line, _ in list_keys(nodes))
    starts = [*sorted(n_keys), len(lines)]
    gone: set[int] = set()
    for path, value in values.items():
        node = nodes
        for key in path[:-1]:
            node = node.get(key) if isinstance(node, Mapping) else None
        if not isinstance(node, Mapping) or path[-1] not in node:
            raise FacetError(f"{'.'.join(path)}: expected this key; it is missing")
        line = node.lc.key(path[-1])[0]  # type: ignore[attr-defined]
        if n_keys[line] > 1:
            raise FacetError(
                f"{'.'.join(path)}: expected a line of its own; line {line + 1} holds "
                f"{n_keys[line]} keys. Write `{{a: 1, b: 2}}` as one indented `a: 1` per line"
            )
        following = next(start for start in starts if start > line)
        lines[line] = replace_value(lines[line], value)
        for k in range(line + 1, following):  # the rest of a value of several lines
            if lines[k].strip() and not lines[k].lstrip().startswith("#"):
                gone.add(k)
    kept = [line for k, line in enumerate(lines) if k not in gone]
    return "\n".join(kept) + ("\n" if text.endswith("\n") else "")


def list_keys(node: Any, prefix: Path = ()) -> Iterator[tuple[Path, int, int]]:
    """Yield (keys, line, column) of every key of nested mappings, from 0."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            line, column = node.lc.key(key)  # type: ignore[attr-defined]
            yield (*prefix, str(key)), line, column
            yield from list_keys(value, (*prefix, str(key)))


def replace_value(line: str, value: str) -> str:
    """`  key: old  # comment` with another value, the comment in its column."""
    found = re.match(r"""\s*("[^"]*"|'[^']*'|[^\s:#][^:#]*?)\s*:(?=\s|$)""", line)
    assert found is not None, line
    new = f"{found.group(0)} {value}"
    comment = find_comment(line, found.end())
    gap = " " * (COMMENT_COLUMN - len(new)) or "  "
    return f"{new}{gap}{comment}" if comment else new


def find_comment(line: str, start: int) -> str:
    """The comment of a line behind column `start`: from a # after a space, outside of quotes."""
    quote = ""
    for k in range(start, len(line)):
        character = line[k]
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'" and line[k - 1] in " [{,":
            quote = character
        elif character == "#" and line[k - 1].isspace():
            return line[k:].rstrip()
    return ""
