"""What evaluate writes: predictions as Parquet, tables as CSV."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from stages.common.tables import (
    CALIBRATED,
    EXTRA,
    PREDICTIONS,
    calibrated_schema,
    predictions_schema,
    write_table,
)
from stages.evaluate.extra import Extra
from stages.evaluate.figures import Figures
from stages.evaluate.part import Part


def gather_tables(figures: Iterable[Figures]) -> dict[str, pd.DataFrame]:
    """The partitions' tables of one name below each other."""
    found: dict[str, list[pd.DataFrame]] = {}
    for figure in figures:
        for name, table in figure.tables.items():
            if len(table):
                found.setdefault(name, []).append(table)
    return {name: pd.concat(tables) for name, tables in found.items()}


def write_predictions(
    folder: Path, parts: Sequence[Part], figures: dict[str, Figures], extra: Extra | None
) -> None:
    """Write the raw sigmoids, and those that temperatures made of them."""
    attributes = list(parts[0].attributes)
    raw, scaled = [], []
    for part in parts:
        partitions = [part.name] * len(part.image_ids)
        raw.append(_label_rows(part, part.probs, partitions))
        probs = figures[part.name].scaled
        if probs is not None:
            scaled.append(_label_rows(part, probs, partitions))
    write_table(pd.concat(raw), folder / PREDICTIONS, predictions_schema(attributes))
    if scaled:
        write_table(pd.concat(scaled), folder / CALIBRATED, calibrated_schema(attributes))
    if extra is not None:
        table = _label_rows(extra.part, extra.part.probs, extra.partitions)
        write_table(table, folder / EXTRA, predictions_schema(attributes))


def _label_rows(part: Part, probs: np.ndarray, partitions: Sequence[str]) -> pd.DataFrame:
    table = pd.DataFrame(probs, columns=list(part.attributes))
    table.insert(0, "image_id", part.image_ids)
    table.insert(1, "partition", partitions)
    return table


def to_csv(table: pd.DataFrame) -> str:
    """CSV with six digits; undefined values are empty fields."""
    text: str = table.replace([np.inf, -np.inf], np.nan).to_csv(
        index=False, float_format="%.6g", lineterminator="\n"
    )
    return text
