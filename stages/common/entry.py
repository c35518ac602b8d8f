"""What every `python -m stages.<stage>` does first and last. Imports the standard library only."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

NO_FACET = (
    "facet: {python} lacks the package '{missing}'. Facet's environment is not active: "
    "run `make repro`, or `make venv` and then `. .venv/bin/activate`"
)


class ErrorStream(logging.Handler):
    """Writes lines to what sys.stderr is when they come: a progress bar puts them above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        print(self.format(record), file=sys.stderr, flush=True)


def open_stage(
    stage: str, inputs: Sequence[str], outputs: Sequence[str], optional: Sequence[str] = ()
) -> tuple[Any, dict[str, Path]]:
    """Parse a stage's paths and validate the whole of params.yaml, before any slow import.

    Args:
        stage: Name of the stage, which is also its section of params.yaml.
        inputs: Names of options whose paths must exist.
        outputs: Names of options whose paths the stage writes.
        optional: Names of options that may be left out (None) and whose paths need not exist.

    Returns:
        The section's parameters, and the paths by option name.

    Raises:
        FacetError: params.yaml is wrong, or an input does not exist.
    """
    from stages.common.errors import FacetError
    from stages.common.params import load_params

    parser = argparse.ArgumentParser(prog=f"python -m stages.{stage}")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    for name in (*inputs, *outputs):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in optional:
        parser.add_argument(f"--{name}", type=Path)
    options = vars(parser.parse_args())
    params = load_params(options.pop("params"))
    for name in inputs:
        if not options[name].exists():
            raise FacetError(
                f"--{name}: expected {options[name]} to exist; run `dvc repro {stage}`"
            )
    # Threads of torch that wait should sleep: where another program keeps a core busy, spinning
    # ones made training ten times slower. Must be set before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    logging.basicConfig(format="%(message)s", handlers=[ErrorStream()])
    logging.getLogger("stages").setLevel(logging.INFO)  # libraries speak from WARNING on
    return getattr(params, stage), options


def run_guarded(main: Callable[[], str]) -> None:
    """Run `main` and print its closing line; an error of the user's is one line, exit status 1."""
    try:
        from stages.common.errors import FacetError
        from stages.common.params import load_params  # noqa: F401  (is pydantic there?)
    except ModuleNotFoundError as error:
        sys.exit(NO_FACET.format(python=sys.executable, missing=error.name))
    try:
        if line := main():  # none of a process that only helps another
            print(line)
    except FacetError as error:
        sys.exit(f"facet: {error}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "stages":
            raise
        sys.exit(NO_FACET.format(python=sys.executable, missing=error.name))
    except KeyboardInterrupt:
        sys.exit(130)
