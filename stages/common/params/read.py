"""Reading params.yaml. A typo dies here, before any work."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from stages.common.errors import FacetError
from stages.common.params.explain import describe, explain_validation
from stages.common.params.whole import Params


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and validate the whole of params.yaml.

    Raises:
        FacetError: one line that names file, line, key, what was expected and what was got.
    """
    path = Path(path)
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise FacetError(f"{path}: expected a mapping of sections; got {describe(values)}")
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise FacetError(explain_validation(path, values, error, Params)) from None


def read_yaml(path: Path) -> Any:
    """A YAML 1.2 file as plain values (`1e-3` is a number, which PyYAML reads as text).

    Raises:
        FacetError: the file is missing or is no YAML.
    """
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FacetError(f"{path}: no such file; run from the repository's root") from None
    except IsADirectoryError:
        raise FacetError(f"{path}: expected a file of YAML; it is a folder") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = f":{mark.line + 1}" if mark else ""
        raise FacetError(f"{path}{line}: no valid YAML: {error.problem}") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise FacetError(f"{path}: no valid YAML: {' '.join(str(error).split())}") from None
