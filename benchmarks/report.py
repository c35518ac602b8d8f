"""What the report of CelebA's size costs: building it, its pages' sizes, opening them.

Inputs are fabricated: 20,000 test images and as many others, 40 attributes, with findings, copies
and pictures. The stage runs as a program of its own. Then each page is opened in Chromium from its
file several times, with nothing kept between: from the call until it has been painted, and its
main thread's time. Run it while nothing else runs.

    python -m benchmarks.report                    # two minutes, half of them to draw the inputs
    python -m benchmarks.report --site reports/site   # opens the pages that are there
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from stages.printout import open_browser

ROOT = Path(__file__).resolve().parent.parent
N_ATTRIBUTES = 40
N_OPENED = 5
#: Resolved two frames after everything was loaded: then the page stands on the screen.
PAINTED = """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(
    () => done(performance.now()))))"""


def main() -> None:
    """Build where no site is named, open, print tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n_test", type=int, default=20_000)
    parser.add_argument("--site", type=Path, help="pages that are there already")
    options = parser.parse_args()
    if options.site is not None:
        open_pages(options.site)
        return
    with tempfile.TemporaryDirectory(prefix="facet-") as folder:
        open_pages(build(Path(folder), options.n_test))


def build(folder: Path, n_test: int) -> Path:
    """Fabricate the stage's inputs, run it, print what that cost; returns the site."""
    # Elsewhere, as a program that is started from here counts this one's memory as its peak.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        paths = pool.submit(draw_inputs, folder, n_test).result()
    arguments = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    started = time.perf_counter()
    stage = subprocess.Popen([sys.executable, "-m", "stages.report", *arguments], cwd=ROOT)
    _, status, used = os.wait4(stage.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit("the stage failed")
    print(
        f"\n{n_test:,} test images of {2 * n_test:,}, {N_ATTRIBUTES} attributes, "
        f"{os.cpu_count()} cores: {seconds:.0f} s, {used.ru_utime + used.ru_stime:.0f} CPU "
        f"seconds, peak {used.ru_maxrss / 1024:.0f} MiB\n"
    )
    return paths["out"]


def draw_inputs(folder: Path, n_test: int) -> dict[str, Path]:
    """What the stages before would have left; paths by the names of the stage's options."""
    from tests.report_fabric import ATTRIBUTES, Recipe, fabricate

    names = {f"attribute_{k}": 0.05 + 0.02 * k for k in range(N_ATTRIBUTES - len(ATTRIBUTES))}
    recipe = Recipe(
        n_images=2 * n_test,
        attributes={**ATTRIBUTES, **names},
        shares=(0.4, 0.1),
        n_shown=4,
        picture_size=(109, 89),
    )
    paths: dict[str, Path] = fabricate(folder, recipe)
    return paths


def open_pages(site: Path) -> None:
    """Print a row per page, the slowest last: size, seconds until painted, of the main thread."""
    rows = []
    with open_browser() as browser:
        for path in sorted(site.glob("*.html")):
            opened, busy = [], []
            for _ in range(N_OPENED):
                context = browser.new_context(viewport={"width": 1280, "height": 900})
                page = context.new_page()
                session = context.new_cdp_session(page)
                session.send("Performance.enable")
                started = time.perf_counter()
                page.goto(path.resolve().as_uri(), wait_until="load")
                page.evaluate(PAINTED)
                opened.append(time.perf_counter() - started)
                metrics = session.send("Performance.getMetrics")["metrics"]
                busy.append(next(m["value"] for m in metrics if m["name"] == "TaskDuration"))
                context.close()
            median = statistics.median(opened)
            rows.append((median, max(opened), statistics.median(busy), path))
    rows.sort(key=lambda row: row[0])
    print("| page | MB | opened in, s | at most, s | main thread, s |\n|---|---|---|---|---|")
    for median, most, busy_s, path in rows:
        size = path.stat().st_size / 1e6
        print(f"| {path.stem} | {size:.2f} | {median:.2f} | {most:.2f} | {busy_s:.2f} |")


if __name__ == "__main__":
    main()
