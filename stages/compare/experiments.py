"""Which results there are: DVC's experiments, its queue, and commits by name."""

import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from stages.common.errors import FacetError
from stages.common.results import Experiment, list_experiments
from stages.queueing import list_queue

WORKSPACE = "workspace"


def choose_experiments(root: Path, names: Sequence[str]) -> list[Experiment]:
    """All experiments, or those named; one name under two baselines gets the baseline behind it.

    Raises:
        FacetError: no such experiment, and no such commit.
    """
    known = list_experiments(root)
    shared = Counter(experiment.name for experiment in known)
    known = [
        Experiment(f"{one.name}@{one.baseline[:7]}", one.commit, one.baseline)
        if shared[one.name] > 1 or one.name == WORKSPACE
        else one
        for one in known
    ]
    if not names:
        return sorted(known, key=lambda one: one.name)
    chosen = []
    for name in dict.fromkeys(names):
        found = [one for one in known if name in (one.name, one.name.partition("@")[0])]
        if found:
            chosen += found
        elif name != WORKSPACE:
            commit = find_commit(root, name)
            if commit is None:
                there = ", ".join(sorted(one.name for one in known)) or "no experiment"
                raise FacetError(
                    f"expected an experiment, a commit or {WORKSPACE}; got '{name}'; there "
                    f"{'are' if len(known) > 1 else 'is'}: {there}"
                )
            chosen.append(Experiment(name, commit, commit))
    return chosen


def find_commit(root: Path, name: str) -> str | None:
    """The commit that git knows under a name."""
    command = ["git", "-C", str(root), "rev-parse", "--verify", "-q", "--end-of-options"]
    done = subprocess.run([*command, f"{name}^{{commit}}"], capture_output=True, text=True)
    return done.stdout.strip() or None


def list_unfinished(root: Path) -> list[tuple[str, str]]:
    """Experiments of DVC's queue that have no result, with the reason."""
    reasons = {
        "Failed": "its experiment failed; `dvc queue logs {}` says why",
        "Queued": "it is queued; `dvc queue start` works the queue off",
        "Running": "it is running",
    }
    return [(one.name, reasons[one.state].format(one.task)) for one in list_queue(root)]
