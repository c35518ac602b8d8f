"""facet compare: fair rankings, paired intervals, and everything said that is missing."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from stages.cli import app
from stages.common import results, store, tracking
from stages.common.errors import FacetError
from stages.common.params import read_yaml
from stages.compare import experiments, ranking
from stages.compare import runs as compare_runs_module
from stages.compare.answers import Answers
from stages.compare.costs import Cost, count_operations, find_costs
from stages.compare.data import N_TEST
from stages.compare.differences import Drawn, excludes_zero
from stages.compare.origin import canonical, list_values
from stages.compare.published import is_official, read_published, read_published_by_attribute
from stages.compare.ranking import Group, Ranking
from stages.compare.run import compare_runs
from stages.compare.runs import collect_runs
from stages.patch import patch_text
from stages.recipes import load_recipe
from tests.compare_fabric import ATTRIBUTES, SIZES, Data, Scene, git

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC is asked for its cache once per repository; no queue, which costs a second to ask for."""
    results.cache_folder.cache_clear()
    monkeypatch.setattr(compare_runs_module, "list_unfinished", lambda root: [])


def make_scene(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene(folder / "a clone")
    monkeypatch.chdir(scene.folder)
    return scene


def recipe(scene: Scene, name: str) -> dict[str, str]:
    values = load_recipe(name, scene.folder / "recipes").values
    return {".".join(keys): value for keys, value in values.items()}


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory):
    """Eight results in one repository, compared once; its folder of tables and the scene."""
    results.cache_folder.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        scene = make_scene(tmp_path_factory.mktemp("compare"), patch)
        scene.add("good", 1.5, settings={"train.lr": "5.0e-4"})
        scene.add("again", 1.5, settings={"train.lr": "5.0e-4"})
        scene.add("poor", 0.9, settings=recipe(scene, "uab_cnn"), seed=1)
        scene.add("male", 1.5, attributes=["Male"], seed=2)
        scene.add("searched", 1.2, partitions=["valid"], seed=3)
        scene.add("lost", 1.3, is_cached=False, seed=4)
        scene.add("half", 1.2, is_evaluated=False)
        scene.add("fewer", 1.2, n_valid=100, settings={"prepare.subset.valid": "100"})
        scene.add("workspace", 2.5, Data("other"))
        line = compare_runs([], None, Path("reports/compare"))
        yield scene, scene.folder / "reports/compare", line


