"""The comparison in a browser: complete in itself, sortable, and no wider than a phone."""

from pathlib import Path

import pytest

from stages.common import results
from stages.compare import runs
from stages.compare.run import compare_runs
from tests.compare_fabric import ATTRIBUTES, Data, Scene
from tests.test_report_browser import open_page, pytestmark  # noqa: F401

LONG = "An_attribute_with_a_name_that_is_far_longer_than_any_of_CelebA"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of four runs, one of them with a long name, and one on other data."""
    results.cache_folder.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "list_unfinished", lambda root: [])
        scene = Scene(tmp_path_factory.mktemp("compare"))
        patch.chdir(scene.folder)
        data = Data("faces", {**ATTRIBUTES, LONG: 0.3, "W" * 70: 0.2})
        scene.add("one", 1.4, data)
        scene.add("an-experiment-with-a-name-that-does-not-fit-anywhere-at-all", 1.1, data, seed=1)
        scene.add("X" * 60, 0.9, data, settings={"train.n_epochs": "5"}, seed=2, n_epochs=5)
        scene.add("lost", 1.0, data, seed=3, is_cached=False)
        scene.add("elsewhere", 1.0)
        compare_runs([], None, Path("reports/compare"))
        yield scene.folder / "reports/compare"


def test_it_opens_without_complaint_or_request(open_page) -> None:  # noqa: F811
    page = open_page("index")
    assert page.complaints == []
    assert [url for url in page.requests if not url.startswith("data:")] == [page.url]


@pytest.mark.parametrize("width_px", [320, 390, 768, 1280])
def test_it_never_scrolls_sideways(open_page, width_px) -> None:  # noqa: F811
    page = open_page("index", width_px)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") <= width_px


@pytest.mark.parametrize("table", ["d0r0-table", "d0r0-gains", "costs"])
def test_tables_sort_by_keyboard(open_page, table) -> None:  # noqa: F811
    page = open_page("index")
    head = page.locator(f"#{table} thead th").nth(2 if table != "costs" else 7)
    column = 3 if table != "costs" else 8
    head.get_by_role("button").focus()
    for order in ("descending", "ascending"):
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == order
        cells = page.locator(f"#{table} tbody tr > :nth-child({column})")
        values = cells.evaluate_all("all => all.map((cell) => cell.dataset.value)")
        numbers = [float(value) for value in values if value != ""]
        assert len(numbers) >= 4
        assert numbers == sorted(numbers, reverse=order == "descending")


def test_details_open_and_show_the_interval(open_page) -> None:  # noqa: F811
    page = open_page("index", 390)
    table = page.locator("#d0r0-differences")
    assert not table.is_visible()
    page.get_by_text("Difference to one per attribute on valid").click()
    assert table.is_visible()
    assert " to " in table.locator("tbody td.neg .range").first.inner_text()


def test_clear_differences_are_bold_in_both_tables(open_page) -> None:  # noqa: F811
    page = open_page("index")
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert page.locator("#d0r0-differences td.clear").count() >= 5
    pairs = page.get_by_role("region", name="Differences of all pairs on valid").locator("td")
    assert "clear" in pairs.nth(1).get_attribute("class")
    assert pairs.nth(0).inner_text() == "–"


def test_regions_have_names_of_their_own(open_page) -> None:  # noqa: F811
    page = open_page("index")
    names = page.locator("[role=region]").evaluate_all(
        "all => all.map((one) => one.getAttribute('aria-label'))"
    )
    assert len(names) >= 8
    assert len(set(names)) == len(names)


CONTRAST = """
(cell) => {
  const light = (text) => {
    const canvas = document.createElement("canvas").getContext("2d");
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((v) => {
      const c = v / 255;
      return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const root = getComputedStyle(document.documentElement);
  const [teal, rust, surface] = ["--teal", "--rust", "--surface"].map((name) =>
    root.getPropertyValue(name),
  );
  const full = cell.classList.contains("neg") ? rust : teal;
  const share = getComputedStyle(cell).getPropertyValue("--v");
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `color-mix(in srgb, ${full} ${share}, ${surface})`;
  const [a, b] = [getComputedStyle(cell).color, getComputedStyle(probe).color].map(light);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_values_on_colours_have_enough_contrast(open_page, scheme) -> None:  # noqa: F811
    page = open_page("index", scheme=scheme)
    cells = page.locator("#d0r0-gains td.pos, #d0r0-gains td.neg")
    ratios = [cells.nth(k).evaluate(CONTRAST) for k in range(cells.count())]
    assert len(ratios) >= 20
    assert min(ratios) >= 4.5  # WCAG 2.2, level AA
