from typing import Any

import pytest
import torch

from stages.common.errors import FacetError
from stages.train import memory
from stages.train.memory import agree_memory, choose_memory, total_memory

GB = 10**9


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 GB of memory, and a GPU with 8 GB free."""
    monkeypatch.setattr(memory, "total_memory", lambda: 16 * GB)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 * GB, 12 * GB))


@pytest.mark.parametrize(
    ("wanted", "n_gb", "device", "expected"),
    [
        ("auto", 3, "cuda", "device"),
        ("auto", 5, "cuda", "host"),
        ("auto", 9, "cuda", "stream"),
        ("auto", 3, "cpu", "host"),
        ("auto", 9, "cpu", "stream"),
        ("device", 7, "cuda", "device"),
        ("device", 9, "cpu", "host"),
        ("host", 3, "cuda", "host"),
        ("host", 15, "cpu", "host"),
        ("stream", 1, "cuda", "stream"),
        ("stream", 1, "cpu", "stream"),
    ],
)
def test_pixels_go_where_they_fit(
    machine: None, wanted: Any, n_gb: int, device: str, expected: str
) -> None:
    assert choose_memory(wanted, n_gb * GB, torch.device(device)) == expected


@pytest.mark.parametrize(("n_local", "expected"), [(1, "host"), (2, "host"), (4, "stream")])
def test_processes_share_the_memory_of_a_machine(
    machine: None, n_local: int, expected: str
) -> None:
    assert choose_memory("auto", 3 * GB, torch.device("cpu"), n_local) == expected


@pytest.mark.parametrize(
    ("others", "chosen", "expected"),
    [((0, 0), "device", "device"), ((0, 2), "device", "stream"), ((1, 2), "host", "stream")],
)
def test_all_processes_do_as_the_most_sparing(
    others: tuple[int, ...], chosen: Any, expected: str
) -> None:
    class Fabric:
        device = torch.device("cpu")

        def all_gather(self, value: torch.Tensor) -> torch.Tensor:
            return torch.stack([value, *(torch.tensor(other) for other in others)])

    fabric: Any = Fabric()
    assert agree_memory(chosen, fabric) == expected


@pytest.mark.parametrize(
    ("wanted", "n_gb", "device", "expected"),
    [
        ("device", 9, "cuda", r"9\.0 GB of pixels do not fit into 8\.0 GB of free GPU memory"),
        ("host", 17, "cuda", r"17\.0 GB of pixels do not fit into 16\.0 GB of memory; got host"),
        ("device", 17, "cpu", r"17\.0 GB of pixels do not fit into 16\.0 GB of memory; got device"),
    ],
)
def test_pixels_that_do_not_fit_where_they_are_wanted(
    machine: None, wanted: Any, n_gb: int, device: str, expected: str
) -> None:
    with pytest.raises(FacetError, match=r"train\.memory: expected .*" + expected):
        choose_memory(wanted, n_gb * GB, torch.device(device))


def test_a_containers_limit_counts(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "LIMITS", (str(tmp_path / "none"), str(limit)))
    whole = total_memory()
    assert whole > 10**8
    for text, expected in (("max\n", whole), ("50000000\n", 50_000_000)):
        limit.write_text(text)
        assert total_memory() == expected
