"""Parameters of evaluate."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.common.params.section import Count, Section, Seed, resolve_path


class EvaluateParams(Section):
    """What is evaluated."""

    partitions: Annotated[list[Literal["valid", "test"]], Field(min_length=1)]
    threshold: Annotated[float, Field(gt=0.0, lt=1.0)]
    batch_size: Count
    extra: str | None
    slices: list[str | Annotated[list[str], Field(min_length=2, max_length=2)]]
    n_resamples: Annotated[int, Field(ge=0, le=100_000)]
    confidence: Annotated[float, Field(ge=0.5, lt=1.0)]
    n_bins: Annotated[int, Field(ge=2, le=100)]
    n_shown: Annotated[int, Field(ge=0, le=100)]
    seed: Seed

    @model_validator(mode="after")
    def check_extra(self) -> Self:
        """`extra` is an existing folder."""
        if self.extra is not None and not resolve_path(self.extra).is_dir():
            raise ValueError(
                "evaluate.extra: expected null or an existing folder, a data/download or "
                f"data/prepare; got '{self.extra}'"
            )
        return self

    @model_validator(mode="after")
    def check_slices(self) -> Self:
        """A slice stands once, and a pair has two different attributes."""
        names = [frozenset([entry] if isinstance(entry, str) else entry) for entry in self.slices]
        pairs = [entry for entry in self.slices if not isinstance(entry, str)]
        if any(first == second for first, second in pairs) or len(set(names)) != len(names):
            raise ValueError(
                "evaluate.slices: expected every attribute once, and every pair once with two "
                "different attributes"
            )
        return self
