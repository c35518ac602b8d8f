"""`facet report`: five pages at most, a small picture, and what is said where a part is missing."""

import shutil
from pathlib import Path

import pytest
from PIL import Image
from report_fabric import ATTRIBUTES, Recipe, fabricate
from typer.testing import CliRunner

from stages.cli import app
from stages.common.errors import FacetError
from stages.common.params import ReportParams
from stages.printout import BROWSERS, count_pages, find_page, print_pdf, take_picture
from stages.report.run import run

has_browser = any(map(shutil.which, BROWSERS))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A report with as many attributes as a page holds, and more."""
    many = {f"Attribute_{k}": 0.1 + 0.01 * k for k in range(52)}
    paths = fabricate(
        tmp_path_factory.mktemp("site"),
        Recipe(n_images=160, n_planted=2, attributes=ATTRIBUTES | many, n_resamples=5),
    )
    run(ReportParams(title="Facet", n_gallery=1), **paths)
    return paths["out"]


@pytest.mark.browser
@pytest.mark.skipif(not has_browser, reason="no chromium or chrome on PATH")
def test_summary_is_printed_on_five_pages_at_most(site, tmp_path):
    pytest.importorskip("playwright.sync_api")
    out = tmp_path / "new" / "report.pdf"
    line = print_pdf(out, site)
    data = out.read_bytes()
    assert data.startswith(b"%PDF")
    assert 2 <= count_pages(data) <= 5
    assert line.startswith(f"{out}: {count_pages(data)} pages")
    assert [path.name for path in out.parent.iterdir()] == ["report.pdf"]


@pytest.mark.browser
@pytest.mark.skipif(not has_browser, reason="no chromium or chrome on PATH")
def test_picture_of_the_front_page_is_small_and_light(site, tmp_path):
    pytest.importorskip("playwright.sync_api")
    out = tmp_path / "front.png"
    take_picture(out, site)
    picture = Image.open(out)
    assert picture.size == (1280, 900)
    assert out.stat().st_size < 300_000
    assert sum(picture.convert("RGB").getpixel((4, 450))) > 3 * 230


def test_pages_of_a_pdf_are_counted_and_not_their_tree():
    assert count_pages(b"<</Type /Pages /Count 2>> <</Type /Page>> <</Type/Page\n>>") == 2


def test_missing_report_is_named(tmp_path):
    with pytest.raises(FacetError, match=r"index\.html: expected the report; .*dvc repro"):
        find_page("index", tmp_path)
    with pytest.raises(FacetError, match=r"summary\.html"):
        print_pdf(tmp_path / "report.pdf", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_missing_browser_is_named(site, tmp_path, monkeypatch):
    pytest.importorskip("playwright.sync_api")
    monkeypatch.setattr("stages.printout.shutil.which", lambda name: None)
    with pytest.raises(FacetError, match="expected a browser, one of chromium"):
        print_pdf(tmp_path / "report.pdf", site)


def test_browser_that_does_not_start_is_named(site, tmp_path, monkeypatch):
    pytest.importorskip("playwright.sync_api")
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr("stages.printout.shutil.which", lambda name: str(broken))
    with pytest.raises(FacetError, match="chromium to start"):
        print_pdf(tmp_path / "report.pdf", site)


def test_command_says_where_the_report_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "reports/site/index.html"
    page.parent.mkdir(parents=True)
    page.write_text("<!doctype html>")
    done = CliRunner().invoke(app, ["report"])
    assert done.stdout.strip() == str(page.resolve())
    assert CliRunner().invoke(app, ["report", "out.pdf"]).exit_code == 2
    assert CliRunner().invoke(app, ["report", "--pdf", "--screenshot"]).exit_code == 2
