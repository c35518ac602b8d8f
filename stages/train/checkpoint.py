"""Checkpoints to resume from, outside the stage's outputs, which DVC deletes before a run."""

import hashlib
import json
import logging
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from filelock import FileLock, Timeout

from stages.common.files import hash_file
from stages.common.params import NAMED_WEIGHTS, TrainParams, project_root, resolve_path

log = logging.getLogger(__name__)

#: The code that decides what a step computes; a change of it makes a checkpoint stale.
CODE = (
    "train/*.py",
    "common/networks/*.py",
    "common/losses.py",
    "common/metrics.py",
    "common/mirror.py",
    "common/shards.py",
)


def training_key(params: TrainParams, prepare_sha256: str) -> str:
    """Hash of parameters and data, by which a training is known in MLflow (64 hex digits).

    A file of `train.weights` counts by its content.
    """
    facts = [params.model_dump(mode="json"), prepare_sha256]
    if params.weights not in NAMED_WEIGHTS:
        facts.append(hash_file(resolve_path(params.weights)))
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def code_hash() -> str:
    """Hash of the training code and of torch's version."""
    stages = Path(__file__).parents[1]
    digest = hashlib.sha256(torch.__version__.encode())
    for pattern in CODE:
        for path in sorted(stages.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


class Checkpoint:
    """One file per key of parameters, data and code, under .facet/checkpoints.

    A context manager: it holds a lock against a second process with the same key, which then
    trains without checkpoints, and deletes the file when the block succeeds.
    """

    def __init__(self, key: str) -> None:
        name = hashlib.sha256(f"{key}{code_hash()}".encode()).hexdigest()[:16]
        self._folder = project_root() / ".facet" / "checkpoints" / name
        self._path = self._folder / "last.pt"
        self._lock = FileLock(self._folder.with_suffix(".lock"))
        self._owned = False

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
            self._owned = True
        except Timeout:
            log.warning("train: another process trains the same; this one keeps no checkpoints")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._owned:
            if kind is None:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._lock.release()

    def load(self) -> dict[str, Any] | None:
        """The last state saved under this key, or None; an unreadable file counts as none."""
        if not self._owned or not self._path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file raises anything from EOFError to KeyError
            log.warning(
                "train: the checkpoint %s is not readable (%s); starting anew", self._path, error
            )
            return None
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Replace the last state, atomically."""
        if self._owned:
            temporary = self._path.with_suffix(".tmp")
            torch.save(state, temporary)
            temporary.rename(self._path)
