import gc
import tracemalloc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.common.errors import FacetError
from stages.common.files import write_manifest
from stages.common.shards import (
    GROUP_IMAGES,
    GroupReader,
    read_partition,
)
from stages.train import stream
from stages.train.feed import Batch, Feed, Held, load_pixels
from stages.train.sampler import shuffle_stream
from stages.train.stream import ahead, stream_batches
from tests.shard_fabric import write_shards
from tests.train_fabric import (
    EVERYTHING,
    SCALE,
    PictureReader,
    draw_pictures,
    make_augment,
    make_feed,
    make_params,
    number_pictures,
    read_numbers,
)

CPU = torch.device("cpu")


def show_epoch(feed: Feed, epoch: int) -> dict[int, torch.Tensor]:
    """Every image that an epoch shows, by the number that its labels spell."""
    shown: dict[int, torch.Tensor] = {}
    for batch in feed.epoch(epoch):
        weights = 2 ** torch.arange(batch.labels.shape[1])
        numbers = (batch.labels * weights).sum(1).long().tolist()
        for number, image in zip(numbers, batch.images, strict=True):
            assert number not in shown
            shown[number] = image
    return shown


def binary_labels(n: int) -> np.ndarray:
    """Labels (N, 10) that spell the image's number."""
    return (np.arange(n)[:, None] >> np.arange(10) & 1).astype(np.uint8)


@pytest.mark.parametrize("memory", ["host", "stream"])
def test_batches_are_what_the_network_takes(memory: str) -> None:
    pixels = draw_pictures(50)
    params = make_params(make_augment(), batch_size=8, memory=memory, stream_images=20)
    feed = make_feed(pixels, params, labels=binary_labels(50))
    assert (feed.n_images, feed.batch_size, feed.n_steps) == (50, 8, 6)
    shown = show_epoch(feed, 1)
    assert len(shown) == 48
    mean, std = (np.array(values, np.float32) for values in SCALE)
    for number, image in shown.items():
        assert np.array_equal(image.permute(1, 2, 0).numpy(), (pixels[number] - mean) / std)
    batch = next(feed.epoch(1))
    assert batch.images.shape == (8, 3, 19, 23)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert (batch.labels.dtype, batch.mask.dtype) == (torch.float32, torch.float32)
    assert batch.other_labels is None
    rows = np.array([41, 3, 16, 15, 49])
    assert np.array_equal(feed.read(rows).numpy(), pixels[rows])
    feed.read(rows).zero_()
    assert np.array_equal(feed.read(rows).numpy(), pixels[rows])


def test_an_image_looks_alike_whatever_the_batches_and_the_memory() -> None:
    pixels, labels = draw_pictures(60), binary_labels(60)
    augment = make_augment(**EVERYTHING)
    expected = show_epoch(make_feed(pixels, make_params(augment, batch_size=60), labels=labels), 3)
    assert len(expected) == 60
    for changes in (
        {"batch_size": 7},
        {"batch_size": 12, "memory": "stream", "stream_images": 25},
        {"batch_size": 60, "memory": "stream", "stream_images": 10_000},
    ):
        feed = make_feed(pixels, make_params(augment, **changes), labels=labels)
        for number, image in show_epoch(feed, 3).items():
            assert torch.equal(image, expected[number])


@pytest.mark.parametrize(
    "mixing",
    [
        pytest.param({}, id="unmixed"),
        pytest.param({"mixup_alpha": 0.4}, id="MixUp"),
        pytest.param({"mixup_alpha": 0.4, "cutmix_alpha": 1.0}, id="both mixes"),
    ],
)
@pytest.mark.parametrize("memory", ["host", "stream"])
@pytest.mark.parametrize("n_ranks", [2, 3])
def test_processes_share_the_batches_of_one(
    mixing: dict[str, float], memory: str, n_ranks: int
) -> None:
    pixels, labels = draw_pictures(50), binary_labels(50)
    params = make_params(
        make_augment(**EVERYTHING, **mixing), batch_size=12, memory=memory, stream_images=20
    )
    whole = list(make_feed(pixels, params, labels=labels).epoch(2))
    parts = [
        list(make_feed(pixels, params, labels=labels, rank=rank, n_ranks=n_ranks).epoch(2))
        for rank in range(n_ranks)
    ]
    for expected, *shares in zip(whole, *parts, strict=True):
        for name in ("images", "labels", "mask", "other_labels", "other_mask"):
            values = [getattr(share, name) for share in shares]
            if getattr(expected, name) is None:
                assert values == [None] * n_ranks
            else:
                assert torch.equal(torch.cat(values), getattr(expected, name))
        assert {share.weight for share in shares} == {expected.weight}


def test_batches_that_cannot_be_shared() -> None:
    params = make_params(batch_size=9)
    with pytest.raises(FacetError, match=r"train\.batch_size: expected a multiple of the 2 proc"):
        make_feed(draw_pictures(20), params, n_ranks=2)


