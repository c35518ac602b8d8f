"""python -m stages.prepare: decode once, crop, resize, select, apply the policy, write shards."""

from stages.common.entry import open_stage, run_guarded


def main() -> str:
    """Validate the parameters, then run the stage."""
    inputs, outputs, optional = ("download", "audit"), ("out",), ("reviews",)
    params, paths = open_stage("prepare", inputs=inputs, outputs=outputs, optional=optional)
    from stages.prepare.run import run  # after the check of parameters, which must be quick

    return run(params, **paths)


if __name__ == "__main__":
    run_guarded(main)
