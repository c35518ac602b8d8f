"""Fabricated outputs of the six stages before the report, exactly in the contract's formats."""

import hashlib
import io
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from stages.common.files import write_json, write_manifest, write_text
from stages.common.metrics import majority_class
from stages.common.params import load_params
from stages.common.tables import (
    ANNOTATIONS,
    CHECKS,
    IMAGES_SCHEMA,
    ISSUES,
    ISSUES_SCHEMA,
    PARTITIONS,
    PREVIEW,
    PREVIEW_SCHEMA,
    SALIENCY,
    SALIENCY_SCHEMA,
    SCORES,
    TRUTH,
    TRUTH_SCHEMA,
    annotations_schema,
    scores_schema,
    write_table,
)
from stages.evaluate.columns import COLUMNS as EVALUATE_COLUMNS
from stages.evaluate.figures import derive_figures, list_tuned, tune
from stages.evaluate.outputs import gather_tables, to_csv, write_predictions
from stages.evaluate.part import Part
from stages.evaluate.shift import explain_loss
from stages.explore.labels import count_cardinality, measure_imbalance
from stages.explore.shifts import measure_shifts

#: Attribute and prevalence; enough of CelebA's for charts with some life.
ATTRIBUTES = {
    "Bald": 0.023,
    "Eyeglasses": 0.065,
    "Male": 0.42,
    "Mustache": 0.041,
    "No_Beard": 0.83,
    "Smiling": 0.48,
    "Wearing_Hat": 0.049,
    "Young": 0.78,
}
PARAMS = Path(__file__).parents[1] / "params.yaml"
COOCCURRENCE = [
    "attribute_a",
    "attribute_b",
    "n_known",
    "phi",
    "p_b_given_a",
    "p_a_given_b",
    "lift",
]


@dataclass(frozen=True)
class Recipe:
    """What to fabricate."""

    n_images: int = 240
    attributes: dict[str, float] = field(default_factory=lambda: dict(ATTRIBUTES))
    source: str = "demo"
    celeba: dict[str, Any] | None = None  # as download recognised it
    partitions: tuple[str, ...] = ("valid", "test")
    identities: bool = True
    findings: bool = True
    n_epochs: int = 4
    empty_attribute: str | None = None  # without one positive, so that most measures are undefined
    shares: tuple[float, float] = (0.65, 0.10)
    picture_size: tuple[int, int] = (218, 178)
    n_planted: int = 3  # per kind of copy
    n_missed: int = 1  # near copies that the audit does not find
    n_resamples: int = 20
    slices: tuple[str | tuple[str, ...], ...] = ("Male", "Young", ("Male", "Young"))
    extra: bool = False  # test's images as a second set too
    n_shown: int = 2  # pictures with a heat map per attribute and kind
    unlabelled_attribute: str | None = None  # without a known label outside train
    seed: int = 3


def fabricate(root: Path, recipe: Recipe = Recipe()) -> dict[str, Path]:
    """Write everything below `root`; the paths by the names of `run`'s arguments, with `out`."""
    maker = _Maker(root, recipe)
    maker.write_download()
    maker.write_explore()
    maker.write_audit()
    maker.write_prepare()
    maker.write_train()
    maker.write_evaluate()
    return {
        "download": root / "data/download",
        "prepare": root / "data/prepare",
        "audit": root / "data/audit",
        "evaluate": root / "data/evaluate",
        "train": root / "data/train",
        "explore_reports": root / "reports/explore",
        "audit_reports": root / "reports/audit",
        "train_reports": root / "reports/train",
        "evaluate_reports": root / "reports/evaluate",
        "out": root / "reports/site",
    }


