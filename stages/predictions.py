"""Predictions in other programs' formats: what `facet predictions` writes."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.common.errors import FacetError
from stages.common.files import write_text
from stages.common.tables import EXTRA, PREDICTIONS, predictions_schema, read_table


def write_celeba(evaluate: Path, partition: str, threshold: float, out: Path) -> str:
    """Write the challenge's text file: per image a line of its name and -1 or 1 per attribute.

    No header; images in order of their names, attributes in order of the model's, which for CelebA
    is that of list_attr_celeba.txt; separated by single spaces.

    Args:
        evaluate: The folder data/evaluate.
        partition: valid or test, or extra for the second data set.
        threshold: A probability above it becomes 1.
        out: The file.

    Returns:
        One line about what was written.

    Raises:
        FacetError: no predictions, none of that partition, or names with white space.
    """
    path = evaluate / (EXTRA if partition == "extra" else PREDICTIONS)
    try:
        attributes = pq.read_schema(path).names[2:]
    except FileNotFoundError:
        setting = "evaluate.extra" if partition == "extra" else "evaluate.partitions"
        raise FacetError(
            f"{path}: expected predictions; there are none (set {setting}, then `dvc repro "
            "evaluate`)"
        ) from None
    except pa.ArrowInvalid as error:
        raise FacetError(f"{path}: expected a Parquet table; {error}") from None
    table = read_table(path, predictions_schema(attributes))
    if partition != "extra":
        held = sorted(table["partition"].unique())
        table = table[table["partition"] == partition]
        if table.empty:
            raise FacetError(
                f"--partition: expected one of {', '.join(held)}, which were evaluated; got "
                f"{partition} (evaluate.partitions says what is)"
            )
    table = table.sort_values("image_id")
    names = table["image_id"].tolist()
    spaced = next((name for name in names if len(name.split()) != 1), None)
    if spaced is not None:
        raise FacetError(
            f"--format celeba: expected names without white space, which separates the values; "
            f"got '{spaced}'"
        )
    signs = np.where(table[attributes].to_numpy() > threshold, "1", "-1")
    lines = [" ".join([name, *row]) for name, row in zip(names, signs, strict=True)]
    write_text(out, "\n".join(lines) + "\n")
    return (
        f"{out}: {len(lines)} images of {partition}, {len(attributes)} attributes, "
        f"threshold {threshold:g}"
    )
