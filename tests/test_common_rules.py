import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.common.errors import FacetError
from stages.common.rules import Rule, apply_rules, read_rules

NAMES = ["Bald", "Black_Hair", "Gray_Hair", "Goatee", "No_Beard"]
HEADER = "rule,kind,if_attribute,if_value,attributes,source\n"


def run_rules(rows: list[list[int]], names: list[str] = NAMES, unknown: tuple = ()) -> dict:
    labels = np.array(rows, np.uint8)
    known = np.ones(labels.shape, bool)
    for place in unknown:
        known[place] = False
    train = np.arange(len(rows)) < 3
    results = apply_rules(read_rules(), names, labels, known, train)
    return {result.rule.name: result for result in results}


def test_each_rule_finds_its_images_and_the_attributes_involved() -> None:
    results = run_rules([[0, 1, 1, 0, 0], [1, 0, 1, 0, 1], [0, 0, 0, 1, 1], [0, 1, 0, 1, 0]])
    broken = {name: np.flatnonzero(result.broken).tolist() for name, result in results.items()}
    assert broken == {"one_hair_colour": [0], "goatee_is_beard": [2], "bald_has_no_hair": [1]}
    involved = {
        name: sorted(key for key, rows in result.involved.items() if rows.any())
        for name, result in results.items()
    }
    assert involved == {
        "one_hair_colour": ["Black_Hair", "Gray_Hair"],
        "goatee_is_beard": ["Goatee", "No_Beard"],
        "bald_has_no_hair": ["Bald", "Gray_Hair"],
    }


def test_support_is_measured_in_train_and_smoothed_for_scores() -> None:
    result = run_rules([[0, 1, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 1, 1, 0, 0]])
    colour = result["one_hair_colour"]
    assert (colour.applicable.sum(), colour.broken.sum()) == (4, 2)
    assert colour.shown == pytest.approx(2 / 3)
    assert colour.support == pytest.approx(22 / 23)
    assert result["goatee_is_beard"].shown is None


def test_unknown_labels_break_no_rule() -> None:
    results = run_rules([[1, 0, 1, 1, 1]], unknown=((0, 2), (0, 3)))
    assert not any(result.broken.any() for result in results.values())


def test_rules_without_their_attributes_are_skipped() -> None:
    assert set(run_rules([[1, 1]], ["Bald", "Black_Hair"])) == {"bald_has_no_hair"}
    assert run_rules([[1, 1]], ["Freckles", "Scar"]) == {}


def test_a_condition_may_be_that_an_attribute_is_absent() -> None:
    rule = Rule("x", ("Male", False), ("Goatee",))
    labels = np.array([[0, 1], [1, 1], [0, 0]], np.uint8)
    known = np.array([[1, 1], [1, 1], [1, 1]], bool)
    [result] = apply_rules([rule], ["Male", "Goatee"], labels, known, np.ones(3, bool))
    assert result.broken.tolist() == [True, False, False]
    assert result.applicable.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("rule,kind\n", "expected columns", id="other header"),
        pytest.param(HEADER + "a,never,,,X Y,s\n", "rules.csv:2: expected kind", id="unknown kind"),
        pytest.param(HEADER + "a,none_of,,1,X,s\n", ":2: expected kind", id="no condition"),
        pytest.param(HEADER + "a,none_of,X,-1,Y,s\n", ":2: expected kind", id="value -1"),
        pytest.param(
            HEADER + "a,at_most_one,,,,s\n", ":2: expected a new rule", id="no attributes"
        ),
        pytest.param(
            HEADER + "a,at_most_one,,,X Y,s\na,at_most_one,,,X Z,s\n",
            ":3: expected",
            id="named twice",
        ),
    ],
)
def test_a_wrong_table_of_rules_is_refused(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.csv"
    path.write_text(text)
    with pytest.raises(FacetError, match=expected):
        read_rules(path)


@pytest.mark.real_data
def test_official_labels_break_rules_as_often_as_published(real_data: Path) -> None:
    folder = real_data.parent / "celeba-labels"
    if not folder.is_dir():
        pytest.skip(f"no complete label files in {folder}")

    def read(name: str, **settings: object) -> pd.DataFrame:
        with zipfile.ZipFile(folder / f"{name}.zip") as file:
            text = io.BytesIO(file.read(f"{name}.txt"))
        return pd.read_csv(text, sep=r"\s+", index_col=0, **settings)  # type: ignore[call-overload]

    table = read("list_attr_celeba", skiprows=1)
    partition = read("list_eval_partition", header=None)[1].to_numpy()
    labels = (table.to_numpy() == 1).astype(np.uint8)
    results = apply_rules(
        read_rules(), list(table.columns), labels, np.ones(labels.shape, bool), partition == 0
    )
    counts = {
        result.rule.name: tuple(int((result.broken & (partition == k)).sum()) for k in (1, 2))
        for result in results
    }
    assert counts == {
        "one_hair_colour": (345, 192),
        "straight_or_wavy": (45, 166),
        "goatee_is_beard": (11, 11),
        "mustache_is_beard": (13, 22),
        "sideburns_are_beard": (11, 17),
        "bald_has_no_hair": (112, 83),
    }
    assert all(result.support > 0.7 for result in results)
