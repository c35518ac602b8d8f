"""Pages about attributes: figures as scikit-learn has them, safe names, nothing left undefined."""

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from report_fabric import Recipe, fabricate
from report_html import Elements
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    precision_recall_curve,
    precision_score,
    recall_score,
    roc_curve,
)

import stages.report.run
from stages.common.errors import FacetError
from stages.common.params import ReportParams
from stages.common.tables import SALIENCY
from stages.report import pictures
from stages.report.answers import Answers, Counts, build_ladder, read_ladder, thin
from stages.report.charts_attribute import draw_frame, draw_precision_recall, draw_roc, frame_box
from stages.report.page_attribute import name_files
from stages.report.pictures import Small, choose_rows, encode_heat, encode_heats, place_seen
from stages.report.run import run
from stages.report.sentences_attribute import (
    describe_answers,
    describe_doubts,
    describe_gain,
    describe_tuning,
    name_group,
)

PLACES = (("attributes", "Attributes"), ("evaluation", "Evaluation"))
PARAMS = ReportParams(title="Facet", n_gallery=0)
SMALL = Recipe(n_images=140, n_planted=2, shares=(0.5, 0.2))
EVIL = "<script>alert(1)</script>"
NASTY = {
    EVIL: 0.4,
    "a/../b\\c": 0.3,
    "\"quotes\" & 'more'": 0.4,
    "😀": 0.5,
    "No Beard": 0.6,
    "no_beard": 0.5,
    "x" * 200: 0.4,
    "{{ 7 * 7 }}=1 $y$": 0.5,
    "Male": 0.4,
}


def build(root: Path, recipe: Recipe) -> dict[str, str]:
    """Every attribute's page by its name; the overview and the evaluation by their file."""
    paths = fabricate(root, recipe)
    build_site(paths)
    files = {file: name for name, file in name_files(list(recipe.attributes)).items()}
    return {
        files.get(path.name, path.name): path.read_text(encoding="utf-8")
        for path in paths["out"].glob("*.html")
    }


def build_site(paths: dict[str, Path]) -> None:
    """Write the pages about attributes and those that lead to them: the others take longer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages.report.run, "PAGES", PLACES)
        run(PARAMS, **paths)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> dict[str, str]:
    recipe = replace(SMALL, empty_attribute="Bald", unlabelled_attribute="Mustache")
    return build(tmp_path_factory.mktemp("site"), recipe)


def make_answers(n: int = 400, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with many ties, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.3
    probs = 1 / (1 + np.exp(-(2.5 * labels - 1.4 + rng.normal(size=n))))
    probs[::3] = np.round(probs[::3], 1)
    return probs.astype(np.float32), labels


def decode(code: str, n_bytes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps and increments, as the page's script reads them."""
    data = base64.b64decode(code)
    n = len(data) // (n_bytes + 2)
    steps = np.frombuffer(data[: n_bytes * n], f"<f{n_bytes}")
    yes, no = np.frombuffer(data[n_bytes * n :], np.uint8).reshape(2, n).astype(int)
    return steps, yes, no


def count_like_the_page(lab: dict[str, str | None], threshold: float) -> Counts:
    steps, yes, no = decode(lab["data-counts"], 4 if lab["data-exact"] == "1" else 8)
    below = steps.astype(float) <= threshold
    fn, tn = int(yes[below].sum()), int(no[below].sum())
    return Counts(int(lab["data-positive"]) - fn, int(lab["data-negative"]) - tn, fn, tn)


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.25, 0.5, 0.7000001, 0.9, 1.0])
def test_scores_at_a_threshold_are_scikit_learns(threshold):
    probs, labels = make_answers()
    counts = build_ladder(probs, labels).count(threshold)
    said = probs.astype(float) > threshold
    scores = counts.score()
    assert counts.tp + counts.fp == said.sum()
    assert scores["accuracy"] == pytest.approx(accuracy_score(labels, said))
    assert scores["recall"] == pytest.approx(recall_score(labels, said))
    assert scores["f1"] == pytest.approx(f1_score(labels, said))
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, said))
    if said.any():
        assert scores["precision"] == pytest.approx(precision_score(labels, said))
    else:
        assert scores["precision"] is None


