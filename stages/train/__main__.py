"""python -m stages.train: learn the attributes from the shards of pixels."""

from stages.common.entry import open_stage, run_guarded


def main() -> str:
    """Validate the parameters, then run the stage."""
    params, paths = open_stage("train", inputs=("prepare",), outputs=("out", "reports"))
    from stages.train.run import run  # after the check of parameters: torch takes seconds to import

    return run(params, **paths)


if __name__ == "__main__":
    run_guarded(main)
