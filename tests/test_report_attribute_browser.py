"""The pages about attributes in a browser: the slider counts as numpy does, with mouse and keys."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser_fabric import NEEDS_BROWSER
from report_fabric import Recipe, fabricate

from stages.common.params import ReportParams
from stages.common.tables import read_annotations
from stages.report.page_attribute import name_files
from stages.report.run import run

pytestmark = NEEDS_BROWSER
EVIL = "<script>alert(1)</script>" + "W" * 180
ATTRIBUTES = {**Recipe().attributes, EVIL: 0.4}
FILES = name_files(list(ATTRIBUTES))
SHOWN = ["Smiling", "Bald", "Mustache", EVIL]


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> dict[str, Path]:
    recipe = Recipe(
        n_images=200, n_planted=2, attributes=ATTRIBUTES, shares=(0.4, 0.2), extra=True,
        empty_attribute="Bald", unlabelled_attribute="Mustache",
    )  # fmt: skip
    paths = fabricate(tmp_path_factory.mktemp("site"), recipe)
    run(ReportParams(title="Facet", n_gallery=0), **paths)
    return paths


@pytest.fixture
def open_page(browser, paths):
    contexts = []

    def open_one(attribute: str, width_px: int = 1280, scheme: str = "light", script: bool = True):
        context = browser.new_context(
            viewport={"width": width_px, "height": 800},
            color_scheme=scheme,
            java_script_enabled=script,
        )
        contexts.append(context)
        page = context.new_page()
        page.complaints = []
        page.requests = []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto((paths["out"] / FILES.get(attribute, f"{attribute}.html")).as_uri())
        return page

    yield open_one
    for context in contexts:
        context.close()


def read_answers(paths, attribute: str, partition: str) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities in float64 and labels, straight from the tables."""
    table = pd.read_parquet(paths["evaluate"] / "predictions.parquet").set_index("image_id")
    table = table[table["partition"] == partition]
    labels, _ = read_annotations(paths["download"])
    truth = labels.set_index("image_id").loc[table.index, attribute]
    known = truth.notna()
    return table.loc[known, attribute].to_numpy(float), truth[known].to_numpy(bool)


def expected(probs: np.ndarray, labels: np.ndarray, threshold: float) -> dict[str, float]:
    said = probs > threshold
    tp, fp = (said & labels).sum(), (said & ~labels).sum()
    fn, tn = (~said & labels).sum(), (~said & ~labels).sum()
    with np.errstate(invalid="ignore"):
        return {
            "tp": tp, "fp": fp, "fn": fn, "tn": tn,
            "precision": 100 * tp / (tp + fp), "recall": 100 * tp / (tp + fn),
            "f1": 200 * tp / (2 * tp + fp + fn), "accuracy": 100 * (tp + tn) / len(probs),
            "balanced": 50 * (tp / (tp + fn) + tn / (tn + fp)),
        }  # fmt: skip


def read_lab(page, partition: str = "test") -> dict[str, float]:
    """What the page shows, NaN for n/a."""
    fields = page.locator(f".part:has(> #{partition}) [data-out]")
    pairs = fields.evaluate_all("all => all.map((f) => [f.dataset.out, f.textContent])")
    return {
        name: float("nan") if text == "n/a" else float(
            text.replace("\u202f%", "").replace("\u2212", "-").replace(",", "")
        )
        for name, text in pairs
    }  # fmt: skip


def agree(shown: dict[str, float], wanted: dict[str, float]) -> None:
    for name, value in wanted.items():
        assert shown[name] == pytest.approx(value, abs=0.0051, nan_ok=True), name


@pytest.mark.parametrize("name", [*SHOWN, "attributes"])
def test_page_opens_without_complaint_or_request(open_page, name):
    page = open_page(name)
    assert page.complaints == []
    assert [url for url in page.requests if not url.startswith("data:")] == [page.url]


@pytest.mark.parametrize("width_px", [320, 390, 768, 1280])
@pytest.mark.parametrize("name", [*SHOWN, "attributes"])
def test_page_never_scrolls_sideways(open_page, name, width_px):
    page = open_page(name, width_px)
    assert page.evaluate("document.documentElement.scrollWidth") <= width_px


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.335, 0.5, 0.8, 1.0])
def test_the_slider_recounts_as_numpy_does(open_page, paths, threshold):
    page = open_page("Smiling")
    page.locator("#slider-test").evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }",
        threshold,
    )
    agree(read_lab(page), expected(*read_answers(paths, "Smiling", "test"), threshold))
    line = page.locator(".part:has(> #test) output")
    assert line.inner_text().startswith(f"At {threshold:g}: precision ")
    assert line.get_attribute("aria-live") == "polite"
    other = read_lab(page, "valid")
    agree(other, expected(*read_answers(paths, "Smiling", "valid"), 0.5))  # its own slider


