"""Row groups of prepare: order, memory, the same bytes whatever the number of workers."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.common.errors import FacetError
from stages.common.files import read_manifest, write_manifest
from stages.common.shards import read_partition
from stages.common.tables import ANNOTATIONS, annotations_schema, read_annotations, write_table
from stages.prepare import groups as module
from stages.prepare.groups import Group, Task, find_size, prepare_groups
from tests.official_files import OfficialFolder, folder_bytes
from tests.test_common_pixels import PICTURES, reference
from tests.test_prepare import Workspace, make_issues, make_params

SIZE, CROP = (20, 18), (40, 36)


def mix_partitions(official: OfficialFolder) -> OfficialFolder:
    """Partitions in no order: 0, 1, 2, 0, 1, 2, 0, 0, ..."""
    codes = np.random.default_rng(0).choice(3, len(official.partition), p=[0.7, 0.2, 0.1])
    names = [line.split()[0] for line in official.partition]
    official.partition = [f"{name} {code}" for name, code in zip(names, codes, strict=True)]
    return official


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """700 pictures of three mixed partitions, awkward ones among them."""
    official = mix_partitions(OfficialFolder(n_images=700))
    official.identity = None
    for k, make in enumerate(PICTURES.values()):
        official.images[f"{7 * k + 1:06d}.jpg"] = make()
    return Workspace(tmp_path_factory.mktemp("mixed"), official, make_issues())


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups of 32 pictures, tasks of 5."""
    monkeypatch.setattr(module, "count_group", lambda height, width: 32)
    monkeypatch.setattr(module, "TASK_IMAGES", 5)


def plan(workspace: Workspace) -> tuple[Path, dict[str, int], list[str]]:
    """Folder, rows and partitions of all images."""
    annotations, _ = read_annotations(workspace.download)
    rows = {image_id: k for k, image_id in enumerate(annotations["image_id"])}
    return workspace.download, rows, annotations["partition"].tolist()


def collect(groups: Iterator[Group]) -> list[tuple[str, list[int], np.ndarray]]:
    return [(group.partition, group.rows, group.pixels.copy()) for group in groups]


@pytest.mark.usefixtures("small_groups")
def test_groups_are_full_and_in_order(workspace: Workspace) -> None:
    download, rows, partitions = plan(workspace)
    found = collect(prepare_groups(download, rows, partitions, CROP, SIZE))
    for partition in ("train", "valid", "test"):
        parts = [part for name, part, _ in found if name == partition]
        wanted = [k for k, name in enumerate(partitions) if name == partition]
        assert [row for part in parts for row in part] == wanted
        assert [len(part) for part in parts[:-1]] == [32] * (len(wanted) // 32)
    assert all(len(part) == len(pixels) for _, part, pixels in found)


def test_shards_hold_what_pillow_makes_of_each_picture(workspace: Workspace) -> None:
    official = OfficialFolder(n_images=700).images
    awkward = {f"{7 * k + 1:06d}.jpg": make() for k, make in enumerate(PICTURES.values())}
    out = workspace.prepare(make_params(), "awkward")
    n = 0
    for partition in ("train", "valid", "test"):
        part = read_partition(out, partition)
        for image_id, pixels in zip(part.image_ids, part.pixels, strict=True):
            data = awkward.get(image_id, official[image_id])
            error = np.abs(pixels.astype(int) - reference(data, CROP, SIZE))
            assert error.mean() < 1, image_id
            n += 1
    assert n == 700


@pytest.mark.usefixtures("small_groups")
def test_the_number_of_workers_changes_no_byte(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2
    import torch

    found = []
    threads = torch.get_num_threads(), cv2.getNumThreads()
    try:
        for n_workers in (1, 2, 3, 8):
            monkeypatch.setattr(os, "cpu_count", lambda n=n_workers: n)
            torch.set_num_threads(9 - n_workers)
            cv2.setNumThreads(9 - n_workers)
            found.append(folder_bytes(workspace.prepare(make_params(), f"by_{n_workers}")))
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])
    assert found[0] == found[1] == found[2] == found[3]
    assert any(name.endswith(".parquet") for name in found[0])