def test_the_trace_holds_every_point_of_scikit_learns_curves():
    probs, labels = make_answers()
    ladder = build_ladder(probs, labels)
    tp, fp = ladder.trace()
    precision, recall, _ = precision_recall_curve(labels, probs)
    np.testing.assert_allclose(tp[:-1] / (tp + fp)[:-1], precision[:-1])
    np.testing.assert_allclose(tp / labels.sum(), recall)
    fpr, tpr, _ = roc_curve(labels, probs, drop_intermediate=False)
    np.testing.assert_allclose(fp[::-1] / (~labels).sum(), fpr)
    np.testing.assert_allclose(tp[::-1] / labels.sum(), tpr)


def read_path(svg: str, color: str) -> np.ndarray:
    (found,) = re.findall(rf'<path d="M([^"]+)" style="[^"]*var\(--{color}\)', svg)
    return np.array(found.split(), float).reshape(-1, 2)


def test_the_area_below_the_drawn_curve_is_the_average_precision():
    probs, labels = make_answers()
    ladder = build_ladder(probs, labels)
    chart = draw_precision_recall(ladder, 0.8, "test", 0.5)
    assert chart is not None
    x0, y1, width, height = frame_box(draw_frame("pr-test", "pr"))
    points = read_path(chart.svg, "teal")
    x, y = (points[:, 0] - x0) / width, 1 - (points[:, 1] - y1) / height
    area = np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) + x[0] * y[0]
    assert area == pytest.approx(average_precision_score(labels, probs), abs=0.01)
    assert len(points) < 2 * len(ladder.steps)


def test_the_marks_lie_where_the_threshold_is():
    probs, labels = make_answers()
    ladder = build_ladder(probs, labels)
    scores = ladder.count(0.5).score()
    chart = draw_roc(ladder, 0.8, "test", 0.5)
    assert chart is not None
    box = [float(v) for v in re.search(r'data-box="([^"]+)"', chart.svg)[1].split()]
    across, down = map(float, re.search(r'"translate\(([\d.]+) ([\d.]+)\)" r=', chart.svg).groups())
    assert (across - box[0]) / box[2] == pytest.approx(1 - scores["specificity"], abs=0.002)
    assert 1 - (down - box[1]) / box[3] == pytest.approx(scores["recall"], abs=0.002)


def test_ties_of_any_number_survive_the_encoding():
    probs = np.array([0.0] * 700 + [0.25] * 3 + [1.0] * 256, np.float32)
    labels = np.arange(len(probs)) % 2 == 0
    ladder = build_ladder(probs, labels)
    steps, yes, no = decode(ladder.encode(), 4)
    assert np.all(np.diff(steps) >= 0)
    for place, value in enumerate((0.0, 0.25, 1.0)):
        assert yes[steps <= value].sum() == ladder.fn[place]
        assert no[steps <= value].sum() == ladder.tn[place]


def test_very_many_probabilities_are_counted_at_round_thresholds():
    probs, labels = make_answers(3000)
    whole = build_ladder(probs, labels)
    coarse = thin(whole)
    assert not coarse.is_exact
    assert len(coarse.steps) == 1001
    for threshold in (0.0, 0.037, 0.5, 1.0):
        assert coarse.count(threshold) == whole.count(threshold)
    assert coarse.count(0.0375) == whole.count(0.037)
    steps, yes, no = decode(coarse.encode(), 8)
    assert (yes.sum(), no.sum()) == (labels.sum(), (~labels).sum())
    assert steps[37] <= 0.037


def test_a_ladder_of_evaluates_table_has_its_counts():
    curve = pd.DataFrame(
        {"threshold": [0.5, 0.0, 1.0], "tp": [3, 5, 0], "fp": [1, 9, 0], "fn": [2, 0, 5],
         "tn": [8, 0, 9]}
    )  # fmt: skip
    ladder = read_ladder(curve)
    assert ladder.count(0.5) == Counts(3, 1, 2, 8)
    assert ladder.count(0.7) == Counts(3, 1, 2, 8)
    assert ladder.count(1.0) == Counts(0, 0, 5, 9)


