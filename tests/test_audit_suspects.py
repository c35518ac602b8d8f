"""Wrong labels, faceless pictures and wrong identities, with drawn faces and a small network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from audit_fabric import AUDIT, list_findings, read_bytes
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression

from stages.audit.backbone import load_backbone
from stages.audit.combine import fit_combiner
from stages.audit.consensus import ask_copies, ask_others, code_identities, measure_stability
from stages.audit.copies import Copies, Pair
from stages.audit.evidence import LabelSet, gather_evidence
from stages.audit.faceless import spoil
from stages.audit.folds import make_folds
from stages.audit.identities import score_identities
from stages.audit.probe import fit_probe, predict_out_of_fold
from stages.audit.run import run
from stages.audit.selfcheck import check_itself, count_doubt, plant_flips, weigh_rules
from stages.audit.suspects import describe_label
from stages.common.errors import FacetError
from stages.common.params import load_params
from stages.common.tables import (
    ISSUES_SCHEMA,
    TRUTH,
    TRUTH_SCHEMA,
    read_annotations,
    read_table,
    scores_schema,
)
from stages.download.run import run as download

CHECKS = ("mislabel", "faceless", "identity_outlier")


def sample(n_people: int = 240, n_images: int = 5, seed: int = 0) -> LabelSet:
    """People with a stable attribute (0), an unstable one (2) and its companion (1), chance (3)."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(n_people), n_images)
    n = len(person)
    x = rng.normal(size=(n, 12)).astype(np.float32)
    stable = rng.random(n_people)[person] < 0.5
    x[:, 0] += 1.5 * stable
    unstable = rng.random(n) < 0.3
    x[:, 1] += 3 * unstable
    companion = unstable ^ (rng.random(n) < 0.1)
    chance = rng.random(n) < 0.5
    labels = np.stack([stable, companion, unstable, chance], 1).astype(np.uint8)
    return LabelSet(
        torch.from_numpy(x), labels, np.ones((n, 4), bool), person,
        np.zeros((0, 2), np.int64), person % 5,
    )  # fmt: skip


def test_probe_agrees_with_scikit_learn() -> None:
    data = sample()
    y = torch.from_numpy(data.labels.astype(np.float32))
    ridge = 0.02
    probe = fit_probe(data.x, y, torch.ones_like(y), ridge, standardise=False)
    for a in range(3):
        n = len(y)
        reference = LogisticRegression(C=1 / (ridge * n), tol=1e-8, max_iter=1000)
        reference.fit(data.x.numpy(), data.labels[:, a])
        np.testing.assert_allclose(probe.weight[:, a].numpy(), reference.coef_[0], atol=2e-3)


def test_unknown_labels_teach_nothing() -> None:
    data = sample()
    known = torch.ones(data.labels.shape)
    known[::2] = 0
    y = torch.from_numpy(data.labels.astype(np.float32))
    other = torch.where(known == 0, 1 - y, y)
    one = fit_probe(data.x, y, known, 0.1, standardise=False)
    two = fit_probe(data.x, other, known, 0.1, standardise=False)
    assert torch.equal(one.weight, two.weight)


def test_no_row_teaches_the_probe_that_judges_it() -> None:
    data = sample()
    y = data.labels.astype(np.float32)
    folds = np.where(np.arange(len(y)) < 100, -1, data.folds)
    before = predict_out_of_fold(data.x, y, data.known, folds, 0.1, standardise=False)
    mine = (folds == 2) | (folds == -1)
    y[mine] = 1 - y[mine]
    after = predict_out_of_fold(data.x, y, data.known, folds, 0.1, standardise=False)
    assert np.array_equal(before[folds == 2], after[folds == 2])
    assert not np.array_equal(before[folds == 3], after[folds == 3])
    y[mine] = 1 - y[mine]
    y[folds < 0] = 1 - y[folds < 0]
    outside = predict_out_of_fold(data.x, y, data.known, folds, 0.1, standardise=False)
    assert np.array_equal(before, outside)


