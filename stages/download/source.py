"""What every layout is read into: labels sorted by image_id, and pictures that can be read."""

import hashlib
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

#: Columns and names that people give to the same thing, in lower case.
IMAGE_COLUMNS = ("image_id", "image", "file_name", "filename", "file", "path", "image_path", "img")
PARTITION_COLUMNS = ("partition", "split")
IDENTITY_COLUMNS = (
    "identity",
    "identity_id",
    "celeb_id",
    "person",
    "person_id",
    "subject",
    "subject_id",
)

#: Ends of picture files' names.
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
PARTITION_WORDS = {
    **dict.fromkeys(("0", "train", "training"), "train"),
    **dict.fromkeys(("1", "valid", "validation", "val"), "valid"),
    **dict.fromkeys(("2", "test", "testing"), "test"),
}


@dataclass(frozen=True)
class Labels:
    """What a source says about its images, sorted by image_id.

    `values` is (N, A) int8: 1, 0, or -1 where a label is unknown. `partitions` holds train, valid
    or test, or is None where the source has none; `identities` text or None.
    """

    image_ids: list[str]
    attributes: list[str]
    values: NDArray[np.int8]
    partitions: list[str] | None
    identities: list[str | None]


class Images(Protocol):
    """The pictures of a source; `read` is quickest in the order of image_id."""

    def names(self) -> Container[str]:
        """Ids of the images that have a picture."""

    def read(self, image_id: str) -> bytes:
        """Bytes of one picture, or UnreadableImageError."""

    def describe_state(self) -> Iterator[str]:
        """What changes when the pictures change, as far as that can be told without reading."""

    def close(self) -> None:
        """Let go of files."""


@dataclass(frozen=True)
class Source:
    """Labels and pictures of one data set, whatever its layout.

    `description` names the layout; `md5` holds the hash of each official text file that was read,
    `archive` the archive that holds all pictures, if one does.
    """

    description: str
    labels: Labels
    images: Images
    path: Path
    md5: dict[str, str] = field(default_factory=dict)
    archive: Path | None = None

    def digest_state(self) -> str:
        """SHA-256 of the labels and of the pictures' names and sizes: did the source change?"""
        labels = self.labels
        digest = hashlib.sha256(labels.values.tobytes())
        for texts in (labels.image_ids, labels.attributes, labels.partitions, labels.identities):
            digest.update("\n".join(text or "" for text in texts or ()).encode() + b"\0")
        for line in self.images.describe_state():
            digest.update(f"{line}\n".encode())
        return digest.hexdigest()


def sort_labels(
    image_ids: list[str],
    attributes: list[str],
    values: NDArray[np.int8],
    partitions: list[str] | None,
    identities: list[str | None],
) -> Labels:
    """Labels in order of image_id."""
    order = sorted(range(len(image_ids)), key=image_ids.__getitem__)
    return Labels(
        image_ids=[image_ids[k] for k in order],
        attributes=attributes,
        values=values[order],
        partitions=None if partitions is None else [partitions[k] for k in order],
        identities=[identities[k] for k in order],
    )
