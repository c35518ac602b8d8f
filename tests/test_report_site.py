"""The site as a whole: complete in itself, escaped, the same bytes twice, n/a where undefined."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from report_fabric import Recipe, fabricate
from report_html import Elements

from stages.common.errors import FacetError
from stages.common.params import ReportParams
from stages.report.page_evaluation import describe_leaks
from stages.report.page_explore import MAX_MAPPED, choose_mapped
from stages.report.run import ASIDE, PAGES, run

PARAMS = ReportParams(title="Facet", n_gallery=4)
NAMES = [name for name, _ in (*PAGES, *ASIDE)]
ATTRIBUTE = r"attribute-\d+[a-z0-9-]*\.html"
FILES = {"issues.csv", "leaks.csv", "attributes.csv"}
EVIL = "<script>alert(1)</script>"
SMALL = Recipe(n_images=120, n_planted=2)
SVG_NAMESPACES = ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink")


def build(root: Path, recipe: Recipe, params: ReportParams = PARAMS) -> dict[str, str]:
    paths = fabricate(root, recipe)
    run(params, **paths)
    return {name: (paths["out"] / f"{name}.html").read_text(encoding="utf-8") for name in NAMES}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> dict[str, str]:
    return build(tmp_path_factory.mktemp("site"), replace(SMALL, empty_attribute="Bald"))


def test_closing_line_counts_what_was_shown(tmp_path):
    line = run(PARAMS, **fabricate(tmp_path, SMALL))
    assert re.fullmatch(
        r"report: 19 pages \(\d\.\d MB\) about 120 images, \d+ findings, "
        r"evaluated on valid and test",
        line,
    )


@pytest.mark.parametrize("page", NAMES)
def test_page_refers_to_nothing_outside(site, page):
    text = site[page]
    for tag, attributes in Elements(text).tags:
        for key in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            target = attributes.get(key)
            if target is None:
                continue
            allowed = target.startswith(("#", "data:image/")) or (
                tag == "a"
                and (
                    target in {*FILES, *(f"{name}.html" for name in NAMES)}
                    or (page in ("evaluation", "attributes") and re.fullmatch(ATTRIBUTE, target))
                )
            )
            assert allowed, (tag, key, target[:80])
    assert "@import" not in text
    assert all(found.startswith("#") for found in re.findall(r"url\(([^)]{0,20})", text))
    bare = re.sub("|".join(map(re.escape, SVG_NAMESPACES)), "", text)
    assert not re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]{2,}", bare.split("<script>")[0])


@pytest.mark.parametrize("page", NAMES)
def test_links_and_references_within_the_page_resolve(site, page):
    text = site[page]
    tags = Elements(text).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids)), "an id stands twice"
    wanted = re.findall(r'(?:href="#|url\(#)([^")]+)', text)
    wanted += re.findall(r'aria-labelledby="([^"]+)"', text)
    assert wanted
    assert set(wanted) <= set(ids)
    links = {a["href"] for tag, a in tags if tag == "a" and not a["href"].startswith("#")}
    links = {link for link in links if not re.fullmatch(ATTRIBUTE, link)}
    linked = {f"{name}.html" for name, _ in PAGES}
    assert linked <= links - FILES <= {f"{name}.html" for name in NAMES}
    assert links & FILES == (FILES if page == "audit" else set())
    assert all("download" in a for tag, a in tags if tag == "a" and a["href"] in FILES)


@pytest.mark.parametrize("page", NAMES)
def test_page_is_accessible_in_its_bones(site, page):
    tags = Elements(site[page]).tags
    names = [tag for tag, _ in tags]
    assert names.count("h1") == 1
    assert names.count("main") == 1
    levels = [int(name[1]) for name in names if re.fullmatch("h[1-6]", name)]
    assert all(b - a <= 1 for a, b in pairwise(levels)), levels
    assert all(a.get("alt") for tag, a in tags if tag == "img")
    charts = [a for _, a in tags if (a.get("class") or "").startswith("chart")]
    assert all(len(a["aria-label"]) > 20 for a in charts)
    assert ("a", {"class": "skip", "href": "#content"}) in tags
    is_aside = page in dict(ASIDE)
    assert any(a.get("aria-current") == "page" for _, a in tags) != is_aside


def test_charts_take_their_colours_from_the_page(site):
    for page in NAMES:
        for svg in re.findall(r"<svg .*?</svg>", site[page], re.DOTALL):
            assert not re.search(r"#0[1-9]0[1-9]0[1-9]", svg)
            assert not re.search(r"(?:fill|stroke): #", svg)
    assert site["explore"].count("<svg") > 4


def test_numbers_beside_the_axes_are_not_cut_short(site):
    rates = re.findall(r"<text[^>]*>(0\.\d+)</text>", site["training"])
    assert any(len(rate) > 4 for rate in rates), rates


@pytest.mark.parametrize("recipe", [SMALL, replace(SMALL, source="files")], ids=["demo", "files"])
def test_same_inputs_give_the_same_bytes(tmp_path, recipe):
    first, second = (build(tmp_path / name, recipe) for name in ("a", "b"))
    assert first == second


def test_report_writes_nothing_but_its_pages_and_tables(tmp_path):
    paths = fabricate(tmp_path, SMALL)
    run(PARAMS, **paths)
    written = {path.name for path in paths["out"].iterdir()}
    pages = {name for name in written if re.fullmatch(ATTRIBUTE, name)}
    assert len(pages) == len(SMALL.attributes)
    assert written - pages == FILES | {f"{name}.html" for name in NAMES}
    assert all(p.stat().st_size < 3_000_000 for p in paths["out"].iterdir())


def test_text_from_the_data_is_escaped(tmp_path):
    names = dict(SMALL.attributes) | {EVIL: 0.3, 'a "quoted" $x_1$ & more': 0.2, "NA": 0.1}
    pages = build(
        tmp_path, replace(SMALL, attributes=names), PARAMS.model_copy(update={"title": EVIL})
    )
    for name, text in pages.items():
        assert EVIL not in text
        assert [tag for tag, _ in Elements(text).tags].count("script") == 1
        assert "alert(1)" in text, name
    shown = Elements(pages["evaluation"]).text
    assert "$x_ 1$ & more" in shown
    assert "NA" in Elements(pages["evaluation"]).words


def test_undefined_is_not_available_and_never_zero(site):
    row = re.search(
        r'<tr><th scope="row" class="name"><a [^>]*>Bald</a></th>.*?</tr>', site["evaluation"]
    )
    assert row is not None
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row[0])
    heads = re.findall(
        r'<th scope="col"[^>]*>(.*?)</th>', site["evaluation"].split("table-test")[1]
    )
    said = dict(zip(heads[1:], cells, strict=False))
    for heading in ("Balanced", "Precision", "Recall", "F1", "MCC", "AUC", "AP"):
        assert said[heading] == "n/a", heading
    assert said["ECE, scaled"] == "n/a"  # valid has no positive to fit a temperature on
    assert 'data-value=""' in row[0]
    assert ">nan" not in site["evaluation"].lower()
    assert ">None<" not in "".join(site.values())


def test_only_valid_evaluated(tmp_path):
    pages = build(tmp_path, replace(SMALL, partitions=("valid",)))
    assert "Valid partition" in pages["evaluation"]
    assert "Test partition" not in pages["evaluation"]
    assert "mean accuracy, valid" in pages["index"]


def test_without_identities(tmp_path):
    pages = build(tmp_path, replace(SMALL, identities=False))
    assert "names no identities" in pages["explore"]
    assert "none given" in pages["index"]
    assert ", identity " not in Elements(pages["audit"]).text.split("The pictures")[1]


def test_without_findings(tmp_path):
    pages = build(tmp_path, replace(SMALL, findings=False))
    assert "The audit found nothing wrong with 120 images." in pages["audit"]
    assert "No picture stands in more than one partition." in pages["audit"]
    assert "<img" not in pages["audit"]
    assert "nothing found" in pages["index"]


def test_suspects_alone_are_nothing_wrong(tmp_path):
    paths = fabricate(tmp_path, Recipe(n_images=120, findings=False))
    summary = json.loads((paths["audit_reports"] / "summary.json").read_text())
    summary["by_check"]["faceless"] = {"findings": 200, "images": 200, "flagged": 0}
    summary["by_check"]["label_rule"] = {"findings": 9, "images": 9, "flagged": 0}
    (paths["audit_reports"] / "summary.json").write_text(json.dumps(summary))
    run(ReportParams(title="Facet", n_gallery=0), **paths)
    text = (paths["out"] / "audit.html").read_text()
    assert "The audit found nothing wrong with 120 images." in text
    assert "contradict each other." not in text.partition("Findings by check")[0]
    assert "nothing found" in (paths["out"] / "index.html").read_text()


def test_explore_shows_findings_shifts_imbalance_and_cardinality(site):
    page = site["explore"]
    text = Elements(page).text
    assert "Young is in 78.1\u202f% of the images" in page
    assert "Pairs of attributes" not in text.split("How frequent")[0]  # a topic without findings
    assert re.search(r"From train to test: \d+ of 8 attributes differ beyond chance, \d+ of", text)
    assert page.count('class="sortable pin shifts"') == 3
    rows = re.findall(r'<tr><th scope="row" class="name">Young</th>(.*?)</tr>', page)
    tested = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    tested = [cells for cells in tested if len(cells) == 7]
    assert len(tested) == 3
    for first, second, difference, h, z, p_images, p_identities in tested:
        assert [first[-2:], second[-2:]] == ["\u202f%"] * 2
        assert difference[0] in "+\u22120"
        assert re.fullmatch(r"\u2212?\d\.\d\d", h)
        assert re.fullmatch(r"\u2212?\d+\.\d", z)
        for p_value in (p_images, p_identities):
            assert re.fullmatch(r"<0\.001|&lt;0\.001|[01]\.\d{3}", p_value)
    imbalance = re.search(r'id="imbalance">.*?</table>', page, re.DOTALL)
    assert imbalance is not None
    assert imbalance[0].count('<th scope="row"') == 8
    cardinality = text.split("Label cardinality")[1]
    assert [int(n) for n in re.findall(r"(?:train|valid|test|all) (\d+) ", cardinality)[:4]] == [
        78, 12, 30, 120,
    ]  # fmt: skip
    assert "Conditional probabilities as a map" in text
    assert re.search(r"All 2[18] pairs as a table", text)


def test_empty_tables_of_explore_leave_sections_that_say_so(tmp_path):
    paths = fabricate(tmp_path, SMALL)
    for name in ("shifts", "cardinality", "cooccurrence", "identities", "imbalance"):
        table = paths["explore_reports"] / f"{name}.csv"
        table.write_text(table.read_text().splitlines()[0] + "\n")
    run(PARAMS, **paths)
    text = Elements((paths["out"] / "explore.html").read_text(encoding="utf-8")).text
    assert "There is nothing to compare" in text
    assert text.count("No label is known.") == 2
    assert "No pair of attributes has known labels" in text


def test_maps_of_pairs_show_the_strongest_of_many_attributes():
    names = [f"A{k}" for k in range(100)]
    strongest = [(f"A{99 - 2 * k}", f"A{k}") for k in range(40)] + [("A50", "A98")]
    pairs = pd.DataFrame(strongest, columns=["attribute_a", "attribute_b"])
    mapped = choose_mapped(pairs, names)
    assert len(mapped) == MAX_MAPPED
    assert {"A99", "A0", "A41", "A29"} <= set(mapped)
    assert "A98" not in mapped
    assert mapped == [name for name in names if name in set(mapped)]
    assert choose_mapped(pairs, names[:60]) == names[:60]


def test_one_epoch_and_one_attribute(tmp_path):
    pages = build(tmp_path, replace(SMALL, n_epochs=1, attributes={"Smiling": 0.5}))
    assert "saw 78 images in each of 1 epoch." in Elements(pages["training"]).text
    assert "No pair of attributes" in pages["explore"]


def test_demo_says_that_its_faces_are_drawn(site):
    for page in ("index", "evaluation"):
        assert "say nothing about CelebA" in Elements(site[page]).text
    assert "non-commercial" not in site["index"]


def test_a_part_of_celeba_carries_its_licence_and_is_called_a_subset(tmp_path):
    recipe = replace(SMALL, source="files", celeba={"extent": "part", "official": []})
    pages = build(tmp_path, recipe)
    index = Elements(pages["index"]).text
    assert "non-commercial research only" in index
    assert "test 30 of CelebA's 19,962 images" in index
    assert "train 78 of CelebA's 162,770 images" in index
    assert "CelebA, a part of it" in index
    assert "Drawn faces" not in index
    assert "demo planted" not in pages["audit"]


def test_gallery_shows_at_most_n_pairs_and_names_differing_attributes(site, tmp_path):
    audit = Elements(site["audit"])
    assert "Copies with different labels" in audit.text
    conflict = site["audit"].split('id="gallery-label_conflict"')[1].split("</article>")[0]
    said = re.findall(r'<span class="label odd">(.*?): (yes|no)</span>', conflict)
    assert len(said) == 2
    assert said[0][0] == said[1][0]
    assert {said[0][1], said[1][1]} == {"yes", "no"}
    pages = build(tmp_path, SMALL, PARAMS.model_copy(update={"n_gallery": 1}))
    n_kinds = pages["audit"].count('<div class="gallery">')
    assert n_kinds == 8
    assert pages["audit"].count("<article") == n_kinds


def test_a_page_that_would_weigh_too_much_shows_fewer_cards_of_every_kind(tmp_path, monkeypatch):
    whole = build(tmp_path / "a", SMALL)["audit"]
    monkeypatch.setattr("stages.report.gallery.BUDGET_CHARS", 60_000)
    small = build(tmp_path / "b", SMALL)["audit"]
    assert 8 <= small.count("<article") < whole.count("<article")
    assert len(small) < len(whole) - 5_000
    assert small.count('<div class="gallery">') == whole.count('<div class="gallery">')
    assert small.count("all of them stand in") > whole.count("all of them stand in")


def test_missing_input_is_named(tmp_path):
    paths = fabricate(tmp_path, SMALL)
    (paths["evaluate_reports"] / "per_attribute.csv").unlink()
    with pytest.raises(FacetError, match=r"per_attribute\.csv: expected this table"):
        run(PARAMS, **paths)
    assert not paths["out"].exists()


def test_missing_column_is_named(tmp_path):
    paths = fabricate(tmp_path, SMALL)
    path = paths["train_reports"] / "history.csv"
    path.write_text("epoch,lr\n1,0.1\n")
    with pytest.raises(FacetError, match=r"history\.csv: expected the columns train_loss"):
        run(PARAMS, **paths)


def test_stage_imports_neither_torch_nor_mlflow():
    code = (
        "import sys, stages.report.run; "
        "bad = {'torch', 'mlflow', 'torchvision', 'lightning_fabric'} & set(sys.modules); "
        "sys.exit(f'imported {bad}' if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_importing_leaves_matplotlib_as_it_was():
    code = (
        "import matplotlib as m; before = dict(m.rcParams); import stages.report.run; "
        "changed = [k for k in before if before[k] != dict(m.rcParams)[k]]; "
        "assert not changed, changed"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_command_line_renders_the_site(tmp_path):
    paths = fabricate(tmp_path, SMALL)
    options = [part for name, path in paths.items() for part in (f"--{name}", str(path))]
    done = subprocess.run(
        [sys.executable, "-m", "stages.report", *options],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("report: 19 pages")
    assert (paths["out"] / "index.html").exists()


def test_gallery_of_no_pairs(tmp_path):
    pages = build(tmp_path, SMALL, PARAMS.model_copy(update={"n_gallery": 0}))
    assert "<img" not in pages["audit"]
    assert "The pictures" not in pages["audit"]


def test_only_the_self_check_names_the_truth_file():
    folder = Path(__file__).parents[1] / "stages" / "report"
    naming = {path.name for path in folder.glob("*.py") if "TRUTH" in path.read_text("utf-8")}
    assert naming == {"selfcheck.py"}


def section(page: str, name: str) -> str:
    """The text of the section that is labelled by an id."""
    return Elements(page.split(f'aria-labelledby="{name}"')[1].split("</section>")[0]).text


def test_audit_says_how_sure_it_is_and_that_flips_flatter(site, tmp_path):
    text = section(site["audit"], "trust")
    assert "It flagged 75.8 % of them." in text
    assert "cleanlab’s label quality on the same probe has 67.1 %" in text
    assert "Random flips flatter every method" in text
    assert "first 1,000 suspects" not in text  # of 464 flips
    pages = build(tmp_path, replace(SMALL, findings=False))
    assert 'aria-labelledby="trust"' not in pages["audit"]
    text = Elements(pages["audit"]).text
    assert "Not run: suspected wrong labels (audit.features is none)" in text.replace(" )", ")")


def test_audit_shows_suspected_error_rates_with_intervals(site):
    doubted = site["audit"].split('id="table-doubted"')[1].split("</table>")[0]
    rows = re.findall(r'<th scope="row" class="name">(.*?)</th>(.*?)</tr>', doubted)
    assert len(rows) == 8
    cells = re.findall(r"<td[^>]*>(.*?)</td>", rows[0][1])
    assert cells[:2] == ["3.00\u202f%", "2.10 to 4.80\u202f%"]
    shares = [float(re.findall(r'data-value="([\d.]+)"', row)[0]) for _, row in rows]
    assert shares == sorted(shares, reverse=True)


def test_all_leaks_are_listed_and_all_findings_in_the_file(tmp_path):
    paths = fabricate(tmp_path, SMALL)
    run(PARAMS, **paths)
    page = (paths["out"] / "audit.html").read_text(encoding="utf-8")
    issues = pd.read_csv(paths["out"] / "issues.csv", keep_default_na=False)
    table = pd.read_parquet(paths["audit"] / "issues.parquet")
    assert issues["image_id"].tolist() == table["image_id"].tolist()
    assert issues["score"].tolist() == pytest.approx(table["score"].tolist(), abs=1e-4)
    leaks = pd.read_csv(paths["out"] / "leaks.csv")
    assert len(leaks) == SMALL.n_planted
    listed = section(page, "checks")
    for image_id, related_id in zip(leaks["image_id"], leaks["related_id"], strict=True):
        assert image_id in listed
        assert related_id in listed
    annotations = pd.read_parquet(paths["download"] / "annotations.parquet").set_index("image_id")
    labelled = issues[issues["attribute"] != ""]
    assert len(labelled)
    for row in labelled.itertuples():
        value = annotations.at[row.image_id, row.attribute]
        assert row.label == ("unknown" if value is None else "yes" if value else "no")
    assert (issues["partition"] == annotations.loc[issues["image_id"], "partition"].values).all()


def test_verdicts_of_the_file_are_kept_and_their_findings_make_room(tmp_path):
    paths = fabricate(tmp_path, SMALL)
    run(PARAMS, **paths)
    page = (paths["out"] / "audit.html").read_text(encoding="utf-8")
    cards = re.findall(r'<article class="find[^>]*data-image="([^"]+)"', page)
    first = page.split('id="gallery-mislabel"')[1]
    image = re.search(r'data-image="([^"]+)" data-attribute="([^"]+)"', first)
    assert image is not None
    verdicts = tmp_path / "verdicts.csv"
    verdicts.write_text(f"image_id,attribute,verdict\n{image[1]},{image[2]},flip\n")
    run(PARAMS, **paths, reviews=verdicts)
    again = (paths["out"] / "audit.html").read_text(encoding="utf-8")
    mine = again.split('id="gallery-mislabel"')[1].split('id="gallery-')[0]
    assert f'data-image="{image[1]}"' not in mine
    assert "1 judged before is not shown again" in Elements(again).text
    (root,) = [a for _, a in Elements(again).tags if a.get("id") == "reviewing"]
    assert json.loads(root["data-verdicts"]) == [[image[1], image[2], "flip"]]
    assert len(re.findall("<article", again)) == len(cards) - 1
    verdicts.write_text("image_id,attribute,verdict\n1.jpg,,drop\n")
    with pytest.raises(FacetError, match=r"verdicts\.csv:2: expected an image of the data"):
        run(PARAMS, **paths, reviews=verdicts)


def test_names_of_the_data_cannot_break_out_of_what_the_script_reads(tmp_path):
    names = {"a \"b\" 'c' </div><b>&": 0.4, **SMALL.attributes}
    pages = build(tmp_path, replace(SMALL, attributes=names))
    groups = [a for _, a in Elements(pages["audit"]).tags if a.get("class") == "verdict"]
    assert len(groups) > 8
    assert {group["data-attribute"] for group in groups} <= {"", *names}
    assert all(json.loads(group["data-images"]) for group in groups)
    assert any(group["data-attribute"] == next(iter(names)) for group in groups)


def test_only_training_images_can_be_judged(site):
    for article in re.findall(r"<article.*?</article>", site["audit"], re.DOTALL):
        shots = re.findall(r'<b class="id">(\S+)</b>\s*<span><span[^>]*>(\w+)</span>', article)
        judged = re.findall(r'class="verdict".*?data-images="(.*?)"', article)
        train = {image_id for image_id, partition in shots if partition == "train"}
        for images in judged:
            assert set(re.findall(r"\d+\.jpg", images)) <= train


def test_evaluation_shows_figures_without_leaks_and_flagged_images(site, tmp_path):
    text = Elements(site["evaluation"]).text
    assert text.count("Without doubtful images") == 2
    assert "2 images of valid have a copy in train, from which the model did not learn" in text
    assert "No image of test has a copy in train." in text
    row = re.search(r"Without leaks<span.*?</tr>", site["evaluation"], re.DOTALL)
    assert row is not None
    assert re.findall(r"<td[^>]*>(.*?)</td>", row[0])[0] == "30"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"n_leaked": 0, "n_learned": None}, "No image of test"),
        ({"n_leaked": 1, "n_learned": None}, "1 image of test has .* whether .* is unknown"),
        ({"n_leaked": 3, "n_learned": 0}, "3 images of test have .* did not learn"),
        ({"n_leaked": 3, "n_learned": 2}, "learned from the copies of 2"),
    ],
)
def test_leaks_in_a_sentence(found, expected):
    assert re.search(expected, describe_leaks({"without_leaks": found}, "test"))
