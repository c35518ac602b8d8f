"""`facet compare`: collect, score, compare, write."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader
from pydantic import ValidationError

from stages.common.errors import FacetError
from stages.common.files import fresh_folder, write_text
from stages.common.params import EvaluateParams, ReportParams, load_params, read_yaml
from stages.compare.charts import shorten_count
from stages.compare.costs import find_costs
from stages.compare.page import build_page
from stages.compare.ranking import group_runs
from stages.compare.runs import collect_runs
from stages.compare.tables import list_attributes, list_comparison, list_differences, to_csv
from stages.report.run import load_script, make_environment
from stages.report.words import NOT_AVAILABLE, counted, is_undefined

PARAMS = Path("params.yaml")
TEMPLATES = Path(__file__).with_name("templates")
SITE = Path("reports/site/index.html")


def compare_runs(names: Sequence[str], base: str | None, out: Path) -> str:
    """Write index.html, comparison.csv, differences.csv and per_attribute.csv to `out`.

    Resamples, confidence and seed are those of params.yaml's section `evaluate`.

    Args:
        names: Experiments, commits, or `workspace`; none for the workspace and all experiments.
        base: The run that others are compared with; None for the best on valid of each data.
        out: The folder; replaced where it holds nothing but an earlier comparison.

    Returns:
        One closing line.

    Raises:
        FacetError: nothing to compare, an unknown name, or a folder with other files.
    """
    chosen, title = read_params()
    check_folder(out)
    collected = collect_runs(Path.cwd(), names)
    if not collected.runs:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in collected.left_out)
        raise FacetError(f"expected a finished result to compare; got none ({reasons})")
    there = [run.name for run in collected.runs]
    if base is not None and base not in there:
        raise FacetError(f"--base: expected one of {', '.join(there)}; got '{base}'")
    groups = group_runs(collected.runs, base, chosen.n_resamples, chosen.confidence, chosen.seed)
    costs, cost_note = find_costs((run.key, run.weights_sha256) for run in collected.runs)
    script, script_hash = load_script("compare")
    pages = [("index", "Comparison")]
    if SITE.is_file():
        pages.append((Path(os.path.relpath(SITE.with_suffix(""), out)).as_posix(), "Report"))
    text = (
        make_pages()
        .get_template("compare.html.j2")
        .render(
            site=title,
            page="index",
            page_title="Comparison",
            pages=pages,
            script=script,
            script_hash=script_hash,
            confidence=chosen.confidence,
            n_resamples=chosen.n_resamples,
            **build_page(collected, groups, costs, cost_note, base),
        )
    )
    with fresh_folder(out) as folder:
        write_text(folder / "comparison.csv", to_csv(list_comparison(groups, costs)))
        write_text(folder / "differences.csv", to_csv(list_differences(groups)))
        write_text(folder / "per_attribute.csv", to_csv(list_attributes(groups)))
        write_text(folder / "index.html", text)
    return (
        f"{out / 'index.html'}: {counted(len(there), 'run')} on "
        f"{counted(len(groups), 'source of data', 'sources of data')}"
        + (f", {len(collected.left_out)} left out" if collected.left_out else "")
    )


def read_params(path: Path = PARAMS) -> tuple[EvaluateParams, str]:
    """The section `evaluate`, and the report's title; the source of data need not be there.

    Raises:
        FacetError: a section is not valid.
    """
    values = read_yaml(path)
    try:
        return (
            EvaluateParams.model_validate(values["evaluate"]),
            ReportParams.model_validate(values["report"]).title,
        )
    except (KeyError, TypeError, ValidationError):
        load_params(path)  # says what is wrong, and where
        raise


def check_folder(out: Path) -> None:
    """Refuse to replace a folder that holds something else.

    Raises:
        FacetError: it does.
    """
    ours = {"index.html", "comparison.csv", "differences.csv", "per_attribute.csv"}
    if out.exists() and not out.is_dir():
        raise FacetError(f"--out: expected a folder; {out} is a file")
    others = (
        sorted(path.name for path in out.iterdir() if path.name not in ours) if out.exists() else []
    )
    if others:
        raise FacetError(
            f"--out: expected a new folder or one of an earlier comparison; {out} also holds "
            f"{others[0]}"
        )


def make_pages() -> Environment:
    """The site's templates and filters, with ours beside them."""
    environment = make_environment()
    site: Any = environment.loader
    environment.loader = ChoiceLoader([FileSystemLoader(TEMPLATES), site])
    environment.filters.update({"large": shorten_count, "duration": tell_duration})
    return environment


def tell_duration(seconds: float | None) -> str:
    """Seconds as a person says them: 48 s, 12 min, 3.4 h."""
    if seconds is None or is_undefined(seconds):
        return NOT_AVAILABLE
    if seconds < 90:
        return f"{seconds:.0f}\u202fs"
    return f"{seconds / 60:.0f}\u202fmin" if seconds < 5400 else f"{seconds / 3600:.1f}\u202fh"
