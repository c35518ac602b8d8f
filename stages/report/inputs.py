"""Everything the site is made of, read and checked once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stages.common.errors import FacetError
from stages.common.files import read_json, read_manifest
from stages.common.reviews import Verdict, read_verdicts
from stages.common.tables import (
    ISSUES,
    ISSUES_SCHEMA,
    PARTITIONS,
    PREDICTIONS,
    PREVIEW,
    PREVIEW_SCHEMA,
    predictions_schema,
    read_annotations,
    read_table,
)

COLUMNS = {
    "cooccurrence.csv": (
        "attribute_a",
        "attribute_b",
        "n_known",
        "phi",
        "p_b_given_a",
        "p_a_given_b",
        "lift",
    ),
    "imbalance.csv": (
        "attribute",
        "n_known",
        "n_positive",
        "prevalence",
        "majority_share",
        "imbalance_ratio",
    ),
    "cardinality.csv": ("partition", "n_positive", "n_images"),
    "shifts.csv": (
        "attribute",
        "first",
        "second",
        "p_first",
        "p_second",
        "difference",
        "z",
        "p_value",
        "p_corrected",
        "p_identities",
        "effect",
    ),
    "identities.csv": ("n_images", "n_identities"),
    "consistency.csv": ("attribute", "n_identities", "agreement"),
    "images.csv": ("statistic", "n", "mean", "std", "min", "p05", "p50", "p95", "max"),
    "rules.csv": ("rule", "n_applicable", "n_violations", "support"),
    "by_attribute.csv": (
        "attribute",
        "n_label_conflict",
        "n_label_rule",
        "n_mislabel",
        "error_rate",
        "error_rate_low",
        "error_rate_high",
    ),
    "self_check.csv": ("attribute", "n_flipped", "precision", "recall", "average_precision"),
    "history.csv": ("epoch", "lr", "train_loss", "valid_loss", "valid_accuracy", "valid_majority"),
    "schedule.csv": ("step", "epoch", "lr"),
    "per_attribute.csv": (
        "partition",
        "attribute",
        "n_known",
        "n_positive",
        "prevalence",
        "majority_class",
        "majority_accuracy",
        "accuracy",
        "gain",
        "balanced_accuracy",
        "precision",
        "recall",
        "f1",
        "roc_auc",
        "average_precision",
    ),
    "curves.csv": ("partition", "attribute", "threshold", "tp", "fp", "fn", "tn"),
    "tuned.csv": ("attribute", "temperature"),
    "thresholds.csv": ("partition", "attribute", "aim", "threshold", "value", "change"),
    "reliability.csv": ("partition", "scaled", "bin", "n", "mean_probability", "share_positive"),
    "shift.csv": ("attribute", "prevalence_valid", "prevalence_test", "loss", "explained", "rest"),
    "slices.csv": ("partition", "slice", "group", "n_images", "n_identities", "accuracy"),
    "slices_by_attribute.csv": ("partition", "slice", "group", "attribute", "n_positive"),
    "error_correlation.csv": ("partition", "attribute_a", "attribute_b", "n_both", "phi"),
    "contradictions.csv": ("partition", "rule", "n_contradictions", "n_contradictions_labels"),
}
#: Tables of reports/evaluate that are read as they are.
EVALUATE_TABLES = (
    "curves",
    "tuned",
    "thresholds",
    "reliability",
    "shift",
    "slices",
    "slices_by_attribute",
    "error_correlation",
    "contradictions",
)
TEXT_COLUMNS = (
    "attribute",
    "attribute_a",
    "attribute_b",
    "first",
    "second",
    "partition",
    "rule",
    "statistic",
    "aim",
    "slice",
    "group",
)


@dataclass(frozen=True)
class Explored:
    """The tables of reports/explore."""

    summary: dict[str, Any]
    prevalence: pd.DataFrame
    imbalance: pd.DataFrame
    cardinality: pd.DataFrame
    shifts: pd.DataFrame
    cooccurrence: pd.DataFrame
    identities: pd.DataFrame
    consistency: pd.DataFrame
    images: pd.DataFrame


@dataclass(frozen=True)
class Audited:
    """The findings of data/audit and their counts in reports/audit.

    self_check is what the audit measured on flips of its own; both are empty where it did not.
    """

    issues: pd.DataFrame
    summary: dict[str, Any]
    rules: pd.DataFrame
    by_attribute: pd.DataFrame
    self_check: dict[str, Any]
    self_check_by_attribute: pd.DataFrame


@dataclass(frozen=True)
class Trained:
    """model.json, the tables of reports/train, and the preview of pictures."""

    model: dict[str, Any]
    summary: dict[str, Any]
    history: pd.DataFrame
    schedule: pd.DataFrame
    preview: pd.DataFrame


@dataclass(frozen=True)
class Evaluated:
    """The tables of reports/evaluate, each by the name of its file.

    partitions: those of the data set. parts: these and, where a second set was answered, extra;
    tables have rows of each part. extra: what is said of the second set. predictions: one raw
    sigmoid per image and attribute. confidence: of the intervals, None where
    it is not said.
    """

    partitions: tuple[str, ...]
    parts: tuple[str, ...]
    metrics: dict[str, dict[str, Any]]
    extra: dict[str, Any] | None
    confidence: float | None
    per_attribute: pd.DataFrame
    curves: pd.DataFrame
    tuned: pd.DataFrame
    thresholds: pd.DataFrame
    reliability: pd.DataFrame
    shift: pd.DataFrame
    slices: pd.DataFrame
    slices_by_attribute: pd.DataFrame
    error_correlation: pd.DataFrame
    contradictions: pd.DataFrame
    predictions: pd.DataFrame


@dataclass(frozen=True)
class Inputs:
    """All inputs of the report. `folder` is data/download, where the pictures lie."""

    folder: Path
    manifest: dict[str, Any]
    attributes: list[str]
    annotations: pd.DataFrame
    prepared: dict[str, Any]
    explored: Explored
    audited: Audited
    trained: Trained
    evaluated: Evaluated
    verdicts: list[Verdict]

    @property
    def is_demo(self) -> bool:
        """True for drawn faces, whose figures say nothing about photographs."""
        return bool(self.manifest["source"] == "demo")


def read_inputs(
    download: Path,
    prepare: Path,
    audit: Path,
    evaluate: Path,
    train: Path,
    explore_reports: Path,
    audit_reports: Path,
    train_reports: Path,
    evaluate_reports: Path,
    reviews: Path | None = None,
) -> Inputs:
    """Read what the other stages wrote, and the reviewer's verdicts where there are any.

    Raises:
        FacetError: a file is missing, incomplete or lacks a column, or a verdict is wrong.
    """
    annotations, attributes = read_annotations(download)
    read_manifest(audit)
    evaluated = read_manifest(evaluate)
    metrics = read_json(evaluate_reports / "metrics.json")
    per_attribute = read_csv(evaluate_reports / "per_attribute.csv")
    model = read_json(train / "model" / "model.json")
    return Inputs(
        folder=download,
        manifest=read_manifest(download),
        attributes=attributes,
        annotations=annotations,
        prepared=read_manifest(prepare),
        explored=Explored(
            summary=read_json(explore_reports / "summary.json"),
            prevalence=read_csv(explore_reports / "prevalence.csv", ("attribute",)),
            imbalance=read_csv(explore_reports / "imbalance.csv"),
            cardinality=read_csv(explore_reports / "cardinality.csv"),
            shifts=read_csv(explore_reports / "shifts.csv"),
            cooccurrence=read_csv(explore_reports / "cooccurrence.csv"),
            identities=read_csv(explore_reports / "identities.csv"),
            consistency=read_csv(explore_reports / "consistency.csv"),
            images=read_csv(explore_reports / "images.csv"),
        ),
        audited=Audited(
            issues=read_table(audit / ISSUES, ISSUES_SCHEMA),
            summary=read_json(audit_reports / "summary.json"),
            rules=read_csv(audit_reports / "rules.csv"),
            by_attribute=read_csv(audit_reports / "by_attribute.csv"),
            self_check=read_json(audit_reports / "self_check.json") or {},
            self_check_by_attribute=read_csv(audit_reports / "self_check.csv"),
        ),
        trained=Trained(
            model=model,
            summary=read_json(train_reports / "summary.json"),
            history=read_csv(train_reports / "history.csv"),
            schedule=read_csv(train_reports / "schedule.csv"),
            preview=read_table(train / PREVIEW, PREVIEW_SCHEMA),
        ),
        evaluated=Evaluated(
            partitions=tuple(p for p in PARTITIONS if p in metrics),
            parts=tuple(p for p in (*PARTITIONS, "extra") if p in metrics),
            metrics=metrics,
            extra=evaluated.get("extra"),
            confidence=evaluated.get("confidence"),
            per_attribute=per_attribute,
            **{name: read_csv(evaluate_reports / f"{name}.csv") for name in EVALUATE_TABLES},
            predictions=read_table(evaluate / PREDICTIONS, predictions_schema(model["attributes"])),
        ),
        verdicts=read_verdicts(reviews, set(annotations["image_id"]), attributes),
    )


def read_csv(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table of reports/; empty cells are undefined, text columns stay text.

    Args:
        path: The file.
        columns: Columns it must have; by default those of COLUMNS for its name.

    Raises:
        FacetError: the file is missing, empty or lacks a column.
    """
    types = dict.fromkeys(TEXT_COLUMNS, str)
    try:
        # An attribute may be called NA or null: only an empty cell is undefined.
        table = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise FacetError(f"{path}: expected this table; it is missing (run `dvc repro`)") from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise FacetError(f"{path}: expected a CSV table; {error}") from None
    missing = [name for name in columns or COLUMNS[path.name] if name not in table.columns]
    if missing:
        raise FacetError(
            f"{path}: expected the columns {', '.join(missing)}; got {', '.join(table.columns)}"
        )
    return table
