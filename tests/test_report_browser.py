"""The pages in a browser: nothing missing, nothing fetched, nothing sticking out, all readable."""

from importlib import resources, util
from pathlib import Path

import pytest
from browser_fabric import NEEDS_BROWSER
from report_fabric import Recipe, fabricate

from stages.common.params import ReportParams
from stages.report.run import run

pytestmark = NEEDS_BROWSER
LONG = "An_attribute_with_a_name_that_is_far_longer_than_any_of_CelebA"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    attributes = {**Recipe().attributes, LONG: 0.3, "W" * 70: 0.2}
    recipe = Recipe(
        n_images=160, n_planted=2, attributes=attributes, empty_attribute="Bald", extra=True
    )
    paths = fabricate(tmp_path_factory.mktemp("site"), recipe)
    run(ReportParams(title="Facet", n_gallery=4), **paths)
    return paths["out"]


@pytest.fixture
def open_page(browser, site):
    contexts = []

    def open_one(
        name: str,
        width_px: int = 1280,
        scheme: str = "light",
        script: bool = True,
        bypass_csp: bool = False,
    ):
        context = browser.new_context(
            viewport={"width": width_px, "height": 800},
            bypass_csp=bypass_csp,
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


def list_pages(site: Path) -> list[str]:
    """Every page that the stage wrote, whoever added it."""
    names = sorted(path.stem for path in site.glob("*.html"))
    assert {"index", "evaluation", "slices", "data_card", "model_card", "summary"} <= set(names)
    return names


def test_a_viewer_of_one_page_is_told_why_links_fail(open_page, site):
    """As MLflow shows an artifact: in a sandboxed frame, from a blob."""
    words = "This viewer shows one page alone"
    page = open_page("evaluation", bypass_csp=True)  # the page itself lets no frame in
    assert page.get_by_text(words).count() == 0
    page.evaluate(
        """html => {
            const frame = document.createElement("iframe");
            frame.sandbox = "allow-scripts";
            frame.src = URL.createObjectURL(new Blob([html], {type: "text/html"}));
            document.body.replaceChildren(frame);
        }""",
        (site / "evaluation.html").read_text(encoding="utf-8"),
    )
    page.frame_locator("iframe").get_by_text(words).wait_for(timeout=10_000)


def test_pages_open_without_complaint_or_request(open_page, site):
    for name in list_pages(site):
        page = open_page(name)
        assert page.complaints == [], name
        others = [url for url in page.requests if not url.startswith("data:")]
        assert others == [page.url], name
        assert page.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth > 0)")


@pytest.mark.parametrize("width_px", [320, 390, 768, 1280])
def test_no_page_scrolls_sideways(open_page, site, width_px):
    for name in list_pages(site):
        page = open_page(name, width_px)
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width_px, name