def test_seed_and_epoch_decide_everything() -> None:
    pixels = draw_pictures(40)

    def first(seed: int, epoch: int) -> Batch:
        params = make_params(make_augment(**EVERYTHING), batch_size=10, seed=seed)
        return next(make_feed(pixels, params).epoch(epoch))

    assert torch.equal(first(1, 1).images, first(1, 1).images)
    assert not torch.equal(first(1, 1).images, first(1, 2).images)
    assert not torch.equal(first(1, 1).images, first(2, 1).images)


# --- Streaming ---


def stream_numbers(n: int, group: int, n_slots: int, batch_size: int, epoch: int = 1) -> np.ndarray:
    """The numbers of an epoch's images in order of use, as (batches, batch_size)."""
    reader: Any = PictureReader(number_pictures(n), group)
    images = np.arange(n)
    plan = shuffle_stream(images, reader.sizes, n_slots, 7, epoch)
    batches = list(stream_batches(reader, images, plan, batch_size))
    numbers = np.array([read_numbers(batch) for batch in batches])
    assert np.array_equal(numbers.ravel(), plan.order[: numbers.size])
    return numbers


@pytest.mark.parametrize(
    ("n", "group", "n_slots", "batch_size"),
    [
        pytest.param(1000, 64, 256, 10, id="many groups"),
        pytest.param(1000, 64, 1, 10, id="a buffer of one"),
        pytest.param(1000, 64, 5000, 10, id="a buffer of more than all"),
        pytest.param(3001, 500, 1111, 1, id="nothing divides"),
        pytest.param(40, 512, 16, 40, id="one row group"),
        pytest.param(2100, 512, 1024, 700, id="batches larger than blocks"),
    ],
)
def test_a_streamed_epoch_shows_each_image_once(
    n: int, group: int, n_slots: int, batch_size: int
) -> None:
    numbers = stream_numbers(n, group, n_slots, batch_size)
    assert len(numbers) == n // batch_size
    assert len(np.unique(numbers)) == numbers.size
    assert np.array_equal(numbers, stream_numbers(n, group, n_slots, batch_size))
    if n_slots > 1:
        other = stream_numbers(n, group, n_slots, batch_size, epoch=2)
        assert not np.array_equal(numbers, other)


