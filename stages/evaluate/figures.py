"""All figures of one evaluated partition, from its predictions and labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stages.common.metrics import Confusion, count_confusion
from stages.common.params import EvaluateParams
from stages.common.resample import Resamples
from stages.evaluate.calibrate import fit_temperatures, list_reliability, scale
from stages.evaluate.mistakes import correlate_errors, count_contradictions
from stages.evaluate.part import Part
from stages.evaluate.scores import add_intervals, resample_scores, summarise_intervals
from stages.evaluate.slices import choose_slices, score_slices
from stages.evaluate.tables import score_attributes, score_calibration, summarise, trace_curves
from stages.evaluate.thresholds import AIMS, apply_thresholds, tune_thresholds

#: Each partition's people are drawn by a seed of its own.
SEEDS = {"valid": 0, "test": 1, "extra": 2}


@dataclass(frozen=True)
class Tuned:
    """What was chosen on valid, per attribute; NaN where it lacks a class.

    temperatures: (A,). thresholds: aim to (A,).
    """

    temperatures: np.ndarray
    thresholds: dict[str, np.ndarray]


@dataclass(frozen=True)
class Figures:
    """What is said of one partition.

    metrics: an entry of metrics.json. tables: rows by the name of their file. scaled: calibrated
    probabilities (N, A), None without valid. counts, drawn: confusion (A,), and that of the
    resamples (R, A).
    """

    metrics: dict[str, Any]
    tables: dict[str, pd.DataFrame]
    scaled: np.ndarray | None
    counts: Confusion
    drawn: Confusion


def tune(valid: Part) -> Tuned:
    """Choose temperatures and thresholds on valid."""
    return Tuned(fit_temperatures(valid), tune_thresholds(valid))


def list_tuned(valid: Part, tuned: Tuned) -> pd.DataFrame:
    """tuned.csv: attribute, temperature, and a threshold per aim."""
    columns: dict[str, Any] = {"attribute": valid.attributes, "temperature": tuned.temperatures}
    return pd.DataFrame(columns | {f"threshold_{aim}": tuned.thresholds[aim] for aim in AIMS})


def derive_figures(part: Part, tuned: Tuned | None, params: EvaluateParams) -> Figures:
    """Every table and summary of one partition.

    Args:
        part: Predictions and labels.
        tuned: What was chosen on valid; None where valid was not evaluated.
        params: The section `evaluate`.
    """
    attributes, confidence = list(part.attributes), params.confidence
    seed = (params.seed, SEEDS[part.name])
    resamples = Resamples(part.identities, params.n_resamples, seed)
    truth = part.labels, part.mask
    scaled = None if tuned is None else scale(part.probs, tuned.temperatures)
    table = score_attributes(part.probs, *truth, part.majority, attributes, params.threshold)
    errors, mean_errors = score_calibration(part.probs, scaled, *truth, params.n_bins)
    table = pd.concat([table, errors], axis=1)
    replicates, pooled, drawn = resample_scores(
        part, scaled, params.threshold, params.n_bins, resamples
    )
    metrics = summarise(table, part.probs, *truth, params.threshold) | mean_errors
    table = add_intervals(table, replicates, confidence)
    clear = int((table["gain_low"] > 0).sum())
    metrics["n_attributes_clearly_above"] = clear if params.n_resamples else None
    metrics["n_identities"] = resamples.n_clusters
    metrics["interval"] = summarise_intervals(metrics, replicates, pooled, confidence)
    table.insert(0, "partition", part.name)
    curves = trace_curves(part.probs, *truth, attributes)
    curves.insert(0, "partition", part.name)
    tables = {"per_attribute": table, "curves": curves}
    if tuned is not None and scaled is not None:
        tables["thresholds"], metrics["tuned"] = apply_thresholds(
            part, tuned.thresholds, params.threshold, resamples, confidence
        )
        tables["reliability"] = list_reliability(part, scaled, params.n_bins)
    slices = choose_slices(params.slices, attributes)
    tables["slices"], tables["slices_by_attribute"] = score_slices(
        part, slices, params.threshold, resamples, confidence
    )
    tables["error_correlation"] = correlate_errors(part, params.threshold)
    tables["contradictions"], metrics["contradictions"] = count_contradictions(
        part, params.threshold
    )
    counts = count_confusion(part.probs > params.threshold, *truth)
    return Figures(metrics, tables, scaled, counts, drawn)
