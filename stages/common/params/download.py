"""Parameters of download."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.common.params.section import Section, Seed, resolve_path

FaultShare = Annotated[float, Field(ge=0.0, le=0.25)]
FileName = Annotated[str, Field(pattern=r"^[\w-][\w.-]*$")]
DriveId = Annotated[str, Field(pattern=r"^[\w-]+$")]
Address = Annotated[str, Field(pattern=r"^https?://\S+$")]


class DemoFaults(Section):
    """Shares of faults planted in the demo."""

    byte_copy: FaultShare
    near_copy: FaultShare
    conflict_copy: FaultShare
    leak_copy: FaultShare
    flipped_labels: FaultShare
    wrong_identity: FaultShare
    faceless: FaultShare


class DemoParams(Section):
    """The drawn faces of `download.source: demo`."""

    n_images: Annotated[int, Field(ge=200, le=10_000_000)]
    seed: Seed
    faults: DemoFaults


class SplitParams(Section):
    """Shares of the partitions that are made where a source has none; the rest is train."""

    valid: Annotated[float, Field(gt=0.0, lt=0.5)]
    test: Annotated[float, Field(gt=0.0, lt=0.5)]
    seed: Seed


class DownloadParams(Section):
    """Where the data comes from."""

    source: Literal["demo", "files", "kaggle", "huggingface", "google_drive", "url"]
    path: str | None
    kaggle: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+(/versions/\d+)?$")]
    huggingface: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+(@[\w./+-]+)?$")]
    google_drive: Annotated[dict[FileName, DriveId], Field(min_length=1)]
    url: Address | Annotated[list[Address], Field(min_length=1)] | None
    split: SplitParams
    demo: DemoParams

    @model_validator(mode="after")
    def check_url(self) -> Self:
        """`url` needs an address."""
        if self.source == "url" and self.url is None:
            raise ValueError(
                "download.url: expected an address, as download.source is url; got null"
            )
        return self

    @model_validator(mode="after")
    def check_path(self) -> Self:
        """`files` needs an existing folder."""
        if self.source == "files":
            if self.path is None:
                raise ValueError(
                    "download.path: expected a folder, as download.source is files; got null"
                )
            if not resolve_path(self.path).exists():
                raise ValueError(f"download.path: expected an existing path; got '{self.path}'")
        return self
