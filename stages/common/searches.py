"""Which DVC experiments belong to which search: `.facet/searches`, at the repository's root.

`facet search` writes it, and a training's MLflow run is put under the run of its search. A file
rather than a tag, because queued experiments run in a worker that knows their names only.
"""

import json
from collections.abc import Sequence
from contextlib import suppress

from filelock import FileLock

from stages.common.files import write_text
from stages.common.store import TAG_SEARCH, Store, state_folder


def register_search(title: str, names: Sequence[str]) -> None:
    """Remember the experiments of a search, under a name that says what they are."""
    folder = state_folder() / "searches"
    folder.mkdir(exist_ok=True)
    write_text(folder / f"{title}.json", json.dumps(list(names)))


def find_search(experiment: str | None) -> str | None:
    """The search that a DVC experiment belongs to; None where it belongs to none."""
    if not experiment:
        return None
    for path in sorted((state_folder() / "searches").glob("*.json")):
        with suppress(ValueError):  # a damaged file names no experiment
            if experiment in json.loads(path.read_text(encoding="utf-8")):
                return path.stem
    return None


def parent_tags(store: Store, experiment: str | None) -> dict[str, str]:
    """The tag that puts a run under its search's run, which is created by the first to come."""
    title = find_search(experiment)
    if title is None:
        return {}
    with FileLock(state_folder() / "searches.lock"):  # of two trainings one comes first
        runs = store.find_runs(**{TAG_SEARCH.replace(".", "__"): title})
        parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        if parents:
            parent = parents[-1].info.run_id
        else:
            parent = store.create_run(title, {}, {TAG_SEARCH: title})
            store.client.set_terminated(parent, "FINISHED")
    return {"mlflow.parentRunId": parent}
