"""python -m stages.download: take the data from its source, verify it, write one canonical form."""

from stages.common.entry import open_stage, run_guarded


def main() -> str:
    """Validate the parameters, then run the stage."""
    params, paths = open_stage("download", inputs=(), outputs=("out",))
    from stages.download.run import run  # after the check of parameters, which must be quick

    return run(params, **paths)


if __name__ == "__main__":
    run_guarded(main)
