"""Facts about images, looked up by name: partition, identity, labels, others of one person."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stages.common.tables import label_arrays

SAID = ("no", "yes", "unknown")


class People:
    """What is known of each image."""

    def __init__(self, annotations: pd.DataFrame, attributes: Sequence[str]) -> None:
        """Index the annotations; an image that they lack is unknown in every respect."""
        self.attributes = list(attributes)
        self._column = {name: k for k, name in enumerate(attributes)}
        self._row = {image_id: row for row, image_id in enumerate(annotations["image_id"])}
        self._partition = annotations["partition"].tolist()
        identity = annotations["identity"].astype(object)
        self._identity = identity.where(identity.notna(), None).tolist()
        labels, known = label_arrays(annotations, attributes)
        self._said = np.where(known, labels, 2).astype(np.uint8)
        self._groups: dict[str, list[str]] = {}
        for image_id, person in zip(annotations["image_id"], self._identity, strict=True):
            if person is not None:
                self._groups.setdefault(person, []).append(image_id)

    def partition(self, image_id: str) -> str:
        """The source's partition of an image, '' where there is no such image."""
        row = self._row.get(image_id)
        return "" if row is None else str(self._partition[row])

    def identity(self, image_id: str) -> str | None:
        """The identity of an image, None where it is unknown."""
        row = self._row.get(image_id)
        return None if row is None else self._identity[row]

    def label(self, image_id: str, attribute: str) -> str:
        """A label in words: yes, no or unknown."""
        row, column = self._row.get(image_id), self._column.get(attribute)
        return SAID[2] if row is None or column is None else SAID[self._said[row, column]]

    def differing(self, a: str, b: str) -> list[str]:
        """Attributes that are known of both images and not the same."""
        rows = [self._row[image_id] for image_id in (a, b) if image_id in self._row]
        if len(rows) < 2:
            return []
        first, second = self._said[rows[0]], self._said[rows[1]]
        unlike = (first != second) & (first < 2) & (second < 2)
        return [self.attributes[k] for k in np.flatnonzero(unlike)]

    def companions(self, image_id: str) -> list[str]:
        """The other images of the same identity, in order of name."""
        person = self.identity(image_id)
        group = [] if person is None else self._groups[person]
        return sorted(other for other in group if other != image_id)