def read(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{name}.csv", keep_default_na=False, na_values=[""])


def test_it_writes_a_page_and_three_tables(compared) -> None:
    _, out, line = compared
    assert line == "reports/compare/index.html: 9 runs on 2 sources of data"
    assert sorted(path.name for path in out.iterdir()) == [
        "comparison.csv", "differences.csv", "index.html", "per_attribute.csv",
    ]  # fmt: skip


def test_figures_are_those_of_evaluate(compared) -> None:
    scene, out, _ = compared
    table = read(out, "comparison").set_index(["run", "partition"])
    for experiment in results.list_experiments(scene.folder):
        text = git(scene.folder, "ls-tree", "-r", "--name-only", experiment.commit)
        if "reports/evaluate/metrics.json" not in text:
            continue
        told = json.loads(
            git(scene.folder, "show", f"{experiment.commit}:reports/evaluate/metrics.json")
        )
        for partition, metrics in told.items():
            row = table.loc[(experiment.name, partition)]
            for name in ("accuracy", "majority_accuracy", "gain", "roc_auc", "micro_roc_auc", "f1"):
                assert row[name] == pytest.approx(metrics[name], abs=2e-6), (experiment.name, name)


def test_ranks_count_within_same_data_images_and_attributes_only(compared) -> None:
    _, out, _ = compared
    table = read(out, "comparison")
    ours = table[(table["kind"] == "ours") & (table["partition"] == "valid")]
    sets = {frozenset(rows["run"]) for _, rows in ours.groupby("ranking")}
    assert sets == {
        frozenset({"good", "again", "poor", "searched", "lost"}),
        frozenset({"male"}),
        frozenset({"fewer"}),
        frozenset({"workspace"}),
    }
    first = ours[ours["run"] == "workspace"].iloc[0]
    assert first["accuracy"] > ours[ours["run"] == "good"]["accuracy"].iloc[0]
    assert first["rank"] == 1
    ranked = ours[ours["ranking"] == ours[ours["run"] == "good"]["ranking"].iloc[0]]
    assert list(ranked["rank"]) == [1, 2, 3, 4, 5]
    assert ranked["accuracy"].is_monotonic_decreasing


def test_no_difference_between_different_data(compared) -> None:
    _, out, _ = compared
    table = read(out, "differences")
    assert "workspace" not in {*table["run_a"], *table["run_b"]}


def test_identical_runs_do_not_differ(compared) -> None:
    _, out, _ = compared
    table = read(out, "differences")
    pair = table[(table["run_a"] == "again") & (table["run_b"] == "good")]
    assert len(pair) == 2 * (1 + len(ATTRIBUTES))
    assert (pair[["difference", "difference_low", "difference_high"]] == 0).all().all()
    assert not pair["excludes_zero"].any()


def test_a_planted_difference_is_found(compared) -> None:
    _, out, _ = compared
    table = read(out, "differences")
    pair = table[(table["run_a"] == "good") & (table["run_b"] == "poor")]
    mean = pair[pair["attribute"].isna()]
    assert list(mean["partition"]) == ["valid", "test"]
    assert (mean["difference"] > 0.05).all()
    assert mean["excludes_zero"].all()
    assert "NA" in set(pair["attribute"].dropna())  # an attribute's name, no undefined value


def test_runs_with_fewer_attributes_are_compared_on_the_common_ones(compared) -> None:
    _, out, _ = compared
    table = read(out, "differences")
    pair = table[(table["run_b"] == "male") & (table["run_a"] == "good")]
    assert set(pair["attribute"].dropna()) == {"Male"}
    assert set(pair["n_attributes"]) == {1}
    assert "on 1 common attribute" in (out / "index.html").read_text()


def test_runs_on_fewer_images_are_compared_on_the_common_ones(compared) -> None:
    _, out, _ = compared
    table = read(out, "differences")
    pair = table[(table["run_a"] == "fewer") & (table["run_b"] == "good")]
    counts = dict(zip(pair["partition"], pair["n_images"], strict=True))
    assert counts == {"valid": 100, "test": SIZES["test"]}


def test_what_only_git_holds_has_figures_and_no_differences(compared) -> None:
    _, out, _ = compared
    table, pairs = read(out, "comparison"), read(out, "differences")
    row = table[(table["run"] == "lost") & (table["partition"] == "valid")].iloc[0]
    assert row["accuracy"] > 0.5
    assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
    assert "not in DVC’s cache" in row["notes"]
    assert "lost" not in {*pairs["run_a"], *pairs["run_b"]}


def test_what_was_not_evaluated_is_said(compared) -> None:
    _, out, _ = compared
    (row,) = read(out, "comparison").query("run == 'half'").to_dict("records")
    assert "it was not evaluated" in row["notes"]
    assert row["n_epochs_run"] == 3
    page = (out / "index.html").read_text()
    assert "<strong>half</strong>: it was not evaluated." in page


def test_searches_are_missing_on_test(compared) -> None:
    _, out, _ = compared
    table = read(out, "comparison")
    assert list(table[table["run"] == "searched"]["partition"]) == ["valid"]
    assert "Choices are made on valid" in (out / "index.html").read_text()


def test_recipes_are_recognised_and_changes_named(compared) -> None:
    _, out, _ = compared
    table = read(out, "comparison").drop_duplicates("run").set_index("run")
    assert table.loc["poor", "recipe"] == "uab_cnn"
    assert pd.isna(table.loc["poor", "changes"])
    assert table.loc["good", "recipe"] == "facet_fast"
    assert re.fullmatch(r"train.lr: 0.0015 -> 0.0005", table.loc["good", "changes"])


def test_commits_are_not_read_as_numbers(compared) -> None:
    """Seven digits such as 9762e16 would be: 9.762e+16 is no commit."""
    _, out, _ = compared
    table = read(out, "comparison").query("kind == 'ours'")
    assert table["commit"].str.fullmatch("[0-9a-f]{40}").all()
    assert table["source"].str.fullmatch("[0-9a-f]{40}|workspace").all()


def test_two_comparisons_are_the_same_bytes(compared, monkeypatch) -> None:
    scene, out, _ = compared
    monkeypatch.chdir(scene.folder)
    compare_runs([], None, Path("again/tables"))
    for path in out.iterdir():
        assert path.read_bytes() == (scene.folder / "again/tables" / path.name).read_bytes()


def apply_commands(scene: Scene, commit: str, command: str, folder: Path) -> dict[str, str]:
    """The parameters that a command's recipe and settings make of params.yaml at a commit."""
    text = git(scene.folder, "show", f"{commit}:params.yaml") + "\n"
    words = shlex.split(command.partition(" && ")[0])
    if words[:2] == ["facet", "recipe"]:
        text = patch_text(text, load_recipe(words[2], scene.folder / "recipes").values)
    settings = [words[k + 1] for k, word in enumerate(words) if word == "-S"]
    (folder / "params.yaml").write_text(text)
    if settings:
        from dvc.utils.hydra import apply_overrides

        apply_overrides(folder / "params.yaml", settings)
    return {k: canonical(v) for k, v in list_values(read_yaml(folder / "params.yaml"))}


def test_the_command_makes_the_same_parameters(compared, tmp_path) -> None:
    scene, out, _ = compared
    table = read(out, "comparison").drop_duplicates("run").set_index("run")
    kinds = set()
    for experiment in results.list_experiments(scene.folder):
        row = table.loc[experiment.name]
        kinds.add(" ".join(row["command"].split()[:3]))
        made = apply_commands(scene, row["commit"], row["command"], tmp_path)
        text = git(scene.folder, "show", f"{experiment.commit}:params.yaml")
        (tmp_path / "used.yaml").write_text(text)
        used = {k: canonical(v) for k, v in list_values(read_yaml(tmp_path / "used.yaml"))}
        assert made == used, experiment.name
    assert kinds == {"dvc exp run", "facet recipe uab_cnn"}


@pytest.mark.slow
def test_dvc_takes_the_commands(tmp_path, monkeypatch) -> None:
    """Queued for real: the recipe's settings and two that override it."""
    monkeypatch.undo()  # of the queue, which is asked for at the end
    scene = make_scene(tmp_path, monkeypatch)
    folder = scene.folder
    (folder / "dvc.yaml").write_text("stages:\n  train:\n    cmd: 'true'\n    params: [train]\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "a pipeline")
    settings = {**recipe(scene, "uab_cnn"), "train.channels": "[64, 256]", "train.lr": "1.5e-5"}
    scene.add("longer", settings=settings)
    (run,) = collect_runs(folder, ["longer"]).runs
    command = run.origin.commands[0]
    assert command.startswith("facet recipe uab_cnn --queue -S ")
    git(folder, "checkout", "-q", "--force", run.origin.commit)
    program = [sys.executable, "-m", "stages.cli", *shlex.split(command)[1:]]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(program, cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = git(folder, "show", "refs/exps/celery/stash:params.yaml")
    (folder / "queued.yaml").write_text(text)
    queued = {k: canonical(v) for k, v in list_values(read_yaml(folder / "queued.yaml"))}
    assert queued == {k: canonical(v) for k, v in list_values(run.params)}
    ((name, reason),) = collect_runs(folder).left_out[:1]
    assert name.startswith("uab_cnn-")
    assert reason == "it is queued; `dvc queue start` works the queue off"


def draw_answers(rng: np.random.Generator, n: int = 90, a: int = 3) -> tuple[Answers, Answers]:
    labels = (rng.random((n, a)) < 0.4).astype(np.uint8)
    people = np.array([None if p == 0 else f"p{p}" for p in rng.integers(0, 20, n)], object)
    masks = [rng.random((n, a)) < 0.85 for _ in range(2)]
    wrong = [rng.random((n, a)) < share for share in (0.15, 0.25)]
    ids = np.array([f"{k:04d}" for k in range(n)])
    names = tuple("abc"[:a])
    one, two = (
        Answers(names, ids, people, (labels ^ w).astype(bool), labels, mask)
        for w, mask in zip(wrong, masks, strict=True)
    )
    keep = np.sort(rng.permutation(n)[: n - 10])  # the second lacks ten images ...
    order = [2, 0, 1]  # ... and has its attributes in another order
    two = Answers(
        tuple(names[k] for k in order), ids[keep], people[keep],
        two.positive[keep][:, order], labels[keep][:, order], two.mask[keep][:, order],
    )  # fmt: skip
    return one, two


def slow_bootstrap(a: Answers, b: Answers, n_resamples: int, seed: list[int]):
    """Differences (R, A) by drawing people one by one, without anything of the code tested."""
    both = [image for image in a.image_ids if image in set(b.image_ids)]
    rows = [(list(a.image_ids).index(i), list(b.image_ids).index(i)) for i in both]
    people: dict[object, list[tuple[int, int]]] = {}
    for k, (ra, rb) in enumerate(rows):
        person = a.identities[ra]
        people.setdefault(("alone", k) if person is None else person, []).append((ra, rb))
    order = list(people)
    rng = np.random.default_rng(seed)
    replicates = []
    for _ in range(n_resamples):
        drawn = [pair for k in rng.integers(0, len(order), len(order)) for pair in people[order[k]]]
        row = []
        for column, name in enumerate(a.attributes):
            other = b.attributes.index(name)
            hits, n = [0, 0], 0
            for ra, rb in drawn:
                if a.mask[ra, column] and b.mask[rb, other]:
                    n += 1
                    hits[0] += a.positive[ra, column] == bool(a.labels[ra, column])
                    hits[1] += b.positive[rb, other] == bool(b.labels[rb, other])
            row.append((hits[0] - hits[1]) / n)
        replicates.append(row)
    return np.array(replicates), len(order), len(both)


def test_intervals_are_those_of_a_slow_paired_bootstrap() -> None:
    a, b = draw_answers(np.random.default_rng(5))
    found = Drawn(150, 0.9, [7, 0]).compare(a, b)
    replicates, n_people, n_images = slow_bootstrap(a, b, 150, [7, 0])
    assert found is not None
    assert (found.n_identities, found.n_images) == (n_people, n_images)
    low, high = np.quantile(replicates, [0.05, 0.95], axis=0)
    np.testing.assert_allclose(found.interval.low, low, atol=1e-12)
    np.testing.assert_allclose(found.interval.high, high, atol=1e-12)
    ends = np.quantile(replicates.mean(1), [0.05, 0.95])
    assert (found.interval.mean_low, found.interval.mean_high) == pytest.approx(ends, abs=1e-12)


def test_both_directions_are_one_difference() -> None:
    a, b = draw_answers(np.random.default_rng(6))
    drawn = Drawn(100, 0.95, [1])
    one, other = drawn.compare(a, b), drawn.compare(b, a)
    assert one is not None
    assert other is not None
    assert one.interval.mean == pytest.approx(-other.interval.mean)
    assert one.interval.mean_low == pytest.approx(-other.interval.mean_high)


def test_a_pair_is_told_apart_better_than_its_figures() -> None:
    """What makes a picture hard for both cancels out."""
    rng = np.random.default_rng(8)
    n = 400
    labels = (rng.random((n, 1)) < 0.5).astype(np.uint8)
    ids, people = np.arange(n).astype(str), np.array([f"{k // 4}" for k in range(n)], object)
    hard = rng.random((n, 1)) < 0.3
    mask = np.ones((n, 1), bool)

    def answer(extra: np.ndarray) -> Answers:
        wrong = hard | extra
        return Answers(("x",), ids, people, (labels ^ wrong).astype(bool), labels, mask)

    a, b = answer(np.zeros((n, 1), bool)), answer(rng.random((n, 1)) < 0.02)
    drawn = Drawn(400, 0.95, [3])
    alone, _, _ = drawn.score(a, np.zeros(1, np.uint8))
    pair = drawn.compare(a, b)
    assert pair is not None
    width = pair.interval.mean_high - pair.interval.mean_low
    assert width < (alone.mean_high - alone.mean_low) / 2
    assert excludes_zero(pair.interval.mean_low, pair.interval.mean_high)


def test_nothing_in_common_is_no_difference() -> None:
    a, b = draw_answers(np.random.default_rng(6))
    b = Answers(b.attributes, np.array([f"x{i}" for i in b.image_ids]), b.identities, b.positive,
                b.labels, b.mask)  # fmt: skip
    assert Drawn(10, 0.95, [1]).compare(a, b) is None


def test_without_resamples_intervals_are_undefined() -> None:
    a, b = draw_answers(np.random.default_rng(6))
    found = Drawn(0, 0.95, [1]).compare(a, b)
    assert found is not None
    assert np.isnan(found.interval.mean_low)
    assert excludes_zero(found.interval.mean_low, found.interval.mean_high) is None


def test_names_are_escaped(tmp_path, monkeypatch) -> None:
    scene = make_scene(tmp_path, monkeypatch)
    nasty = "<script>alert(1)</script>"
    data = Data("<b>faces</b>", {nasty: 0.4, "A&B": 0.3})
    scene.add("x&lt;i-am-no-tag", 1.2, data)
    scene.add("$(reboot)", 0.9, data, settings={"download.kaggle": "a/b-c"})
    compare_runs([], None, Path("out"))
    page = Path("out/index.html").read_text()
    assert nasty not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>faces</b>" not in page
    assert "x&amp;lt;i-am-no-tag" in page
    assert page.count("<script>") == 1
    tables = pd.read_csv(io.StringIO(Path("out/per_attribute.csv").read_text()))
    assert nasty in set(tables["attribute"])


def test_named_runs_commits_and_the_workspace(tmp_path, monkeypatch) -> None:
    scene = make_scene(tmp_path, monkeypatch)
    scene.add("one", 1.0)
    commit = scene.add("two", 1.2)
    scene.add("workspace", 1.4)
    assert [run.name for run in collect_runs(scene.folder, ["two"]).runs] == ["two"]
    assert [run.name for run in collect_runs(scene.folder, [commit[:10]]).runs] == [commit[:10]]
    found = collect_runs(scene.folder, ["workspace", "one"])
    assert [run.name for run in found.runs] == ["one", "workspace"]
    with pytest.raises(FacetError, match="got 'three'; there are: one, two"):
        collect_runs(scene.folder, ["three"])


def test_one_name_under_two_baselines_is_two_runs(tmp_path, monkeypatch) -> None:
    scene = make_scene(tmp_path, monkeypatch)
    first = git(scene.folder, "rev-parse", "HEAD")[:7]
    scene.add("same", 1.0)
    git(scene.folder, "commit", "-q", "--allow-empty", "-m", "next")
    second = git(scene.folder, "rev-parse", "HEAD")[:7]
    scene.add("same", 1.2)
    names = {run.name for run in collect_runs(scene.folder, ["same"]).runs}
    assert names == {f"same@{first}", f"same@{second}"}


def test_the_workspace_of_an_experiment_is_not_counted_twice(tmp_path, monkeypatch) -> None:
    scene = make_scene(tmp_path, monkeypatch)
    commit = scene.add("one", 1.0)
    git(scene.folder, "checkout", commit, "--", "params.yaml", "dvc.lock", "reports")
    found = collect_runs(scene.folder)
    assert [run.name for run in found.runs] == ["one"]
    assert found.left_out == [("workspace", "it holds the same result as one")]


def test_the_base_may_be_chosen(tmp_path, monkeypatch) -> None:
    scene = make_scene(tmp_path, monkeypatch)
    scene.add("one", 0.8)
    scene.add("two", 1.4)
    for base, others in ((None, {"one"}), ("one", {"two"})):
        compare_runs([], base, Path("out"))
        table = read(Path("out"), "per_attribute").dropna(subset=["difference"])
        assert set(table["run"]) == others
        assert set(table["base"]) == {base or "two"}
    with pytest.raises(FacetError, match="--base: expected one of one, two; got 'three'"):
        compare_runs([], "three", Path("out"))


def test_the_base_is_the_best_run_whose_answers_are_there(tmp_path, monkeypatch) -> None:
    scene = make_scene(tmp_path, monkeypatch)
    scene.add("one", 0.8)
    scene.add("two", 1.2)
    scene.add("lost", 1.5, is_cached=False)
    compare_runs([], None, Path("out"))
    table = read(Path("out"), "per_attribute").dropna(subset=["difference"])
    assert set(table["run"]) == {"one"}
    assert set(table["base"]) == {"two"}


def test_a_run_whose_files_are_damaged_is_left_out(tmp_path, monkeypatch) -> None:
    scene = make_scene(tmp_path, monkeypatch)
    scene.add("fine", 0.8)
    scene.add("torn", 1.2)

    def fail(folder: Path, *_: Any) -> None:
        if "torn" in _[0]:
            raise FacetError("dvc.lock: expected YAML")
        return read_results(folder, *_)

    read_results = results.read_results
    monkeypatch.setattr(results, "read_results", fail)
    found = collect_runs(scene.folder)
    assert [run.name for run in found.runs] == ["fine"]
    assert ("torn", "its files cannot be read: dvc.lock: expected YAML") in found.left_out


def test_many_runs_are_compared_with_the_base_only_and_the_page_says_so(
    tmp_path, monkeypatch
) -> None:
    scene = make_scene(tmp_path, monkeypatch)
    for name, skill in (("one", 0.8), ("two", 1.4), ("three", 1.1)):
        scene.add(name, skill)
    said, pairs = "compared with two only", "All pairs on valid"
    compare_runs([], None, Path("out"))
    text = Path("out/index.html").read_text()
    assert pairs in text
    assert said not in text
    monkeypatch.setattr(ranking, "ALL_PAIRS", 2)
    compare_runs([], None, Path("out"))
    text = Path("out/index.html").read_text()
    assert pairs not in text
    assert said in text
    compared = read(Path("out"), "differences")[["run_a", "run_b"]]
    assert len(compared)
    assert compared.eq("two").any(axis=1).all()


def test_stale_evaluation_and_other_weights_take_no_part(tmp_path, monkeypatch) -> None:
    scene = make_scene(tmp_path, monkeypatch)
    scene.add("workspace", 1.0)
    manifest = scene.folder / "data/evaluate/manifest.json"
    text = manifest.read_text()
    told = json.loads(text)
    manifest.write_text(text.replace(told["weights_sha256"], "0" * 64))
    (run,) = collect_runs(scene.folder).runs
    assert run.answers == {}
    assert any("of other weights" in note for note in run.notes)
    lock = json.loads(Path("dvc.lock").read_text())
    lock["stages"]["train"]["outs"][0]["md5"] = "0" * 32 + ".dir"
    Path("dvc.lock").write_text(json.dumps(lock))
    (run,) = collect_runs(scene.folder).runs
    assert run.metrics == {}
    assert any("of an older training" in note for note in run.notes)


def test_labels_come_from_the_source_where_prepare_is_gone(tmp_path, monkeypatch) -> None:
    scene = make_scene(tmp_path, monkeypatch)
    scene.add("workspace", 1.0)
    (before,) = collect_runs(scene.folder).runs
    for path in Path("data/prepare").iterdir():
        path.unlink()
    Path("data/prepare").rmdir()
    (after,) = collect_runs(scene.folder).runs
    for name in ("labels", "mask", "identities", "right"):
        one, other = (getattr(run.answers["valid"], name) for run in (before, after))
        np.testing.assert_array_equal(one, other)


def test_another_threshold_is_compared_at_half(tmp_path, monkeypatch) -> None:
    scene = make_scene(tmp_path, monkeypatch)
    scene.add("half", 1.0)
    scene.add("strict", 1.0, settings={"evaluate.threshold": "0.8"})
    compare_runs([], None, Path("out"))
    table = read(Path("out"), "comparison").query("kind == 'ours'")
    assert table["ranking"].nunique() == 2  # valid and test
    assert table.query("partition == 'valid'")["accuracy"].nunique() == 1
    notes = table.query("run == 'strict'")["notes"]
    assert all("evaluated at threshold 0.8, compared at 0.5" in note for note in notes)


def test_nothing_to_compare_is_an_error(tmp_path, monkeypatch) -> None:
    make_scene(tmp_path, monkeypatch)
    with pytest.raises(FacetError, match="expected a finished result to compare"):
        compare_runs([], None, Path("out"))
    assert not Path("out").exists()


def test_a_folder_with_other_files_is_not_replaced(tmp_path, monkeypatch) -> None:
    scene = make_scene(tmp_path, monkeypatch)
    scene.add("one")
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("years of work")
    with pytest.raises(FacetError, match=r"mine also holds thesis.tex"):
        compare_runs([], None, Path("mine"))
    assert Path("mine/thesis.tex").read_text() == "years of work"


def rank(data: Data, n: int, attributes: list[str]) -> tuple[Group, Ranking]:
    from stages.compare.data import Data as Source

    extent = None if data.celeba is None else data.celeba["extent"]
    source = Source("d", "t", extent)
    ranking = Ranking("test", tuple(attributes), n, 0.5, [])
    return Group(source, [], [ranking], None, False, []), ranking


@pytest.mark.parametrize(
    ("extent", "n", "n_attributes", "expected"),
    [
        ("complete", N_TEST, 40, True),
        ("complete", N_TEST - 1, 40, False),
        ("complete", N_TEST, 39, False),
        ("changed", N_TEST, 40, False),
        ("part", 1500, 40, False),
        (None, N_TEST, 40, False),
    ],
    ids=["official", "a subset", "an attribute less", "other labels", "a part", "unknown"],
)
def test_published_figures_stand_beside_the_official_test_set_only(
    extent, n, n_attributes, expected
) -> None:
    names = list(read_published_by_attribute().index)[:n_attributes]
    data = Data("x", {"a": 0.5}, celeba=None if extent is None else {"extent": extent})
    group, ranking = rank(data, n, names)
    assert is_official(group, ranking) is expected


def test_published_rows_stand_among_ours_on_the_official_data(tmp_path, monkeypatch) -> None:
    """With a test partition of 30 in place of 19,962."""
    names = dict.fromkeys(read_published_by_attribute().index, 0.3)
    sizes = {"train": 30, "valid": 30, "test": 30}
    monkeypatch.setattr("stages.compare.published.N_TEST", 30)
    scene = make_scene(tmp_path, monkeypatch)
    scene.add("ours", 1.3, Data("celeba", names, sizes, {"extent": "complete", "official": []}))
    compare_runs([], None, Path("out"))
    table = read(Path("out"), "comparison").query("partition == 'test'")
    assert table["ranking"].nunique() == 1
    assert list(table["rank"]) == list(range(1, len(read_published()) + 2))
    page = Path("out/index.html").read_text()
    assert 'id="published"' not in page
    assert "published figures stand among ours" in page


def test_published_rows_stand_apart_otherwise(compared) -> None:
    _, out, _ = compared
    table = read(out, "comparison")
    published = table[table["kind"] == "published"]
    assert len(published) == len(read_published())
    assert not set(published["ranking"]) & set(table[table["kind"] == "ours"]["ranking"].dropna())
    assert 'id="published"' in (out / "index.html").read_text()


def test_means_of_published_attributes_fit_the_published_means() -> None:
    by_attribute = read_published_by_attribute()
    assert by_attribute.shape == (40, 5)
    told = {one.system: one.accuracy for one in read_published()}
    for system in by_attribute:
        assert by_attribute[system].mean() == pytest.approx(told[system], abs=2e-4)


@pytest.mark.parametrize(
    ("network", "size", "millions"),
    [("mobilenet_v2", 224, 300.0), ("resnet18", 224, 1814.0)],
)
def test_operations_are_the_published_ones(network, size, millions) -> None:
    """300 M (Sandler et al., CVPR 2018) and 1.8 G (He et al., CVPR 2016), less 960 classes."""
    model = {"network": network, "height_px": size, "width_px": size, "train": {}}
    found = count_operations({**model, "attributes": ["a"] * 40})
    assert found == pytest.approx(1e6 * millions, rel=0.01)


def test_recurrent_layers_and_attention_are_counted() -> None:
    model = {"network": "devarashs_cnn_rnn", "height_px": 224, "width_px": 224, "train": {}}
    found = count_operations({**model, "attributes": ["Male"]})
    tokens = 14 * 14
    lstm = tokens * 2 * 4 * 128 * (256 + 128)
    attention = tokens * 256 * 256 * 4 + 2 * tokens * tokens * 256
    head = 256 * 64 + 64
    body = 1_402_519_552  # ResNet-18 to layer 3
    assert found == body + lstm + attention + head


def test_what_failed_waits_or_runs_is_said(tmp_path, monkeypatch) -> None:
    """Of the queue's tasks one was repeated with success under the same name."""
    monkeypatch.undo()
    scene = make_scene(tmp_path, monkeypatch)
    scene.add("repeated", 1.0)
    told = """Task     Name      Created       Status
aaaaaaa  broken    Nov 20, 2026  Failed
bbbbbbb  repeated  01:30 PM      Failed
ccccccc  waiting   01:32 PM      Queued
ddddddd  busy      01:33 PM      Running
eeeeeee  fine      01:34 PM      Success

Worker status: 1 active, 0 idle
"""
    run = subprocess.run

    def answer(command, **options):
        if command[-2:] == ["queue", "status"]:
            return subprocess.CompletedProcess(command, 0, told, "")
        return run(command, **options)

    monkeypatch.setattr(experiments.subprocess, "run", answer)
    assert collect_runs(scene.folder).left_out[:3] == [
        ("broken", "its experiment failed; `dvc queue logs aaaaaaa` says why"),
        ("waiting", "it is queued; `dvc queue start` works the queue off"),
        ("busy", "it is running"),
    ]


def test_numbers_as_attributes_stay_names(tmp_path, monkeypatch) -> None:
    scene = make_scene(tmp_path, monkeypatch)
    data = Data("numbers", {"007": 0.4, "5": 0.3})
    scene.add("one", 1.0, data)
    scene.add("two", 1.3, data)
    compare_runs([], None, Path("out"))
    lines = Path("out/differences.csv").read_text().splitlines()
    assert {line.split(",")[4] for line in lines[1:]} == {"", "007", "5"}


def test_help_says_what_it_does() -> None:
    shown = CliRunner().invoke(app, ["compare", "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    for word in ("--base", "--out", "workspace", "never ranked"):
        assert word in shown.output


def test_costs_come_from_mlflow(tracked_folder, monkeypatch) -> None:
    """Time and device that a training logged, over two attempts; the median rate of its epochs."""
    key, weights = "k" * 64, "w" * 64
    params = {"train": {"device": "cpu"}}
    now = [50.0]
    monkeypatch.setattr(tracking, "perf_counter", lambda: now[0])
    with suppress(KeyboardInterrupt), tracking.start_training(key, params) as run:
        for epoch, rate in ((1, 100.0), (2, 300.0)):
            now[0] += 10
            run.log_epoch(epoch, {"images_per_s": rate, "train_loss": 1.0})
        now[0] += 5  # of an epoch that is lost
        raise KeyboardInterrupt
    with tracking.start_training(key, params, resume=True) as run:
        now[0] += 7
        run.log_epoch(3, {"images_per_s": 120.0, "train_loss": 0.8})
        store.open_store().set_tags(run.run_id, {store.TAG_WEIGHTS: weights})
    costs, note = find_costs([(key, weights), ("other", weights)])
    assert note == ""
    assert costs["other", weights] == Cost()
    cost = costs[key, weights]
    assert cost.seconds == pytest.approx(20 + 7)
    assert cost.images_per_s == 120.0
    assert re.search(r", \d+ threads?$", cost.device)


def test_without_a_store_none_is_made(tracked_folder) -> None:
    (tracked_folder / "mlflow.db").unlink()
    assert find_costs([("k", "w")]) == ({}, "There is no MLflow store here: times are not known.")
    assert not (tracked_folder / "mlflow.db").exists()


def test_a_broken_store_is_said(tracked_folder) -> None:
    (tracked_folder / "mlflow.db").write_bytes(b"no database")
    costs, note = find_costs([("k", "w")])
    assert costs == {}
    assert "did not answer" in note
