"""From canonical images to shards of uint8 pixels."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.common.errors import FacetError
from stages.common.files import fresh_folder, write_manifest
from stages.common.images import UnreadableImageError, crop_resize, decode_rgb, read_size
from stages.common.params import PrepareParams
from stages.common.progress import track
from stages.common.reviews import read_verdicts
from stages.common.shards import ShardWriter, shard_schema
from stages.common.tables import (
    ISSUES,
    ISSUES_SCHEMA,
    PARTITIONS,
    iter_images,
    label_arrays,
    read_annotations,
    read_table,
)
from stages.prepare.policy import count_flagged, decide
from stages.prepare.resplit import resplit_valid
from stages.prepare.select import select_attributes, select_images
from stages.prepare.verdicts import apply_to_labels, overrule, sort_verdicts


def run(
    params: PrepareParams, download: Path, audit: Path, out: Path, reviews: Path | None = None
) -> str:
    """Write the shards of train, valid and test and their manifest.

    A set may lack partitions: without train it can be evaluated, not trained on. A reviewer's
    verdicts (`reviews`, a file that may be absent) go before the policy.

    Raises:
        FacetError: no readable images, unknown attributes, wrong verdicts, too large a subset, a
            re-split that is not possible, nothing left by the policy, or sizes that do not fit
            together.
    """
    annotations, available = read_annotations(download)
    verdicts = read_verdicts(reviews, set(annotations["image_id"]), available)
    issues = read_table(audit / ISSUES, ISSUES_SCHEMA)
    attributes = select_attributes(params.attributes, available)
    n_source = {p: int((annotations["partition"] == p).sum()) for p in PARTITIONS}
    broken = set(issues.loc[issues["check"] == "unreadable", "image_id"])
    broken |= set(annotations.loc[annotations["status"] != "ok", "image_id"])
    unreadable = annotations[annotations["image_id"].isin(broken)]
    readable = annotations[~annotations["image_id"].isin(broken)]
    if readable.empty:
        n_missing = int((annotations["status"] == "missing").sum())
        raise FacetError(
            f"{download}: expected pictures; got no readable images ({n_missing} of "
            f"{len(annotations)} are missing): labels alone can be explored, not prepared"
        )
    rows = select_images(readable, attributes, params)
    n_selected = {p: int((rows["partition"] == p).sum()) for p in PARTITIONS}
    resplit = None
    if params.resplit.valid is not None:
        replaced = rows.loc[rows["partition"] == "valid", "image_id"]
        # What leaks into images that take no part is no leak.
        issues = issues[(issues["check"] != "leak") | ~issues["related_id"].isin(replaced)]
        rows = resplit_valid(rows, issues, attributes, params)
        n_now = rows["partition"].value_counts()
        resplit = {
            **params.resplit.model_dump(),
            "n_train": int(n_now["train"]),
            "n_valid": int(n_now["valid"]),
        }

    train = rows[rows["partition"] == "train"]
    train_ids = set(train["image_id"])
    flagged = count_flagged(issues, train_ids)
    review = sort_verdicts(verdicts, train, attributes)
    decisions = decide(overrule(issues, review), train_ids, params.policy, review.dropped)
    rows = rows[~rows["image_id"].isin(decisions.dropped_ids() | review.dropped)]
    if rows.empty:
        raise FacetError(
            f"prepare.policy: expected it to leave images; it drops all {len(train_ids)}"
            + (f" ({len(review.dropped)} of them by verdicts)" if review.dropped else "")
        )
    labels, mask = label_arrays(rows, attributes)
    position = {image_id: index for index, image_id in enumerate(rows["image_id"])}
    column = {name: index for index, name in enumerate(attributes)}
    masked: dict[str, int] = {}
    n_wrong, n_flipped = apply_to_labels(review, labels, mask, position, column)
    if verdicts:
        masked["review"] = n_wrong
    for check, pairs in decisions.masked.items():
        ours = [(position[image_id], column[name]) for image_id, name in pairs if name in column]
        masked[check] = sum(bool(mask[pair]) for pair in ours)
        for pair in ours:
            mask[pair] = False

    crop, size = (
        _pair(params.crop_height_px, params.crop_width_px),
        _pair(params.height_px, params.width_px),
    )
    height, width = find_size(download, position, crop, size)
    n_by_partition = {p: int((rows["partition"] == p).sum()) for p in PARTITIONS}
    schema = shard_schema(height, width, len(attributes))
    partition_of = rows["partition"].tolist()
    identity_of = rows["identity"].astype(object).where(rows["identity"].notna(), None).tolist()
    with fresh_folder(out) as folder:
        writers = {p: ShardWriter(folder, p, n_by_partition[p], schema) for p in PARTITIONS}
        pictures = read_pixels(download, position, crop, size)
        for index, pixels in track(pictures, "prepare", len(position)):
            writers[partition_of[index]].add(
                rows["image_id"].iat[index], identity_of[index], pixels, labels[index], mask[index]
            )
        for writer in writers.values():
            writer.close()
        dropped = {"unreadable": {p: int((unreadable["partition"] == p).sum()) for p in PARTITIONS}}
        dropped["subset"] = {
            p: n_source[p] - n_selected[p] - dropped["unreadable"][p] for p in PARTITIONS
        }
        if resplit is not None:
            dropped["resplit"] = {"valid": n_selected["valid"]}
        if verdicts:
            dropped["review"] = {"train": len(review.dropped)}
        dropped |= {check: {"train": len(ids)} for check, ids in decisions.dropped.items()}
        write_manifest(
            folder,
            {
                "attributes": attributes,
                "height_px": height,
                "width_px": width,
                "crop_px": list(crop) if crop else None,
                "n_by_partition": n_by_partition,
                "n_source_by_partition": n_source,
                "dropped": dropped,
                "masked": masked,
                "flagged": flagged,
                "reviews": {**review.summarise(), "n_flipped": n_flipped},
                "policy": params.policy.model_dump(),
                "resplit": resplit,
            },
        )
    counts = ", ".join(f"{n} {p}" for p, n in n_by_partition.items())
    n_dropped = len(decisions.dropped_ids() | review.dropped)
    return (
        f"prepare: {counts} images of {height}x{width} pixels, {len(attributes)} attributes; "
        f"{n_dropped} training images dropped, {sum(masked.values())} labels masked"
        + (f", {n_flipped} corrected" if n_flipped else "")
        + (f"; verdicts read: {len(verdicts)}" if verdicts else "")
    )


def find_size(
    download: Path,
    wanted: dict[str, int],
    crop: tuple[int, int] | None,
    size: tuple[int, int] | None,
) -> tuple[int, int]:
    """Height and width of every prepared picture, before anything is decoded.

    Raises:
        FacetError: neither a crop nor a size, and the pictures' headers say different sizes.
    """
    if size is not None:
        return size
    if crop is not None:
        return crop
    seen: dict[tuple[int, int], str] = {}
    for batch in iter_images(download):
        for image_id, data in zip(batch["image_id"].to_pylist(), batch["bytes"], strict=True):
            if image_id in wanted:
                seen.setdefault(read_size(data.as_py()), image_id)
    if len(seen) > 1:
        (first, a), (second, b) = list(seen.items())[:2]
        raise FacetError(
            "prepare.height_px, width_px: expected a size, as the images differ in theirs: "
            f"{first[0]}x{first[1]} (height x width) in {a}, {second[0]}x{second[1]} in {b}"
        )
    return next(iter(seen))


def read_pixels(
    download: Path,
    wanted: dict[str, int],
    crop: tuple[int, int] | None,
    size: tuple[int, int] | None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (index, pixels) of the wanted images in order of image_id, decoded on all cores.

    Threads suffice: the decoder and the resize release Python's lock. The order, hence the bytes
    written, do not depend on their number.
    """

    def decode(batch: pa.RecordBatch) -> list[tuple[int, np.ndarray]]:
        found = []
        for image_id, data in zip(batch["image_id"].to_pylist(), batch["bytes"], strict=True):
            if image_id in wanted:
                try:
                    pixels = decode_rgb(data.as_py())
                except UnreadableImageError as error:
                    raise FacetError(
                        f"{image_id}: expected a picture that the audit could decode; {error}"
                    ) from None
                found.append((wanted[image_id], crop_resize(pixels, crop, size)))
        return found

    for pictures in map_ordered(decode, iter_images(download)):
        yield from pictures


def map_ordered(
    function: Callable[[pa.RecordBatch], list[tuple[int, np.ndarray]]],
    batches: Iterable[pa.RecordBatch],
) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Like `map` on all cores, with at most two batches waiting per core, so memory is bounded."""
    n_workers = os.cpu_count() or 1
    waiting: deque[Future[list[tuple[int, np.ndarray]]]] = deque()
    with ThreadPoolExecutor(n_workers) as pool:
        for batch in batches:
            waiting.append(pool.submit(function, batch))
            if len(waiting) >= 2 * n_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _pair(height: int | None, width: int | None) -> tuple[int, int] | None:
    return None if height is None or width is None else (height, width)
