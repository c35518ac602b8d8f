"""dvc.yaml keeps its word: it declares what a stage imports, and exactly its parameters."""

import ast
import base64
import importlib.resources
import io
import os
import re
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
STAGES = PIPELINE["stages"]
NAMES = ("download", "explore", "audit", "prepare", "train", "evaluate", "report")
#: The only modules that open params.yaml, and the one that hands the whole of it to MLflow.
READERS = {
    "stages/common/params/read.py",
    "stages/common/entry.py",
    "stages/common/results.py",
    "stages/train/run.py",
}


def commands(stage: str) -> list[str]:
    """The commands of a stage."""
    command = STAGES[stage]["cmd"]
    return [command] if isinstance(command, str) else command


def module_file(module: str) -> Path | None:
    """The file of a module of ours, relative to the root; None where there is no such module."""
    base = Path(*module.split("."))
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if (ROOT / path).is_file():
            return path
    return None


def imported_modules(path: Path) -> set[str]:
    """Modules of ours that a file imports anywhere in it, also inside functions."""
    package = path.parent.as_posix().replace("/", ".")
    found = set()
    for node in iter_runtime_nodes(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join(
                    [*parents[: len(parents) - node.level + 1], *([base] if base else [])]
                )
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.split(".")[0] == "stages"}


def iter_runtime_nodes(tree: ast.AST):
    """All nodes but those below `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from iter_runtime_nodes(node)


def reachable_files(module: str) -> set[Path]:
    """Files of ours that `python -m module` may import, packages' __init__ files included."""
    found: set[Path] = set()
    pending = [f"{module}.__main__" if module_file(f"{module}.__main__") else module]
    while pending:
        name = pending.pop()
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            path = module_file(".".join(parts[:depth]))
            if path is not None and path not in found:
                found.add(path)
                pending += imported_modules(path)
    return found


def stage_files(stage: str) -> set[Path]:
    """Files of ours that a stage's commands may import."""
    found = set()
    for command in commands(stage):
        words = command.split()
        assert words[:2] == ["python", "-m"], command
        found |= reachable_files(words[2])
    return found


def covers(dep: str, path: Path) -> bool:
    """A file covers itself, a folder what lies in it."""
    return Path(dep) == path or Path(dep) in path.parents


def tracked_files() -> list[Path]:
    """Files that git tracks or would track, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for line in done.stdout.splitlines() if (ROOT / (path := Path(line))).is_file()]


def test_walk_follows_late_and_relative_imports_and_packages():
    files = {path.as_posix() for path in stage_files("train")}
    assert {
        "stages/__init__.py",
        "stages/common/__init__.py",
        "stages/train/__main__.py",
        "stages/train/run.py",  # imported inside main()
        "stages/common/charts.py",  # imported inside a function of records
    } <= files


def test_stages_are_the_seven_rooms():
    assert tuple(STAGES) == NAMES
    for stage in NAMES:
        assert commands(stage)[0].split()[2] == f"stages.{stage}"


@pytest.mark.parametrize("stage", NAMES)
def test_every_imported_file_is_declared(stage):
    deps = STAGES[stage]["deps"]
    undeclared = [
        path.as_posix()
        for path in sorted(stage_files(stage))
        if not any(covers(dep, path) for dep in deps)
    ]
    assert undeclared == []


@pytest.mark.parametrize("stage", NAMES)
def test_no_code_is_declared_that_is_not_imported(stage):
    files = stage_files(stage)
    superfluous = [
        dep
        for dep in STAGES[stage]["deps"]
        if dep.startswith("stages/") and not any(covers(dep, path) for path in files)
    ]
    assert superfluous == []


@pytest.mark.parametrize("stage", NAMES)
def test_no_stage_imports_another(stage):
    rooms = {path.parts[1] for path in stage_files(stage) if len(path.parts) > 2}
    assert rooms <= {stage, "common"}


@pytest.mark.parametrize("stage", NAMES)
def test_parameters_are_the_stages_own_section(stage):
    """open_stage hands a stage the section of its name and nothing else."""
    assert STAGES[stage]["params"] == [stage]
    tree = ast.parse((ROOT / f"stages/{stage}/__main__.py").read_text())
    (call,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "open_stage"
    ]
    assert ast.literal_eval(call.args[0]) == stage


@pytest.mark.parametrize("stage", NAMES)
def test_no_way_around_the_declared_parameters(stage):
    for path in stage_files(stage):
        if path.as_posix() in READERS:
            continue
        tree = ast.parse((ROOT / path).read_text())
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert not names & {"load_params", "read_yaml"}, path


def outputs(stage: str) -> set[str]:
    """Paths of a stage's outputs, metrics and plots."""
    entries = [
        entry for kind in ("outs", "metrics", "plots") for entry in STAGES[stage].get(kind, ())
    ]
    return {next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries}


