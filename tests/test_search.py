"""Searches: which experiments a file stands for, and under which run they come."""

from pathlib import Path

import pytest
from test_recipes import ROOT, place  # noqa: F401  a fixture
from typer.testing import CliRunner

import stages.queueing as queueing
from stages.cli import app
from stages.common.errors import FacetError
from stages.common.results import Experiment
from stages.common.searches import find_search, register_search
from stages.queueing import Task
from stages.search import plan_search, queue_search

GRID = """recipe: small
settings: {train.n_epochs: 5}
grid:
  train.batch_size: [16, 64]
  train.lr: [1.5e-3, 1.0e-4, 1.0e-5]
"""
RANDOM = """recipe: null
random:
  n: 40
  seed: 3
  distributions:
    train.lr: {log_uniform: [1.0e-5, 1.0e-2]}
    train.dropout: {uniform: [0.1, 0.5]}
    train.batch_size: {choice: [16, 32, 64]}
    train.n_epochs: {integer: [2, 4]}
"""
LISTED = """recipe: small
experiments:
  - train.lr: 0.5
  - train.lr: 0.25
    prepare.subset.train: 0.5
"""


@pytest.fixture
def searched(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """A folder to search in, with a git that always answers the same."""
    monkeypatch.setattr("stages.queueing.run_command", lambda command: "0123456")
    monkeypatch.setenv("DVC_ROOT", str(place))
    return place


def write(folder: Path, text: str, name: str = "try.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_grid_has_every_combination_and_evaluates_valid_only(searched: Path) -> None:
    planned = plan_search(write(searched, GRID))
    assert len(planned) == 6
    rows = [dict(setting.split("=", 1) for setting in settings) for settings in planned.values()]
    # what is in params.yaml already needs no setting: lr 1.5e-3
    pairs = {(row["train.batch_size"], float(row.get("train.lr", 1.5e-3))) for row in rows}
    assert pairs == {(size, rate) for size in ("16", "64") for rate in (1.5e-3, 1e-4, 1e-5)}
    for row in rows:
        assert row["evaluate.partitions"] == "[valid]"
        assert row["train.n_epochs"] == "5"
        assert row["prepare.height_px"] == "64"  # of the recipe


def test_the_search_wins_over_its_recipe(searched: Path) -> None:
    planned = list(plan_search(write(searched, LISTED)).values())
    assert "train.lr=0.5" in planned[0]
    assert "train.n_epochs=7" in planned[0]
    assert "prepare.subset.train=0.5" in planned[1]


def test_random_draws_are_by_seed_and_within_bounds(searched: Path) -> None:
    first = plan_search(write(searched, RANDOM))
    assert first == plan_search(write(searched, RANDOM))
    other = plan_search(write(searched, RANDOM.replace("seed: 3", "seed: 4")))
    assert list(first.values()) != list(other.values())
    rows = [dict(setting.split("=", 1) for setting in settings) for settings in first.values()]
    rates = [float(row["train.lr"]) for row in rows]
    assert all(1e-5 <= rate <= 1e-2 for rate in rates)
    assert sum(rate < 10**-3.5 for rate in rates) > 10  # in the logarithm: half of 40
    assert all(0.1 <= float(row["train.dropout"]) <= 0.5 for row in rows if "train.dropout" in row)
    sizes = {row.get("train.batch_size", "32") for row in rows}
    assert sizes == {"16", "32", "64"}
    assert {row.get("train.n_epochs", "3") for row in rows} == {"2", "3", "4"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            GRID + "experiments: [{train.lr: 1.0}]\n", "one of experiments", id="two kinds"
        ),
        pytest.param("recipe: small\n", "one of experiments", id="no kind"),
        pytest.param(GRID.replace("small", "tall"), "expected a recipe", id="unknown recipe"),
        pytest.param(GRID.replace("train.lr", "train.rate"), "expected a key of", id="unknown key"),
        pytest.param(
            GRID.replace("[16, 64]", "[16, 0]"), "experiment 4: train.batch_size", id="bad value"
        ),
        pytest.param(
            GRID.replace("train.lr", "evaluate.threshold"),
            "keys of prepare and train",
            id="evaluate",
        ),
        pytest.param(
            RANDOM.replace("[1.0e-5, 1.0e-2]", "[0.0, 1.0]"), "bounds above 0", id="log of 0"
        ),
        pytest.param(
            RANDOM.replace("[0.1, 0.5]", "[0.5, 0.1]"), "lower and an upper", id="bounds turned"
        ),
        pytest.param(
            RANDOM.replace("uniform: [0.1", "normal: [0.1"),
            "unknown key",
            id="unknown distribution",
        ),
        pytest.param("- 1\n", "expected the keys", id="a list"),
        pytest.param(
            RANDOM.replace("1.0e-2", ".inf"),
            r"random\.distributions\.train\.lr\.log_uniform\.1: expected a finite number",
            id="endless",
        ),
        pytest.param(
            GRID.replace("[16, 64]", "16"),
            r"grid\.train\.batch_size: expected a list",
            id="no list",
        ),
        pytest.param(
            "recipe: null\nrandom: {n: 5, seed: 1, distributions: {train.lr: {choice: [0.1]}}}\n",
            "expected at most the 1 there are; got 5",
            id="more than there are",
        ),
        pytest.param(
            GRID + "download: {}\n",
            r"download: unknown key$",
            id="a section that is not of searches",
        ),
    ],
)
def test_a_wrong_search_is_refused_before_anything_is_queued(
    searched: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    queued: list[str] = []
    monkeypatch.setattr(queueing, "queue_experiment", lambda name, settings: queued.append(name))
    with pytest.raises(FacetError, match=expected):
        queue_search(write(searched, text))
    assert queued == []
    assert not (searched / ".facet" / "searches").exists()


def test_experiments_find_their_search(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queued: list[str] = []
    monkeypatch.setattr(queueing, "queue_experiment", lambda name, settings: queued.append(name))
    told = queue_search(write(searched, GRID, "grid.yaml"))
    names = list(told)
    assert queued == names
    assert set(told.values()) == {"queued"}
    title = find_search(names[3])
    assert title is not None
    assert title.startswith("grid-")
    assert find_search("by-hand") is None
    assert find_search(None) is None
    register_search("other", ["by-hand"])
    assert find_search("by-hand") == "other"
    (searched / ".facet" / "searches" / "a.json").write_text('["by-h')  # as an older Facet left it
    assert find_search("by-hand") == "other"


def test_what_is_there_is_not_queued_again(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queued: list[str] = []
    monkeypatch.setattr(queueing, "queue_experiment", lambda name, settings: queued.append(name))
    path = write(searched, GRID, "grid.yaml")
    names = list(queue_search(path))
    known = [
        Experiment(names[0], "c0ffee", "0123456"),
        Experiment(names[1], "c0ffee", "7654321"),  # of another commit: DVC takes it again
    ]
    monkeypatch.setattr(queueing, "list_experiments", lambda root: known)
    tasks = [Task("1", names[2], "Queued"), Task("2", names[3], "Failed")]
    monkeypatch.setattr(queueing, "list_queue", lambda root: tasks)
    queued.clear()
    told = queue_search(path)
    assert list(told) == names
    assert told[names[0]] == "already finished"
    assert told[names[2]] == "already queued"
    assert queued == [names[1], *names[3:]]


def test_another_params_yaml_makes_other_experiments(searched: Path) -> None:
    path = write(searched, GRID, "grid.yaml")
    first = plan_search(path)
    params = searched / "params.yaml"
    text = params.read_text()
    params.write_text(text + "# in another hand\n")
    assert plan_search(path).keys() == first.keys()  # a comment changes nothing
    params.write_text(text.replace("n_resamples: ", "n_resamples: 1"))
    second = plan_search(path)
    assert not first.keys() & second.keys()


@pytest.mark.parametrize(
    ("once", "twice"),
    [
        pytest.param("{train.lr: 0.5}", "{train.lr: 0.5}", id="literally"),
        pytest.param("{train.dropout: 0.0}", "{train.dropout: 0}", id="as a whole number"),
        pytest.param(
            "{train.lr: 0.5, train.batch_size: 64}",
            "{train.batch_size: 64, train.lr: 0.5}",
            id="in another order",
        ),
    ],
)
def test_equal_experiments_are_planned_once(searched: Path, once: str, twice: str) -> None:
    planned = plan_search(write(searched, f"recipe: null\nexperiments: [{once}]\n"))
    both = f"recipe: null\nexperiments: [{once}, {twice}]\n"
    assert plan_search(write(searched, both)) == planned
    assert len(planned) == 1


def test_a_longer_grid_queues_only_what_is_new(
    searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued: list[str] = []
    monkeypatch.setattr(queueing, "queue_experiment", lambda name, settings: queued.append(name))
    grid = "recipe: null\ngrid: {train.lr: [0.1, 0.2], train.batch_size: [16, 64]}\n"
    names = list(queue_search(write(searched, grid)))
    tasks = [Task(str(k), name, "Queued") for k, name in enumerate(names)]
    monkeypatch.setattr(queueing, "list_queue", lambda root: tasks)
    queued.clear()
    told = queue_search(write(searched, grid.replace("[0.1,", "[0.05, 0.1,")))
    assert len(queued) == 2
    assert [told[name] for name in queued] == ["queued", "queued"]
    assert sorted(set(told.values()) - {"queued"}) == [f"already queued as {n}" for n in names]


def test_a_folder_is_no_search(searched: Path) -> None:
    with pytest.raises(FacetError, match="expected a file of YAML; it is a folder"):
        plan_search(searched)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "search").glob("*.yaml")), ids=lambda path: path.stem
)
def test_searches_of_the_house_can_be_queued(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("stages.queueing.run_command", lambda command: "0123456")
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)
    n_planned = {"uab_channels": 7, "uab_batch_lr": 6, "uab_longer": 1, "facet_fast": 12}
    assert len(plan_search(path)) == n_planned[path.stem]


def test_a_dry_search_says_what_would_be_queued(searched: Path) -> None:
    path = write(searched, LISTED)
    shown = CliRunner().invoke(app, ["search", "--dry", str(path)])
    assert shown.exit_code == 0, shown.output
    assert shown.output.count("try-00") == 2
    assert "train.lr=0.25" in shown.output