def test_a_threshold_can_be_typed_to_any_digit(open_page, paths):
    page = open_page("Smiling")
    probs, labels = read_answers(paths, "Smiling", "test")
    limit = float(np.float32(np.sort(probs)[len(probs) // 3]))  # one of the probabilities itself
    page.locator("#number-test").fill(repr(limit))
    agree(read_lab(page), expected(probs, labels, limit))
    page.locator("#number-test").fill(repr(limit - 1e-7))
    agree(read_lab(page), expected(probs, labels, limit - 1e-7))


def test_the_slider_works_with_the_keyboard(open_page, paths):
    page = open_page("Smiling")
    slider = page.get_by_label("Threshold on test", exact=True)
    slider.focus()
    answers = read_answers(paths, "Smiling", "test")
    for key, limit in (("ArrowRight", 0.505), ("Home", 0.0), ("End", 1.0), ("ArrowLeft", 0.995)):
        page.keyboard.press(key)
        assert float(slider.input_value()) == pytest.approx(limit)
        agree(read_lab(page), expected(*answers, limit))
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the first button: the threshold in use
    agree(read_lab(page), expected(*answers, 0.5))


def test_a_button_chooses_a_tuned_threshold_exactly(open_page, paths):
    page = open_page("Smiling")
    tuned = pd.read_csv(paths["evaluate_reports"] / "tuned.csv").set_index("attribute")
    limit = tuned.loc["Smiling", "threshold_f1"]
    button = page.locator(f'.part:has(> #test) button[data-threshold="{limit}"]')
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    agree(read_lab(page), expected(*read_answers(paths, "Smiling", "test"), limit))


def test_marks_on_the_curves_follow(open_page, paths):
    page = open_page("Smiling")
    page.locator("#number-test").fill("0.3")
    wanted = expected(*read_answers(paths, "Smiling", "test"), 0.3)
    places = page.locator(".part:has(> #test) .live").evaluate_all(
        "all => all.map((g) => [g.dataset.kind, g.dataset.box,"
        " (g.querySelector('.at') ?? g.querySelector('.cut')).getAttribute('transform')])"
    )
    seen = set()
    for kind, box, transform in places:
        x0, y0, width, height = map(float, box.split())
        across, down = map(float, transform.removeprefix("translate(").rstrip(")").split())
        seen.add(kind)
        if kind == "histogram":
            assert (across - x0) / width == pytest.approx(0.3)
        if kind == "pr":
            assert 100 * (across - x0) / width == pytest.approx(wanted["recall"])
            assert 100 * (1 - (down - y0) / height) == pytest.approx(wanted["precision"])
        if kind == "roc":
            assert 100 * (1 - (down - y0) / height) == pytest.approx(wanted["recall"])
    assert seen == {"pr", "roc", "histogram"}


def test_the_second_set_is_counted_at_the_thresholds_of_its_table(open_page, paths):
    page = open_page("Smiling")
    page.locator("#number-extra").fill("0.339")
    curves = pd.read_csv(paths["evaluate_reports"] / "curves.csv")
    row = curves[
        (curves["partition"] == "extra") & (curves["attribute"] == "Smiling")
        & (curves["threshold"] == 0.325)
    ].iloc[0]  # fmt: skip
    shown = read_lab(page, "extra")
    assert [shown[name] for name in ("tp", "fp", "fn", "tn")] == [
        row[name] for name in ("tp", "fp", "fn", "tn")
    ]
    assert page.locator(".part:has(> #extra) output").inner_text().startswith("At 0.325:")


def test_without_positives_what_is_undefined_says_so(open_page):
    page = open_page("Bald")
    shown = read_lab(page)
    assert np.isnan(shown["recall"])
    assert np.isnan(shown["balanced"])
    assert shown["tp"] == shown["fn"] == 0


def test_without_script_figures_and_charts_are_there_and_no_dead_knobs(open_page):
    page = open_page("Smiling", script=False)
    assert not page.locator("#slider-test").is_visible()
    assert not page.locator(".readings").first.is_visible()
    assert page.locator(".part:has(> #test) .limits tbody tr").count() == 4
    assert page.locator(".part:has(> #test) .chart svg").count() == 4


def test_pictures_and_heat_maps_are_drawn(open_page):
    page = open_page("Smiling")
    sizes = page.locator(".pair > svg").evaluate_all(
        "all => all.map((s) => [s.clientWidth, s.clientHeight, s.getBBox().width])"
    )
    assert len(sizes) > 10
    assert all(width > 60 and height > 60 and drawn > 60 for width, height, drawn in sizes)
    assert page.locator(".pair svg svg image").count() >= 3


def test_dark_mode_changes_page_and_charts(open_page):
    colors = {}
    for scheme in ("light", "dark"):
        page = open_page("Smiling", scheme=scheme)
        colors[scheme] = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor,"
            ' getComputedStyle(document.querySelector(`.chart path[style*="--teal"]`)).fill,'
            " getComputedStyle(document.querySelector('.line')).color]"
        )
    assert all(a != b for a, b in zip(*colors.values(), strict=True)), colors


def test_the_evaluation_leads_to_a_page_and_on_to_the_next(open_page):
    page = open_page("evaluation")
    page.locator("#table-test").get_by_role("link", name="Smiling").click()
    assert page.locator("h1").inner_text() == "Smiling"
    page.locator(".steps a[rel=next]").first.click()
    assert page.locator("h1").inner_text() == "Wearing_Hat"
    page.locator(".steps a", has_text="All attributes").first.click()
    assert page.locator("#table-attributes tbody tr").count() == len(ATTRIBUTES)