def same_group_pairs(order: np.ndarray, group: int, batch_size: int) -> float:
    """The share of a batch's pairs of images that are from the same row group."""
    batches = order[: len(order) // batch_size * batch_size].reshape(-1, batch_size) // group
    same = (batches[:, :, None] == batches[:, None, :]).sum() - batches.size
    return float(same / (len(batches) * batch_size * (batch_size - 1)))


@pytest.mark.parametrize("n_held", [4, 8, 16])
def test_the_streamed_shuffle_mixes_as_well_as_is_stated(n_held: int) -> None:
    n, group, batch_size = 64 * 512, 512, 64
    shares, correlations = [], []
    for epoch in range(1, 4):
        order = shuffle_stream(np.arange(n), [group] * (n // group), n_held * group, 7, epoch).order
        shares.append(same_group_pairs(order, group, batch_size))
        correlations.append(np.corrcoef(np.arange(n), order)[0, 1])
    full = same_group_pairs(np.random.default_rng(0).permutation(n), group, batch_size)
    assert full == pytest.approx(1 / (n // group), rel=0.05)
    assert np.mean(shares) == pytest.approx(1 / (2 * n_held - 1), rel=0.3)
    assert np.mean(shares) < 1 / n_held  # pools of as many row groups, shuffled one by one
    assert abs(np.mean(correlations)) < 0.25
    whole = shuffle_stream(np.arange(n), [group] * (n // group), n, 7, 1).order
    assert same_group_pairs(whole, group, batch_size) == pytest.approx(full, rel=0.05)


def test_streaming_holds_the_same_memory_for_any_number_of_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pictures of 3 kB: what is held at most is counted, and no more row groups than stated."""
    height = width = 32
    group, n_slots, batch_size = 32, 64, 16
    n_bytes = height * width * 3
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most: list[int] = []

    class Group(np.ndarray):
        """An array that a weak set can hold."""

    class CountingReader(PictureReader):
        def read(self, index: int) -> np.ndarray:
            pixels = np.full((group, height, width, 3), index % 251, np.uint8).view(Group)
            alive.add(Handle(pixels))
            return pixels

    class Handle:
        def __init__(self, pixels: np.ndarray) -> None:
            weakref.finalize(pixels, alive.discard, self)
            handles.append(self)

    handles: list[Any] = []

    def peak(n_groups: int) -> int:
        reader: Any = CountingReader(np.empty((0, height, width, 3), np.uint8), group)
        reader.sizes = [group] * n_groups
        reader.n_images = n_groups * group
        images = np.arange(reader.n_images)
        plan = shuffle_stream(images, reader.sizes, n_slots, 7, 1)
        gc.collect()
        tracemalloc.start()
        n_seen = 0
        for batch in stream_batches(reader, images, plan, batch_size):
            n_seen += len(batch)
            most.append(len(alive))
        assert n_seen == reader.n_images
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    # The buffer, three row groups, two batches and one block of what leaves the buffer.
    bound = (n_slots + 3 * group + 2 * batch_size + batch_size) * n_bytes + 100_000
    assert peak(10) < bound
    assert peak(80) < bound < 80 * group * n_bytes / 10
    assert max(most) <= 3


def test_images_drawn_often_are_copied_no_more_than_a_row_group_at_a_time() -> None:
    reader: Any = PictureReader(number_pictures(100), 10)
    images = np.sort(np.concatenate([np.full(500, 37), np.arange(0, 100, 7)]))
    pieces = list(stream.read_draws(reader, images, range(10)))
    assert max(len(piece) for piece in pieces) <= 10
    assert np.array_equal(np.concatenate([read_numbers(piece) for piece in pieces]), images)
    plan = shuffle_stream(images, reader.sizes, 50, 7, 1)
    batches = stream_batches(reader, images, plan, 5)
    numbers = np.concatenate([read_numbers(batch) for batch in batches])
    assert np.array_equal(np.sort(numbers), images)
    assert np.array_equal(numbers, images[plan.order])


def test_what_a_thread_makes_ahead_comes_in_order_with_its_errors() -> None:
    made: list[int] = []

    def make() -> Iterator[int]:
        for number in range(5):
            made.append(number)
            yield number
        raise KeyError("broken")

    numbers = ahead(make(), 2)
    assert next(numbers) == 0
    assert len(made) <= 3
    assert [next(numbers) for _ in range(4)] == [1, 2, 3, 4]
    with pytest.raises(KeyError, match="broken"):
        next(numbers)


# --- Reading ---


@pytest.fixture(scope="module")
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real shards: a full row group and a rest in train, a few images in valid."""
    folder = tmp_path_factory.mktemp("data") / "prepare"
    folder.mkdir()
    counts = {"train": GROUP_IMAGES + 90, "valid": 30, "test": 0}
    for partition, n_images in counts.items():
        rows = []
        pixels = number_pictures(n_images, 4, 5)
        for index in range(n_images):
            labels = np.array([index & 1, index >> 1 & 1], np.uint8)
            rows.append((f"{index:05d}", pixels[index], labels, np.array([True, index > 3])))
        write_shards(folder, partition, (4, 5), 2, rows)
    facts = {"attributes": ["a", "b"], "height_px": 4, "width_px": 5, "n_by_partition": counts}
    write_manifest(folder, facts)
    return folder


def test_row_groups_are_the_partition_in_pieces(prepare: Path) -> None:
    reader = GroupReader(prepare, "train")
    assert reader.sizes == [GROUP_IMAGES, 90]
    expected = read_partition(prepare, "train").pixels
    for order in ((0, 1), (1, 0)):
        pieces = {group: reader.read(group) for group in order}
        assert np.array_equal(np.concatenate([pieces[0], pieces[1]]), expected)
    assert np.array_equal(load_pixels(reader, "host", CPU).numpy(), expected)
    empty = GroupReader(prepare, "test")
    assert (empty.sizes, empty.n_images) == ([], 0)


def test_shards_that_are_not_what_the_manifest_says(prepare: Path, tmp_path: Path) -> None:
    names = ["train-00000-of-00001.parquet", "manifest.json"]
    for name in names:
        (tmp_path / name).write_bytes((prepare / name).read_bytes())
    facts = {"attributes": ["a", "b"], "height_px": 4, "width_px": 5}
    write_manifest(tmp_path, {**facts, "n_by_partition": {"train": 700}})
    with pytest.raises(FacetError, match="expected 700 images of train; got 602"):
        GroupReader(tmp_path, "train")
    write_manifest(tmp_path, {**facts, "height_px": 6, "n_by_partition": {"train": 602}})
    with pytest.raises(FacetError, match="of 6x5 pixels"):
        GroupReader(tmp_path, "train")


@pytest.mark.parametrize("memory", ["host", "stream"])
def test_held_images_come_in_order(prepare: Path, memory: Any) -> None:
    reader, part = GroupReader(prepare, "train"), read_partition(prepare, "train", pixels=False)
    held = Held(reader, part, CPU, memory)
    batches = list(held.batches(64))
    assert {len(batch) for batch in batches[:8]} == {64}
    numbers = read_numbers(torch.cat(batches).numpy())
    assert np.array_equal(numbers, np.arange(602))
    assert np.array_equal(held.labels.numpy(), part.labels)
    assert np.array_equal(held.mask.numpy() > 0, part.mask)


@pytest.mark.gpu
@pytest.mark.parametrize("memory", ["device", "host", "stream"])
def test_a_gpu_sees_the_same_pictures(prepare: Path, memory: Any) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    reader, part = GroupReader(prepare, "train"), read_partition(prepare, "train", pixels=False)
    params = make_params(make_augment(flip=0.5), batch_size=50, stream_images=10_000)
    feeds = [
        Feed(reader, part, ["a", "b"], params, SCALE, torch.device(device), kind)
        for device, kind in (("cpu", "stream" if memory == "stream" else "host"), ("cuda", memory))
    ]
    for ours, theirs in zip(*(feed.epoch(1) for feed in feeds), strict=True):
        assert torch.allclose(ours.images, theirs.images.cpu(), atol=1e-6)
        assert torch.equal(ours.labels, theirs.labels.cpu())
