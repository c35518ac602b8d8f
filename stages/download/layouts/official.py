"""CelebA's label files: the official text files, or Kaggle's CSV files of the same content."""

import hashlib
import logging
import re
from dataclasses import dataclass, field

from stages.common.errors import FacetError
from stages.common.tables import PARTITIONS
from stages.download.layouts.collection import Collection, Member
from stages.download.layouts.text import (
    OFFICIAL_WORDS,
    WORDS,
    ValueReader,
    check_attributes,
    check_file_name,
    decode_lines,
    decode_values,
    split_csv,
)
from stages.download.source import Labels, sort_labels

log = logging.getLogger(__name__)

IMAGES = "img_align_celeba"
LABELS = "list_attr_celeba"
PARTITION = "list_eval_partition"
IDENTITY = "identity_CelebA"

_COUNT = re.compile(r"[0-9]{1,12}")
_PARTITION_CODES = {str(code): name for code, name in enumerate(PARTITIONS)}


@dataclass
class LabelFiles:
    """The label files of a collection; partitions and identities may be missing."""

    attributes: Member
    partition: Member | None
    identity: Member | None
    md5: dict[str, str] = field(default_factory=dict)

    @property
    def layout(self) -> str:
        """Kaggle's files end in .csv."""
        return "kaggle" if self.attributes.name.endswith(".csv") else "official"

    def read_lines(self, member: Member) -> list[str]:
        """Lines of one file, whose MD5 is remembered."""
        data = member.read()
        name = member.name.rpartition("/")[2]
        self.md5[name] = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return decode_lines(member, data)


def find_label_files(collection: Collection) -> LabelFiles | None:
    """The files of one layout, the official one first, or None where neither is there."""
    for suffix, other in ((".txt", ".csv"), (".csv", ".txt")):
        attributes = collection.find(LABELS + suffix)
        if attributes is not None:
            return LabelFiles(
                attributes,
                collection.find(PARTITION + suffix) or collection.find(PARTITION + other),
                collection.find(IDENTITY + suffix) or collection.find(IDENTITY + other),
            )
    return None


def read_label_files(files: LabelFiles) -> Labels:
    """Read and cross-check the files of labels, partitions and identities.

    Raises:
        FacetError: with file and line, what was expected and what was got.
    """
    attributes, values = _read_attributes(files)
    partitions = _read_pairs(files, files.partition, _PARTITION_CODES) if files.partition else None
    identities = _read_pairs(files, files.identity, None) if files.identity else {}
    if partitions is not None:
        without = sorted(values.keys() - partitions.keys())
        if without:
            raise FacetError(
                f"{files.partition}: expected a partition for every image of "
                f"{files.attributes.name}; {len(without)} have none, such as {without[0]}"
            )
        surplus = sorted(partitions.keys() - values.keys())
        if surplus:
            log.warning(
                "%s: %d images without labels are left out, such as %s",
                files.partition,
                len(surplus),
                surplus[0],
            )
    if identities and (unknown := len(values.keys() - identities.keys())):
        log.warning("%s: %d images have no identity", files.identity, unknown)
    image_ids = list(values)
    return sort_labels(
        image_ids,
        attributes,
        decode_values(values.values(), len(attributes)),
        None if partitions is None else [partitions[name] for name in image_ids],
        [identities.get(name) for name in image_ids],
    )


def _read_attributes(files: LabelFiles) -> tuple[list[str], dict[str, bytes]]:
    """Official: count, names, rows. Kaggle: a header that starts with image_id, rows."""
    member = files.attributes
    lines = files.read_lines(member)
    if files.layout == "kaggle":
        header = next(split_csv(member, lines[:1], 1), [])
        if len(header) < 2:
            raise FacetError(
                f"{member}:1: expected image_id and attribute names; got '{lines[0][:40]}'"
            )
        attributes = check_attributes([name.strip() for name in header[1:]], f"{member}:1")
        rows, first, n_expected = split_csv(member, lines[1:], 2), 2, None
    else:
        if len(lines) < 3 or not _COUNT.fullmatch(lines[0].strip()):
            raise FacetError(
                f"{member}:1: expected the number of images, then names, then rows; "
                f"got '{lines[0][:40]}'"
            )
        attributes = check_attributes(lines[1].split(), f"{member}:2")
        rows, first, n_expected = (line.split() for line in lines[2:]), 3, int(lines[0])
    is_csv = files.layout == "kaggle"
    reader = ValueReader(member, attributes, WORDS if is_csv else OFFICIAL_WORDS)
    values: dict[str, bytes] = {}
    for number, parts in enumerate(rows, start=first):
        if not parts:
            continue
        name = check_file_name(parts[0].strip(), f"{member}:{number}")
        if name in values:
            raise FacetError(f"{member}:{number}: expected every image once; got {name} again")
        values[name] = reader.read(parts[1:], number)
    if n_expected is not None and len(values) != n_expected:
        raise FacetError(
            f"{member}:1: expected {n_expected} rows, as line 1 says; got {len(values)}"
        )
    if not values:
        raise FacetError(f"{member}: expected at least one image; got none")
    return attributes, values


def _read_pairs(
    files: LabelFiles, member: Member, allowed: dict[str, str] | None
) -> dict[str, str]:
    """Rows of a file name and one value; `allowed` maps the values that may stand there."""
    lines = files.read_lines(member)
    is_csv = member.name.endswith(".csv")
    start = 1 if is_csv else 0
    rows = split_csv(member, lines[1:], 2) if is_csv else (line.split() for line in lines)
    pairs: dict[str, str] = {}
    for number, parts in enumerate(rows, start=start + 1):
        if not parts:
            continue
        where = f"{member}:{number}"
        if len(parts) != 2:
            raise FacetError(
                f"{where}: expected a file name and one value; "
                f"got '{lines[number - 1].strip()[:60]}'"
            )
        name, value = check_file_name(parts[0].strip(), where), parts[1].strip()
        if name in pairs:
            raise FacetError(f"{where}: expected every image once; got {name} again")
        if allowed is not None and value not in allowed:
            raise FacetError(f"{where}: expected one of {', '.join(allowed)}; got '{value[:40]}'")
        pairs[name] = value if allowed is None else allowed[value]
    return pairs
