"""Read everything once, draw the charts, render the pages."""

import base64
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stages.common.files import fresh_folder, write_text
from stages.common.params import ReportParams
from stages.report.downloads import write_downloads
from stages.report.inputs import Inputs, read_inputs
from stages.report.page_attribute import Material, build_overview, build_pages, gather
from stages.report.page_audit import build_audit
from stages.report.page_data_card import build_data_card
from stages.report.page_evaluation import build_evaluation
from stages.report.page_explore import build_explore
from stages.report.page_faces import build_faces
from stages.report.page_index import build_index
from stages.report.page_model_card import build_model_card
from stages.report.page_slices import build_slices
from stages.report.page_summary import build_summary
from stages.report.page_training import build_training
from stages.report.words import FILTERS, counted

log = logging.getLogger(__name__)

TEMPLATES = Path(__file__).with_name("templates")
#: File name without suffix, title in the navigation.
PAGES = (
    ("index", "Overview"),
    ("explore", "Explore"),
    ("faces", "Faces"),
    ("audit", "Audit"),
    ("training", "Training"),
    ("evaluation", "Evaluation"),
    ("attributes", "Attributes"),
    ("slices", "Slices"),
    ("data_card", "Data card"),
    ("model_card", "Model card"),
)
#: Pages that others link to, but not the navigation.
ASIDE = (("summary", "Summary for print"),)
#: Scripts of a page; all others have the first alone.
SCRIPTS = {
    "index": ("sort.js",),
    "audit": ("sort.js", "differ.js", "review.js"),
    "attribute": ("sort.js", "slider.js"),
}


def run(
    params: ReportParams,
    download: Path,
    prepare: Path,
    audit: Path,
    evaluate: Path,
    train: Path,
    explore_reports: Path,
    audit_reports: Path,
    train_reports: Path,
    evaluate_reports: Path,
    out: Path,
    reviews: Path | None = None,
) -> str:
    """Write the site to `out`: index.html and the other pages, each complete in itself, CSV files.

    PAGES, ASIDE, and one page per evaluated attribute.

    Raises:
        FacetError: an input is missing or not what its stage writes, or a verdict is wrong.
    """
    inputs = read_inputs(
        download,
        prepare,
        audit,
        evaluate,
        train,
        explore_reports,
        audit_reports,
        train_reports,
        evaluate_reports,
        reviews,
    )
    environment = make_environment()
    attributes = gather(inputs, evaluate, audit)
    n_pages = n_bytes = 0
    with fresh_folder(out) as folder:
        downloads = write_downloads(inputs, folder)
        for page in list_pages(inputs, params, attributes):
            script, script_hash = load_script(page.template)
            text = environment.get_template(f"{page.template}.html.j2").render(
                site=params.title,
                page=page.place,
                page_title=page.title,
                pages=PAGES,
                inputs=inputs,
                manifest=inputs.manifest,
                model=inputs.trained.model,
                training=inputs.trained.summary,
                downloads=downloads,
                attribute_files=attributes.files,
                script=script,
                script_hash=script_hash,
                **page.context,
            )
            write_text(folder / page.file, text)
            n_pages, n_bytes = n_pages + 1, n_bytes + len(text.encode())
            log.info("report: %s", page.file)
    return (
        f"report: {counted(n_pages, 'page')} ({n_bytes / 1e6:.1f} MB) about "
        f"{counted(inputs.manifest['n_images'], 'image')}, "
        f"{counted(len(inputs.audited.issues), 'finding')}, evaluated on "
        f"{' and '.join(inputs.evaluated.partitions) or 'nothing'}"
    )


@dataclass(frozen=True)
class Page:
    """A file of the site. place: which of PAGES the navigation marks."""

    file: str
    template: str
    place: str
    title: str
    context: dict[str, Any]


def list_pages(inputs: Inputs, params: ReportParams, attributes: Material) -> Iterator[Page]:
    """Yield every page, those of the navigation first."""
    for name, title in (*PAGES, *ASIDE):
        context = build_page(name, inputs, params, attributes)
        yield Page(f"{name}.html", name, name, title, context)
    for page in build_pages(attributes):
        yield Page(page.file, "attribute", "attributes", page.attribute, page.context)


def build_page(
    name: str, inputs: Inputs, params: ReportParams, attributes: Material
) -> dict[str, Any]:
    """What the template of one page needs."""
    match name:
        case "index":
            return build_index(inputs)
        case "explore":
            return build_explore(inputs)
        case "faces":
            return build_faces(inputs)
        case "audit":
            return build_audit(inputs, params.n_gallery)
        case "training":
            return build_training(inputs)
        case "data_card":
            return build_data_card(inputs)
        case "model_card":
            return build_model_card(inputs)
        case "attributes":
            return build_overview(attributes)
        case "summary":
            return build_summary(inputs)
        case "slices":
            return build_slices(inputs)
        case _:
            return build_evaluation(inputs)


def load_script(page: str) -> tuple[Markup, str]:
    """The script of a page and its hash: the page's policy allows this one and no other.

    So text from the data can never run.
    """
    names = SCRIPTS.get(page, SCRIPTS["index"])
    script = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)
    digest = hashlib.sha256(script.encode()).digest()
    # Our own files, not the data's.
    return Markup(script), "sha256-" + base64.b64encode(digest).decode()


def make_environment() -> Environment:
    """Jinja with everything escaped, and a missing value as an error."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment
