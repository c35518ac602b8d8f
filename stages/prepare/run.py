"""From canonical images to shards of uint8 pixels."""

from pathlib import Path

from stages.common.errors import FacetError
from stages.common.files import fresh_folder, write_manifest
from stages.common.params import PrepareParams
from stages.common.progress import make_progress
from stages.common.reviews import read_verdicts
from stages.common.shards import ShardWriter, shard_schema
from stages.common.tables import (
    ISSUES,
    ISSUES_SCHEMA,
    PARTITIONS,
    label_arrays,
    read_annotations,
    read_table,
)
from stages.prepare.groups import find_size, prepare_groups
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
    position = {image_id: index for index, image_id in enumerate(rows["image_id"].tolist())}
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
    ids = rows["image_id"].to_numpy(object)
    identities = rows["identity"].astype(object).where(rows["identity"].notna(), None).to_numpy()
    with fresh_folder(out) as folder, make_progress() as progress:
        bar = progress.add_task("prepare", total=len(rows), note="")
        writers = {p: ShardWriter(folder, p, n_by_partition[p], schema) for p in PARTITIONS}
        partitions = rows["partition"].tolist()
        for group in prepare_groups(download, position, partitions, crop, (height, width)):
            at = group.rows
            writers[group.partition].write_group(
                ids[at], identities[at], group.pixels, labels[at], mask[at]
            )
            progress.advance(bar, len(at))
        digests: dict[str, str] = {}
        for writer in writers.values():
            digests |= writer.close()
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
            digests,
        )
    counts = ", ".join(f"{n} {p}" for p, n in n_by_partition.items())
    n_dropped = len(decisions.dropped_ids() | review.dropped)
    return (
        f"prepare: {counts} images of {height}x{width} pixels, {len(attributes)} attributes; "
        f"{n_dropped} training images dropped, {sum(masked.values())} labels masked"
        + (f", {n_flipped} corrected" if n_flipped else "")
        + (f"; verdicts read: {len(verdicts)}" if verdicts else "")
    )


def _pair(height: int | None, width: int | None) -> tuple[int, int] | None:
    return None if height is None or width is None else (height, width)
