"""The command line `facet`: a thin layer over the stages' functions, imported when needed."""

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    name="facet",
    help="Facet: from face photographs with attribute labels to an audited attribute classifier.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def facet() -> None:
    """Run from the repository's root."""


@app.command()
def check() -> None:
    """Check parameters, source, environment and MLflow store; exit status 1 on a problem."""
    from stages.check import run_checks

    is_fine = True
    for result in run_checks():
        typer.echo(f"{'ok' if result.is_fine else 'PROBLEM':8}{result.subject}: {result.text}")
        is_fine = is_fine and result.is_fine
    raise typer.Exit(0 if is_fine else 1)


@app.command()
def recipe(
    names: Annotated[list[str] | None, typer.Argument(help="Files of recipes/, no ending.")] = None,
    show: Annotated[bool, typer.Option("--list", help="Say what each recipe is.")] = False,
    queue: Annotated[bool, typer.Option(help="Queue DVC experiments, change no file.")] = False,
    every: Annotated[bool, typer.Option("--all", help="All recipes; with --queue.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("-S", help="With --queue: more, as `dvc exp run -S` takes.")
    ] = None,
) -> None:
    """Put a recipe's prepare and train sections into params.yaml, or queue recipes."""
    from stages.recipes import apply_recipe, list_recipes, load_recipe, queue_recipes

    if show:
        for one in list_recipes():
            typer.echo(f"{one.name:22}{one.about}")
        return
    if names and every:
        raise typer.BadParameter("expected names of recipes or --all")
    chosen = list_recipes() if every else [load_recipe(name) for name in names or []]
    if queue and chosen:
        for name, state in queue_recipes(chosen, settings or []).items():
            typer.echo(f"{state} {name}")
        typer.echo("`dvc queue start` works them off, `facet compare` compares them")
        return
    if len(chosen) != 1 or every or settings:
        raise typer.BadParameter("expected one recipe, or --queue with recipes or --all, or --list")
    changes = apply_recipe(chosen[0])
    for change in changes:
        typer.echo(str(change))
    typer.echo(f"params.yaml: recipe {chosen[0].name}, {len(changes)} values changed")


@app.command()
def search(
    file: Annotated[Path, typer.Argument(help="A file of search/, or one of yours.")],
    dry: Annotated[bool, typer.Option(help="Say what would be queued.")] = False,
) -> None:
    """Queue a search's experiments; they evaluate valid only."""
    from stages.search import plan_search, queue_search

    if dry:
        for name, settings in plan_search(file).items():
            typer.echo(f"{name}  {'  '.join(settings)}")
        return
    for name, state in queue_search(file).items():
        typer.echo(f"{state} {name}")
    typer.echo("`dvc queue start` works them off, `facet compare` compares them")


@app.command()
def compare(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Experiments, commits, or `workspace`. Default: the workspace and all experiments."
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="The run that others are compared with. Default: the best on valid."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="The folder to write: index.html and three CSV files.")
    ] = Path("reports/compare"),
) -> None:
    """Compare results and recipes: a page and tables, with intervals of paired differences.

    Reads finished results only, from git and DVC's cache; runs nothing. Runs on different data are
    never ranked against each other. Choose on valid: test is shown for reporting.
    """
    from stages.compare.run import compare_runs

    typer.echo(compare_runs(names or [], base, out))


@app.command()
def sync() -> None:
    """Bring into MLflow what is missing there: restored results, an outage, runs made elsewhere."""
    from stages.common.sync import main as sync_main

    typer.echo(sync_main())


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Start MLflow's pages on this project's store, for this machine only."""
    from stages.common.ui import find_page, start_ui

    typer.echo(f"MLflow on {find_page(port)} (Ctrl-C ends it)")
    start_ui(port)


@app.command()
def predictions(
    layout: Annotated[
        Literal["celeba"], typer.Option("--format", help="celeba: name and -1 or 1 per attribute.")
    ] = "celeba",
    partition: Annotated[
        Literal["valid", "test", "extra"], typer.Option(help="extra: the second data set.")
    ] = "test",
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Default: evaluate.threshold.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("predictions.txt"),
) -> None:
    """Write an evaluated partition's predictions as the challenge's text file."""
    from stages.common.params import load_params
    from stages.predictions import write_celeba

    limit = load_params().evaluate.threshold if threshold is None else threshold
    typer.echo(write_celeba(Path("data/evaluate"), partition, limit, out))


@app.command()
def predict(
    photos: Annotated[
        list[Path], typer.Argument(help="Faces aligned as in CelebA, 178x218 pixels.")
    ],
    model: Annotated[Path, typer.Option(help="A model's folder.")] = Path("data/train/model"),
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Default: the model's.")
    ] = None,
    show_all: Annotated[
        bool, typer.Option("--all", help="Show attributes below the threshold as well.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
    any_size: Annotated[
        bool, typer.Option("--any-size", help="Accept pictures of other sizes.")
    ] = False,
) -> None:
    """Print the attributes of aligned faces; exit status 1 where a photo cannot be used."""
    from stages.predict.photos import print_answers

    raise typer.Exit(
        0 if print_answers(photos, model, threshold, show_all, as_json, any_size) else 1
    )


@app.command()
def report(
    out: Annotated[Path | None, typer.Argument(help="The file to write.")] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="At most five A4 pages.")] = False,
    screenshot: Annotated[
        bool, typer.Option("--screenshot", help="A PNG of the front page.")
    ] = False,
) -> None:
    """Say where the report is, or print it: --pdf [OUT] or --screenshot [OUT]; needs Chromium."""
    from stages.printout import find_page, print_pdf, take_picture

    if (pdf and screenshot) or (out and not (pdf or screenshot)):
        raise typer.BadParameter("expected one of --pdf and --screenshot with a file to write")
    if pdf:
        typer.echo(print_pdf(out or Path("report.pdf")))
    elif screenshot:
        typer.echo(take_picture(out or Path("report.png")))
    else:
        typer.echo(find_page("index"))


def main() -> None:
    """Entry point of the console script: an error of the user's is one line."""
    from stages.common.entry import run_guarded

    def run() -> str:
        app()
        return ""

    run_guarded(run)


if __name__ == "__main__":
    main()
