"""Experiments put into DVC's queue, each of them once."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from stages.common.errors import FacetError
from stages.common.params import Params, load_params
from stages.common.results import list_experiments

PARAMS = Path("params.yaml")
#: What git keeps and the pipeline reads besides params.yaml.
INPUTS = ("stages", "reviews", "dvc.yaml")
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


def read_state() -> str:
    """The commit, and what differs from it in what the pipeline reads besides params.yaml."""
    head = run_command(["git", "rev-parse", "HEAD"])
    return f"{head}\n{run_command(['git', 'diff', 'HEAD', '--', *INPUTS])}"


def name_experiment(title: str, params: Params, state: str) -> str:
    """The title and a hash of what will run: the same experiment has the same hash.

    Args:
        title: What it is called besides.
        params: Of the experiment, by their values: how they are written does not matter.
        state: What read_state gave.
    """
    text = f"{state}\n{params.model_dump_json()}"
    return f"{title}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def hash_of(name: str) -> str:
    """The hash in a name of name_experiment's."""
    return name.rpartition("-")[2]


def split_sweeps(settings: Sequence[str]) -> list[list[str]]:
    """Settings of each experiment: a sweep (`train.lr=1e-3,1e-4`) is several, as DVC makes of it.

    Raises:
        FacetError: a setting is not in DVC's grammar.
    """
    from dvc.exceptions import InvalidArgumentError
    from dvc.utils.hydra import get_hydra_sweeps
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    choices = []
    for setting in settings:
        bare = setting.removeprefix(f"{PARAMS}:")
        try:
            sweeps = get_hydra_sweeps({str(PARAMS): [bare]})
        except (HydraException, InvalidArgumentError, OmegaConfBaseException) as error:
            raise FacetError(
                f"-S {setting}: expected KEY=VALUE in DVC's grammar (KEY='VALUE' where the value "
                f"holds other signs); {str(error).splitlines()[0]}"
            ) from None
        choices.append([sweep[str(PARAMS)] for sweep in sweeps])
    return [[one for part in parts for one in part] for parts in product(*choices)]


def try_settings(settings: Sequence[str], params: Path) -> Params:
    """What DVC would make of params.yaml with these settings. Changes no file.

    Raises:
        FacetError: it would not be valid; the reason in a line.
    """
    from dvc.exceptions import InvalidArgumentError
    from dvc.utils.hydra import apply_overrides
    from omegaconf.errors import OmegaConfBaseException

    with tempfile.TemporaryDirectory() as folder:
        trial = Path(shutil.copy(params, Path(folder) / PARAMS))
        try:
            apply_overrides(trial, list(settings))
            return load_params(trial)
        except (InvalidArgumentError, OmegaConfBaseException) as error:
            said = str(error.__cause__ or error).splitlines()[0]
            raise FacetError(f"expected a key of {params} and a value; {said}") from None
        except FacetError as error:
            raise FacetError(str(error).partition(": ")[2]) from None


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
    names = {hash_of(name): name for name in known}
    told = {}
    for name, settings in planned.items():
        there = names.get(hash_of(name))
        if there is None:
            queue_experiment(name, settings)
            told[name] = "queued"
        else:
            told[name] = f"already {known[there]}" + (f" as {there}" if there != name else "")
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
