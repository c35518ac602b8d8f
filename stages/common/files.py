"""Writing so that nothing half-written looks complete: temporary name first, renamed when done."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.common.errors import FacetError

MANIFEST = "manifest.json"


@contextmanager
def fresh_folder(out: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `out`; it replaces `out` when the block succeeds.

    What a killed run left under the temporary name is removed first. On an exception nothing
    stands under `out`'s name that this run wrote.
    """
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(out, ignore_errors=True)
    temporary.rename(out)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text under a temporary name, then rename."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    temporary.rename(path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON with two spaces of indent; NaN is refused (undefined values are null)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file of ours.

    Raises:
        FacetError: the file is missing or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FacetError(f"{path}: expected this file; it is missing (run `dvc repro`)") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FacetError(f"{path}: no valid JSON: {error}") from None


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """Hex digest of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def write_manifest(
    folder: Path, facts: dict[str, Any], digests: Mapping[str, str] | None = None
) -> None:
    """Write manifest.json last: `facts`, and size and SHA-256 of every file in `folder`.

    Args:
        folder: Where it goes.
        facts: What else it says.
        digests: Digests of the content of some files by name, in place of their SHA-256.
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            name = path.relative_to(folder).as_posix()
            known = (digests or {}).get(name)
            check = {"digest": known} if known else {"sha256": hash_file(path)}
            files[name] = {"bytes": path.stat().st_size, **check}
    write_json(folder / MANIFEST, {**facts, "files": files})


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a stage's output, after a check that its files are there in full size.

    Raises:
        FacetError: no manifest (the folder is not complete), or a file differs in size.
    """
    manifest: dict[str, Any] = read_json(folder / MANIFEST)
    for name, entry in manifest["files"].items():
        path = folder / name
        size = path.stat().st_size if path.is_file() else None
        if size != entry["bytes"]:
            got = "no such file" if size is None else f"{size} bytes"
            raise FacetError(
                f"{path}: expected {entry['bytes']} bytes; got {got} (run `dvc repro`)"
            )
    return manifest
