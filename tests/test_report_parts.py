"""Parts of the report by themselves: words, charts, galleries, sums."""

import re

import numpy as np
import pandas as pd
import pytest
from report_fabric import Recipe, draw_face, fabricate

from stages.common.tables import IMAGES_SCHEMA
from stages.report import words
from stages.report.charts_data import cluster_order, draw_cooccurrence, phi_matrix
from stages.report.figure import clean_svg
from stages.report.page_evaluation import bin_probabilities, find_weakest
from stages.report.sentences_audit import describe_self_check
from stages.report.thumbnails import encode_thumbnails

NAN = float("nan")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (words.percent(0.12345), "12.3\u202f%"),
        (words.percent(None), "n/a"),
        (words.percent(NAN), "n/a"),
        (words.percent(0.0), "0.0\u202f%"),
        (words.points(0.0123), "+1.2"),
        (words.points(-0.0123), "\u22121.2"),
        (words.points(-0.0001), "0.0"),
        (words.points(NAN), "n/a"),
        (words.count(1234567), "1,234,567"),
        (words.count(pd.NA), "n/a"),
        (words.compact(0.001), "0.001"),
        (words.compact(0.000953), "0.000953"),
        (words.compact(86.42345), "86.42"),
        (words.compact(12345), "12,345"),
        (words.compact(120), "120"),
        (words.compact(3e-9), "3.00e-09"),
        (words.compact(0), "0"),
        (words.compact(-2.5), "\u22122.5"),
        (words.decimal(None), "n/a"),
        (words.counted(1, "pair"), "1 pair"),
        (words.counted(2000, "pair"), "2,000 pairs"),
        (words.listed(["a"]), "a"),
        (words.listed(["a", "b", "c"]), "a, b and c"),
        (words.listed(["a", "b", "c"], 2), "a, b and 1 more"),
        (words.listed([]), ""),
        (words.breakable("a_<b>"), "a_<wbr>&lt;b&gt;"),
        (words.shorten("x" * 30, 10), "x" * 9 + "…"),
    ],
)
def test_words(text, expected):
    assert text == expected


@pytest.mark.parametrize(
    ("value", "largest", "expected"),
    [(1, 2, 0.5), (NAN, 2, 0.0), (1, NAN, 0.0), (3, 2, 1.0), (1, 0, 0.0)],
)
def test_bars(value, largest, expected):
    assert words.bar_share(value, largest) == expected


def pairs_table(phi: dict[tuple[str, str], float]) -> pd.DataFrame:
    return pd.DataFrame(
        [(a, b, 100, value) for (a, b), value in phi.items()],
        columns=["attribute_a", "attribute_b", "n_known", "phi"],
    )


def test_phi_matrix_is_symmetric_and_keeps_what_is_undefined():
    phi = phi_matrix(pairs_table({("a", "b"): 0.5, ("a", "c"): NAN}), ["a", "b", "c"])
    assert phi[0, 1] == phi[1, 0] == 0.5
    assert np.isnan(phi[0, 2])
    assert np.isnan(phi[1, 2])
    assert (np.diag(phi) == 1).all()


def test_attributes_that_go_together_stand_side_by_side():
    phi = np.eye(4)
    phi[0, 2] = phi[2, 0] = 0.9
    phi[1, 3] = phi[3, 1] = 0.9
    order = cluster_order(phi)
    assert abs(order.index(0) - order.index(2)) == 1
    assert abs(order.index(1) - order.index(3)) == 1


def test_heat_map_names_the_right_pair_in_each_cell():
    values = {("a", "b"): 0.9, ("a", "c"): -0.5, ("b", "c"): 0.1}
    chart = draw_cooccurrence(pairs_table(values), ["a", "b", "c"])
    cells = re.findall(
        r'style="fill: var\(--(\w+)\); fill-opacity: ([\d.]+)[^>]*><title>(\w) and (\w): ([^<]+)<',
        chart.svg,
    )
    assert len(cells) == 3
    for color, opacity, a, b, text in cells:
        value = values[min(a, b), max(a, b)]
        assert text == words.decimal(value, 2)
        assert color == ("teal" if value > 0 else "rust")
        assert float(opacity) == pytest.approx(abs(value) ** 0.75, abs=0.02)


def test_ids_of_two_charts_never_meet():
    svg = '<?xml?><svg viewBox="0 0 1 1"><g id="a"/><path id="b" clip-path="url(#a)"/></svg>'
    assert 'id="one-a"' in clean_svg(svg, "one")
    assert "url(#one-a)" in clean_svg(svg, "one")
    assert 'id="one-b"' not in clean_svg(svg, "one")  # nobody refers to it


def test_thumbnails_of_the_wanted_pictures_and_none_for_a_broken_one(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    good = draw_face(1, (218, 178), False)
    rows = {"image_id": ["a", "b", "c"], "bytes": [good, good[:500], good], "sha1": ["", "", ""]}
    pq.write_table(
        pa.table(rows, schema=IMAGES_SCHEMA),
        tmp_path / "images-00000-of-00001.parquet",
        row_group_size=2,
    )
    found = encode_thumbnails(tmp_path, ["a", "b", "missing"])
    assert set(found) == {"a", "b"}
    assert found["a"].uri.startswith("data:image/webp;base64,UklGR")
    assert (found["a"].width_px, found["a"].height_px) == (178, 218)
    assert found["a"].n_bytes == len(good)
    assert found["b"] is None


def test_bins_hold_every_known_label_once(tmp_path):
    from stages.report.inputs import read_inputs

    paths = fabricate(tmp_path, Recipe(n_images=120, n_planted=2))
    del paths["out"]
    inputs = read_inputs(**paths)
    for partition in ("valid", "test"):
        bins = bin_probabilities(inputs, partition)
        mine = inputs.annotations[inputs.annotations["partition"] == partition]
        assert bins["n"].sum() == mine[inputs.attributes].notna().sum().sum()
        assert bins["observed"].dropna().between(0, 1).all()
        # The mean probability of a bin lies within it.
        edges = np.arange(10) / 10
        known = bins["n"] > 0
        means = bins["mean_probability"][known]
        assert ((means >= edges[known] - 1e-9) & (means <= edges[known] + 0.1 + 1e-9)).all()


def test_the_self_check_says_what_it_measured():
    result = {
        "n_images": 300, "share_flipped": 0.03, "n_flipped": 90, "recall": 0.5, "precision": 0.75,
        "precision_first_1000": None, "average_precision": 0.6, "macro_average_precision": 0.6,
        "cleanlab_average_precision": 0.5, "n_labels": 3000,
    }  # fmt: skip
    text = " ".join(describe_self_check(result))
    assert "flagged 50.0\u202f% of them. Of what it flagged, 75.0\u202f% had" in text
    assert "networks" not in text
    text = " ".join(describe_self_check(result | {"recall": 0.0, "precision": None}))
    assert "It flagged none" in text
    assert "n/a" not in text
    assert "networks learned" in " ".join(describe_self_check(result | {"is_tuned": True}))
    assert describe_self_check({}) == []


def test_weakest_attributes_by_the_errors_they_leave():
    table = pd.DataFrame(
        {
            "attribute": ["sure", "rare", "worse", "half", "unknown"],
            "majority_accuracy": [1.0, 0.98, 0.9, 0.6, 0.5],
            "gain": [0.0, 0.01, -0.05, 0.3, NAN],
        }
    )
    weakest = find_weakest(table)
    assert [row["attribute"] for row in weakest] == ["worse", "rare", "half"]
    assert weakest[1]["errors_gone"] == pytest.approx(0.5)