def test_file_names_are_safe_and_no_two_are_the_same():
    names = list(NASTY)
    files = name_files(names)
    assert len(set(files.values())) == len(names)
    assert len({file.lower() for file in files.values()}) == len(names)
    for file in files.values():
        assert re.fullmatch(r"attribute-\d(-[a-z0-9]+)*\.html", file)
        assert len(file) < 64
    assert files["😀"] == "attribute-4.html"
    assert files["No Beard"].endswith("-no-beard.html")
    assert name_files([str(k) for k in range(120)])["7"] == "attribute-008-7.html"


@pytest.fixture(scope="module")
def nasty(tmp_path_factory) -> dict[str, str]:
    return build(tmp_path_factory.mktemp("nasty"), replace(SMALL, attributes=NASTY))


def test_names_of_the_data_are_escaped_and_links_are_right(nasty):
    files = name_files(list(NASTY))
    for place, name in enumerate(NASTY):
        text = nasty[name]
        page = Elements(text)
        heading = re.search(r"<h1>(.*?)</h1>", text, re.DOTALL)
        assert Elements(heading[0]).text.replace(" ", "") == name.replace(" ", "")
        assert EVIL not in text
        assert [tag for tag, _ in page.tags].count("script") == 1
        assert "49" not in heading[0]
        links = {a.get("rel"): a["href"] for tag, a in page.tags if tag == "a" and "rel" in a}
        order = list(files.values())
        assert links.get("prev") == (order[place - 1] if place else None)
        assert links.get("next") == (order[place + 1] if place + 1 < len(order) else None)
        ids = [a["id"] for _, a in page.tags if "id" in a]
        assert len(ids) == len(set(ids))
        wanted = re.findall(r'(?:href="#|url\(#)([^")]+)', text)
        wanted += re.findall(r'aria-labelledby="([^"]+)"', text)
        assert set(wanted) <= set(ids)
    for other in ("attributes.html", "evaluation.html"):
        page = Elements(nasty[other])
        assert {a["href"] for tag, a in page.tags if tag == "a"} >= set(files.values())


def test_every_figure_of_a_page_is_evaluates(site, tmp_path):
    """The page recounts from predictions; evaluate counted before."""
    paths = fabricate(tmp_path, replace(SMALL, empty_attribute="Bald"))
    table = pd.read_csv(paths["evaluate_reports"] / "per_attribute.csv")
    build_site(paths)
    for name, file in name_files(list(SMALL.attributes)).items():
        labs = Elements((paths["out"] / file).read_text(encoding="utf-8")).find("lab")
        assert len(labs) == 2
        for lab, part in zip(labs, ("test", "valid"), strict=True):
            rows = table[(table["partition"] == part) & (table["attribute"] == name)]
            row = rows.iloc[0]
            scores = count_like_the_page(lab, 0.5).score()
            for key in ("accuracy", "precision", "recall", "f1", "balanced_accuracy"):
                if np.isnan(row[key]):
                    assert scores[key] is None
                else:
                    assert scores[key] == pytest.approx(row[key], abs=1e-5)
            assert float(lab["data-constant"]) == pytest.approx(row["majority_accuracy"], abs=1e-5)


def test_an_attribute_without_positives_is_said_to_be_undefined(site):
    page = Elements(site["Bald"])
    assert "No label of test is yes" in page.text
    assert "n/a: no label is yes" in page.text
    assert "No threshold could be tuned" in page.text
    assert len(page.find("lab")) == 2  # false alarms can still be counted
    assert "nan" not in page.text.lower().split()
    assert "None" not in page.text


def test_an_attribute_without_a_known_label_renders(site):
    page = Elements(site["Mustache"])
    assert "No label of test is known" in page.text
    assert page.find("lab") == []
    assert "No label is known." in page.text
    assert "nan" not in page.text.lower().split()


def test_undefined_values_stand_in_the_overview_as_such(site):
    row = re.search(
        r'<tr><th scope="row"[^>]*data-value="Mustache".*?</tr>', site["attributes.html"]
    )
    assert row[0].count(">n/a<") >= 6
    assert ">0.0" not in row[0]


