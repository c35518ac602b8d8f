"""python -m stages.report: files in, a self-contained HTML site out."""

from stages.common.entry import open_stage, run_guarded

INPUTS = (
    "download",
    "prepare",
    "audit",
    "evaluate",
    "train",
    "explore_reports",
    "audit_reports",
    "train_reports",
    "evaluate_reports",
)


def main() -> str:
    """Validate the parameters, then run the stage."""
    params, paths = open_stage("report", inputs=INPUTS, outputs=("out",), optional=("reviews",))
    from stages.report.run import run  # after the check of parameters: it takes seconds to import

    return run(params, **paths)


if __name__ == "__main__":
    run_guarded(main)