class _Maker:
    def __init__(self, root: Path, recipe: Recipe) -> None:
        self.root, self.recipe = root, recipe
        self.rng = np.random.default_rng(recipe.seed)
        self.names = list(recipe.attributes)
        n = recipe.n_images
        self.ids = [f"{k + 1:06d}.jpg" for k in range(n)]
        n_train, n_valid = (round(n * share) for share in recipe.shares)
        self.partition = np.repeat(PARTITIONS, (n_train, n_valid, n - n_train - n_valid))
        self.identity = self.rng.integers(1, max(2, n // 12), n)
        factor = self.rng.normal(size=(n, 3))
        loading = np.random.default_rng(11).normal(size=(3, len(self.names)))
        margin = factor @ loading + self.rng.normal(size=(n, len(self.names)))
        self.labels = np.zeros((n, len(self.names)), bool)
        for k, share in enumerate(recipe.attributes.values()):
            self.labels[:, k] = margin[:, k] >= np.quantile(margin[:, k], 1 - share)
        if recipe.empty_attribute:
            self.labels[:, self.names.index(recipe.empty_attribute)] = False
        self.known = self.rng.random(self.labels.shape) > 0.002
        self.truth: list[tuple[Any, ...]] = []
        self.issues: list[tuple[Any, ...]] = []
        self.copies: dict[int, tuple[int, str]] = {}
        if recipe.findings:
            self.plant()
        if recipe.unlabelled_attribute:
            column = self.names.index(recipe.unlabelled_attribute)
            self.known[self.partition != "train", column] = False

    def plant(self) -> None:
        """Copies of each kind, the truth about them and what an audit would find."""
        recipe = self.recipe
        train = np.flatnonzero(self.partition == "train")
        other = np.flatnonzero(self.partition != "train")
        places = iter(train[::2] if len(train) > 8 * recipe.n_planted else train)
        others = iter(other)
        demo = recipe.source == "demo"
        for fault in ("byte_copy", "near_copy", "conflict_copy", "leak_copy"):
            for k in range(recipe.n_planted):
                a = int(next(places))
                b = int(next(others)) if fault == "leak_copy" else int(next(places))
                a, b = self.ids[a], self.ids[b]
                i, j = self.ids.index(a), self.ids.index(b)
                self.copies[j] = (i, fault)
                self.identity[j] = self.identity[i]
                self.labels[j], self.known[j] = self.labels[i], True
                self.known[i] = True
                if demo:
                    self.truth.append((b, fault, None, a, None))
                if fault == "near_copy":
                    if k >= recipe.n_missed:
                        self.issues.append(
                            (b, "near_duplicate", None, a, 0.001 * k, True, "re-encoded")
                        )
                    continue
                self.issues.append((b, "exact_duplicate", None, a, 0.0, True, None))
                if fault == "conflict_copy":
                    c = k % len(self.names)
                    self.labels[j, c] = not self.labels[i, c]
                    for x, y in ((a, b), (b, a)):
                        self.issues.append(
                            (x, "label_conflict", self.names[c], y, 0.5, True, "1 yes, 1 no")
                        )
                if fault == "leak_copy":
                    detail = f"train-{self.partition[j]}: same bytes"
                    self.issues.append((a, "leak", None, b, 0.0, True, detail))
        # a pair that nobody planted
        a, b = self.ids[int(next(places))], self.ids[int(next(places))]
        self.issues.append((b, "near_duplicate", None, a, 0.04, True, None))
        self.suspect()
        rule = self.ids[int(next(places))]
        for name in self.names[:2]:
            self.issues.append((rule, "label_rule", name, None, 0.1, True, "a rule is broken"))
        if demo:
            self.truth.append((self.ids[0], "flipped_label", self.names[0], None, None))
            self.truth.append((self.ids[1], "flipped_label", self.names[0], None, None))
            self.truth.append((self.ids[1], "wrong_identity", None, None, None))
            self.truth.append((self.ids[2], "faceless", None, None, None))

    def suspect(self) -> None:
        """What the checks that need features might say; a flagged and an unflagged one of each."""
        for k, flagged in ((0, True), (1, True), (2, False)):
            said = "; the picture alone says 3 %; 4 of 4 other images of this person say no"
            detail = f"labelled {self.names[k % len(self.names)]}{said}"
            name = self.names[k % len(self.names)]
            score = 0.002 + 0.4 * k
            row = (self.ids[10 * k], "mislabel", name, None, score, flagged, detail)
            self.issues.append(row)
        for check in ("faceless", "identity_outlier"):
            for k, flagged in ((3, True), (7, False)):
                row = (self.ids[k], check, None, None, 0.1 * k, flagged, "unlike the others")
                self.issues.append(row)

    def write_download(self) -> None:
        out = self.root / "data/download"
        out.mkdir(parents=True)
        pictures: dict[int, bytes] = {}
        for k in range(len(self.ids)):
            origin, fault = self.copies.get(k, (k, ""))
            pictures[k] = draw_face(origin, self.recipe.picture_size, fault == "near_copy")
        rows = [[self.ids[k], data, hashlib.sha1(data).hexdigest()] for k, data in pictures.items()]
        columns = [
            pa.array(column, field.type)
            for column, field in zip(zip(*rows, strict=True), IMAGES_SCHEMA, strict=True)
        ]
        pq.write_table(
            pa.Table.from_arrays(columns, schema=IMAGES_SCHEMA),
            out / "images-00000-of-00001.parquet",
            row_group_size=256,
        )
        table: dict[str, Any] = {
            "image_id": self.ids,
            "partition": list(self.partition),
            "identity": [str(i) if self.recipe.identities else None for i in self.identity],
        }
        for k, name in enumerate(self.names):
            values = zip(self.labels[:, k], self.known[:, k], strict=True)
            table[name] = [bool(value) if known else None for value, known in values]
        table |= {"status": ["ok"] * len(self.ids), "error": [None] * len(self.ids)}
        schema = annotations_schema(self.names)
        write_table(pa.table(table, schema=schema), out / ANNOTATIONS, schema)
        if self.recipe.source == "demo":
            _write_rows(self.truth, TRUTH_SCHEMA, out / TRUTH)
        write_manifest(
            out,
            {
                "source": self.recipe.source,
                "celeba": self.recipe.celeba,
                "attributes": self.names,
                "n_images": len(self.ids),
                "n_identities": len(set(self.identity)) if self.recipe.identities else 0,
                "n_by_partition": {p: int((self.partition == p).sum()) for p in PARTITIONS},
                "n_missing": 0,
                "n_unreadable": 0,
            },
        )

    def write_explore(self) -> None:
        out = self.root / "reports/explore"
        out.mkdir(parents=True)
        prevalence: dict[str, Any] = {"attribute": self.names}
        for p in PARTITIONS:
            rows = self.partition == p
            n_known = self.known[rows].sum(0)
            n_positive = (self.labels & self.known)[rows].sum(0)
            prevalence |= {f"n_known_{p}": n_known, f"n_positive_{p}": n_positive}
            prevalence[f"prevalence_{p}"] = [
                b / a if a else None for a, b in zip(n_known, n_positive, strict=True)
            ]
        _write_csv(pd.DataFrame(prevalence), out / "prevalence.csv")
        labels, known = self.labels.astype(np.uint8), self.known
        identity = np.array(
            [str(i) if self.recipe.identities else None for i in self.identity], object
        )
        partition = self.partition.astype(object)
        _write_csv(measure_imbalance(labels, known, self.names), out / "imbalance.csv")
        _write_csv(count_cardinality(labels, known, partition), out / "cardinality.csv")
        _write_csv(
            measure_shifts(labels, known, partition, identity, self.names), out / "shifts.csv"
        )
        with np.errstate(all="ignore"):
            phi = np.corrcoef(self.labels.T.astype(float))
        share = self.labels.mean(0)
        pairs = []
        for a, b in itertools.combinations(range(len(self.names)), 2):
            both = (self.labels[:, a] & self.labels[:, b]).mean()
            defined = np.isfinite(phi[a, b])
            pairs.append(
                {
                    "attribute_a": self.names[a],
                    "attribute_b": self.names[b],
                    "n_known": len(self.ids),
                    "phi": phi[a, b] if defined else None,
                    "p_b_given_a": both / share[a] if share[a] else None,
                    "p_a_given_b": both / share[b] if share[b] else None,
                    "lift": both / share[a] / share[b] if share[a] * share[b] else None,
                }
            )
        _write_csv(pd.DataFrame(pairs, columns=COOCCURRENCE), out / "cooccurrence.csv")
        people = self.recipe.identities
        sizes = pd.Series(self.identity).value_counts().value_counts().sort_index()
        sizes = sizes if people else sizes[:0]
        _write_csv(
            pd.DataFrame({"n_images": sizes.index, "n_identities": sizes.to_numpy()}),
            out / "identities.csv",
        )
        agreement = []
        for k in range(len(self.names)):
            means = pd.Series(self.labels[:, k].astype(float)).groupby(self.identity).mean()
            agreement.append(np.maximum(means, 1 - means).mean() if people else None)
        n = len(set(self.identity)) if people else 0
        _write_csv(
            pd.DataFrame({"attribute": self.names, "n_identities": n, "agreement": agreement}),
            out / "consistency.csv",
        )
        height, width = self.recipe.picture_size
        statistics = {
            "height_px": (height, 0),
            "width_px": (width, 0),
            "bytes": (6900, 900),
            "brightness": (118, 31),
            "contrast": (58, 12),
            "sharpness": (412, 230),
            "colorfulness": (38, 13),
        }
        columns = ("statistic", "n", "mean", "std", "min", "p05", "p50", "p95", "max")
        _write_csv(
            pd.DataFrame(
                [
                    (s, 200, m, d, m - 2.5 * d, m - 1.6 * d, m, m + 1.6 * d, m + 3 * d)
                    for s, (m, d) in statistics.items()
                ],
                columns=columns,
            ),
            out / "images.csv",
        )
        findings = {
            "labels": ["Young is in 78.1 % of the images and Bald in 2.3 %."],
            "partitions": ["More frequent in test than in valid: Big_Lips (15.3 to 32.7 %)."],
            "pairs": [],
        }
        write_json(
            out / "summary.json",
            {
                "n_images": len(self.ids),
                "n_identities": n,
                "n_identities_shared": 0,
                "n_by_partition": {p: int((self.partition == p).sum()) for p in PARTITIONS},
                "attributes": self.names,
                "n_missing_labels": int((~self.known).sum()),
                "label_cardinality": round(float(self.labels.sum(1).mean()), 6),
                "images_sampled": 200,
                "findings": findings if self.recipe.findings else {},
            },
        )

    def write_audit(self) -> None:
        out, reports = self.root / "data/audit", self.root / "reports/audit"
        out.mkdir(parents=True)
        reports.mkdir(parents=True)
        _write_rows(self.issues, ISSUES_SCHEMA, out / ISSUES)
        scores = np.random.default_rng(13).random((len(self.ids), len(self.names)))
        table = pd.DataFrame(np.where(self.known, scores, np.nan), columns=self.names)
        table = table.assign(image_id=self.ids, face=1.0, identity=None)
        schema = scores_schema(self.names)
        write_table(table.astype({"identity": "float32"}), out / SCORES, schema)
        write_manifest(out, {"n_images": len(self.ids)})
        by_check = {}
        for check in CHECKS:
            rows = [row for row in self.issues if row[1] == check]
            by_check[check] = {
                "findings": len(rows),
                "images": len({row[0] for row in rows}),
                "flagged": sum(row[5] for row in rows),
            }
        leaks = {"train-valid": 0, "train-test": 0, "valid-test": 0}
        for row in self.issues:
            if row[1] == "leak":
                pair = row[6].split(":")[0]
                leaks[pair] = leaks.get(pair, 0) + 1
        write_json(
            reports / "summary.json",
            {
                "n_images": len(self.ids),
                "by_check": by_check,
                "n_groups_exact": by_check["exact_duplicate"]["findings"],
                "n_groups_near": by_check["near_duplicate"]["findings"],
                "leaks_by_pair": leaks,
                "skipped": {} if self.recipe.findings else {"mislabel": "audit.features is none"},
            },
        )
        rules = [("Goatee excludes No_Beard", 120, 1, 0.9917), ("one hair colour", 900, 0, 1.0)]
        rules = rules if self.recipe.findings else []
        _write_csv(
            pd.DataFrame(rules, columns=["rule", "n_applicable", "n_violations", "support"]),
            reports / "rules.csv",
        )
        counts = {
            check: [
                sum(row[1] == check and row[2] == name for row in self.issues)
                for name in self.names
            ]
            for check in ("label_conflict", "label_rule", "mislabel")
        }
        rate = np.linspace(0.002, 0.03, len(self.names)) if self.recipe.findings else np.nan
        self.write_self_check(reports)
        _write_csv(
            pd.DataFrame(
                {
                    "attribute": self.names,
                    "n_label_conflict": counts["label_conflict"],
                    "n_label_rule": counts["label_rule"],
                    "n_mislabel": counts["mislabel"],
                    "error_rate": rate,
                    "error_rate_low": 0.7 * rate,
                    "error_rate_high": 1.6 * rate,
                }
            ),
            reports / "by_attribute.csv",
        )

    def write_self_check(self, reports: Path) -> None:
        """What the audit measured on its own flips; null and no rows where it did not."""
        columns = ["attribute", "n_flipped", "n_flagged", "average_precision", "precision"]
        measured = [(name, 5, 6, 0.72, 0.61, 0.66) for name in self.names]
        measured = measured if self.recipe.findings else []
        table = pd.DataFrame(measured, columns=[*columns, "recall"])
        _write_csv(table, reports / "self_check.csv")
        bins = [{"said": p, "was": round(p * 0.97, 4), "n": 40} for p in (0.02, 0.3, 0.6, 0.9)]
        summary = {
            "share_flipped": 0.03,
            "n_images": 1932,
            "n_labels": 15_456,
            "n_flipped": 464,
            "flag_above": 0.35,
            "n_flagged": 533,
            "average_precision": 0.7085,
            "macro_average_precision": 0.6992,
            "precision_first_1000": 0.38,
            "precision": 0.6597,
            "recall": 0.7578,
            "cleanlab_average_precision": 0.6709,
            "calibration_error": 0.0009,
            "calibration": bins,
            "caveat": "Random flips flatter every method.",
        }
        write_json(reports / "self_check.json", summary if self.recipe.findings else None)

    def write_prepare(self) -> None:
        out = self.root / "data/prepare"
        out.mkdir(parents=True)
        sizes = {p: int((self.partition == p).sum()) for p in PARTITIONS}
        n = self.recipe.n_planted if self.recipe.findings else 0
        write_manifest(
            out,
            {
                "attributes": self.names,
                "height_px": 112,
                "width_px": 112,
                "crop_px": [178, 178],
                "n_by_partition": sizes | {"train": sizes["train"] - 2 * n},
                "n_source_by_partition": sizes,
                "dropped": {
                    "unreadable": dict.fromkeys(PARTITIONS, 0),
                    "subset": dict.fromkeys(PARTITIONS, 0),
                    "exact_duplicate": {"train": n},
                    "leak": {"train": n},
                },
                "masked": {"label_conflict": 2 * n},
                "reviews": {
                    "n_verdicts": 0,
                    "applied": dict.fromkeys(("drop", "keep", "fine", "wrong", "flip"), 0),
                    "not_applied": 0,
                    "n_flipped": 0,
                },
                "policy": {
                    "mislabel": "keep",
                    "faceless": "keep",
                    "identity_outlier": "keep",
                    "exact_duplicate": "drop",
                    "near_duplicate": "keep",
                    "label_conflict": "mask",
                    "leak": "drop",
                    "label_rule": "keep",
                    "identity_conflict": "keep",
                },
            },
        )

    def write_train(self) -> None:
        out, reports = self.root / "data/train/model", self.root / "reports/train"
        out.mkdir(parents=True)
        reports.mkdir(parents=True)
        key, sha = hashlib.sha256(b"key").hexdigest(), hashlib.sha256(b"weights").hexdigest()
        train = {
            "network": "efficientnet_lite0",
            "weights": "imagenet",
            "dropout": 0.2,
            "loss": "bce",
            "optimizer": "adamw",
            "lr": 1e-3,
            "weight_decay": 1e-2,
            "schedule": "one_cycle",
            "warmup_epochs": 0.5,
            "batch_size": 64,
            "n_epochs": self.recipe.n_epochs,
            "patience": None,
            "augment": {"flip": 0.5, "border": "reflect", "mixup_alpha": 0.2},
            "precision": "fp32",
            "device": "auto",
            "seed": 7,
        }
        (out / "weights.safetensors").write_bytes(b"no weights")
        write_json(
            out / "model.json",
            {
                "format": 1,
                "key": key,
                "network": "efficientnet_lite0",
                "attributes": self.names,
                "height_px": 112,
                "width_px": 112,
                "crop_px": [178, 178],
                "mean": [0.485, 0.456, 0.406],
                "std": [0.229, 0.224, 0.225],
                "threshold": 0.5,
                "n_parameters": 3_422_248,
                "train": train,
                "weights_sha256": sha,
            },
        )
        epochs = np.arange(1, self.recipe.n_epochs + 1)
        progress = epochs / self.recipe.n_epochs
        valid_loss = 0.245 + 0.16 * np.exp(-3 * progress) + 0.012 * np.maximum(0, progress - 0.75)
        history = pd.DataFrame(
            {
                "epoch": epochs,
                "lr": 1e-3 * np.where(progress < 0.3, progress / 0.3, 1.43 * (1 - progress)),
                "train_loss": 0.2 + 0.3 * np.exp(-3.2 * progress),
                "valid_loss": valid_loss,
                "valid_accuracy": 0.907 - 0.35 * (valid_loss - valid_loss.min()),
                "valid_majority": 0.807,
            }
        )
        _write_csv(history, reports / "history.csv")
        steps = pd.DataFrame({"step": np.arange(0, 10 * self.recipe.n_epochs)})
        steps["epoch"] = steps["step"] / 10
        steps["lr"] = 1e-3 * (1 - steps["step"] / len(steps))
        _write_csv(steps, reports / "schedule.csv")
        self.write_preview(out.parent)
        best = int(history["valid_accuracy"].idxmax())
        write_json(
            reports / "summary.json",
            {
                "key": key,
                "network": "efficientnet_lite0",
                "weights": "imagenet",
                "n_parameters": 3_422_248,
                "n_train": int((self.partition == "train").sum()),
                "n_valid": int((self.partition == "valid").sum()),
                "best_epoch": best + 1,
                "n_epochs_run": self.recipe.n_epochs,
                "valid_accuracy": round(float(history["valid_accuracy"][best]), 6),
                "valid_majority": 0.807,
                "weights_sha256": sha,
            },
        )

    def write_preview(self, out: Path) -> None:
        ids = [k for k in range(len(self.ids)) if self.partition[k] == "train"][:2]
        pictures = [
            np.array(Image.open(io.BytesIO(draw_face(k, (40, 32), False))))  # (40, 32, 3)
            for k in ids
        ]
        for pixels in pictures:
            pixels[:, :6] = 0  # so that left is not right
        rows: list[tuple[Any, ...]] = []
        for place, pixels in enumerate(pictures):
            name = self.ids[ids[place]]
            shape = (*pixels.shape[:2], pixels.tobytes())
            rows.append(("original", place, 0, name, None, None, "", *shape))
            flipped = (*pixels.shape[:2], np.ascontiguousarray(pixels[:, ::-1]).tobytes())
            rows.append(("augmented", place, 1, name, None, None, "mirrored", *flipped))
            rows.append(("augmented", place, 2, name, None, None, "", *shape))
        mixed = (0.75 * pictures[0] + 0.25 * pictures[1]).astype(np.uint8)
        names = [self.ids[k] for k in ids]
        rows.append(("mixup", 0, 1, *names, 0.75, "", *mixed.shape[:2], mixed.tobytes()))
        _write_rows(rows, PREVIEW_SCHEMA, out / PREVIEW)

    def write_evaluate(self) -> None:
        """Predictions drawn around the labels, and what the evaluate stage derives from them."""
        out, reports = self.root / "data/evaluate", self.root / "reports/evaluate"
        out.mkdir(parents=True)
        reports.mkdir(parents=True)
        strength = np.random.default_rng(5).uniform(1.2, 4.6, len(self.names))
        share = np.clip(np.array(list(self.recipe.attributes.values())), 0.01, 0.99)
        logits = strength * (self.labels - 0.5) + 0.7 * np.log(share / (1 - share))
        logits = logits + self.rng.normal(scale=0.9, size=logits.shape)
        probs = (1 / (1 + np.exp(-logits))).astype(np.float32)
        train = self.partition == "train"
        majority = majority_class(self.labels[train].astype(np.uint8), self.known[train])
        params = load_params(PARAMS).evaluate.model_copy(
            update={"n_resamples": self.recipe.n_resamples, "slices": self.recipe.slices}
        )
        parts = []
        for name in (*self.recipe.partitions, *(["extra"] if self.recipe.extra else [])):
            rows = self.partition == ("test" if name == "extra" else name)
            people = [str(i) if self.recipe.identities else None for i in self.identity[rows]]
            parts.append(
                Part(
                    name, self.names, list(np.array(self.ids)[rows]), people, probs[rows],
                    self.labels[rows].astype(np.uint8), self.known[rows], majority,
                )
            )  # fmt: skip
        valid = next((part for part in parts if part.name == "valid"), None)
        tuned = None if valid is None else tune(valid)
        figures = {part.name: derive_figures(part, tuned, params) for part in parts}
        metrics: dict[str, Any] = {name: figure.metrics for name, figure in figures.items()}
        for name in self.recipe.partitions:
            self.write_without(metrics[name], name)
        tables = gather_tables(figures.values())
        if valid is not None and tuned is not None:
            tables["tuned"] = list_tuned(valid, tuned)
        if {"valid", "test"} <= set(figures):
            v, t = figures["valid"], figures["test"]
            shift = explain_loss(self.names, v.counts, t.counts, v.drawn, t.drawn, 0.95)
            tables["shift"], metrics["shift"] = shift.table, shift.summary
        own = [part for part in parts if part.name != "extra"]
        write_predictions(out, own, figures, None)
        self.write_saliency(out, own[-1] if own else None)
        extra = {"n_images": len(parts[-1].image_ids), "n_attributes": len(self.names),
                 "n_left_out": 0, "majority_from": "train", "data_sha256": ""}  # fmt: skip
        write_manifest(
            out,
            {
                "weights_sha256": "",
                "key": "",
                "confidence": 0.95,
                "extra": extra if self.recipe.extra else None,
            },
        )
        write_json(reports / "metrics.json", metrics)
        for name, columns in EVALUATE_COLUMNS.items():
            table = tables.get(name, pd.DataFrame(columns=list(columns)))
            write_text(reports / f"{name}.csv", to_csv(table[list(columns)]))

    def write_saliency(self, out: Path, part: Part | None) -> None:
        """Heat maps of the surest mistakes and of the first pictures; one of each five is empty."""
        rows: list[tuple[Any, ...]] = []
        for column, name in enumerate(self.names if part else []):
            known, truth = part.mask[:, column], part.labels[:, column] == 1
            probs = part.probs[:, column]
            wrong = known & ((probs > 0.5) != truth)
            yes, no = np.flatnonzero(wrong & ~truth), np.flatnonzero(wrong & truth)
            for kind, found in (
                ("false_positive", yes[np.argsort(-probs[yes], kind="stable")]),
                ("false_negative", no[np.argsort(probs[no], kind="stable")]),
                ("random", np.flatnonzero(known)),
            ):
                for rank, row in enumerate(found[: self.recipe.n_shown]):
                    heat = np.random.default_rng(row).integers(0, 256, (3, 4))
                    heat = (heat * (row % 5 > 0)).astype(np.uint8)
                    rows.append(
                        (part.image_ids[row], part.name, name, kind, rank, probs[row], truth[row],
                         3, 4, heat.tobytes())
                    )  # fmt: skip
        table = pd.DataFrame(rows, columns=SALIENCY_SCHEMA.names)
        write_table(table, out / SALIENCY, SALIENCY_SCHEMA)

    def write_without(self, metrics: dict[str, Any], partition: str) -> None:
        """What is said without leaks and without what is flagged; here nothing changes but n."""
        n_leaked = self.recipe.n_planted if self.recipe.findings and partition == "valid" else 0
        keys = ("accuracy", "majority_accuracy", "gain", "balanced_accuracy", "average_precision")
        same = {key: metrics[key] for key in (*keys, "micro_roc_auc")}
        same |= {"n_images": metrics["n_images"] - n_leaked, "n_labels": 40}
        metrics["without_flagged"] = dict(same)
        metrics["without_leaks"] = {"n_leaked": n_leaked, "n_learned": 0} | same


def draw_face(number: int, size: tuple[int, int], altered: bool) -> bytes:
    """A simple drawn face as JPEG; `altered` re-encodes it darker."""
    rng = np.random.default_rng(number)
    height, width = size
    back, skin, hair = (tuple(int(v) for v in rng.integers(low, 240, 3)) for low in (60, 120, 10))
    image = Image.new("RGB", (width, height), back)
    pen = ImageDraw.Draw(image)
    x, y = width / 2, height * 0.52
    r = width * 0.27 + float(rng.uniform(-4, 4))
    pen.ellipse((x - 1.25 * r, y - 1.6 * r, x + 1.25 * r, y + 0.9 * r), fill=hair)
    pen.ellipse((x - r, y - 1.25 * r, x + r, y + 1.3 * r), fill=skin)
    for side in (-0.42, 0.42):
        pen.ellipse((x + side * r - 5, y - 14, x + side * r + 5, y - 6), fill=(30, 30, 40))
    pen.arc((x - 18, y + 12, x + 18, y + 36), 15, 165, fill=(150, 50, 60), width=4)
    if altered:
        image = image.point(lambda value: int(value * 0.9))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=70 if altered else 88)
    return buffer.getvalue()


def _write_rows(rows: list[tuple[Any, ...]], schema: pa.Schema, path: Path) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in schema]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    write_table(pa.Table.from_arrays(arrays, schema=schema), path, schema)


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    table.round(6).to_csv(path, index=False, lineterminator="\n")