@pytest.mark.parametrize(
    ("recipe", "expected", "absent"),
    [
        (replace(SMALL, n_shown=0), "There are no heat maps", "Grad-CAM"),
        (replace(SMALL, identities=False), "Grad-CAM", "nan"),
        (replace(SMALL, findings=False), "The audit flags no label", "nan"),
        (replace(SMALL, partitions=("valid",)), "Pictures of valid", "Test partition"),
        (replace(SMALL, extra=True), "The slider counts at 41 thresholds", "nan"),
        (replace(SMALL, n_resamples=0), "puts the model above it", "(interval"),
        (replace(SMALL, slices=()), "Grad-CAM", "In groups"),
    ],
    ids=["no saliency", "no identities", "no findings", "valid", "second set", "no intervals",
         "no slices"],
)  # fmt: skip
def test_what_is_missing_is_left_out(tmp_path, recipe, expected, absent):
    page = Elements(build(tmp_path, recipe)["Smiling"])
    assert expected in page.text
    assert absent not in page.text


def test_a_set_with_one_attribute_has_one_page(tmp_path):
    pages = build(tmp_path, replace(SMALL, attributes={"Only": 0.4}, slices=()))
    page = Elements(pages["Only"])
    assert [a for tag, a in page.tags if "rel" in a and tag == "a"] == []
    assert Elements(pages["attributes.html"]).text.count("Only") == 1


def test_without_valid_there_is_no_tuning_but_a_calibration_curve(tmp_path):
    page = Elements(build(tmp_path, replace(SMALL, partitions=("test",)))["Smiling"])
    assert "no temperature could be fitted" in page.text
    assert "Are the probabilities right?" in page.text
    assert len(page.find("lab")) == 1


def test_each_picture_stands_in_a_page_once_and_is_described(site):
    text = site["Smiling"]
    uris = re.findall(r'href="(data:image/jpeg[^"]+)"', text)
    assert len(uris) == len(set(uris)) > 8
    used = re.findall(r'<use href="#(picture-\d+)"/>', text)
    assert set(used) == set(re.findall(r'<image id="(picture-\d+)"', text))
    assert len(used) > len(uris)  # beside its heat map again
    labels = [a["aria-label"] for tag, a in Elements(text).tags if tag == "svg" and "role" in a]
    assert any(re.match(r"\d{6}\.jpg: labelled (yes|no), probability given ", s) for s in labels)
    assert any("it explains nothing" in label for label in labels)


def test_same_inputs_give_the_same_bytes(tmp_path):
    first, second = (build(tmp_path / name, SMALL) for name in ("a", "b"))
    assert first == second


def test_a_missing_table_of_heat_maps_is_an_error(tmp_path):
    paths = fabricate(tmp_path, SMALL)
    (paths["evaluate"] / SALIENCY).unlink()
    with pytest.raises(FacetError, match=r"saliency\.parquet"):
        build_site(paths)


def make_part(probs: Sequence[float], labels: Sequence[int | None]) -> Answers:
    known = np.array([[value is not None] for value in labels])
    truth = np.array([[value == 1] for value in labels])
    ids = np.array([f"{k}.jpg" for k in range(len(probs))], object)
    return Answers("test", ids, np.array(probs, np.float32)[:, None], truth, known)


def test_the_surest_mistakes_come_first_and_unknown_labels_never():
    part = make_part([0.9, 0.99, 0.6, 0.2, 0.01, 0.4, 0.999], [0, 0, 1, 1, 1, 0, None])
    rows = choose_rows(part, 0, 0.5, None, 4)
    assert rows["false_positive"] == [1, 0]
    assert rows["false_negative"] == [4, 3]
    assert sorted(choose_rows(part, 0, 0.5, None, 9)["random"]) == [0, 1, 2, 3, 4, 5]
    assert choose_rows(part, 0, 0.5, None, 4) == rows


def test_pictures_with_a_heat_map_come_first_in_the_sample():
    part = make_part(np.linspace(0.1, 0.9, 20).tolist(), [1, 0] * 10)
    saliency = pd.DataFrame({"image_id": ["17.jpg", "3.jpg", "none.jpg"], "kind": "random"})
    rows = choose_rows(part, 0, 0.5, saliency, 6)["random"]
    assert rows[:2] == [17, 3]
    assert len(set(rows)) == 6


