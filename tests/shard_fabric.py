"""Shards of small pictures for tests."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from stages.common.shards import GROUP_IMAGES, ShardWriter, shard_schema

#: image_id, pixels (H, W, 3) uint8, labels (A,) and mask (A,) in {0, 1}.
Row = tuple[str, np.ndarray, np.ndarray, np.ndarray]


def write_shards(
    folder: Path, partition: str, size: tuple[int, int], n_attributes: int, rows: Iterable[Row]
) -> None:
    """Write rows without identities; no rows leave no file."""
    held = list(rows)
    writer = ShardWriter(folder, partition, len(held), shard_schema(*size, n_attributes))
    for start in range(0, len(held), GROUP_IMAGES):
        image_ids, pixels, labels, mask = zip(*held[start : start + GROUP_IMAGES], strict=True)
        writer.write_group(
            image_ids,
            [None] * len(image_ids),
            np.stack(pixels),
            np.stack(labels).astype(np.uint8),
            np.stack(mask).astype(bool),
        )
    writer.close()