@pytest.mark.parametrize("stage", NAMES)
def test_data_on_the_command_line_is_declared_and_the_other_way_round(stage):
    words = commands(stage)[0].split()
    options = dict(zip(words[3::2], words[4::2], strict=True))
    written = {options.pop(name) for name in ("--out", "--reports") if name in options}
    for path in outputs(stage):
        assert any(covers(folder, Path(path)) for folder in written), f"{path} is not written"
    for folder in written:
        assert any(covers(folder, Path(path)) for path in outputs(stage)), f"{folder} is no output"
    deps = {dep for dep in STAGES[stage]["deps"] if not dep.startswith("stages/")}
    for path in options.values():
        assert any(covers(dep, Path(path)) for dep in deps), f"{path} is not declared"
    for dep in deps:
        assert any(covers(dep, Path(path)) for path in options.values()), f"{dep} is not used"


@pytest.mark.parametrize("stage", ["audit", "train", "evaluate"])
def test_dvcs_run_cache_restores_the_costly_stages(stage):
    """DVC leaves a stage out of its run cache that has an uncached output other than these two."""
    for out in STAGES[stage]["outs"]:
        assert not isinstance(out, dict) or next(iter(out.values())).get("cache", True), out


def test_data_files_beside_the_code_are_declared():
    """rules.csv, templates and their like lie in a stage's folder, or are declared by name."""
    for path in tracked_files():
        is_of_stage = path.parts[0] == "stages" and path.parts[1] in (*NAMES, "common")
        if is_of_stage and path.suffix != ".py":
            users = [
                stage for stage in NAMES if any(covers(dep, path) for dep in STAGES[stage]["deps"])
            ]
            assert users, f"{path} belongs to no stage"
            package = ".".join(path.parts[:-1])
            assert importlib.resources.files(package).joinpath(path.name).is_file()


@pytest.mark.parametrize("stage", NAMES)
def test_wrong_parameters_stop_every_stage_at_once(stage, tmp_path):
    """A typo in another section is found as well, before anything slow is imported."""
    section = "audit" if stage != "audit" else "report"
    key = {"audit": "mirrored:", "report": "title:"}[section]
    text = (ROOT / "params.yaml").read_text().replace(key, key.replace(":", "s:"))
    (tmp_path / "params.yaml").write_text(text)
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, *commands(stage)[0].split()[1:]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert time.monotonic() - started < 2
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("facet: params.yaml:")
    assert f"{section}.{key[:-1]}" in line


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("  lr: 1.5e-3 ", "  lr: fast ", ("train.lr", "number", "'fast'")),
        ("  lr: 1.5e-3 ", "  lr: -1 ", ("train.lr", "greater than 0", "-1")),
        ("batch_size: 32 ", "batch_size: 32.5 ", ("train.batch_size", "integer", "32.5")),
        ("source: demo ", "source: torrent ", ("download.source", "demo", "files", "torrent")),
        ("    flip:", "    flipp:", ("train.augment.flip",)),
        ("source: demo ", "source: files ", ("download.path", "folder")),
        (
            "weights: imagenet         # none",
            "weights: none.safetensors",
            ("train.weights", "none.safetensors"),
        ),
        ("report:\n", "reports:\n", ("report",)),
        ("explore:", "explore: [", ("YAML",)),
    ],
    ids=[
        "wrong type",
        "out of range",
        "fraction for a count",
        "unknown source",
        "typo",
        "missing path",
        "missing weights",
        "typo in a section",
        "no YAML",
    ],
)
def test_wrong_parameters_are_explained(tmp_path, old, new, expected):
    text = (ROOT / "params.yaml").read_text()
    assert text.count(old) >= 1
    (tmp_path / "params.yaml").write_text(text.replace(old, new, 1))
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "stages.train", "--prepare", ".", "--out", "o", "--reports", "r"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert time.monotonic() - started < 2
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    for word in ("params.yaml:", *expected):
        assert word in line


