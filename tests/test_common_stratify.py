import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from stages.common.stratify import group_rows, stratify

LABELS = Path(__file__).resolve().parents[2] / "shared" / "celeba-labels"


def draw_labels(n_rows: int, shares: list[float], seed: int = 0) -> np.ndarray:
    """(N, A) with exactly these shares of ones; neighbouring attributes go together."""
    rng = np.random.default_rng(seed)
    trait = rng.normal(size=n_rows)
    labels = np.zeros((n_rows, len(shares)), np.uint8)
    for column, share in enumerate(shares):
        trait = 0.7 * trait + rng.normal(size=n_rows)
        labels[np.argsort(trait)[: round(share * n_rows)], column] = 1
    return labels


def divide(
    labels: np.ndarray,
    sizes: list[int],
    groups: np.ndarray | None = None,
    known: np.ndarray | None = None,
    seed: int = 7,
) -> np.ndarray:
    known = np.ones(labels.shape, bool) if known is None else known
    return stratify(
        labels, known, np.arange(len(labels)) if groups is None else groups, sizes, seed
    )


def count_sizes(part: np.ndarray, n_parts: int) -> list[int]:
    return [int((part == index).sum()) for index in range(n_parts)]


def measure_rows_off(labels: np.ndarray, part: np.ndarray, n_parts: int) -> np.ndarray:
    """(P, A): by how many ones a part differs from its share of all ones."""
    found = np.array([labels[part == index].sum(0) for index in range(n_parts)], float)
    share = np.array(count_sizes(part, n_parts)) / len(part)
    return np.abs(found - share[:, None] * labels.sum(0))


def split_by_chance(groups: np.ndarray, sizes: list[int], seed: int) -> np.ndarray:
    """Whole groups in random order, cut at the wanted sizes."""
    order = np.random.default_rng(seed).permutation(np.unique(groups))
    place = np.cumsum([(groups == group).sum() for group in order]) - 1
    part_of = np.searchsorted(np.cumsum(sizes), place, side="right").clip(max=len(sizes) - 1)
    table = dict(zip(order.tolist(), part_of.tolist(), strict=True))
    return np.array([table[group] for group in groups.tolist()])


SHARES = [0.01, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 0.97, 0.99]


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([800, 100, 100], id="train valid test"),
        pytest.param([200, 800], id="a fifth"),
        pytest.param([100, 0, 900], id="an empty part"),
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_single_rows_give_exact_sizes_and_every_attribute_its_share(
    sizes: list[int], seed: int
) -> None:
    labels = draw_labels(1000, SHARES)  # two attributes with 10 ones, one with 10 zeros
    part = divide(labels, sizes, seed=seed)
    assert part.dtype == np.int64
    assert count_sizes(part, len(sizes)) == sizes
    assert measure_rows_off(labels, part, len(sizes)).max() <= 1


def test_every_attribute_differs_less_than_by_chance() -> None:
    labels, sizes = draw_labels(1000, SHARES), [800, 100, 100]
    ours = measure_rows_off(labels, divide(labels, sizes), 3).sum(0)
    singles = np.arange(1000)
    chance = [
        measure_rows_off(labels, split_by_chance(singles, sizes, seed), 3).sum(0)
        for seed in range(50)
    ]
    assert (ours < np.mean(chance, axis=0)).all()
    assert ours.sum() < 0.2 * np.mean(chance, axis=0).sum()


