"""Parameters of prepare."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.common.params.section import Count, Section, Seed

Pixels = Annotated[int, Field(ge=16, le=2048)]
PartOfAll = Annotated[float, Field(gt=0.0, lt=1.0)]
ImagePolicy = Literal["drop", "keep"]
LabelPolicy = Literal["drop", "mask", "keep"]


class SubsetParams(Section):
    """How much of each partition is used: null for all, a count, or a share below 1."""

    train: Count | PartOfAll | None
    valid: Count | PartOfAll | None
    test: Count | PartOfAll | None


class ResplitParams(Section):
    """Validation images taken from train in place of the source's own."""

    valid: PartOfAll | None
    by_identity: bool


class PolicyParams(Section):
    """What to do with a training image (drop, keep) or its doubted label (mask) per check."""

    exact_duplicate: ImagePolicy
    near_duplicate: ImagePolicy
    leak: ImagePolicy
    identity_conflict: ImagePolicy
    label_conflict: LabelPolicy
    label_rule: LabelPolicy
    mislabel: LabelPolicy
    faceless: ImagePolicy
    identity_outlier: ImagePolicy


class PrepareParams(Section):
    """From images to shards of pixels."""

    attributes: Literal["all"] | Annotated[list[str], Field(min_length=1)]
    subset: SubsetParams
    resplit: ResplitParams
    crop_height_px: Pixels | None
    crop_width_px: Pixels | None
    height_px: Pixels | None
    width_px: Pixels | None
    policy: PolicyParams
    seed: Seed

    @model_validator(mode="after")
    def check_pairs(self) -> Self:
        """Height and width come in pairs; an attribute stands once."""
        for name in ("crop_height_px", "height_px"):
            other = name.replace("height", "width")
            if (getattr(self, name) is None) != (getattr(self, other) is None):
                raise ValueError(f"prepare.{name} and prepare.{other}: expected both or neither")
        if self.attributes != "all" and len(set(self.attributes)) != len(self.attributes):
            raise ValueError("prepare.attributes: expected every attribute once")
        return self

    @model_validator(mode="after")
    def check_resplit(self) -> Self:
        """A valid that comes out of train has no subset of its own."""
        if self.resplit.valid is not None and self.subset.valid is not None:
            raise ValueError(
                "prepare.subset.valid: expected null, as prepare.resplit.valid takes the "
                f"validation images from train; got {self.subset.valid}"
            )
        return self