@pytest.mark.parametrize("n_workers", [1, 3])
def test_few_tasks_wait_however_many_there_are(
    n_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: n_workers)
    group = Group("train", np.empty((1, 1, 1, 3), np.uint8))
    n_made, limit = 0, 2 * n_workers + module.N_WAITING

    def make() -> Iterator[Task]:
        nonlocal n_made
        while True:
            n_made += 1
            yield Task(group, n_made)

    results = module._map_ordered(lambda task: task, make())
    for k in range(1, 300):
        assert next(results).start == k
        assert n_made - k < limit
    results.close()


@pytest.mark.usefixtures("small_groups")
def test_memory_of_groups_is_used_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """22 groups in turn, while at most 4 tasks of 5 pictures wait; each partition has one open."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(module, "N_WAITING", 2)
    made = []
    empty = np.empty
    monkeypatch.setattr(
        module.np, "empty", lambda shape, *rest: made.append(shape) or empty(shape, *rest)
    )
    download, rows, partitions = plan(workspace)
    n_groups = 0
    for _ in prepare_groups(download, rows, partitions, CROP, SIZE):
        n_groups += 1
    of_groups = [shape for shape in made if isinstance(shape, tuple) and shape[1:3] == SIZE]
    assert n_groups > 20
    assert len(of_groups) <= 6


@pytest.mark.parametrize(
    ("name", "limit", "largest"),
    [
        pytest.param("TASK_IMAGES", 3, 3, id="pictures"),
        pytest.param("TASK_PIXEL_BYTES", 4 * 20 * 18 * 3, 4, id="bytes of results"),
        pytest.param("TASK_PIXEL_BYTES", 1, 1, id="less than one result"),
        pytest.param("TASK_FILE_BYTES", 1, 1, id="bytes of files"),
    ],
)
def test_a_task_is_limited(
    name: str, limit: int, largest: int, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, limit)
    download, rows, partitions = plan(workspace)
    sizes = [len(task.names) for task in module._cut_tasks(download, rows, partitions, SIZE, [])]
    assert max(sizes) == largest
    assert sum(sizes) == 700


def test_work_stops_at_the_first_error(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(module, "TASK_IMAGES", 1)
    prepared = []

    def fail(names: list[str], *rest: Any) -> None:
        prepared.append(names)
        if len(prepared) == 1:
            raise FacetError(f"{names[0]}: broken")
        time.sleep(0.02)

    monkeypatch.setattr(module, "prepare_files", fail)
    with pytest.raises(FacetError, match="broken"):
        workspace.prepare(make_params(), "stopped")
    assert len(prepared) < module.N_WAITING
    assert not (workspace.folder / "stopped").exists()
    assert not [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]


def test_a_picture_that_is_absent(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, OfficialFolder(), make_issues())
    annotations, attributes = read_annotations(workspace.download)
    more = annotations.iloc[[3]].assign(image_id="999999.jpg")
    table = pd.concat([annotations, more])
    write_table(table, workspace.download / ANNOTATIONS, annotations_schema(attributes))
    write_manifest(workspace.download, {"attributes": attributes})
    with pytest.raises(FacetError, match=r"lack 1, as 999999\.jpg \(run `dvc repro -f download`"):
        workspace.prepare(make_params())
    assert not (tmp_path / "prepare").exists()


def test_the_manifest_holds_digests_of_shards(workspace: Workspace) -> None:
    out = workspace.prepare(make_params(), "digests")
    files = read_manifest(out)["files"]
    assert [name.split("-")[0] for name in files] == ["test", "train", "valid"]
    assert all(sorted(entry) == ["bytes", "digest"] for entry in files.values())
    assert len({entry["digest"] for entry in files.values()}) == 3


def test_sizes_come_from_headers_alone(workspace: Workspace) -> None:
    download, rows, _ = plan(workspace)
    assert find_size(download, rows, CROP, None) == CROP
    assert find_size(download, rows, CROP, SIZE) == SIZE
    alike = {name: row for name, row in rows.items() if row > 7 * len(PICTURES)}
    assert find_size(download, alike, None, None) == (48, 40)
    with pytest.raises(FacetError, match=r"expected a size, as the images differ in theirs: 218x1"):
        find_size(download, rows, None, None)
