import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import matthews_corrcoef

from stages.explore.labels import (
    count_cardinality,
    count_identities,
    count_shared_identities,
    measure_consistency,
    measure_cooccurrence,
    measure_imbalance,
    measure_prevalence,
)

NAMES = ["A", "B", "C", "Never"]


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, mask, partition and identity of 600 images; B depends on A, the last is never set."""
    rng = np.random.default_rng(1)
    labels = (rng.random((600, 4)) < (0.3, 0.5, 0.02, 0)).astype(np.uint8)
    labels[:, 1] |= labels[:, 0]
    known = rng.random((600, 4)) < 0.9
    partition = rng.choice(np.array(["train", "test"], object), 600, p=(0.8, 0.2))
    identity = rng.integers(0, 250, 600).astype(str).astype(object)
    identity[:50] = None
    return labels, known, partition, identity


def test_prevalence_counts_known_labels_of_partitions_present(data) -> None:
    labels, known, partition, _ = data
    table = measure_prevalence(labels, known, partition, NAMES)
    assert [name for name in table if "valid" in name] == []
    for column, name in enumerate(NAMES):
        for part in ("train", "test"):
            values = labels[(partition == part) & known[:, column], column]
            row = table.set_index("attribute").loc[name]
            assert row[f"n_known_{part}"] == len(values)
            assert row[f"n_positive_{part}"] == values.sum()
            assert row[f"prevalence_{part}"] == pytest.approx(values.mean())


def test_prevalence_of_unknown_labels_is_undefined() -> None:
    table = measure_prevalence(
        np.zeros((2, 1), np.uint8), np.zeros((2, 1), bool), np.array(["train"] * 2, object), ["A"]
    )
    assert np.isnan(table["prevalence_train"][0])


def test_pairs_agree_with_an_independent_reference(data) -> None:
    labels, known, _, _ = data
    table = measure_cooccurrence(labels, known, NAMES)
    assert len(table) == 6
    for row in table.itertuples():
        a, b = NAMES.index(row.attribute_a), NAMES.index(row.attribute_b)
        assert a < b
        both = known[:, a] & known[:, b]
        x, y = labels[both, a], labels[both, b]
        assert row.n_known == len(x)
        if row.attribute_b == "Never":
            assert np.isnan([row.phi, row.p_a_given_b, row.lift]).all()
            assert row.p_b_given_a == 0
            continue
        assert row.phi == pytest.approx(matthews_corrcoef(x, y))
        assert row.p_b_given_a == pytest.approx(y[x == 1].mean())
        assert row.p_a_given_b == pytest.approx(x[y == 1].mean())
        assert row.lift == pytest.approx((x & y).mean() / (x.mean() * y.mean()))


def test_counts_of_pairs_are_exact_across_blocks() -> None:
    labels = np.ones((140_000, 2), np.uint8)
    labels[0, 0] = 0
    table = measure_cooccurrence(labels, np.ones(labels.shape, bool), ["A", "B"])
    assert table["p_a_given_b"][0] == 139_999 / 140_000


def test_sizes_of_identities() -> None:
    table = count_identities(np.array(["7", "7", "8", None, "9", "9"], object))
    assert table.to_dict("list") == {"n_images": [1, 2], "n_identities": [1, 2]}
    assert count_identities(np.array([None], object)).empty


def test_consistency_agrees_with_pandas(data) -> None:
    labels, known, _, identity = data
    table = measure_consistency(labels, known, identity, NAMES).set_index("attribute")
    for column, name in enumerate(NAMES):
        frame = pd.DataFrame({"value": labels[:, column], "identity": identity})
        frame = frame[known[:, column] & frame["identity"].notna()]
        groups = frame.groupby("identity")["value"].agg(["mean", "size"])
        groups = groups[groups["size"] >= 2]
        expected = np.maximum(groups["mean"], 1 - groups["mean"]).mean()
        assert table.loc[name, "n_identities"] == len(groups)
        assert table.loc[name, "agreement"] == pytest.approx(expected)


def test_consistency_without_identities_is_undefined(data) -> None:
    labels, known, _, _ = data
    table = measure_consistency(labels, known, np.full(600, None, object), NAMES)
    assert table["n_identities"].tolist() == [0] * 4
    assert table["agreement"].isna().all()


def test_imbalance_counts_both_values(data) -> None:
    labels, known, _, _ = data
    table = measure_imbalance(labels, known, NAMES).set_index("attribute")
    for column, name in enumerate(NAMES):
        values = labels[known[:, column], column]
        row = table.loc[name]
        assert (row["n_known"], row["n_positive"]) == (len(values), values.sum())
        assert row["prevalence"] == pytest.approx(values.mean())
        counts = np.bincount(values, minlength=2)
        assert row["majority_share"] == pytest.approx(counts.max() / len(values))
        if name == "Never":
            assert np.isnan(row["imbalance_ratio"])
        else:
            assert row["imbalance_ratio"] == pytest.approx(counts.max() / counts.min())


def test_cardinality_leaves_out_images_without_a_known_label() -> None:
    labels = np.array([[1, 1], [1, 0], [0, 0], [1, 1], [1, 1]], np.uint8)
    known = np.array([[1, 1], [1, 0], [1, 1], [0, 0], [0, 1]], bool)
    partition = np.array(["test", "train", "train", "train", "train"], object)
    table = count_cardinality(labels, known, partition)
    assert table.to_dict("list") == {
        "partition": ["train", "train", "test"],
        "n_positive": [0, 1, 2],
        "n_images": [1, 2, 1],
    }


def test_identities_of_several_partitions_are_counted_with_their_images() -> None:
    identity = np.array(["1", "1", "2", "2", "3", None, None], object)
    partition = np.array(["train", "test", "train", "train", "valid", "train", "test"], object)
    assert count_shared_identities(identity, partition) == (1, 2)
    assert count_shared_identities(np.full(7, None, object), partition) == (0, 0)
