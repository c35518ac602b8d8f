"""Parameters of train.augment."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.common.params.section import Section, Share


class AugmentParams(Section):
    """How training images are changed; what is 0 is off."""

    flip: Share
    crop_padding_px: Annotated[int, Field(ge=0, le=256)]
    border: Literal["reflect", "black"]
    affine: Share
    shift: Annotated[float, Field(ge=0.0, le=0.5)]
    scale: Annotated[float, Field(ge=0.0, le=0.9)]
    rotate_deg: Annotated[float, Field(ge=0.0, le=180.0)]
    jitter: Share
    brightness: Share
    contrast: Share
    saturation: Share
    hue: Annotated[float, Field(ge=0.0, le=0.5)]
    fancy_pca: Annotated[float, Field(ge=0.0, le=10.0)]
    noise: Annotated[float, Field(ge=0.0, le=255.0)]
    erase: Share
    erase_min_px: Annotated[int, Field(ge=1, le=2048)]
    erase_max_px: Annotated[int, Field(ge=1, le=2048)]
    mixup_alpha: Annotated[float, Field(ge=0.0, le=100.0)]
    cutmix_alpha: Annotated[float, Field(ge=0.0, le=100.0)]

    @model_validator(mode="after")
    def check_sense(self) -> Self:
        """What is switched on changes something."""
        if self.erase_min_px > self.erase_max_px:
            raise ValueError(
                "train.augment.erase_min_px: expected at most train.augment.erase_max_px "
                f"({self.erase_max_px}); got {self.erase_min_px}"
            )
        for name, strengths in (
            ("affine", ("shift", "scale", "rotate_deg")),
            ("jitter", ("brightness", "contrast", "saturation", "hue")),
        ):
            if getattr(self, name) > 0 and not any(getattr(self, key) for key in strengths):
                raise ValueError(
                    f"train.augment.{name}: expected 0, as {', '.join(strengths)} are all 0; "
                    f"got {getattr(self, name)}"
                )
        return self
