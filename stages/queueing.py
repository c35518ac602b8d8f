"""Experiments put into DVC's queue, each of them once."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.common.errors import FacetError
from stages.common.params import load_params
from stages.common.results import list_experiments

PARAMS = Path("params.yaml")
STATES = ("Failed", "Queued", "Running")


@dataclass(frozen=True)
class Task:
    """An entry of DVC's queue without a result; state is one of STATES."""

    task: str
    name: str
    state: str


def list_queue(root: Path) -> list[Task]:
    """What `dvc queue status` shows of the repository at `root`, but for what succeeded."""
    command = [sys.executable, "-m", "dvc", "queue", "status"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    return [Task(row[0], row[1], row[-1]) for row in rows if len(row) > 2 and row[-1] in STATES]


def name_experiment(title: str, settings: Sequence[str], params: Path) -> str:
    """The title and a hash of commit, params.yaml and settings: the same has the same name."""
    head = run_command(["git", "rev-parse", "HEAD"])
    text = "\n".join([head, *sorted(settings), params.read_text(encoding="utf-8")])
    return f"{title}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def split_sweeps(settings: Sequence[str]) -> list[list[str]]:
    """Settings of each experiment: a sweep (`train.lr=1e-3,1e-4`) is several, as DVC makes of it.

    Raises:
        FacetError: a setting is not in DVC's grammar.
    """
    from dvc.exceptions import InvalidArgumentError
    from dvc.utils.hydra import get_hydra_sweeps
    from hydra.errors import HydraException

    if not settings:
        return [[]]
    for setting in settings:
        try:
            get_hydra_sweeps({str(PARAMS): [setting]})
        except (HydraException, InvalidArgumentError) as error:
            said = str(error).splitlines()[0]
            raise FacetError(f"-S {setting}: expected KEY=VALUE; {said}") from None
    return [sweep[str(PARAMS)] for sweep in get_hydra_sweeps({str(PARAMS): list(settings)})]


def try_settings(settings: Sequence[str], params: Path) -> None:
    """Would params.yaml be valid with these settings? Changes no file.

    Raises:
        FacetError: it would not.
    """
    from dvc.exceptions import InvalidArgumentError
    from dvc.utils.hydra import apply_overrides

    with tempfile.TemporaryDirectory() as folder:
        trial = Path(shutil.copy(params, Path(folder) / PARAMS))
        try:
            apply_overrides(trial, list(settings))
            load_params(trial)
        except InvalidArgumentError as error:
            said = str(error.__cause__ or error).splitlines()[0]
            raise FacetError(f"-S: expected a key of {params}; {said}") from None
        except FacetError as error:
            raise FacetError(f"-S: {str(error).partition(': ')[2]}") from None


def queue_experiments(planned: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Queue DVC experiments, except those that are finished, queued or running already.

    DVC refuses the name of a finished experiment, and takes that of a queued one twice.

    Args:
        planned: Settings by name, as `dvc exp run -S` takes them.

    Returns:
        "queued", or what it was already, by name.

    Raises:
        FacetError: DVC refuses, in its own words.
    """
    root = Path()
    head = run_command(["git", "rev-parse", "HEAD"])
    known = {task.name: task.state.lower() for task in list_queue(root) if task.state != "Failed"}
    known |= {one.name: "finished" for one in list_experiments(root) if one.baseline == head}
    told = {}
    for name, settings in planned.items():
        if name not in known:
            queue_experiment(name, settings)
        told[name] = f"already {known[name]}" if name in known else "queued"
    return told


def queue_experiment(name: str, settings: Sequence[str]) -> None:
    """Queue one DVC experiment.

    Raises:
        FacetError: DVC refuses, in its own words.
    """
    options = [option for setting in settings for option in ("-S", setting)]
    run_command([sys.executable, "-m", "dvc", "exp", "run", "--queue", "-n", name, *options])


def run_command(command: Sequence[str]) -> str:
    """What a command prints.

    Raises:
        FacetError: it failed; DVC's line that begins with ERROR, or the last of what it said.
    """
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")]
        shown = " ".join(Path(word).name if k == 0 else word for k, word in enumerate(command[:6]))
        raise FacetError(f"`{shown}`: {(errors or said[-1:] or ['failed'])[0]}")
    return done.stdout.strip()
