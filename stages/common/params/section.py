"""What the sections of params.yaml share: their strict base, their types, and paths."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Section(BaseModel):
    """Base of all sections: unknown keys, wrong types and missing keys are errors."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


def project_root() -> Path:
    """The repository's root: DVC_ROOT, which also temporary and queued experiments see, or here."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd())


def resolve_path(path: str | Path) -> Path:
    """Absolute form of a path of params.yaml; a relative one counts from the project's root."""
    return project_root() / Path(path).expanduser()