def test_evidence_never_contains_the_label_itself() -> None:
    data = sample()
    before = gather_evidence(data)
    labels = data.labels.copy()
    labels[7, 2] ^= 1
    after = gather_evidence(replace(data, labels=labels))
    assert before.probe[7, 2] == pytest.approx(after.probe[7, 2], abs=2e-2)
    assert before.stacked[7, 2] == pytest.approx(after.stacked[7, 2], abs=0.1)
    assert abs(before.stacked[7, 1] - after.stacked[7, 1]) > 0.3  # its companion sees it


def test_stable_attributes_listen_to_other_images() -> None:
    data = sample()
    y = data.labels.astype(np.float32)
    stability = measure_stability(y, data.known, data.person)
    assert stability[0] == pytest.approx(1, abs=1e-6)
    assert stability[2] < 0.1
    assert stability[3] < 0.1
    say = ask_others(y, data.known, data.person, np.ones(len(y), bool))
    assert abs(say[:, 0]).min() > 3 > 1 > abs(say[:, 2]).max()
    alone = ask_others(y, data.known, np.arange(len(y)), np.ones(len(y), bool))
    np.testing.assert_allclose(alone, 0, atol=1e-5)


def test_copies_vote_for_one_another() -> None:
    targets = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], np.float32)
    known = np.array([[True, True], [True, False], [True, True]])
    votes = ask_copies(np.array([[0, 1], [0, 2]]), targets, known)
    assert votes.tolist() == [[0, 1], [1, -1], [1, -1]]


def test_people_without_a_name_are_people_of_their_own() -> None:
    assert code_identities(["a", None, "a", None]).tolist() == [0, 1, 0, 2]


def test_folds_divide_neither_people_nor_copies() -> None:
    data = sample(40)
    identity = np.array([str(k) for k in data.person], object)
    copies = Copies([], [], [Pair(0, 100, True, 1.0, ""), Pair(100, 199, False, 0.9, "")])
    rows = np.arange(0, 200)
    folds = make_folds(identity, copies, data.labels, data.known, rows, 5, 1)
    assert folds[0] == folds[100] == folds[199]
    assert all(len(set(folds[data.person == k])) == 1 for k in range(40))
    assert set(folds) == set(range(5))
    assert (make_folds(identity, copies, data.labels, data.known, rows[:150], 5, 1)[150:] < 0).all()


@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_combiner_finds_the_rate_and_is_calibrated(rate: float) -> None:
    rng = np.random.default_rng(3)
    shape = (6000, 10)
    truth = rng.random(shape) < rate
    planted = rng.random(shape) < 0.03

    def doubt(wrong: np.ndarray) -> np.ndarray:
        return np.where(wrong, 4.0, -4.0).astype(np.float32) + rng.normal(0, 2.8, shape).astype(
            np.float32
        )

    nothing = np.zeros(shape, np.float32)
    known = np.ones(shape, bool)
    combiner = fit_combiner(doubt(truth | planted), nothing, planted, known, 0.03, 0)
    now = doubt(truth)
    p = combiner.judge(now, nothing)
    middle, low, high = combiner.rates()
    assert ((low <= truth.mean(0)) & (truth.mean(0) <= high)).mean() >= 0.8
    assert middle.mean() == pytest.approx(rate, rel=0.25)
    for floor, roof in ((0.02, 0.2), (0.2, 0.8), (0.8, 1.0)):
        here = (p >= floor) & (p < roof)
        assert p[here].mean() == pytest.approx(truth[here].mean(), abs=0.08)
    order = np.argsort(now.ravel())
    assert (np.diff(p.ravel()[order]) >= -1e-7).all()


def test_threads_do_not_change_what_is_learned() -> None:
    rng = np.random.default_rng(4)
    shape = (2500, 40)
    planted = rng.random(shape) < 0.03
    doubt = rng.normal(-3 + 4 * planted, 2).astype(np.float32)
    nothing, known = np.zeros(shape, np.float32), np.ones(shape, bool)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        fits = [fit_combiner(doubt, nothing, planted, known, 0.03, 0) for _ in range(3)]
    finally:
        torch.set_num_threads(n_threads)
    assert len({float(fit.common) for fit in fits}) == 1
    assert all(torch.equal(fit.prior, fits[0].prior) for fit in fits)


