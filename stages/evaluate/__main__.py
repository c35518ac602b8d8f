"""python -m stages.evaluate: predictions, then per-attribute metrics from them."""

from stages.common.entry import open_stage, run_guarded


def main() -> str:
    """Validate the parameters, then run the stage."""
    inputs, outputs = ("prepare", "train", "audit"), ("out", "reports")
    params, paths = open_stage("evaluate", inputs=inputs, outputs=outputs)
    from stages.evaluate.run import run  # after the check of parameters: torch takes seconds

    return run(params, **paths)


if __name__ == "__main__":
    run_guarded(main)
