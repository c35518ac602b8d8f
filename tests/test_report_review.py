"""Reviewing in a browser: verdicts by clicks, kept there, handed out in the form prepare reads."""

import csv
from pathlib import Path

import pytest
from browser_fabric import NEEDS_BROWSER
from report_fabric import Recipe, fabricate

from stages.common.params import ReportParams
from stages.common.reviews import read_verdicts
from stages.common.tables import read_annotations
from stages.report.run import run

pytestmark = NEEDS_BROWSER
ODD = 'an "odd", name'
BAD = """JSON.stringify([[JSON.stringify(["000001.jpg", "Young"]), "no such verdict"]])"""
PARAMS = ReportParams(title="Facet", n_gallery=4)
RECIPE = Recipe(n_images=160, n_planted=2, attributes={ODD: 0.3, **Recipe().attributes})


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> dict[str, Path]:
    paths = fabricate(tmp_path_factory.mktemp("review"), RECIPE)
    run(PARAMS, **paths)
    return paths


@pytest.fixture
def context(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield context
    context.close()


def open_audit(context, site: Path):
    page = context.new_page()
    page.complaints = []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto((site / "audit.html").as_uri())
    return page


def first_card(page, check: str):
    return page.locator(f"#gallery-{check} article:has(.verdict)").first


def press(place, name: str) -> None:
    place.get_by_role("button", name=name, exact=True).first.click()


def download(page, folder: Path) -> Path:
    with page.expect_download() as caught:
        press(page, "Download verdicts.csv")
    assert caught.value.suggested_filename == "verdicts.csv"
    path = folder / "verdicts.csv"
    caught.value.save_as(path)
    return path


def read(paths: dict[str, Path], file: Path) -> dict[tuple[str, str | None], str]:
    """The file as prepare reads it."""
    annotations, attributes = read_annotations(paths["download"])
    entries = read_verdicts(file, set(annotations["image_id"]), attributes)
    return {(entry.image_id, entry.attribute): entry.verdict for entry in entries}


def test_clicks_become_a_file_that_prepare_reads(paths, context, tmp_path):
    page = open_audit(context, paths["out"])
    suspect = first_card(page, "mislabel")
    image, attribute = suspect.get_attribute("data-image"), suspect.get_attribute("data-attribute")
    assert attribute == ODD  # quoted in the file
    press(suspect, "Wrong")
    faceless = first_card(page, "faceless")
    press(faceless, "Drop")
    outlier = first_card(page, "identity_outlier")
    press(outlier, "Fine")
    conflict = first_card(page, "label_conflict")
    group = conflict.locator(".verdict").first
    said = group.get_attribute("data-labels").split(" ")
    assert sorted(said) == ["no", "yes"]
    press(group, "Yes")
    file = download(page, tmp_path)
    copies = [shot.inner_text() for shot in conflict.locator(".shots b").all()]
    name = group.get_attribute("data-attribute")
    expected = {
        (image, ODD): "wrong",
        (faceless.get_attribute("data-image"), None): "drop",
        (outlier.get_attribute("data-image"), None): "fine",
        **{
            (copy, name): "fine" if label == "yes" else "flip"
            for copy, label in zip(copies, said, strict=True)
        },
    }
    # an outlier and a picture without a face may be the same image: the last click counts
    assert read(paths, file) == expected | {(outlier.get_attribute("data-image"), None): "fine"}
    rows = list(csv.reader(file.read_text(encoding="utf-8").splitlines()))
    assert rows[0] == ["image_id", "attribute", "verdict"]
    assert rows[1:] == sorted(rows[1:])
    assert page.complaints == []


def test_a_click_more_takes_a_verdict_back_and_another_replaces_it(paths, context, tmp_path):
    page = open_audit(context, paths["out"])
    card = first_card(page, "mislabel")
    wrong, flip = (card.get_by_role("button", name=name) for name in ("Wrong", "Flip"))
    wrong.click()
    assert wrong.get_attribute("aria-pressed") == "true"
    flip.click()
    assert wrong.get_attribute("aria-pressed") == "false"
    assert page.get_by_role("status").inner_text() == "1 verdict, 1 new"
    assert set(read(paths, download(page, tmp_path)).values()) == {"flip"}
    flip.click()
    assert page.get_by_role("status").inner_text() == "0 verdicts"
    assert page.get_by_role("button", name="Download verdicts.csv").is_disabled()


def test_verdicts_outlive_the_page_and_can_be_forgotten(paths, context):
    page = open_audit(context, paths["out"])
    press(first_card(page, "mislabel"), "Flip")
    page.close()
    page = open_audit(context, paths["out"])
    pressed = page.locator(".verdict [aria-pressed=true]")
    assert [button.inner_text() for button in pressed.all()] == ["Flip"]
    page.on("dialog", lambda dialog: dialog.accept())
    press(page, "Forget the new ones")
    assert pressed.count() == 0
    page.reload()
    assert pressed.count() == 0


def test_without_storage_the_buttons_work_all_the_same(paths, context, tmp_path):
    context.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new Error('denied'); }})"
    )
    page = open_audit(context, paths["out"])
    press(first_card(page, "mislabel"), "Flip")
    assert set(read(paths, download(page, tmp_path)).values()) == {"flip"}
    assert page.complaints == []


