"""`facet report`: the site as a PDF or as a picture of its front page, by a Chromium browser."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stages.common.errors import FacetError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SITE = Path("reports/site")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAX_PAGES = 5
#: Sizes of print that are tried until the summary fits on MAX_PAGES.
SCALES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6)
#: Width and height of the front page's picture, CSS pixels.
PICTURE_PX = (1280, 900)
ARGS = ("--disable-gpu", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--no-first-run")  # fmt: skip


def find_page(name: str, site: Path = SITE) -> Path:
    """A page of the site.

    Raises:
        FacetError: the report has not been made.
    """
    page = site / f"{name}.html"
    if not page.is_file():
        raise FacetError(f"{page}: expected the report; it is missing (run `dvc repro`)")
    return page.resolve()


def print_pdf(out: Path, site: Path = SITE) -> str:
    """Print the site's summary to `out`, at most MAX_PAGES of A4; the closing line.

    Raises:
        FacetError: no report, no browser, or the summary does not fit.
    """
    page_file = find_page("summary", site)
    with open_browser() as browser:
        page = browser.new_page(color_scheme="light")
        page.goto(page_file.as_uri())
        page.emulate_media(media="print")
        for scale in SCALES:
            data = page.pdf(format="A4", scale=scale, print_background=True, tagged=True,
                            prefer_css_page_size=True)  # fmt: skip
            if count_pages(data) <= MAX_PAGES:
                break
        else:
            raise FacetError(
                f"{page_file}: expected at most {MAX_PAGES} pages of A4; got {count_pages(data)} "
                f"at {SCALES[-1]:.0%} of the size"
            )
    _write(out, data)
    return f"{out}: {count_pages(data)} pages, {len(data) / 1e3:.0f} KB"


def take_picture(out: Path, site: Path = SITE) -> str:
    """Save a PNG of the front page, light, to `out`; the closing line.

    Raises:
        FacetError: no report or no browser.
    """
    page_file = find_page("index", site)
    width, height = PICTURE_PX
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
        page.goto(page_file.as_uri())
        data = page.screenshot()
    _write(out, data)
    return f"{out}: {width} x {height} pixels, {len(data) / 1e3:.0f} KB"


def count_pages(pdf: bytes) -> int:
    """Pages of a PDF that Chromium wrote."""
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


@contextmanager
def open_browser() -> Iterator["Browser"]:
    """A headless Chromium.

    Raises:
        FacetError: playwright or the browser is missing, or the browser does not start.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise FacetError(
            "facet report: expected the package playwright; it is missing (pip install playwright)"
        ) from None
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        raise FacetError(
            f"facet report: expected a browser, one of {', '.join(BROWSERS)} on PATH; got none "
            "(on Debian: apt-get install chromium)"
        )
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as player:
        try:
            browser = player.chromium.launch(
                executable_path=path, args=[*ARGS, *(["--no-sandbox"] if is_root else [])]
            )
        except Error as error:
            reason = str(error).splitlines()[0]
            raise FacetError(f"facet report: expected {path} to start; {reason}") from None
        try:
            yield browser
        finally:
            browser.close()


def _write(out: Path, data: bytes) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    partial.write_bytes(data)
    partial.replace(out)
