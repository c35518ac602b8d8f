"""The pages in a browser: nothing missing, nothing fetched, nothing sticking out."""

import os
import shutil
from pathlib import Path

import pytest
from report_fabric import Recipe, fabricate

from stages.common.params import ReportParams
from stages.report.run import PAGES, run

CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
        if (path := shutil.which(name))
    ),
    None,
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium or chrome on PATH"),
]
ARGS = [
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
NAMES = [name for name, _ in PAGES]
LONG = "An_attribute_with_a_name_that_is_far_longer_than_any_of_CelebA"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    attributes = {**Recipe().attributes, LONG: 0.3, "W" * 70: 0.2}
    recipe = Recipe(n_images=160, n_planted=2, attributes=attributes, empty_attribute="Bald")
    paths = fabricate(tmp_path_factory.mktemp("site"), recipe)
    run(ReportParams(title="Facet", n_gallery=4), **paths)
    return paths["out"]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with playwright.sync_playwright() as player:
        chromium = player.chromium.launch(executable_path=CHROMIUM, args=[*ARGS, *sandbox])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser, site):
    contexts = []

    def open_one(name: str, width_px: int = 1280, scheme: str = "light", script: bool = True):
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
        page.goto((site / f"{name}.html").as_uri())
        return page

    yield open_one
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", NAMES)
def test_page_opens_without_complaint_or_request(open_page, name):
    page = open_page(name)
    assert page.complaints == []
    others = [url for url in page.requests if not url.startswith("data:")]
    assert others == [page.url]
    assert page.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth > 0)")


@pytest.mark.parametrize("width_px", [320, 390, 768, 1280])
@pytest.mark.parametrize("name", NAMES)
def test_page_never_scrolls_sideways(open_page, name, width_px):
    page = open_page(name, width_px)
    assert page.evaluate("document.documentElement.scrollWidth") <= width_px


def column(page, index: int) -> list[str]:
    return page.locator(f"#table-test tbody tr > :nth-child({index})").all_inner_texts()


def test_table_sorts_by_a_click_and_keeps_the_undefined_last(open_page):
    page = open_page("evaluation")
    gain = page.locator("#table-test thead th").nth(4)
    gain.get_by_role("button").click()
    assert gain.get_attribute("aria-sort") == "descending"
    values = [float(text.replace("\u2212", "-")) for text in column(page, 5)]
    assert values == sorted(values, reverse=True)
    assert values != sorted(values)
    gain.get_by_role("button").click()
    values = [float(text.replace("\u2212", "-")) for text in column(page, 5)]
    assert values == sorted(values)
    recall = page.locator("#table-test thead th").nth(8)
    for order in ("descending", "ascending"):
        recall.get_by_role("button").click()
        assert recall.get_attribute("aria-sort") == order
        texts = column(page, 9)
        assert texts[-1] == "n/a"
        assert "n/a" not in texts[:-1]
    assert gain.get_attribute("aria-sort") is None


def test_names_sort_from_a_to_z_with_the_keyboard(open_page):
    page = open_page("evaluation")
    page.locator("#table-test thead th").first.get_by_role("button").focus()
    page.keyboard.press("Enter")
    names = column(page, 1)
    assert names == sorted(names)


def test_tables_are_complete_without_script(open_page):
    page = open_page("evaluation", script=False)
    assert page.locator("#table-test tbody tr").count() == 10
    assert page.locator("#table-test button").count() == 0


def test_table_of_shifts_sorts_by_effect_and_chance(open_page):
    page = open_page("explore")
    page.locator("table.shifts").nth(1).evaluate("table => table.closest('details').open = true")
    table = page.locator("table.shifts").nth(1)
    for column_index in (4, 6):
        head = table.locator("thead th").nth(column_index)
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "descending"
        cells = table.locator(f"tbody tr > :nth-child({column_index + 1})")
        values = cells.evaluate_all("cells => cells.map((cell) => Number(cell.dataset.value))")
        assert len(values) == 10
        assert values == sorted(values, reverse=True)


def test_a_mean_face_leads_to_its_samples(open_page):
    page = open_page("faces", 390)
    page.get_by_role("link", name="Smiling").click()
    card = page.locator(".sheet:target")
    assert card.locator("h3").inner_text() == "Smiling"
    assert card.evaluate("card => Math.abs(card.getBoundingClientRect().top) < 100")
    strips = card.locator("img").evaluate_all("all => all.map((img) => img.clientWidth)")
    assert len(strips) == 2
    assert all(200 < width_px <= 390 for width_px in strips)


def test_dark_mode_changes_page_and_charts(open_page):
    colors = {}
    for scheme in ("light", "dark"):
        page = open_page("evaluation", scheme=scheme)
        colors[scheme] = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor,"
            " getComputedStyle(document.body).color,"
            " getComputedStyle(document.querySelector('.chart svg text')).fill]"
        )
    assert all(a != b for a, b in zip(*colors.values(), strict=True)), colors


LUMINANCE = """
() => {
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((v) => {
      const c = v / 255;
      return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const style = getComputedStyle(document.documentElement);
  const probe = document.body.appendChild(document.createElement("i"));
  const read = (name) => {
    probe.style.color = style.getPropertyValue(name);
    return light(getComputedStyle(probe).color);
  };
  const ratios = {};
  for (const ink of ["--ink", "--muted", "--teal", "--rust"]) {
    for (const paper of ["--paper", "--surface", "--sunken"]) {
      const [a, b] = [read(ink), read(paper)].sort((x, y) => y - x);
      ratios[`${ink} on ${paper}`] = (a + 0.05) / (b + 0.05);
    }
  }
  return ratios;
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(open_page, scheme):
    ratios = open_page("index", scheme=scheme).evaluate(LUMINANCE)
    assert all(ratio >= 4.5 for ratio in ratios.values()), ratios  # WCAG 2.2, level AA
