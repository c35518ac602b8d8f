"""What runs cost: time and device from MLflow, operations counted on the rebuilt network."""

import json
import logging
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stages.common import store as mlstore

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cost:
    """Of one training: seconds by the clock, images per second (median of epochs), its device."""

    seconds: float | None = None
    images_per_s: float | None = None
    device: str = ""


def find_costs(trainings: Iterable[tuple[str, str]]) -> tuple[dict[tuple[str, str], Cost], str]:
    """Costs by training key and weights' hash, as MLflow has them.

    Returns:
        The costs that were found, and a sentence where there is no store to look into.
    """
    wanted = set(trainings)
    if mlstore.is_off():
        return {}, "MLflow is switched off (FACET_TRACKING): times are not known."
    path = Path(mlstore.store_uri().removeprefix("sqlite:///"))
    if mlstore.store_uri().startswith("sqlite:///") and not path.is_file():
        return {}, "There is no MLflow store here: times are not known."
    try:
        store = mlstore.open_store()
        return {key: read_cost(store, *key) for key in wanted}, ""
    except Exception as error:  # as everywhere, MLflow must not fail us
        reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
        log.warning("MLflow: %s", reason)
        return {}, f"MLflow’s store at {mlstore.shown_uri()} did not answer: times are not known."


def read_cost(store: mlstore.Store, key: str, weights: str) -> Cost:
    """What the training's run logged; later runs of the same weights only evaluate."""
    runs = store.find_runs(facet__key=key, facet__weights=weights)
    for run in reversed(runs):
        metrics, tags = run.data.metrics, run.data.tags
        if "epoch/images_per_s" in metrics or mlstore.SECONDS in metrics:
            rates = store.client.get_metric_history(run.info.run_id, "epoch/images_per_s")
            rate = statistics.median(metric.value for metric in rates) if rates else None
            return Cost(metrics.get(mlstore.SECONDS), rate, tags.get(mlstore.TAG_DEVICE, ""))
    return Cost()


def count_operations(model: Mapping[str, Any] | None) -> int | None:
    """Multiply-adds of one image, forward: convolutions, matrix products, attention.

    Args:
        model: model.json; None gives None, and so does a network that cannot be built any more.
    """
    if model is None:
        return None
    kept = ("network", "height_px", "width_px", "train")
    facts = {name: model[name] for name in kept} | {"n_attributes": len(model["attributes"])}
    return _count(json.dumps(facts, sort_keys=True))


@cache
def _count(facts: str) -> int | None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from stages.common.mirror import mirrored
    from stages.common.networks import build_network, read_structure

    model = json.loads(facts)
    height, width = model["height_px"], model["width_px"]
    try:
        network = build_network(
            model["network"],
            model["n_attributes"],
            height,
            width,
            dropout=0.0,
            weights="none",
            **read_structure(model["train"]),
        )
        # Without memory: there a recurrent layer is made of matrix products, which are counted; on
        # a CPU it is one operation, which is not.
        network = mirrored(network, model["train"]).eval().to("meta")
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, height, width, device="meta"))
    except Exception as error:
        log.warning("%s: operations were not counted: %s", model["network"], error)
        return None
    return int(counter.get_total_flops()) // 2  # torch counts a multiply-add as two