def test_what_stands_in_the_storage_is_not_trusted(paths, context):
    page = open_audit(context, paths["out"])
    store = "'facet-verdicts-' + document.getElementById('reviewing').dataset.key"
    for value in ("'{'", "'3'", "'null'", "'[1, 2]'", """'[["x", "flip"]]'""", BAD):
        page.evaluate(f"localStorage.setItem({store}, {value})")
        page.reload()
        assert page.get_by_role("status").inner_text() == "0 verdicts", value
        assert page.complaints == []


def test_the_files_verdicts_stay_in_the_next_file(paths, context, tmp_path):
    page = open_audit(context, paths["out"])
    card = first_card(page, "mislabel")
    image = card.get_attribute("data-image")
    page.close()
    reviews = tmp_path / "before.csv"
    reviews.write_text(f"image_id,attribute,verdict\n{image},Young,fine\n{image},,keep\n")
    out = tmp_path / "site"
    run(PARAMS, **{**paths, "out": out}, reviews=reviews)
    page = open_audit(context, out)
    assert page.get_by_role("status").inner_text() == "2 verdicts"
    press(first_card(page, "faceless"), "Drop")
    assert page.get_by_role("status").inner_text() == "3 verdicts, 1 new"
    found = read(paths, download(page, tmp_path))
    assert found[image, "Young"] == "fine"
    assert found[image, None] == "keep"
    assert len(found) == 3


def test_verdicts_about_one_data_set_are_not_offered_for_another(paths, context, tmp_path):
    page = open_audit(context, paths["out"])
    press(first_card(page, "mislabel"), "Flip")
    other = fabricate(tmp_path, Recipe(n_images=160, n_planted=2, seed=4))
    run(PARAMS, **other)
    page = open_audit(context, other["out"])
    assert page.get_by_role("status").inner_text() == "0 verdicts"


def test_drop_settles_a_card_and_what_is_decided_can_be_hidden(paths, context):
    page = open_audit(context, paths["out"])
    gallery = page.locator("#gallery-label_rule")
    card = first_card(page, "label_rule")
    progress = gallery.locator(".progress")
    n = int(progress.inner_text().split()[2])
    assert progress.inner_text() == f"0 of {n} decided"
    press(card.locator(".verdict").first, "Fine")
    assert progress.inner_text() == f"0 of {n} decided"  # it has two labels to judge
    press(card, "Drop")
    assert progress.inner_text() == f"1 of {n} decided"
    assert card.is_visible()
    page.get_by_label("hide what is decided").check()
    assert not card.is_visible()