def test_pictures_are_fewer_where_attributes_are_many():
    counts = [pictures.count_shown(n) for n in (1, 40, 100, 200, 1000)]
    assert counts == [12, 12, 6, 4, 4]


def read_png(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)))


def test_a_heat_map_is_the_more_opaque_the_hotter_and_its_rim_repeats():
    values = np.array([[0, 80, 160], [255, 10, 90]], np.uint8)
    image = read_png(encode_heat(values))
    assert image.shape == (4, 5, 4)
    alpha = image[1:-1, 1:-1, 3].astype(int)
    order = np.argsort(values, axis=None)
    assert np.all(np.diff(alpha.ravel()[order]) > 0)
    assert alpha[0, 0] == 0
    np.testing.assert_array_equal(image[0, 1:-1], image[1, 1:-1])
    np.testing.assert_array_equal(image[:, -1], image[:, -2])


def test_heat_maps_of_nothing_and_of_no_network_are_told_apart():
    table = pd.DataFrame(
        {
            "image_id": ["a", "b", "c"],
            "heat": [bytes(4), bytes([0, 1, 2, 255]), None],
            "height": [2, 2, None],
            "width": [2, 2, None],
        }
    )
    heats = encode_heats(table)
    assert heats["a"].uri == ""
    assert heats["b"].uri.startswith("data:image/png")
    assert set(heats) == {"a", "b"}


def test_a_heat_map_lies_over_what_the_network_saw():
    small = Small("", 89, 109, 178, 218)
    assert place_seen(small, [178, 178]) == (0, 10, 89, 89)
    assert place_seen(small, None) == (0, 0, 89, 109)
    assert place_seen(Small("", 50, 50, 100, 100), [200, 100]) == (0, -25, 50, 100)


@pytest.mark.parametrize(
    ("gain", "low", "high", "expected"),
    [
        (0.02, 0.01, 0.03, "clearly above"),
        (0.02, -0.01, 0.05, "may be chance"),
        (-0.02, -0.05, 0.01, "does worse"),
        (0.0, -0.01, 0.01, "gains nothing"),
        (0.02, None, None, "puts the model above it"),
        (None, None, None, "undefined"),
    ],
)
def test_the_gain_in_a_sentence(gain, low, high, expected):
    assert expected in describe_gain({"gain": gain, "gain_low": low, "gain_high": high})


def test_the_headline_names_interval_majority_and_constant_answer():
    row = {
        "accuracy": 0.912, "accuracy_low": 0.9, "accuracy_high": 0.92, "majority_accuracy": 0.8,
        "majority_class": 1, "n_known": 1000, "gain": 0.112, "gain_low": 0.1, "gain_high": 0.12,
    }  # fmt: skip
    text = describe_answers(row, "extra")
    assert "On the second set" in text
    assert "(interval 90.00 to 92.00)" in text
    assert "always answering yes reaches 80.00" in text


def test_tuned_thresholds_in_a_sentence():
    rows = [
        {
            "aim": "f1",
            "threshold": 0.2674,
            "change": 0.03,
            "change_low": -0.01,
            "change_high": 0.05,
        },
        {"aim": "accuracy", "threshold": None, "change": None},
    ]
    text = describe_tuning(rows, "test")
    assert "F1 by +3.00 (−1.00 to +5.00) at 0.267" in text
    assert "None of these changes is clear of chance" in text
    assert "too good" in describe_tuning(rows, "valid")
    assert "could be tuned" in describe_tuning(rows[1:], "test")


def test_doubts_in_a_sentence():
    flagged = pd.DataFrame({"partition": ["train", "test", "test"], "image_id": list("abc")})
    text = describe_doubts(flagged, 1, {"partition": "test", "n": 2, "accuracy": 0.9})
    assert "3 labels of this attribute: 1 in train and 2 in test" in text
    assert "Of the 2 evaluated ones the model answers 1 otherwise" in text
    assert "no label" in describe_doubts(flagged[:0], 0, None)


@pytest.mark.parametrize(
    ("group", "expected"),
    [("Male=1", "Male: yes"), ("Male=1 Young=0", "Male: yes, Young: no"), ("a=1=0", "a=1: no")],
)
def test_groups_read_as_labels(group, expected):
    assert name_group(group) == expected
