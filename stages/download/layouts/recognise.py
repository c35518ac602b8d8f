"""Which layout is it? Recognise a source, read its labels, find its pictures."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.common.errors import FacetError
from stages.download.layouts.collection import Collection, Folder, Member, open_collection
from stages.download.layouts.lfwa import LABELS as LFWA_LABELS
from stages.download.layouts.lfwa import find_lfwa, read_lfwa
from stages.download.layouts.official import IMAGES, LabelFiles, find_label_files, read_label_files
from stages.download.layouts.official import LABELS as CELEBA_LABELS
from stages.download.layouts.parquet import Shard, ShardImages, find_shards, read_rows
from stages.download.layouts.pictures import LocatedImages, describe_absence, locate_images
from stages.download.layouts.plain_csv import find_csv, read_csv
from stages.download.layouts.recover import recover_names
from stages.download.source import PICTURE_SUFFIXES, Images, Labels, Source, sort_labels

log = logging.getLogger(__name__)


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open data of any layout that Facet knows.

    Raises:
        FacetError: no known layout, or a file is damaged or disagrees with another.
    """
    with open_collection(path) as collection:
        if links := collection.links():
            log.warning(
                "%s: %d links are not followed, such as %s", collection.path, len(links), links[0]
            )
        source = read_source(collection)
        try:
            yield source
        finally:
            source.images.close()


def read_source(collection: Collection) -> Source:
    """Labels and pictures of a collection."""
    path = collection.path
    is_table = (
        path.suffix.lower() in (".csv", ".tsv")
        and path.is_file()
        and path.stem != CELEBA_LABELS  # Kaggle's, with its partitions beside it
    )
    files = None if is_table else find_label_files(collection)
    shards = [] if is_table else find_shards(collection)
    if files is not None and (not shards or has_pictures(collection)):
        return read_celeba(collection, files)
    if shards:
        return read_shards(collection, shards, files)
    if not is_table and (lfwa := find_lfwa(collection)) is not None:
        labels = read_lfwa(*lfwa)
        images = locate_images(labels.image_ids, collection)
        check_found(collection, labels, images, lfwa[0])
        return make_source("the LFWA+ layout", collection, labels, images)
    if (table := find_csv(collection)) is not None:
        labels = read_csv(table)
        base = (table.container, table.name.rpartition("/")[0])
        images = locate_images(labels.image_ids, collection, base=base)
        check_found(collection, labels, images, table)
        return make_source(f"a CSV ({table.name})", collection, labels, images)
    if collection.broken:
        raise collection.broken[0]
    packed = next((m for m in collection.members() if m.name.lower().endswith(".parquet")), None)
    if packed is not None:
        raise FacetError(
            f"{packed}: expected Parquet shards in a folder; got them within an archive; unpack it"
        )
    raise FacetError(
        f"{path}: expected label files of a known layout: {CELEBA_LABELS}.txt (CelebA's official "
        f"files), {CELEBA_LABELS}.csv (Kaggle), *.parquet with pictures (Hugging Face), "
        f"{LFWA_LABELS} (LFWA+), or one CSV with a column image_id; got {list_names(collection)}"
    )


def has_pictures(collection: Collection) -> bool:
    """Is there an archive or a folder of CelebA's pictures?"""
    return any(
        name.rpartition("/")[2] == f"{IMAGES}.zip" or f"/{IMAGES}/" in f"/{name}"
        for container in collection.containers
        for name in container.sizes
    )


def read_celeba(collection: Collection, files: LabelFiles) -> Source:
    """CelebA's official or Kaggle's layout."""
    labels = read_label_files(files)
    images = locate_images(labels.image_ids, collection, folder_name=IMAGES)
    check_found(collection, labels, images, files.attributes)
    words = {"official": "CelebA's official layout", "kaggle": "CelebA's Kaggle layout"}
    return make_source(words[files.layout], collection, labels, images, files.md5)


def check_found(
    collection: Collection, labels: Labels, images: LocatedImages, table: Member
) -> None:
    """Labels may come without pictures, but not with pictures of other names only.

    Raises:
        FacetError: there are pictures, and none is of the labelled images; or some are missing, and
            an archive cannot be opened.
    """
    n_missing = len(labels.image_ids) - len(images.names())
    if n_missing and collection.broken:
        raise collection.broken[0]
    for error in collection.broken:
        log.warning("%s; left aside, as nothing is missing without it", error)
    if images.names():
        return
    other = next(
        (m for m in collection.members() if m.name.lower().endswith(PICTURE_SUFFIXES)), None
    )
    if other is not None or has_pictures(collection):
        got = f"others, such as {other}" if other else f"none ({describe_absence(collection)})"
        raise FacetError(
            f"{table}: expected pictures of the labelled images, such as {labels.image_ids[0]}; "
            f"got {got}"
        )


def read_shards(collection: Collection, shards: list[Shard], files: LabelFiles | None) -> Source:
    """Hugging Face's layout; CelebA's label files beside it help to recover file names."""
    rows = read_rows(shards)
    names = recover_names(rows, collection, read_label_files(files) if files else None)
    n = len(names.image_ids)
    if names.n_official == n:
        log.info("download: all %d rows have their file names: %s", n, names.explanation)
    else:
        log.warning(
            "download: %d of %d rows get made-up names such as train-000000, and corrections "
            "published by file name cannot be joined to them: %s",
            n - names.n_official,
            n,
            names.explanation,
        )
    labels = sort_labels(
        names.image_ids, rows.columns.attributes, rows.values, rows.partitions, rows.identities
    )
    images = ShardImages(rows, names.image_ids)
    words = f"Hugging Face's Parquet layout ({len(shards)} shards)"
    return make_source(words, collection, labels, images)


def make_source(
    words: str,
    collection: Collection,
    labels: Labels,
    images: Images,
    md5: dict[str, str] | None = None,
) -> Source:
    """Put a source together and say where its pictures lie."""
    archive = images.archive() if isinstance(images, LocatedImages) else None
    where = ""
    if isinstance(images, LocatedImages):
        n_found = len(images.names())
        where = f", pictures in {archive.name}" if archive is not None else ""
        if not n_found:
            where = f", no pictures ({describe_absence(collection)})"
    description = f"{words} in {collection.path}, {len(labels.image_ids)} labelled images{where}"
    return Source(
        description=description,
        labels=labels,
        images=images,
        path=collection.path,
        md5=md5 or {},
        archive=archive,
    )


def list_names(collection: Collection, limit: int = 5) -> str:
    """The first file names of a collection: those at the top first, those in archives last."""
    members = sorted(
        collection.members(),
        key=lambda m: (not isinstance(m.container, Folder), m.name.count("/"), m.name),
    )
    more = f" and {len(members) - limit} more" if len(members) > limit else ""
    return (", ".join(member.name for member in members[:limit]) + more) or "no files"
