"""The complete official labels of CelebA, without a picture: known findings come out in words."""

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from stages.common.files import read_json, write_manifest
from stages.common.params import ExploreParams
from stages.common.tables import ANNOTATIONS, PARTITIONS, annotations_schema, write_table
from stages.explore.run import run

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def labels() -> pd.DataFrame:
    """Partition, identity and one bool per attribute of 202,599 images."""
    folder = ROOT.parent / "shared" / "celeba-labels"
    if not folder.is_dir():
        pytest.skip(f"no complete CelebA labels in {folder}")

    def read(name: str, **options: object) -> pd.DataFrame:
        with zipfile.ZipFile(folder / f"{name}.zip") as file:
            text = file.read(f"{name}.txt").decode()
        return pd.read_csv(io.StringIO(text), sep=r"\s+", index_col=0, **options)

    table = read("list_attr_celeba", header=1, names=None).eq(1)
    columns = {
        "partition": read("list_eval_partition", header=None)[1].map(dict(enumerate(PARTITIONS))),
        "identity": read("identity_CelebA", header=None)[1].astype(str),
    }
    return pd.DataFrame(columns).join(table).sort_index()


@pytest.fixture(scope="module")
def explored(labels, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("explore")
    attributes = list(labels.columns[2:])
    table = labels.reset_index(names="image_id").assign(status="missing", error="no such picture")
    (folder / "download").mkdir()
    schema = annotations_schema(attributes)
    write_table(table, folder / "download" / ANNOTATIONS, schema)
    write_manifest(folder / "download", {"attributes": attributes})
    run(ExploreParams(n_images=10, seed=0), folder / "download", folder / "out")
    return folder / "out"


def test_findings_on_the_complete_labels(labels, explored) -> None:
    topics = read_json(explored / "summary.json")["findings"]
    text = "\n".join(line for lines in topics.values() for line in lines)
    prevalence = labels.groupby("partition")[list(labels.columns[2:])].mean().T

    def moved(name: str, first: str, second: str) -> str:
        one, other = (f"{100 * prevalence.at[name, part]:.1f}" for part in (first, second))
        return rf"More frequent in {second} than in {first}: [^\n]*{name} \({one} to {other} %\)"

    share = labels["No_Beard"].mean()
    expected = [
        r"202,599 images \(162,770 train, 19,867 valid, 19,962 test\)",
        rf"2 of 40 attributes are in more than 70 %[^\n]*No_Beard \({100 * share:.1f} %\), Young",
        r"6 of 40 attributes are in less than 5 %[^\n]*Bald \(2\.2 %\), Mustache \(4\.2 %\)",
        *(moved(name, "train", "test") for name in ("Wearing_Lipstick", "Wavy_Hair", "Big_Lips")),
        *(moved(name, "valid", "test") for name in ("Big_Lips", "Narrow_Eyes", "Wavy_Hair")),
        r"remain: Big_Lips, Wearing_Lipstick, Narrow_Eyes, Wavy_Hair, Goatee\.",
        r"615 of 10,177 identities hold both values of Male[^\n]*: 1,082 images",
        r"Skipped: sizes[^\n]*\(202,599 missing\)",
    ]
    female = ~labels["Male"]
    odd = int((female & ~labels["No_Beard"]).sum())
    beards = labels[["5_o_Clock_Shadow", "Goatee", "Mustache", "Sideburns"]].any(axis=1)
    expected += [
        rf"{odd} of {female.sum():,} images labelled not Male have No_Beard = no",
        rf"{(beards & female).sum()} of {beards.sum():,} images with 5_o_Clock_Shadow, Goatee",
        rf"bears {labels.iloc[:, 2:].sum(axis=1).mean():.2f} attributes",
    ]
    missing = [pattern for pattern in expected if not re.search(pattern, text)]
    assert missing == [], text


def test_tables_on_the_complete_labels_agree_with_pandas(labels, explored) -> None:
    shifts = pd.read_csv(explored / "shifts.csv")
    assert len(shifts) == 120
    row = shifts.query("attribute == 'Big_Lips' and first == 'valid' and second == 'test'").iloc[0]
    one, other = (labels.loc[labels["partition"] == p, "Big_Lips"] for p in ("valid", "test"))
    pooled = labels.loc[labels["partition"] != "train", "Big_Lips"].mean()
    error = np.sqrt(pooled * (1 - pooled) * (1 / len(one) + 1 / len(other)))
    assert row["difference"] == pytest.approx(other.mean() - one.mean(), abs=1e-6)
    assert row["z"] == pytest.approx((other.mean() - one.mean()) / error, abs=1e-5)
    assert row["effect"] == pytest.approx(0.413, abs=0.001)
    imbalance = pd.read_csv(explored / "imbalance.csv", index_col="attribute")
    share = labels[list(imbalance.index)].mean()
    assert imbalance["prevalence"].tolist() == pytest.approx(share.tolist(), abs=1e-6)
    ratio = np.maximum(share, 1 - share) / np.minimum(share, 1 - share)
    assert imbalance["imbalance_ratio"].tolist() == pytest.approx(ratio.tolist(), abs=1e-5)
    cardinality = pd.read_csv(explored / "cardinality.csv")
    counts = labels.iloc[:, 2:].sum(axis=1).groupby(labels["partition"]).value_counts()
    assert len(cardinality) == len(counts)
    for row in cardinality.itertuples():
        assert counts[row.partition, row.n_positive] == row.n_images