@pytest.mark.skipif(
    util.find_spec("axe_playwright_python") is None, reason="no axe-playwright-python"
)
@pytest.mark.parametrize(("scheme", "width_px"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_serious(open_page, site, scheme, width_px):
    axe = (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    found = {}
    for name in list_pages(site):
        page = open_page(name, width_px, scheme, bypass_csp=True)
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        page.evaluate(axe)
        violations = page.evaluate(
            "axe.run({exclude: ['.chart svg']}, {resultTypes: ['violations']})"
            ".then((result) => result.violations.map("
            "(v) => [v.impact, v.id, v.nodes[0].html.slice(0, 200)]))"
        )
        serious = [v for v in violations if v[0] in ("serious", "critical")]
        if serious:
            found[name] = serious
    assert found == {}


def test_axe_would_find_a_fault(open_page):
    pytest.importorskip("axe_playwright_python")
    axe = (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    page = open_page("index", bypass_csp=True)
    page.evaluate("document.querySelector('.lead').style.color = '#ddd'")
    page.evaluate(axe)
    faults = page.evaluate("axe.run().then((result) => result.violations.map((v) => v.id))")
    assert "color-contrast" in faults


def column(page, index: int) -> list[str]:
    cells = page.locator(f"#table-test tbody tr > :nth-child({index})")
    return cells.evaluate_all(
        "all => all.map((cell) => cell.dataset.value ?? cell.textContent.trim())"
    )


def choose_columns(page, name: str) -> None:
    page.locator(".switchable").first.get_by_role("radio", name=name).check()


def test_table_sorts_by_a_click_and_keeps_the_undefined_last(open_page):
    page = open_page("evaluation")
    gain = page.locator("#table-test thead th").nth(4)
    gain.get_by_role("button").click()
    assert gain.get_attribute("aria-sort") == "descending"
    values = [float(value) for value in column(page, 5)]
    assert values == sorted(values, reverse=True)
    assert values != sorted(values)
    gain.get_by_role("button").click()
    assert [float(value) for value in column(page, 5)] == sorted(values)
    choose_columns(page, "Positives")
    recall = page.locator("#table-test thead th").nth(8)
    for order in ("descending", "ascending"):
        recall.get_by_role("button").click()
        assert recall.get_attribute("aria-sort") == order
        values = column(page, 9)
        assert values[-1] == ""
        assert "" not in values[:-1]
    assert gain.get_attribute("aria-sort") is None


def test_columns_are_switched_in_groups_by_click_and_by_key_and_without_script(open_page):
    for script in (True, False):
        page = open_page("evaluation", script=script)
        heads = page.locator("#table-test thead th")
        assert heads.nth(4).is_visible()
        assert not heads.nth(8).is_visible()
        choose_columns(page, "Positives")
        assert heads.nth(8).is_visible()
        assert not heads.nth(4).is_visible()
        page.keyboard.press("ArrowRight")
        assert not heads.nth(8).is_visible()
        assert heads.nth(12).is_visible()
        choose_columns(page, "All")
        assert heads.nth(4).is_visible()
        assert heads.nth(8).is_visible()


def test_long_tables_are_filtered_with_the_keyboard_and_the_count_is_said(open_page):
    page = open_page("evaluation")
    box = page.get_by_role("searchbox", name="Filter: Figures per attribute, test")
    status = page.locator(".filter", has=box).get_by_role("status")
    rows = page.locator("#table-test tbody tr")
    assert status.inner_text() == "10 rows"
    box.focus()
    page.keyboard.type("MUS")
    assert status.inner_text() == "1 of 10 rows"
    assert rows.locator("visible=true").count() == 1
    assert rows.locator("visible=true").locator("th").inner_text() == "Mustache"
    page.keyboard.press("Control+A")
    page.keyboard.type("no such name")
    assert rows.locator("visible=true").count() == 0
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    assert rows.locator("visible=true").count() == 10
    assert status.inner_text() == "10 rows"


def test_pages_are_reached_through_the_menu_of_a_phone(open_page):
    page = open_page("slices", 390)
    links = page.get_by_role("navigation", name="Pages").get_by_role("link")
    assert links.locator("visible=true").count() == 0
    page.locator(".menu summary").focus()
    page.keyboard.press("Enter")
    links.get_by_text("Model card").locator("visible=true").click()
    assert page.url.endswith("/model_card.html")
    wide = open_page("slices")
    assert wide.locator(".across").is_visible()
    assert not wide.locator(".menu").is_visible()


def test_print_is_light_whole_and_without_controls(open_page):
    page = open_page("evaluation", scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for control in (".across", ".menu", ".filter", ".switch"):
        assert not page.locator(control).first.is_visible()
    table = page.locator("#table-test")
    assert table.evaluate("t => getComputedStyle(t.closest('.scroll')).overflowX") == "visible"


def test_names_sort_from_a_to_z_with_the_keyboard(open_page):
    page = open_page("evaluation")
    page.locator("#table-test thead th").first.get_by_role("button").focus()
    page.keyboard.press("Enter")
    names = column(page, 1)
    assert names == sorted(names)


def test_pairs_groups_and_contradictions_sort_too(open_page, site):
    pair = "Most often together"
    page = open_page("explore")
    table = page.get_by_role("region", name=pair).locator("table")
    head = table.locator("thead th", has_text="lift")
    head.get_by_role("button").click()
    cells = table.locator("tbody tr > :nth-child(5)")
    lifts = [float(cell.get_attribute("data-value")) for cell in cells.all()]
    assert len(lifts) > 2
    assert lifts == sorted(lifts, reverse=True)
    attribute = next(name for name in list_pages(site) if name.startswith("attribute-"))
    for name, region in ((attribute, "Groups, "), ("evaluation", "Contradictions")):
        regions = open_page(name).get_by_role("region", name=region)
        for one in regions.all():
            assert one.locator("thead th").first.get_by_role("button").count() == 1


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
