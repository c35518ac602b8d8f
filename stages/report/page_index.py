"""The front page: the whole story on one screen."""

from typing import Any

import pandas as pd

from stages.common.tables import PARTITIONS
from stages.report.charts_evaluation import draw_gain_strip
from stages.report.inputs import Inputs
from stages.report.published import rank_systems
from stages.report.words import count, counted, listed

#: Images of CelebA's official partitions (Liu et al., ICCV 2015; list_eval_partition.txt).
CELEBA_SIZES = {"train": 162_770, "valid": 19_867, "test": 19_962}

#: What a reader calls a finding of each check.
CHECK_NAMES = {
    "mislabel": "suspected wrong labels",
    "faceless": "pictures without a face",
    "identity_outlier": "unlike their identity",
    "exact_duplicate": "identical files",
    "near_duplicate": "near-duplicates",
    "label_conflict": "conflicting labels",
    "leak": "leaks",
    "label_rule": "broken label rules",
    "identity_conflict": "identity conflicts",
    "unreadable": "unreadable pictures",
}


def build_index(inputs: Inputs) -> dict[str, Any]:
    """What the front page's template needs."""
    manifest, evaluated = inputs.manifest, inputs.evaluated
    main = main_partition(inputs)
    sizes = [(p, manifest["n_by_partition"].get(p, 0)) for p in PARTITIONS]
    by_check = inputs.audited.summary["by_check"]
    table = evaluated.per_attribute
    metrics = evaluated.metrics
    return {
        "sizes": [(partition, n) for partition, n in sizes if n],
        "n_left_out": count_left_out(inputs),
        "headlines": [flatten(p, metrics[p]) for p in reversed(evaluated.parts)],
        "confidence": evaluated.confidence,
        "weakest": name_weakest(table[table["partition"] == main]),
        "published": rank_systems(inputs),
        "subsets": [
            f"{p} {text}"
            for p in ("train", *evaluated.partitions)
            if (text := describe_subset(inputs, p))
        ],
        "main": main,
        "main_metrics": flatten(main, metrics[main]) if main else None,
        "audit": sorted(
            (
                (CHECK_NAMES.get(check, check), counts["flagged"], counts["images"])
                for check, counts in by_check.items()
                if counts["flagged"]
            ),
            key=lambda found: -found[1],
        ),
        "n_findings": sum(counts["flagged"] for counts in by_check.values()),
        "is_celeba": is_celeba(inputs),
        "gains": draw_gain_strip(table[table["partition"] == main]) if main else None,
    }


def flatten(partition: str, metrics: dict[str, Any]) -> dict[str, Any]:
    """An entry of metrics.json with the ends of its intervals beside the figures."""
    name = "second set" if partition == "extra" else partition
    return {"partition": name, **metrics, **(metrics.get("interval") or {})}


def name_weakest(table: pd.DataFrame, limit: int = 3) -> list[str]:
    """The attributes of the lowest balanced accuracy."""
    ranked = table.dropna(subset=["balanced_accuracy"])
    ranked = ranked.sort_values("balanced_accuracy", kind="stable")
    return [str(name) for name in ranked["attribute"][:limit]]


def main_partition(inputs: Inputs) -> str | None:
    """The partition that headlines speak of: test where it was evaluated, else valid."""
    return inputs.evaluated.partitions[-1] if inputs.evaluated.partitions else None


def is_celeba(inputs: Inputs) -> bool:
    """True for CelebA or a part of it, as the download stage recognised it."""
    return inputs.manifest["celeba"] is not None


def describe_subset(inputs: Inputs, partition: str) -> str:
    """'n of CelebA's N images' where a partition is not CelebA's official one, else ''."""
    if not is_celeba(inputs):
        return ""
    prepared = inputs.prepared
    n = prepared["n_source_by_partition"][partition]
    n -= prepared["dropped"].get("subset", {}).get(partition, 0)
    if partition in inputs.evaluated.metrics:
        n = inputs.evaluated.metrics[partition]["n_images"]
    official = CELEBA_SIZES[partition]
    return "" if n == official else f"{count(n)} of CelebA's {count(official)} images"


def count_left_out(inputs: Inputs) -> int:
    """Images that prepare left out because of a finding, each once; what was chosen aside."""
    prepared = inputs.prepared
    chosen_aside = sum(
        n for why in ("subset", "resplit") for n in prepared["dropped"].get(why, {}).values()
    )
    n_source, n_left = (
        sum(prepared[key].values()) for key in ("n_source_by_partition", "n_by_partition")
    )
    return int(n_source - chosen_aside - n_left)


def describe_failures(table: pd.DataFrame) -> str:
    """A sentence about the attributes of one partition at or below their majority class."""
    known = table.dropna(subset=["gain"])
    bad = known[known["gain"] <= 0].sort_values("gain", kind="stable")
    if known.empty:
        return "No attribute of this partition has known labels."
    if bad.empty:
        return (
            f"On all {counted(len(known), 'attribute')} the model is better than always "
            "naming the majority class."
        )
    names = listed(bad["attribute"].tolist(), 10)
    return (
        f"On {len(bad)} of {counted(len(known), 'attribute')} the model is no better than always "
        f"naming the majority class: {names}."
    )