def test_groups_stay_whole_and_sizes_are_exact_where_single_rows_allow_it() -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(300), rng.integers(1, 30, 300))
    labels = draw_labels(len(groups), SHARES)
    sizes = [len(groups) - 2 * (len(groups) // 10), len(groups) // 10, len(groups) // 10]
    part = divide(labels, sizes, groups)
    assert len(np.unique(np.stack([groups, part]), axis=1).T) == 300
    assert count_sizes(part, 3) == sizes
    off = measure_rows_off(labels, part, 3)
    chance = [
        measure_rows_off(labels, split_by_chance(groups, sizes, seed), 3) for seed in range(50)
    ]
    assert off.sum() < 0.3 * np.mean(chance, axis=0).sum()
    n_groups = [len(np.unique(groups[part == index])) for index in range(3)]
    assert n_groups[1] == pytest.approx(30, abs=8)  # small parts get large groups too


@pytest.mark.parametrize(
    ("members", "sizes", "expected"),
    [
        pytest.param([3, 3, 2, 2, 2], [6, 6], [6, 6], id="only an exchange makes it fit"),
        pytest.param([4, 4, 4], [6, 6], [8, 4], id="no division fits"),
        pytest.param([9, 1, 1, 1], [10, 2], [10, 2], id="one large group"),
        pytest.param([9, 1, 1, 1], [6, 6], [9, 3], id="a group larger than its part"),
        pytest.param([7], [5, 2], [7, 0], id="one group"),
        pytest.param([2, 2], [4, 0], [4, 0], id="an empty part stays empty"),
        pytest.param([1], [0, 1, 0], [0, 1, 0], id="one row"),
        pytest.param([1, 1], [1, 0, 0, 1], [1, 0, 0, 1], id="fewer rows than parts"),
        pytest.param([], [0, 0], [0, 0], id="no rows"),
    ],
)
def test_sizes_are_as_near_as_groups_allow(
    members: list[int], sizes: list[int], expected: list[int]
) -> None:
    groups = np.repeat(np.arange(len(members)), members)
    for seed in range(5):
        labels = np.random.default_rng(seed).integers(0, 2, (len(groups), 3), np.uint8)
        part = divide(labels, sizes, groups, seed=seed)
        found = count_sizes(part, len(sizes))
        assert sum(found) == len(groups)
        assert np.abs(np.subtract(found, sizes)).sum() == np.abs(np.subtract(expected, sizes)).sum()
        assert all(n == 0 for n, size in zip(found, sizes, strict=True) if size == 0)


def test_a_pure_function_of_its_arguments() -> None:
    labels, groups = draw_labels(400, SHARES), np.arange(400) // 2
    before = labels.copy(), groups.copy()
    first = divide(labels, [300, 100], groups)
    assert (divide(labels, [300, 100], groups) == first).all()
    assert (divide(labels, [300, 100], 1000 + 7 * groups) == first).all()
    assert (labels == before[0]).all()
    assert (groups == before[1]).all()
    assert (divide(labels, [300, 100], groups, seed=8) != first).any()


def test_the_rarer_value_counts_whichever_it_is() -> None:
    labels = draw_labels(400, SHARES)
    turned = labels.copy()
    turned[:, [0, 3, 8]] = 1 - turned[:, [0, 3, 8]]
    assert (divide(turned, [300, 100]) == divide(labels, [300, 100])).all()


def test_unknown_labels_count_as_neither_value() -> None:
    labels = draw_labels(1000, [0.3, 0.3, 0.2, 0.9])
    known = np.random.default_rng(5).random(labels.shape) < [0.05, 1.0, 0.7, 0.1]
    part = divide(labels, [700, 300], known=known)
    noise = np.where(known, labels, 1 - labels)
    assert (divide(noise, [700, 300], known=known) == part).all()
    for column, rarer in enumerate((1, 1, 1, 0)):
        counted = known[:, column] & (labels[:, column] == rarer)
        assert counted[part == 1].sum() == pytest.approx(0.3 * counted.sum(), abs=1)


@pytest.mark.parametrize(
    ("value", "is_known"),
    [
        pytest.param(0, True, id="always 0"),
        pytest.param(1, True, id="always 1"),
        pytest.param(1, False, id="never known"),
    ],
)
def test_constant_attributes_do_not_disturb_the_others(value: int, is_known: bool) -> None:
    labels = draw_labels(500, [0.02, 0.4, 0.5])
    labels[:, 1] = value
    known = np.ones(labels.shape, bool)
    known[:, 1] = is_known
    part = divide(labels, [400, 100], known=known)
    assert count_sizes(part, 2) == [400, 100]
    assert measure_rows_off(labels[:, [0, 2]], part, 2).max() <= 1
    assert count_sizes(divide(labels[:, [1]], [400, 100]), 2) == [400, 100]
    assert count_sizes(divide(labels[:, :0], [400, 100]), 2) == [400, 100]


@pytest.mark.parametrize(
    ("sizes", "n_groups", "expected"),
    [
        pytest.param([2, 2], 3, r"add up to 3; got \[2, 2\]", id="sizes too large"),
        pytest.param([4, -1], 3, "sizes from 0", id="a size below 0"),
        pytest.param([], 3, "add up to 3", id="no parts"),
        pytest.param([2, 1], 4, r"groups \(3,\)", id="too many groups"),
    ],
)
def test_arguments_that_do_not_fit(sizes: list[int], n_groups: int, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        divide(np.zeros((3, 1), np.uint8), sizes, np.arange(n_groups))


@pytest.mark.parametrize(
    ("keys", "pairs", "expected"),
    [
        pytest.param([["a", "b", "a", "c"]], [], [0, 1, 0, 2], id="equal keys"),
        pytest.param([[None, "b", None, "b"]], [], [0, 1, 2, 1], id="None is no key"),
        pytest.param([[None] * 4], [[3, 1], [2, 3]], [0, 1, 1, 1], id="pairs through others"),
        pytest.param([["a", "a", "b", "b"]], [[1, 2]], [0, 0, 0, 0], id="keys joined by a pair"),
        pytest.param([["a", "a", None, None], [None, 5, 5, 6]], [], [0, 0, 0, 1], id="two keys"),
        pytest.param([[]], [], [], id="no rows"),
    ],
)
def test_rows_are_grouped(
    keys: list[list[str | None]], pairs: list[list[int]], expected: list[int]
) -> None:
    codes = group_rows(*keys, pairs=np.array(pairs, np.int64).reshape(-1, 2))
    assert codes.tolist() == expected
    assert codes.dtype == np.int64


def read_zipped(name: str) -> list[str]:
    path = LABELS / f"{name}.zip"
    if not path.is_file():
        pytest.skip(f"no CelebA label files in {LABELS}")
    with zipfile.ZipFile(path) as archive:
        return archive.read(archive.namelist()[0]).decode().splitlines()


@pytest.mark.real_data
@pytest.mark.parametrize("by_identity", [False, True], ids=["single images", "identities"])
def test_celeba_is_divided_better_than_by_chance_within_seconds(by_identity: bool) -> None:
    lines = read_zipped("list_attr_celeba")[2:]
    labels = np.array([[value == "1" for value in line.split()[1:]] for line in lines], np.uint8)
    n = len(labels)
    groups = np.arange(n)
    if by_identity:
        groups = group_rows([line.split()[1] for line in read_zipped("identity_CelebA")])
        assert groups.max() + 1 == 10_177
    sizes = [n - 2 * (n // 10), n // 10, n // 10]
    start = time.process_time()
    part = divide(labels, sizes, groups)
    assert time.process_time() - start < 10
    assert count_sizes(part, 3) == sizes
    assert len(np.unique(groups * 3 + part)) == len(np.unique(groups))
    off = measure_rows_off(labels, part, 3)
    assert off.max() < (20 if by_identity else 2)
    if not by_identity:
        chance = [
            measure_rows_off(labels, np.random.default_rng(seed).permutation(part), 3)
            for seed in range(5)
        ]
        assert (off < np.mean(chance, axis=0)).all()
