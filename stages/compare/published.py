"""What others published on CelebA's official test partition, over its 40 attributes.

published.csv: mean accuracy in per cent as the authors state it, with the source; the majority
class is counted from the official labels. published_by_attribute.csv: per attribute, of those whose
paper or code states it.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from stages.compare.data import N_TEST
from stages.compare.ranking import Group, Ranking

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Published:
    """A published mean accuracy and the gain over the majority class, both as shares."""

    system: str
    accuracy: float
    gain: float
    remark: str
    source: str
    is_majority: bool


@cache
def read_published() -> list[Published]:
    """All published figures, best first."""
    table = pd.read_csv(FOLDER / "published.csv", keep_default_na=False)
    base = float(table["accuracy"].iloc[0]) / 100
    found = [
        Published(
            row.system,
            float(row.accuracy) / 100,
            float(row.accuracy) / 100 - base,
            row.remark,
            row.source,
            k == 0,
        )
        for k, row in enumerate(table.itertuples())
    ]
    return sorted(found, key=lambda one: -one.accuracy)


@cache
def read_published_by_attribute() -> pd.DataFrame:
    """Accuracies as shares: a row per attribute, a column per system."""
    return pd.read_csv(FOLDER / "published_by_attribute.csv").set_index("attribute") / 100


def is_official(group: Group, ranking: Ranking) -> bool:
    """True where the rows were evaluated on the very images and labels of published figures.

    Labels and partitions are CelebA's official ones, as download recognised them, and all images
    of its test partition and all 40 attributes were evaluated.
    """
    return (
        group.data.has_official_test
        and ranking.partition == "test"
        and ranking.n_images == N_TEST
        and set(ranking.attributes) == set(read_published_by_attribute().index)
    )
