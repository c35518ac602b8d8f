"""Parameters of audit."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from stages.common.params.section import Section, Seed, resolve_path

Bits = Annotated[int, Field(ge=0, le=20)]


class AuditParams(Section):
    """Thresholds of the checks."""

    near_radius_bits: Bits
    near_similarity: Annotated[float, Field(gt=0.0, le=1.0)]
    mirrored: bool
    features: Annotated[str, Field(min_length=1)]
    weights: Annotated[str, Field(min_length=1)]
    fine_tune: Annotated[int, Field(ge=0, le=100)]
    n_folds: Annotated[int, Field(ge=2, le=20)]
    flag_above: Annotated[float, Field(gt=0.0, lt=1.0)]
    n_suspects: Annotated[int, Field(ge=0)]
    self_check: Annotated[float, Field(ge=0.005, le=0.2)]
    seed: Seed

    @model_validator(mode="after")
    def check_weights(self) -> Self:
        """`weights` is imagenet or a file, unless there are no features."""
        if self.features != "none" and self.weights != "imagenet":
            path = resolve_path(self.weights)
            if path.suffix != ".safetensors" or not path.is_file():
                raise ValueError(
                    "audit.weights: expected imagenet or an existing .safetensors file; "
                    f"got '{self.weights}'"
                )
        return self
