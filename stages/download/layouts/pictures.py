"""Where the pictures of a source lie, and reading them by image_id."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from stages.common.errors import FacetError
from stages.download.layouts.collection import Archive, Collection, Folder

log = logging.getLogger(__name__)

Place = tuple[Folder | Archive, str]

#: Archives that are not read; a user who has one of them should know.
OTHER_ARCHIVES = (".7z", ".rar", ".tar", ".tgz", ".gz", ".001")


class LocatedImages:
    """Pictures at known places of a collection."""

    def __init__(self, places: dict[str, Place]) -> None:
        self._places = places

    def names(self) -> dict[str, Place]:
        """Ids of the images that have a picture."""
        return self._places

    def read(self, image_id: str) -> bytes:
        """Bytes of one picture, or UnreadableImageError."""
        container, name = self._places[image_id]
        return container.read(name)

    def describe_state(self) -> Iterator[str]:
        """Ids and sizes, whatever holds the pictures."""
        for image_id, (container, name) in sorted(self._places.items()):
            yield f"{image_id} {container.sizes[name]}"

    def archive(self) -> Path | None:
        """The one archive that holds all pictures, None where there is no such."""
        holders = {id(container): container for container, _ in self._places.values()}
        if len(holders) != 1:
            return None
        container = next(iter(holders.values()))
        return container.path if isinstance(container, Archive) else None

    def close(self) -> None:
        """The collection closes its archives."""


def locate_images(
    image_ids: Sequence[str],
    collection: Collection,
    folder_name: str | None = None,
    base: tuple[Folder | Archive, str] | None = None,
) -> LocatedImages:
    """Find the pictures of `image_ids` by the end of their paths.

    Args:
        image_ids: File names or relative paths.
        collection: Where to look.
        folder_name: Where folders or archives of this name hold some, no other place counts:
            CelebA's images in the wild bear the same names as the aligned ones.
        base: Container and folder that relative paths count from; places there go first.

    Raises:
        FacetError: two pictures of one name in one container.
    """
    wanted = set(image_ids)
    depths = sorted({image_id.count("/") + 1 for image_id in image_ids})
    groups: dict[tuple[int, str], dict[str, str]] = defaultdict(dict)
    for index, container in enumerate(collection.containers):
        for path in container.sizes:
            parts = path.split("/")
            for depth in depths:
                name = path if depth == len(parts) else "/".join(parts[-depth:])
                if depth <= len(parts) and name in wanted:
                    groups[index, "/".join(parts[:-depth])][name] = path
    keys = list(groups)
    for choose in (
        lambda key: (
            folder_name is not None
            and (folder_name in key[1].split("/") or _stem(collection, key[0]) == folder_name)
        ),
        lambda key: base is not None and (collection.containers[key[0]], key[1]) == base,
    ):
        keys = [key for key in keys if choose(key)] or keys
    keys.sort(
        key=lambda key: (
            isinstance(collection.containers[key[0]], Folder),
            _stem(collection, key[0]) != folder_name,
            -len(groups[key]),
        )
    )
    places: dict[str, Place] = {}
    others: dict[str, str] = {}
    for key in keys:
        container = collection.containers[key[0]]
        for name, path in groups[key].items():
            there = places.setdefault(name, (container, path))
            if there[0] is container and there[1] != path:
                raise FacetError(
                    f"{container.path}: expected one entry named {name}; got {there[1]} and "
                    f"{path}: remove one of the two"
                )
            if there[0] is not container and there[0].sizes[there[1]] != container.sizes[path]:
                others[name] = f"{there[0].path / there[1]}, not {container.path / path}"
    if others:
        name, choice = next(iter(others.items()))
        log.warning(
            "%d pictures are there twice and differ; used for %s: %s", len(others), name, choice
        )
    return LocatedImages(places)


def describe_absence(collection: Collection) -> str:
    """Why there may be no pictures, in words for an end of a sentence."""
    others = [
        member.name
        for member in collection.members()
        if member.name.lower().endswith(OTHER_ARCHIVES)
    ]
    if others:
        return f"{others[0]} is not read: unpack it, or get the zip archive instead"
    inner = next(
        (
            f"{name} lies in {container.path.name}: unpack {container.path.name} once"
            for container in collection.containers
            if isinstance(container, Archive)
            for name in container.sizes
            if name.lower().endswith(".zip")
        ),
        None,
    )
    if inner:
        return inner
    links = collection.links()
    if links:
        return f"{len(links)} links are not followed, such as {links[0]}"
    return "labels can be explored without"


def _stem(collection: Collection, index: int) -> str:
    container = collection.containers[index]
    return container.path.stem if isinstance(container, Archive) else ""
