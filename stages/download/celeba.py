"""Is it CelebA? Recognised by the MD5 of its files or, where line ends differ, by content."""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from stages.common.files import hash_file
from stages.download.demo_labels import ATTRIBUTES
from stages.download.source import Labels, Source

N_IMAGES = 202_599

#: Numbers of the first image after train and after valid (list_eval_partition.txt).
PARTITION_ENDS = {"train": 162_770, "valid": 182_637, "test": N_IMAGES}

#: MD5 of the official files (torchvision.datasets.CelebA names the same).
MD5 = {
    "img_align_celeba.zip": "00d2c5bc6d35e252742224ab0c1e8fcb",
    "list_attr_celeba.txt": "75e246fa4810816ffd6ee81facbd244c",
    "list_eval_partition.txt": "d32c9cbf5e040fd4025c592c306e6668",
    "identity_CelebA.txt": "32bd1bd63d3c78cd57e08160ec5ed1e2",
}

#: SHA-256 of digest_labels, digest_column over the official files.
CONTENT = {
    "labels": "5a318ae55d72dfafa7fb59c45ac36c0de13317b1e7a5a5f36f886348a6a7c47d",
    "partitions": "45fd51e79f712a610e05184539640a87c10eda94b80dad52ae54790fd4a3d7c0",
    "identities": "a4d4b567781e72ce2a0a1f8dd442ea25df037914d149ffa5ad11d7a7c5aac1ad",
}


@dataclass(frozen=True)
class Recognition:
    """What is CelebA's own in a source.

    extent: complete (all labels and partitions are official), changed (all images, other labels),
    part (names, attributes and partitions fit CelebA's, but not all images are there), or none.
    For labels, partitions, identities and images: hash, content, other (they differ), unknown
    (nothing to compare with), or none (not there).
    """

    extent: str
    labels: str
    partitions: str
    identities: str
    images: str
    n_missing: int = 0

    def as_dict(self) -> dict[str, Any] | None:
        """For the manifest: extent, and what is official; None where it is not CelebA."""
        if self.extent == "none":
            return None
        official = ("hash", "content")
        states = {name: value for name, value in asdict(self).items() if name in _PARTS}
        return {
            "extent": self.extent,
            "official": [name for name, value in states.items() if value in official],
        }

    def describe(self) -> str:
        """One sentence."""
        if self.extent == "part":
            return (
                "what fits a part of CelebA (its attributes, file names and partitions; labels of "
                "a part cannot be compared): figures are not to be ranked among published ones"
            )
        if self.extent == "changed":
            return (
                "CelebA with other labels than the official ones: figures are not to be ranked "
                "among published ones"
            )
        facts = (
            f"{name} {_WORDS[value]}"
            for name, value in asdict(self).items()
            if name in _PARTS and value != "none"
        )
        missing = f"; {self.n_missing} of its pictures are missing" if self.n_missing else ""
        return f"the complete official CelebA: {', '.join(facts)}{missing}"


_PARTS = ("labels", "partitions", "identities", "images")
_WORDS = {
    "hash": "by MD5",
    "content": "by content",
    "other": "not the official ones by MD5 or content",
    "unknown": "not compared",
}


def recognise(source: Source, labels: Labels, n_present: int) -> Recognition:
    """Compare a source with the official files.

    Args:
        source: The source, for hashes of its files.
        labels: Its labels.
        n_present: How many of its images have a picture.
    """
    if tuple(labels.attributes) != ATTRIBUTES:
        return Recognition("none", "other", "other", "other", "other")
    states: dict[str, str] = {}
    for name, file, digest in (
        ("labels", "list_attr_celeba.txt", lambda: digest_labels(labels)),
        ("partitions", "list_eval_partition.txt", lambda: digest_column(labels, labels.partitions)),
        ("identities", "identity_CelebA.txt", lambda: digest_column(labels, labels.identities)),
    ):
        column: Any = getattr(labels, name, labels.values)
        if column is None or (name == "identities" and not any(labels.identities)):
            states[name] = "none"
        elif source.md5.get(file) == MD5[file]:
            states[name] = "hash"
        else:
            states[name] = "content" if digest() == CONTENT[name] else "other"
    archive = source.archive
    if not n_present:
        states["images"] = "none"
    elif archive is None or archive.name != "img_align_celeba.zip":
        states["images"] = "unknown"
    elif hash_file(archive, "md5") == MD5["img_align_celeba.zip"]:
        states["images"] = "hash"
    else:
        states["images"] = "other"
    return Recognition(
        extent=_find_extent(labels, states),
        labels=states["labels"],
        partitions=states["partitions"],
        identities=states["identities"],
        images=states["images"],
        n_missing=len(labels.image_ids) - n_present if n_present else 0,
    )


def _find_extent(labels: Labels, states: dict[str, str]) -> str:
    if {states["labels"], states["partitions"]} <= {"hash", "content"}:
        return "complete"
    if not _fits(labels):
        return "none"
    return "changed" if len(labels.image_ids) == N_IMAGES else "part"


def digest_labels(labels: Labels) -> str:
    """SHA-256 of ids, attributes and values, whatever file they came from."""
    digest = _digest((*labels.image_ids, *labels.attributes))
    digest.update(labels.values.tobytes())
    return digest.hexdigest()


def digest_column(labels: Labels, column: list[str] | list[str | None] | None) -> str:
    """SHA-256 of ids and one column."""
    return _digest((*labels.image_ids, *(value or "" for value in column or ()))).hexdigest()


def _digest(texts: Iterable[str]) -> Any:
    return hashlib.sha256("\n".join(texts).encode())


def _fits(labels: Labels) -> bool:
    """True where every image_id is one of CelebA's and lies in the partition that CelebA has it."""
    for image_id, partition in zip(
        labels.image_ids, labels.partitions or [""] * len(labels.image_ids), strict=True
    ):
        number, _, suffix = image_id.partition(".")
        if len(number) != 6 or not number.isdecimal() or suffix != "jpg":
            return False
        if not 1 <= int(number) <= N_IMAGES or partition != official_partition(int(number)):
            return False
    return True


def official_partition(number: int) -> str:
    """The partition of the image of that number (from 1)."""
    return next(name for name, end in PARTITION_ENDS.items() if number <= end)