def test_flips_are_the_share_of_known_labels() -> None:
    known = np.ones((1000, 3), bool)
    known[500:, 1] = False
    flips = plant_flips(known, 0.03, np.random.default_rng(0))
    assert flips.sum(0).tolist() == [30, 15, 30]
    assert not flips[~known].any()


def test_planted_flips_come_first_and_the_self_check_says_how_well() -> None:
    data = sample(500)
    names = ["Male", "No_Beard", "Smiling", "Young"]
    flips = plant_flips(data.known, 0.03, np.random.default_rng(9))
    spoiled = replace(data, labels=(data.labels ^ flips).astype(np.uint8))
    check = check_itself(spoiled, names, 0.03, 0.35, 1)
    doubt = count_doubt(gather_evidence(spoiled), spoiled.labels, spoiled.known)
    wrong = check.combiner.judge(doubt, weigh_rules(spoiled, names))
    flagged = wrong[:, 0] >= 0.35
    assert flips[flagged, 0].mean() > 0.9
    assert flagged[flips[:, 0]].mean() > 0.9
    assert check.summary["n_flipped"] == 4 * 75
    assert check.summary["calibration_error"] < 0.02
    by_name = {row["attribute"]: row for row in check.by_attribute}
    assert by_name["Male"]["recall"] > 0.75
    assert by_name["Young"]["average_precision"] < 0.3  # chance: nobody can know
    better = check.summary["average_precision"] - check.summary["cleanlab_average_precision"]
    assert better > 0.02


def test_wrong_identities_come_first() -> None:
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(200), 5)
    centre = rng.normal(size=(200, 20))
    matrix = (2 * centre[person] + rng.normal(size=(1000, 20))).astype(np.float16)
    moved = np.arange(0, 1000, 97)
    named = person.copy()
    named[moved] = (person[moved] + 5) % 200  # of the same fold
    score = score_identities(matrix, None, named, person % 5, 7)
    assert score is not None
    assert set(np.argsort(-score)[: len(moved)]) == set(moved)
    assert (score[moved] > 0.5).all()
    lonely = score_identities(matrix, None, np.arange(1000), person % 5, 7)
    assert lonely is None


def test_every_way_to_spoil_changes_the_face() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (160, 128, 3), dtype=np.uint8)
    rng = np.random.default_rng(1)
    for _ in range(30):
        bad = spoil(picture, rng)
        assert bad.shape == picture.shape
        assert bad.dtype == np.uint8
        assert (bad[50:120, 35:95] != picture[50:120, 35:95]).mean() > 0.5


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("Male", 1, 0.03, 1, 12), "labelled Male; the picture alone says 3 %; 11 of 12 other"),
        (("Male", 0, 0.97, 1, 1), "labelled not Male; the picture alone says 97 %; 1 of 1 other"),
    ],
)
def test_details_are_readable(values: tuple, expected: str) -> None:
    assert describe_label(*values).startswith(expected)


