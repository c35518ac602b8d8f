"""The pages about figures: intervals beside them, sentences that say no more than they do."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
from report_fabric import fabricate
from test_report_site import EVIL, PARAMS, SMALL, Elements, build

from stages.report.measures import ACCURACY, GAIN, MCC, list_facts
from stages.report.page_evaluation import pool_bins
from stages.report.page_slices import (
    describe_attribute_gaps,
    describe_gaps,
    label_group,
    name_groups,
    parse_group,
)
from stages.report.published import PUBLISHED, rank_systems
from stages.report.run import run
from stages.report.sentences_evaluation import describe_shift


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, str]:
    return build(tmp_path_factory.mktemp("site"), replace(SMALL, n_images=400, extra=True))


def test_measures_are_written_with_their_intervals():
    row = {"accuracy": 0.91666, "accuracy_low": 0.911, "accuracy_high": 0.9228}
    assert (ACCURACY.write(row, 2), ACCURACY.ends(row, 2)) == ("91.67\u202f%", "91.10 to 92.28")
    gain = {"gain": -0.02, "gain_low": -0.05, "gain_high": 0.01}
    assert (GAIN.write(gain), GAIN.ends(gain)) == ("\u22122.0", "\u22125.0 to 1.0")
    assert (MCC.write({"mcc": 0.5}), MCC.ends({"mcc": 0.5})) == ("0.500", "")
    undefined = {"mcc": None, "mcc_low": 0.1, "mcc_high": 0.2}
    assert (MCC.write(undefined), MCC.ends(undefined)) == ("n/a", "")


def test_headline_says_on_how_many_attributes_the_lead_is_clear(pages):
    metrics = {
        "accuracy": 0.9, "majority_accuracy": 0.8, "gain": 0.1, "n_attributes_above_majority": 5,
        "n_attributes_clearly_above": 3, "interval": {"gain_low": 0.05, "gain_high": 0.15},
    }  # fmt: skip
    accuracy, gain = list_facts(metrics, 8)
    assert (accuracy.value, accuracy.interval) == ("90.00\u202f%", "")
    assert (gain.interval, gain.remark) == ("5.00 to 15.00", "above on 5 of 8, clearly on 3")
    assert list_facts(metrics | {"n_attributes_clearly_above": None}, 8)[1].remark.endswith("of 8")


def test_evaluation_page_has_every_part(pages):
    text = Elements(pages["evaluation"]).text
    for heading in (
        "Test partition",
        "Valid partition",
        "The second data set",
        "Do thresholds of their own help?",
        "From valid to test",
        "Mistakes that come together",
        "Answers that contradict each other",
    ):
        assert text.count(heading) >= 1, heading
    assert "its own training images" in text
    assert re.search("intervals of 95 % ?: what other people", text)
    row = re.search(
        r'id="table-test".*?<th scope="row" class="name"><a [^>]*>Male</a></th>(.*?)</tr>',
        pages["evaluation"],
        re.DOTALL,
    )
    assert row is not None
    assert len(re.findall(r'<span class="ends">[−\d.]+ to [−\d.]+</span>', row[1])) == 14


def test_only_test_evaluated_leaves_out_what_is_chosen_on_valid(tmp_path):
    pages = build(tmp_path, replace(SMALL, partitions=("test",)))
    text = Elements(pages["evaluation"]).text
    assert "Do thresholds of their own help?" not in text
    assert "From valid to test" not in text
    assert "scaled by temperature" not in text
    assert "Are the probabilities right?" in text


def test_no_slices_and_no_intervals(tmp_path):
    pages = build(tmp_path, replace(SMALL, slices=(), n_resamples=0))
    assert "No group was evaluated" in Elements(pages["slices"]).text
    assert "No group was evaluated" in Elements(pages["model_card"]).text
    assert 'class="ends"' not in pages["evaluation"].split("</style>")[1]
    assert "clearly on" not in pages["index"]
    assert ">nan" not in "".join(pages.values()).lower()


def test_nothing_evaluated_at_all(tmp_path):
    paths = fabricate(tmp_path, replace(SMALL, slices=()))
    folder = paths["evaluate_reports"]
    (folder / "metrics.json").write_text("{}")
    for name in folder.glob("*.csv"):
        name.write_text(name.read_text().splitlines()[0] + "\n")
    run(PARAMS, **paths)
    for name in ("index", "evaluation", "model_card", "summary"):
        text = Elements((paths["out"] / f"{name}.html").read_text(encoding="utf-8")).text
        assert "No partition was evaluated." in text, name


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ({"loss": None}, "No attribute has what it takes"),
        (
            {"loss": 0.0081, "loss_low": -0.0007, "loss_high": 0.0167},
            r"changes by −0\.81 points \(−1\.67 to 0\.07\), which could be chance",
        ),
        (
            {"loss": -0.01, "loss_low": -0.02, "loss_high": -0.005, "share_explained": 0.25},
            r"changes by \+1\.00 points \(0\.50 to 2\.00\), more than chance does.*explains 25",
        ),
    ],
    ids=["undefined", "unclear loss", "clear gain"],
)
def test_shift_in_sentences(summary, expected):
    summary = {"explained": 0.001, "rest": 0.002, **summary}
    assert re.search(expected, " ".join(describe_shift(summary)), re.DOTALL)


def test_bins_of_all_attributes_are_pooled_by_their_counts():
    columns = ["partition", "scaled", "bin", "n", "mean_probability", "share_positive"]
    rows = [
        ("test", False, 0, 3, 0.1, 0.0),
        ("test", False, 0, 1, 0.2, 1.0),
        ("test", True, 4, 2, 0.5, 0.5),
        ("valid", False, 0, 9, 0.9, 0.9),
    ]
    raw, scaled = pool_bins(pd.DataFrame(rows, columns=columns), "test")
    assert raw.loc[0].tolist() == pytest.approx([4, 0.125, 0.25])
    assert scaled is not None
    assert scaled.loc[4].tolist() == [2, 0.5, 0.5]
    assert pool_bins(pd.DataFrame(rows[:2], columns=columns), "test")[1] is None


def draw_groups(**columns) -> pd.DataFrame:
    table = {
        "group": ["Male=1", "Male=0"], "n_images": [500, 90], "n_identities": [100, 80],
        "accuracy": [0.9, 0.88], "gain": [0.1, 0.2], "accuracy_gap": [0.02, -0.02],
        "accuracy_gap_low": [0.01, -0.03], "accuracy_gap_high": [0.03, -0.01],
    }  # fmt: skip
    return name_groups(pd.DataFrame(table | columns))


def test_groups_are_named_in_words_and_small_ones_marked():
    assert parse_group("Male=1 5 o=clock=0") == [("Male", True), ("5 o=clock", False)]
    assert label_group([("Male", True), ("Young", False)]) == "Male & not Young"
    groups = draw_groups()
    assert groups["is_small"].tolist() == [False, True]
    assert groups["is_complement"].tolist() == [False, True]


def test_sentences_name_the_groups_that_are_clearly_behind():
    said = " ".join(describe_gaps(draw_groups()))
    assert "Clearly worse on not Male: 88.00\u202f% mean accuracy, 2.00 points less" in said
    assert "It is a small group." in said
    assert "Least is gained over the majority class on Male: +10.00 points." in said
    unclear = draw_groups(accuracy_gap_low=[-0.01, -0.05], accuracy_gap_high=[0.05, 0.01])
    said = " ".join(describe_gaps(unclear))
    assert "No group is clearly behind" in said
    assert "could be chance: Male." in said


def test_gaps_of_attributes_are_counted_beside_what_chance_gives():
    n = 40
    table = pd.DataFrame(
        {
            "label": "Male", "attribute": [f"A{k}" for k in range(n)], "n_known": 200,
            "n_positive": 100, "accuracy_gap_low": [0.01] * 6 + [-0.1] * 34,
            "accuracy_gap_high": 0.2, "recall_gap": -0.3, "recall_gap_high": [-0.1] + [0.1] * 39,
            "specificity_gap": 0.0, "specificity_gap_high": 0.1,
        }
    )  # fmt: skip
    said = describe_attribute_gaps(table, 0.95)
    assert said == [
        "Of 40 gaps of accuracy, 6 exclude zero; about 2 would by chance alone.",
        "Positives found less often than on the others: A0 on Male (−30.0 points).",
    ]


@pytest.mark.parametrize(
    ("extent", "n_images", "n_attributes", "shown"),
    [
        ("complete", 19_962, 40, True),
        ("complete", 19_961, 40, False),
        ("complete", 19_962, 39, False),
        ("changed", 19_962, 40, False),
        (None, 19_962, 40, False),
    ],
    ids=["official", "an image fewer", "an attribute fewer", "other labels", "other data"],
)
def test_systems_are_ranked_on_the_official_test_partition_alone(
    extent, n_images, n_attributes, shown
):
    inputs = SimpleNamespace(
        manifest={"celeba": {"extent": extent} if extent else None},
        evaluated=SimpleNamespace(metrics={"test": {"n_images": n_images, "accuracy": 0.915}}),
        trained=SimpleNamespace(model={"attributes": ["A"] * n_attributes}),
    )
    ranked = rank_systems(inputs)
    assert bool(ranked) == shown
    if shown:
        place = [system.is_ours for system in ranked].index(True)
        assert (ranked[place - 1].name, ranked[place + 1].name) == ("MCNN-AUX", "DMM-CNN")
        assert len(ranked) == len(PUBLISHED) + 1


def test_published_systems_stand_on_the_front_page(tmp_path, monkeypatch, pages):
    monkeypatch.setattr("stages.report.published.N_TEST", 30)
    monkeypatch.setattr("stages.report.published.N_ATTRIBUTES", 8)
    celeba = {"extent": "complete", "official": ["labels", "partitions"]}
    index = build(tmp_path, replace(SMALL, source="files", celeba=celeba))["index"]
    assert "Beside published systems" in index
    assert re.search(r'<li class="ours"><b>[\d.]+\u202f%</b><span[^>]*>This model', index)
    assert "published systems" not in pages["index"].lower()


@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        ({}, "Drawn by this project’s code", "non-commercial"),
        (
            {"source": "files", "celeba": {"extent": "part", "official": []}},
            "Non-commercial research only",
            "Not known to Facet",
        ),
        ({"source": "files"}, "Not known to Facet", "celebrities"),
    ],
    ids=["demo", "CelebA", "other data"],
)
def test_cards_state_the_terms_of_their_source_and_no_other(tmp_path, changes, said, unsaid):
    pages = build(tmp_path, replace(SMALL, **changes))
    card = Elements(pages["data_card"]).text
    assert said in card
    assert unsaid.lower() not in card.lower()
    model = Elements(pages["model_card"]).text
    for heading in (
        "Intended use", "Out of scope", "Factors", "Metrics", "Evaluation data", "Training data",
        "Results by attribute", "Results by group", "Ethical considerations", "Licence",
    ):  # fmt: skip
        assert heading in model
    assert "No identification" in model


def test_hostile_names_are_escaped_on_every_new_page(tmp_path):
    names = {"Male": 0.4, "Young": 0.7, EVIL: 0.3}
    recipe = replace(SMALL, attributes=names, slices=(EVIL, ("Male", EVIL)))
    paths = fabricate(tmp_path, recipe)
    run(PARAMS, **paths)
    for name in ("evaluation", "slices", "data_card", "model_card", "summary", "index"):
        text = (paths["out"] / f"{name}.html").read_text(encoding="utf-8")
        assert EVIL not in text, name
        assert [tag for tag, _ in Elements(text).tags].count("script") == 1
    assert "alert(1)" in (paths["out"] / "slices.html").read_text(encoding="utf-8")