@pytest.mark.parametrize("stage", NAMES)
def test_python_without_facet_is_told_what_to_do(stage):
    """-S leaves the environment's packages out."""
    done = subprocess.run(
        [sys.executable, "-S", *commands(stage)[0].split()[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "make venv" in line


def test_failed_installation_names_free_space_and_leaves_nothing_complete(tmp_path):
    folder = tmp_path / "a project"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "venv.sh", folder / "scripts")
    (folder / "requirements.lock").write_text("no-such-package==1\n")
    done = subprocess.run(
        ["sh", "scripts/venv.sh"],
        cwd=folder,
        env=os.environ | {"PYTHON": sys.executable, "PIP_NO_INDEX": "1", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "no-such-package==1" in done.stderr
    heading, *spaces = done.stderr.splitlines()[-2:]
    assert heading.endswith("Free disk space:")
    for line in spaces:
        assert re.fullmatch(r"  [\d.,]+[KMGT]? on /.*", line)
    assert not (folder / ".venv" / "facet.stamp").exists()


EMBEDDED = re.compile(rb"data:image/[a-z]+;base64,[A-Za-z0-9+/]{200}|/9j/[A-Za-z0-9+/]{200}")
MAX_COLOURS = 5000  # a chart has fewer, a photograph many more


def find_photograph(data: bytes) -> str | None:
    """Why these bytes may hold a photograph: a JPEG, a PNG of many colours, or one embedded.

    Any other binary file could hide one, compressed in it, and is refused as well.
    """
    if EMBEDDED.search(data):
        return "embedded picture"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        if not data.startswith(b"\x89PNG\r\n"):
            return "JPEG" if b"\xff\xd8\xff" in data else "binary file"
    else:
        return None
    with Image.open(io.BytesIO(data)) as image:
        colours = image.convert("RGB").getcolors(MAX_COLOURS)
    return None if colours else "PNG of many colours"


def test_no_tracked_file_holds_a_photograph():
    reasons = {path: find_photograph((ROOT / path).read_bytes()) for path in tracked_files()}
    assert {path: reason for path, reason in reasons.items() if reason} == {}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "embedded JPEG", "embedded PNG", "zip"])
def test_photographs_would_be_found(kind):
    noise = np.random.default_rng(1).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, format="JPEG" if "JPEG" in kind else "PNG")
    data = file.getvalue()
    if kind.startswith("embedded"):
        data = b'<img src="data:image/x;base64,' + base64.b64encode(data) + b'">'
    if kind == "zip":
        data = zlib.compress(data)
    assert find_photograph(data)


def test_chart_is_no_photograph():
    file = io.BytesIO()
    Image.fromarray(np.full((50, 50, 3), 128, np.uint8)).save(file, format="PNG")
    assert find_photograph(file.getvalue()) is None


def test_telemetry_is_off_by_the_projects_own_settings():
    config = (ROOT / ".dvc/config").read_text()
    assert "analytics = false" in config
    assert "check_update = false" in config
    code = (
        "from stages.common.store import silence_mlflow; silence_mlflow()\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "raise SystemExit(not is_telemetry_disabled())"
    )
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "CI", "PYTEST_CURRENT_TEST")
    }
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment).returncode == 0