def test_cards_sort_by_score_and_by_image(paths, context):
    page = open_audit(context, paths["out"])
    gallery = page.locator("#gallery-mislabel")
    select = gallery.get_by_label("Sort by")

    def column(name: str) -> list[str]:
        cards = gallery.locator("article").all()
        return [card.get_attribute(f"data-{name}") for card in cards]

    ranks = column("rank")
    select.select_option("score, highest first")
    scores = [float(score) for score in column("score")]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) > 1
    select.select_option("image")
    assert column("image") == sorted(column("image"))
    select.select_option("as ranked")
    assert column("rank") == ranks


def test_the_keyboard_reaches_and_presses_every_verdict(paths, context):
    page = open_audit(context, paths["out"])
    card = first_card(page, "mislabel")
    card.get_by_role("button", name="Wrong").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert card.get_by_role("button", name="Flip").get_attribute("aria-pressed") == "true"
    group = card.get_by_role("group")
    assert ODD in group.get_attribute("aria-label")
    assert card.get_attribute("data-image") in group.get_attribute("aria-label")


def test_without_script_there_are_pictures_and_no_dead_buttons(browser, paths):
    context = browser.new_context(java_script_enabled=False)
    page = open_audit(context, paths["out"])
    assert page.locator("article img").count() > 8
    assert page.locator("#reviewing button").count() == 0
    assert page.get_by_text("The buttons need JavaScript").is_visible()
    context.close()


def test_tables_beside_the_page_open_from_its_links(paths, context):
    page = open_audit(context, paths["out"])
    for name in ("issues.csv", "leaks.csv", "attributes.csv"):
        with page.expect_download() as caught:
            page.locator(f'.actions a[href="{name}"]').click()
        assert caught.value.suggested_filename == name


def test_the_difference_of_two_copies_is_where_one_was_changed(paths, context):
    """Two canvases stand for pictures; the copy is mirrored, darker, and has a box drawn on it."""
    page = open_audit(context, paths["out"])
    found = page.evaluate(
        """async () => {
          const [width, height] = [178, 218];
          const blank = () =>
            Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
          const pen = blank();
          let state = 7;
          const draw = () => (state = (state * 16807) % 2147483647) / 2147483647;
          pen.fillStyle = "gray";
          pen.fillRect(0, 0, width, height);
          for (let k = 0; k < 150; k++) {
            pen.fillStyle = `hsl(${360 * draw()} 50% ${60 * draw()}%)`;
            pen.fillRect(width * draw() - 20, height * draw() - 20, 60 * draw(), 60 * draw());
          }
          const copy = blank();
          copy.filter = "brightness(80%)";
          copy.translate(width, 0);
          copy.scale(-1, 1);
          copy.drawImage(pen.canvas, 0, 0);
          copy.filter = "none";
          copy.fillStyle = "white";
          copy.fillRect(60, 80, 40, 30);
          const find = document.createElement("article");
          find.innerHTML = "<ul class=shots><li><img></li><li><img></li></ul>";
          const images = find.querySelectorAll("img");
          [images[0].src, images[1].src] = [pen.canvas.toDataURL(), copy.canvas.toDataURL()];
          await showDifference(find);
          const canvas = find.querySelector(".difference canvas");
          const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
          const share = (inside) => {
            let [red, all] = [0, 0];
            for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
              const isIn = x >= 60 && x < 100 && y >= 80 && y < 110;
              if (isIn !== inside) continue;
              const k = 4 * (y * width + x);
              red += data[k] - data[k + 1] > 40;
              all += 1;
            }
            return red / all;
          };
          return [share(true), share(false), find.querySelector(".difference").textContent];
        }"""
    )
    assert found[0] > 0.7
    assert found[1] < 0.05
    assert "mirrored" in found[2]
    assert page.complaints == []


def test_copies_show_where_they_differ(paths, context):
    page = open_audit(context, paths["out"])
    card = page.locator(".find[data-copies]").first
    card.scroll_into_view_if_needed()
    drawn = card.locator(".difference canvas")
    drawn.wait_for()
    assert drawn.get_attribute("aria-label").startswith("Where the copies differ")
    page.evaluate("""document.querySelectorAll(".find[data-copies]").forEach(showDifference)""")
    single = page.locator(".find:not([data-copies]) .difference")
    assert single.count() == 0
    assert page.complaints == []
