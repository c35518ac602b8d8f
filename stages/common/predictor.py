"""A trained model as MLflow calls it. Carried by the saved model, beside the networks' code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.common.inference import load_model, predict

BATCH_IMAGES = 64


class Predictor:
    """Pictures in, a table of probabilities out."""

    def __init__(self, folder: Path) -> None:
        self._network, self._model = load_model(folder)

    def predict(self, pixels: np.ndarray, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Probabilities of pictures, uncalibrated, one row each.

        Args:
            pixels: (N, H, W, 3) uint8 RGB of the model's height and width, cropped and resized as
                `prepare` does it; model.json names the crop.
            params: Nothing; MLflow passes it.

        Returns:
            N rows, a float32 column per attribute in the model's order.
        """
        attributes = self._model["attributes"]
        if not len(pixels):
            return pd.DataFrame(np.empty((0, len(attributes)), np.float32), columns=attributes)
        probs = predict(self._network, self._model["network"], pixels, BATCH_IMAGES)
        return pd.DataFrame(probs, columns=attributes)


def _load_pyfunc(folder: str) -> Predictor:
    """MLflow's hook: the model that lies in the saved model's folder."""
    return Predictor(Path(folder))
