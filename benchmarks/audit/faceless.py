"""How well pictures without a face are found, beside cleanlab's OutOfDistribution alone.

Real photographs, a share of them replaced by a planter of its own. Seen kinds resemble what the
audit makes to learn from, drawn by other code with other strengths; unseen ones do not.

    python -m benchmarks.audit.faceless --data ../shared/celeba-16k
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from cleanlab.outlier import OutOfDistribution
from PIL import Image, ImageDraw, ImageFilter
from sklearn.metrics import average_precision_score

from stages.audit.backbone import Backbone, load_backbone
from stages.audit.copies import Copies
from stages.audit.faceless import score_faceless
from stages.audit.features import extract_features, iter_pixels
from stages.audit.folds import make_folds
from stages.common.params import load_params
from stages.common.tables import image_files, label_arrays, read_annotations
from stages.download.run import run as download

Spoil = Callable[[Image.Image, np.random.Generator], Image.Image]


def draw_noise(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Uniform noise, gray or coloured."""
    shape = (image.height, image.width, int(rng.choice([1, 3])))
    noise = np.broadcast_to(rng.integers(0, 256, shape, dtype=np.uint8), (*shape[:2], 3))
    return Image.fromarray(np.ascontiguousarray(noise))


def draw_flat(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """One colour with a little grain."""
    base = rng.integers(10, 246, 3) + rng.normal(0, 4, (image.height, image.width, 3))
    return Image.fromarray(np.clip(base, 0, 255).astype(np.uint8))


def draw_gradient(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A gradient between two colours in any direction."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0 : image.height, 0 : image.width]
    t = x * np.cos(angle) + y * np.sin(angle)
    t = ((t - t.min()) / (t.max() - t.min()))[..., None]
    return Image.fromarray(
        (rng.integers(0, 256, 3) * t + rng.integers(0, 256, 3) * (1 - t)).astype(np.uint8)
    )


def crop_background(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """An upper corner of 45 x 55 pixels, enlarged."""
    left = 0 if rng.random() < 0.5 else image.width - 45
    return image.crop((left, 0, left + 45, 55)).resize(image.size, Image.Resampling.BICUBIC)


def shuffle_tiles(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """4 x 4 tiles in another order."""
    w, h = image.width // 4, image.height // 4
    boxes = [(x * w, y * h, x * w + w, y * h + h) for x in range(4) for y in range(4)]
    result = image.copy()
    for box, k in zip(boxes, rng.permutation(16), strict=True):
        result.paste(image.crop(boxes[k]), box[:2])
    return result


def cover_box(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A black, white or gray box over the face."""
    result = image.copy()
    fill = (int(rng.choice([0, 128, 255])),) * 3
    dx, dy = rng.integers(-6, 7, 2)
    ImageDraw.Draw(result).rectangle((38 + dx, 60 + dy, 140 + dx, 175 + dy), fill=fill)
    return result


def cover_ellipse(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A coloured ellipse over the face."""
    result = image.copy()
    fill = tuple(int(x) for x in rng.integers(0, 256, 3))
    ImageDraw.Draw(result).ellipse((34, 50, 144, 185), fill=fill)
    return result


def pixelate_face(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The face in 5 x 6 squares."""
    box, result = (34, 50, 144, 185), image.copy()
    face = image.crop(box).resize((5, 6), Image.Resampling.BOX)
    result.paste(face.resize((110, 135), Image.Resampling.NEAREST), box[:2])
    return result


def draw_stripes(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Stripes or a checkerboard."""
    period = int(rng.integers(6, 30))
    y, x = np.mgrid[0 : image.height, 0 : image.width] // period
    on = ((x + y * rng.integers(0, 2)) % 2)[..., None]
    return Image.fromarray(
        (on * rng.integers(0, 256, 3) + (1 - on) * rng.integers(0, 256, 3)).astype(np.uint8)
    )


def draw_shapes(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A dozen shapes, blurred: a scene without a person."""
    result = Image.new("RGB", image.size, tuple(int(x) for x in rng.integers(0, 256, 3)))
    draw = ImageDraw.Draw(result)
    for _ in range(12):
        x, y = rng.uniform(-40, image.width), rng.uniform(-40, image.height)
        fill = tuple(int(c) for c in rng.integers(0, 256, 3))
        box = (x, y, x + rng.uniform(10, 120), y + rng.uniform(10, 120))
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(box, fill=fill)
    return result.filter(ImageFilter.GaussianBlur(rng.uniform(0, 3)))


def turn_over(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Upside down: a face, but not where it should be."""
    return image.transpose(Image.Transpose.ROTATE_180)


SEEN: dict[str, Spoil] = {
    "noise": draw_noise, "flat": draw_flat, "background crop": crop_background,
    "shuffled tiles": shuffle_tiles, "box over the face": cover_box,
}  # fmt: skip
UNSEEN: dict[str, Spoil] = {
    "gradient": draw_gradient, "ellipse over the face": cover_ellipse,
    "pixelated face": pixelate_face, "stripes": draw_stripes, "shapes": draw_shapes,
    "upside down": turn_over,
}  # fmt: skip


def main() -> None:
    """Plant, score, print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="CelebA files, official layout")
    parser.add_argument("--n_images", type=int, default=3440)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.005, 0.03, 0.1])
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    params = load_params()
    kinds = SEEN | UNSEEN
    print("| planted | method | all | seen kinds | unseen | flagged | precision | recall | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    table: dict[float, dict[str, float]] = {}
    for share in options.shares:
        with tempfile.TemporaryDirectory() as name:
            source = params.download.model_copy(
                update={"source": "files", "path": str(options.data.resolve())}
            )
            folder = Path(name) / "download"
            download(source, folder)
            annotations, attributes = read_annotations(folder)
            annotations = annotations.sort_values("image_id", ignore_index=True)
            labels, known = label_arrays(annotations, attributes)
            rng = np.random.default_rng(options.seed)
            candidates = np.flatnonzero((annotations["partition"] != "test").to_numpy())
            rows = np.sort(rng.choice(candidates, options.n_images, replace=False))
            planted = np.sort(rng.choice(rows, round(share * len(rows)), replace=False))
            kind = dict(zip(planted, rng.permutation(len(planted)) % len(kinds), strict=True))
            ids = annotations["image_id"].to_numpy(object)
            replace_pictures(
                folder, {ids[r]: list(kinds.values())[k] for r, k in kind.items()}, rng
            )
            train = (annotations["partition"] == "train").to_numpy() & np.isin(
                np.arange(len(ids)), rows
            )
            start = time.perf_counter()
            backbone = load_backbone(params.audit)
            found = extract_features(folder, ids, rows, train, backbone, params.audit.seed)
            assert found is not None
            features, axes = found
            folds = make_folds(
                annotations["identity"].to_numpy(object), Copies([], [], []), labels, known,
                rows[train[rows]], params.audit.n_folds, params.audit.seed,
            )  # fmt: skip
            score = score_faceless(
                folder, ids, features, axes, backbone, folds[rows], params.audit.seed
            )
            seconds = time.perf_counter() - start
            usual = pool_usual(folder, ids, rows, backbone)
        truth = np.isin(rows, planted)
        start = time.perf_counter()
        outside = 1 - OutOfDistribution(params={"k": 10}).fit_score(features=usual, verbose=False)
        took = time.perf_counter() - start
        of_kind = np.array([kind.get(row, -1) for row in rows])
        flagged = score >= params.audit.flag_above
        for method, values, s in (("facet", score, seconds), ("OutOfDistribution", outside, took)):
            cells = [
                measure(values, truth, of_kind, chosen)
                for chosen in (range(len(kinds)), range(len(SEEN)), range(len(SEEN), len(kinds)))
            ]
            numbers = " | ".join(f"{cell:.3f}" for cell in cells)
            flags = " | | "
            if method == "facet":
                hits = (flagged & truth).sum()
                precision, recall = hits / max(flagged.sum(), 1), hits / truth.sum()
                flags = f"{flagged.sum()} | {precision:.3f} | {recall:.3f}"
            print(f"| {share:.1%} | {method} | {numbers} | {flags} | {s:.0f} |", flush=True)
        table[share] = {
            name: measure(score, truth, of_kind, [k])
            for k, name in enumerate(kinds)
            if (of_kind == k).any()
        }
    print(f"\n| kind (average precision of facet) | {' | '.join(f'{s:.1%}' for s in table)} |")
    print("|" + "---|" * (len(table) + 1))
    for name in kinds:
        mark = "" if name in SEEN else " (unseen)"
        by_share = [f"{row[name]:.2f}" if name in row else "" for row in table.values()]
        print(f"| {name}{mark} | {' | '.join(by_share)} |")


def measure(values: np.ndarray, truth: np.ndarray, of_kind: np.ndarray, kinds: object) -> float:
    """Average precision for some kinds of planted pictures; the other planted ones are left out."""
    kept = ~truth | np.isin(of_kind, list(kinds))  # type: ignore[call-overload]
    return float(average_precision_score(truth[kept], values[kept])) if truth[kept].any() else 0.0


def pool_usual(folder: Path, ids: np.ndarray, rows: np.ndarray, backbone: Backbone) -> np.ndarray:
    """The features that OutOfDistribution is used with: means of the deepest map, as they are."""
    parts, order = [], []
    for here, pixels in iter_pixels(folder, ids, rows, backbone, "usual features"):
        parts.append(backbone.pool(torch.from_numpy(pixels))[:, -320:].numpy())
        order += here
    return np.concatenate(parts)[np.argsort(order)]


def replace_pictures(folder: Path, spoils: dict[str, Spoil], rng: np.random.Generator) -> None:
    """Write other pictures into images-*.parquet."""
    for path in image_files(folder):
        table = pq.read_table(path)
        data = table["bytes"].to_pylist()
        for k, name in enumerate(table["image_id"].to_pylist()):
            if name in spoils:
                image = Image.open(io.BytesIO(data[k])).convert("RGB")
                out = io.BytesIO()
                spoils[name](image, rng).save(out, "JPEG", quality=90)
                data[k] = out.getvalue()
        column = table.schema.get_field_index("bytes")
        table = table.set_column(column, table.schema.field("bytes"), [data])
        pq.write_table(table, path, row_group_size=256)


if __name__ == "__main__":
    main()
