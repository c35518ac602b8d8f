"""A CSV of the user's own: one row per image, one column per attribute, any names."""

from pathlib import Path

from stages.common.errors import FacetError
from stages.download.layouts.collection import Collection, Member
from stages.download.layouts.text import (
    ValueReader,
    check_attributes,
    check_path,
    decode_values,
    read_lines,
    split_csv,
)
from stages.download.source import (
    IDENTITY_COLUMNS,
    IMAGE_COLUMNS,
    PARTITION_COLUMNS,
    PARTITION_WORDS,
    PICTURE_SUFFIXES,
    Labels,
    sort_labels,
)

_DELIMITERS = ",;\t"


def find_csv(collection: Collection) -> Member | None:
    """The CSV of labels: the file that was named, else the only one with a column of images.

    Raises:
        FacetError: several.
    """
    tables = [
        member
        for member in collection.members()
        if member.name.lower().endswith((".csv", ".tsv"))
        and (collection.path.is_dir() or _is_named(collection.path, member))
    ]
    if len(tables) > 1:
        tables = [member for member in tables if _may_hold_labels(member)]
    if len(tables) > 1:
        raise FacetError(
            f"{collection.path}: expected one CSV of labels; got {tables[0].name} and "
            f"{tables[1].name}; name one of them in download.path"
        )
    return tables[0] if tables else None


def read_csv(member: Member) -> Labels:
    """Read a table with a column of images and, if it has them, of partitions and identities.

    Every other column is an attribute. Paths count from the table's folder. Unknown labels are
    empty cells.

    Raises:
        FacetError: with file and line, what was expected and what was got.
    """
    lines = read_lines(member)
    delimiter = _find_delimiter(lines[0])
    header = read_header(member, lines)
    image = find_images(member, lines)
    if image is None:
        raise FacetError(
            f"{member}:1: expected a column of image files (the first one, or one called "
            f"{', '.join(IMAGE_COLUMNS[:4])}); got {', '.join(header)[:100]}"
        )
    partition = find_column(header, PARTITION_COLUMNS)
    identity = find_column(header, IDENTITY_COLUMNS)
    columns = [k for k in range(len(header)) if k not in (image, partition, identity)]
    if columns and columns[0] == 0 and not header[0]:
        columns = columns[1:]  # the row numbers that pandas writes
    attributes = check_attributes([header[k] for k in columns], f"{member}:1")
    reader = ValueReader(member, attributes)
    values: dict[str, bytes] = {}
    partitions: list[str] = []
    identities: list[str | None] = []
    for number, row in enumerate(split_csv(member, lines[1:], 2, delimiter), start=2):
        if not row:
            continue
        where = f"{member}:{number}"
        if len(row) != len(header):
            raise FacetError(f"{where}: expected {len(header)} columns; got {len(row)}")
        name = check_path(row[image], where)
        if name in values:
            raise FacetError(f"{where}: expected every image once; got {name} again")
        values[name] = reader.read([row[k] for k in columns], number)
        if partition is not None:
            word = row[partition].strip().lower()
            if word not in PARTITION_WORDS:
                raise FacetError(
                    f"{where}: {header[partition]}: expected train, valid or test; "
                    f"got '{row[partition][:40]}'"
                )
            partitions.append(PARTITION_WORDS[word])
        identities.append((row[identity].strip() or None) if identity is not None else None)
    if not values:
        raise FacetError(f"{member}: expected at least one image; got none")
    return sort_labels(
        list(values),
        attributes,
        decode_values(values.values(), len(attributes)),
        None if partition is None else partitions,
        identities,
    )


def find_images(member: Member, lines: list[str] | None = None) -> int | None:
    """The column of images by its name, else the first one where it holds pictures' file names."""
    lines = read_lines(member) if lines is None else lines
    column = find_column(read_header(member, lines), IMAGE_COLUMNS)
    if column is None and len(lines) > 1:
        # The first column, or the one behind row numbers.
        row = next(split_csv(member, lines[1:2], 2, _find_delimiter(lines[0])), [])
        for place, text in enumerate(row[:2]):
            if text.strip().lower().endswith(PICTURE_SUFFIXES):
                return place
    return column


def _may_hold_labels(member: Member) -> bool:
    """One of several tables: what cannot be read is none of labels."""
    try:
        return find_images(member) is not None
    except FacetError:
        return False


def read_header(member: Member, lines: list[str] | None = None) -> list[str]:
    """Names of the columns."""
    lines = read_lines(member) if lines is None else lines
    rows = split_csv(member, lines[:1], 1, _find_delimiter(lines[0]))
    return [name.strip() for name in next(rows, [])]


def find_column(header: list[str], names: tuple[str, ...]) -> int | None:
    """The column that bears the first of `names` that is there."""
    lowered = [name.lower() for name in header]
    return next((lowered.index(name) for name in names if name in lowered), None)


def _find_delimiter(header: str) -> str:
    return max(_DELIMITERS, key=header.count)


def _is_named(path: Path, member: Member) -> bool:
    return path.suffix.lower() == ".zip" or member.container.path / member.name == path
