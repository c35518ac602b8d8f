"""The command line `facet`: a thin layer over the stages' functions, imported when needed."""

from typing import Annotated

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
def sync() -> None:
    """Bring into MLflow what is missing there: restored results, an outage, runs made elsewhere."""
    from stages.common.sync import main as sync_main

    typer.echo(sync_main())


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Start MLflow's pages on this project's store, for this machine only."""
    from stages.common.ui import start_ui

    start_ui(port)


def main() -> None:
    """Entry point of the console script: an error of the user's is one line."""
    from stages.common.entry import run_guarded

    def run() -> str:
        app()
        return ""

    run_guarded(run)


if __name__ == "__main__":
    main()
