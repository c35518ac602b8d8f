"""`facet search FILE`: queue DVC experiments that differ in some parameters, judged on valid only.

A file names a recipe to start from and one of `experiments`, `grid` or `random`. In MLflow the runs
stand under one parent. The test partition is never evaluated.
"""

import hashlib
import json
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator
from scipy.stats import loguniform, randint, uniform
from sklearn.model_selection import ParameterSampler

from stages.common.errors import FacetError
from stages.common.params import Section, explain_validation, read_yaml
from stages.common.searches import register_search
from stages.patch import format_value, list_leaves, load_nodes
from stages.queueing import (
    hash_of,
    name_experiment,
    queue_experiments,
    read_state,
    try_settings,
)
from stages.recipes import (
    FOLDER,
    PARAMS,
    Keys,
    compare,
    list_settings,
    load_recipe,
)

Values = Annotated[list[Any], Field(min_length=1)]
Bounds = Annotated[
    list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=2, max_length=2)
]
WholeBounds = Annotated[list[int], Field(min_length=2, max_length=2)]
ONLY_VALID = "evaluate.partitions=[valid]"


class Distribution(Section):
    """What a value is drawn from: one of these."""

    choice: Values | None = None
    uniform: Bounds | None = None
    log_uniform: Bounds | None = None
    integer: WholeBounds | None = None

    @model_validator(mode="after")
    def check_kind(self) -> Self:
        """One kind; bounds ascend, and a logarithm wants them above 0."""
        kinds = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(kinds) != 1:
            every = ", ".join(type(self).model_fields)
            raise ValueError(f"expected one of {every}; got {kinds or 'none'}")
        bounds = self.uniform or self.log_uniform or self.integer
        if bounds and not bounds[0] < bounds[1]:
            raise ValueError(f"expected a lower and an upper bound; got {bounds}")
        if self.log_uniform and self.log_uniform[0] <= 0:
            raise ValueError(f"log_uniform: expected bounds above 0; got {self.log_uniform}")
        return self

    def build(self) -> Any:
        """What scikit-learn's ParameterSampler draws from."""
        if self.choice is not None:
            return self.choice
        if self.integer:
            return randint(self.integer[0], self.integer[1] + 1)
        low, high = self.uniform or self.log_uniform or (0.0, 1.0)
        return uniform(low, high - low) if self.uniform else loguniform(low, high)


class RandomSearch(Section):
    """`n` draws."""

    n: Annotated[int, Field(ge=1, le=10_000)]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    distributions: Annotated[dict[str, Distribution], Field(min_length=1)]

    @model_validator(mode="after")
    def check_n(self) -> Self:
        """Not more draws than there are combinations, where they can be counted."""
        choices = [one.choice for one in self.distributions.values()]
        n_points = prod(len(choice or []) for choice in choices)
        if None not in choices and self.n > n_points:
            raise ValueError(f"random.n: expected at most the {n_points} there are; got {self.n}")
        return self


class SearchFile(Section):
    """A search: where it starts, what is the same in all its experiments, and what differs."""

    recipe: str | None
    settings: dict[str, Any] = Field(default_factory=dict)
    experiments: Annotated[list[dict[str, Any]], Field(min_length=1)] | None = None
    grid: Annotated[dict[str, Values], Field(min_length=1)] | None = None
    random: RandomSearch | None = None

    @model_validator(mode="after")
    def check_kind(self) -> Self:
        """One way to search, over keys of `prepare` and `train`."""
        kinds = [
            name for name in ("experiments", "grid", "random") if getattr(self, name) is not None
        ]
        if len(kinds) != 1:
            raise ValueError(f"expected one of experiments, grid, random; got {kinds or 'none'}")
        keys = {*self.settings, *(key for point in self.list_points() for key in point)}
        wrong = sorted(key for key in keys if not key.startswith(("prepare.", "train.")))
        if wrong:
            raise ValueError(f"expected keys of prepare and train; got {wrong[0]}")
        return self

    def list_points(self) -> list[dict[str, Any]]:
        """The values of every experiment by dotted key."""
        if self.experiments is not None:
            return [dict(point) for point in self.experiments]
        if self.grid is not None:
            values = product(*self.grid.values())
            return [dict(zip(self.grid, point, strict=True)) for point in values]
        assert self.random is not None
        drawn = {key: one.build() for key, one in self.random.distributions.items()}
        sampler = ParameterSampler(drawn, self.random.n, random_state=self.random.seed)
        return [{key: tidy(value) for key, value in sorted(point.items())} for point in sampler]


def tidy(value: Any) -> Any:
    """A drawn value as plain Python, floats with four digits."""
    value = value.item() if hasattr(value, "item") else value
    return float(f"{value:.4g}") if isinstance(value, float) else value


def load_search(path: Path) -> SearchFile:
    """Read and validate a search.

    Raises:
        FacetError: one line with file, line, key, expected and got.
    """
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise FacetError(f"{path}: expected the keys recipe and one of experiments, grid, random")
    try:
        return SearchFile.model_validate(values)
    except ValidationError as error:
        raise FacetError(explain_validation(path, values, error, SearchFile)) from None


def plan_search(path: Path, folder: Path = FOLDER, params: Path = PARAMS) -> dict[str, list[str]]:
    """Settings of every experiment of a search by the experiment's name.

    Raises:
        FacetError: the file, its recipe or a value is wrong; nothing is queued then.
    """
    search = load_search(path)
    base: dict[Keys, str] = {}
    if search.recipe is not None:
        base = load_recipe(search.recipe, folder).values
    known = {keys for keys, _ in list_leaves(load_nodes(params.read_text(encoding="utf-8")))}
    state = read_state()
    planned: dict[str, list[str]] = {}
    for number, point in enumerate(search.list_points(), 1):
        values = dict(base)
        for key, value in {**search.settings, **point}.items():
            keys = tuple(key.split("."))
            if keys not in known:
                raise FacetError(f"{path}: {key}: expected a key of {params}")
            values[keys] = format_value(value)
        settings = [*list_settings(compare(values, params)), ONLY_VALID]
        try:
            experiment = try_settings(settings, params)
        except FacetError as error:
            raise FacetError(f"{path}: experiment {number}: {error}") from None
        name = name_experiment(f"{path.stem}-{number:03d}", experiment, state)
        if hash_of(name) not in map(hash_of, planned):  # else the same as one before
            planned[name] = settings
    return planned


def queue_search(path: Path, folder: Path = FOLDER, params: Path = PARAMS) -> dict[str, str]:
    """Queue all experiments of a search under one parent; what became of each by name.

    Raises:
        FacetError: as `plan_search`, or DVC refuses.
    """
    planned = plan_search(path, folder, params)
    digest = hashlib.sha256(json.dumps(sorted(planned)).encode()).hexdigest()[:6]
    register_search(f"{path.stem}-{digest}", list(planned))
    return queue_experiments(planned)