def save_network(name: str, path: Path) -> Path:
    torch.manual_seed(0)
    save_file(timm.create_model(name, pretrained=False).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The demo with many faults, audited with the default features."""
    folder = tmp_path_factory.mktemp("demo")
    params = load_params(Path(__file__).parents[1] / "params.yaml")
    demo = params.download.demo
    faults = demo.faults.model_copy(update={"faceless": 0.02, "flipped_labels": 0.01})
    demo = demo.model_copy(update={"n_images": 700, "faults": faults})
    download(params.download.model_copy(update={"demo": demo}), folder / "download")
    settings = AUDIT.model_copy(update={"features": "efficientnet_lite0", "n_suspects": 20})
    run(settings, folder / "download", folder / "out", folder / "reports")
    return folder, read_annotations(folder / "download")[1]


def test_scores_cover_every_image(audited: tuple[Path, list[str]]) -> None:
    folder, attributes = audited
    scores = read_table(folder / "out" / "scores.parquet", scores_schema(attributes))
    annotations, _ = read_annotations(folder / "download")
    assert scores["image_id"].tolist() == sorted(annotations["image_id"])
    values = scores.drop(columns="image_id")
    assert values.min().min() >= 0
    assert values.max().max() <= 1
    ordered = annotations.sort_values("image_id", ignore_index=True)
    assert (scores[attributes].notna() == ordered[attributes].notna()).all(axis=None)


def test_faceless_pictures_of_the_demo_come_first(audited: tuple[Path, list[str]]) -> None:
    folder, _ = audited
    truth = read_table(folder / "download" / TRUTH, TRUTH_SCHEMA)
    planted = set(truth.loc[truth["fault"] == "faceless", "image_id"])
    issues = read_table(folder / "out" / "issues.parquet", ISSUES_SCHEMA)
    rows = issues[issues["check"] == "faceless"].sort_values("score", kind="stable")
    first = set(rows["image_id"].head(len(planted)))
    assert len(planted) > 5
    assert len(planted & first) >= 0.8 * len(planted)


def test_findings_are_the_flagged_and_some_suspects(audited: tuple[Path, list[str]]) -> None:
    folder, attributes = audited
    issues = read_table(folder / "out" / "issues.parquet", ISSUES_SCHEMA)
    scores = read_table(folder / "out" / "scores.parquet", scores_schema(attributes))
    for check, column in (("faceless", "face"), ("identity_outlier", "identity")):
        rows = issues[issues["check"] == check]
        assert (~rows["flagged"].astype(bool)).sum() <= 20
        assert rows["flagged"].sum() == (scores[column] <= 0.65).sum()
    labels = issues[issues["check"] == "mislabel"]
    assert labels["attribute"].isin(attributes).all()
    assert labels["flagged"].sum() == (scores[attributes] <= 0.65).sum().sum()
    table = pd.read_csv(folder / "reports" / "by_attribute.csv")
    assert (table["error_rate_low"] <= table["error_rate"]).all()
    assert (table["error_rate"] <= table["error_rate_high"]).all()
    assert len(pd.read_csv(folder / "reports" / "self_check.csv")) == len(attributes)


def test_same_bytes_twice_with_any_network(tmp_path: Path) -> None:
    weights = save_network("test_resnet", tmp_path / "weights.safetensors")
    params = load_params(Path(__file__).parents[1] / "params.yaml")
    demo = params.download.demo.model_copy(update={"n_images": 320})
    download(params.download.model_copy(update={"demo": demo}), tmp_path / "download")
    settings = AUDIT.model_copy(
        update={"features": "test_resnet", "weights": str(weights), "n_suspects": 5}
    )
    for name in "ab":
        run(settings, tmp_path / "download", tmp_path / name, tmp_path / f"reports_{name}")
    assert read_bytes(tmp_path / "a") == read_bytes(tmp_path / "b")
    assert read_bytes(tmp_path / "reports_a") == read_bytes(tmp_path / "reports_b")
    issues = read_table(tmp_path / "a" / "issues.parquet", ISSUES_SCHEMA)
    assert {check for check in CHECKS if list_findings(issues, check, "image_id")} >= {"faceless"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("resnet_of_dreams", "expected none or a network", id="unknown network"),
        pytest.param("resnet18", "expected a .safetensors file, as resnet18", id="no weights"),
    ],
)
def test_networks_that_cannot_be_had_are_refused(name: str, expected: str) -> None:
    with pytest.raises(FacetError, match=expected):
        load_backbone(AUDIT.model_copy(update={"features": name}))


@pytest.mark.parametrize(("name", "width"), [("test_resnet", 3), ("mobilenet_v3_small", 3)])
def test_maps_of_timm_and_torchvision(name: str, width: int, tmp_path: Path) -> None:
    import torchvision

    if timm.is_model(name):
        path = save_network(name, tmp_path / "w.safetensors")
    else:
        path = tmp_path / "w.safetensors"
        save_file(torchvision.models.get_model(name, weights=None).state_dict(), path)
    backbone = load_backbone(AUDIT.model_copy(update={"features": name, "weights": str(path)}))
    pixels = torch.randint(0, 256, (width, backbone.height, backbone.width, 3), dtype=torch.uint8)
    pooled = backbone.pool(pixels)
    assert pooled.shape[0] == width
    assert pooled.std(0).max() > 0
