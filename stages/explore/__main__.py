"""python -m stages.explore: tables about labels, partitions, identities and pictures."""

from stages.common.entry import open_stage, run_guarded


def main() -> str:
    """Read this stage's parameters and paths, run it, return the closing line."""
    params, paths = open_stage("explore", inputs=("download",), outputs=("out",))
    from stages.explore.run import run  # after the check of parameters: it takes seconds to import

    return run(params, **paths)


if __name__ == "__main__":
    run_guarded(main)
