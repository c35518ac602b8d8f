import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.common.errors import FacetError
from stages.common.tables import EXTRA, PREDICTIONS, predictions_schema, write_table
from stages.predictions import write_celeba

ROOT = Path(__file__).resolve().parent.parent
NAMES = ["Male", "Smiling", "5_o_Clock_Shadow"]


def write_predictions(folder: Path, rows: list[tuple[str, str, float, float, float]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows, columns=["image_id", "partition", *NAMES])
    write_table(table, folder / PREDICTIONS, predictions_schema(NAMES))
    return folder


ROWS = [
    ("000009.jpg", "test", 0.9, 0.5, 0.1),
    ("000001.jpg", "valid", 0.9, 0.9, 0.9),
    ("000003.jpg", "test", 0.2, 0.51, 0.7),
]


def test_the_challenge_gets_names_and_signs(tmp_path: Path) -> None:
    evaluate = write_predictions(tmp_path / "evaluate", ROWS)
    line = write_celeba(evaluate, "test", 0.5, tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text() == "000003.jpg -1 1 1\n000009.jpg 1 -1 -1\n"
    assert "2 images of test, 3 attributes, threshold 0.5" in line
    write_celeba(evaluate, "test", 0.6, tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text() == "000003.jpg -1 -1 1\n000009.jpg 1 -1 -1\n"


def test_the_file_reads_back_as_official_labels_do(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [(f"{k:06d}.jpg", "test", *rng.random(3)) for k in range(50)]
    evaluate = write_predictions(tmp_path / "evaluate", rows)
    write_celeba(evaluate, "test", 0.5, tmp_path / "out.txt")
    back = pd.read_csv(tmp_path / "out.txt", sep=r"\s+", header=None, index_col=0)
    expected = np.where(np.array([row[2:] for row in rows]) > 0.5, 1, -1)
    assert (back.to_numpy() == expected).all()
    assert back.index.tolist() == [row[0] for row in rows]


def test_the_second_set_has_a_file_of_its_own(tmp_path: Path) -> None:
    evaluate = write_predictions(tmp_path, ROWS)
    shutil.move(evaluate / PREDICTIONS, evaluate / EXTRA)
    write_celeba(evaluate, "extra", 0.5, tmp_path / "out.txt")
    assert len((tmp_path / "out.txt").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("rows", "partition", "expected"),
    [
        pytest.param(ROWS[1:2], "test", "--partition: expected one of valid", id="not evaluated"),
        pytest.param(None, "test", "there are none (set evaluate.partitions", id="no predictions"),
        pytest.param(ROWS, "extra", "there are none (set evaluate.extra", id="no second set"),
        pytest.param(
            [("a b.jpg", "test", 0.1, 0.2, 0.3)], "test", "got 'a b.jpg'", id="a name with a space"
        ),
    ],
)
def test_what_cannot_be_written_is_explained(
    tmp_path: Path, rows: list | None, partition: str, expected: str
) -> None:
    if rows is not None:
        write_predictions(tmp_path, rows)
    with pytest.raises(FacetError) as error:
        write_celeba(tmp_path, partition, 0.5, tmp_path / "out.txt")
    assert expected in str(error.value)
    assert not (tmp_path / "out.txt").exists()


def test_the_command_takes_the_threshold_of_the_parameters(tmp_path: Path) -> None:
    write_predictions(tmp_path / "data/evaluate", ROWS)
    text = (ROOT / "params.yaml").read_text().replace("threshold: 0.5 ", "threshold: 0.8 ")
    (tmp_path / "params.yaml").write_text(text)
    command = [sys.executable, "-m", "stages.cli", "predictions", "--format", "celeba"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "threshold 0.8" in done.stdout
    assert (tmp_path / "predictions.txt").read_text().splitlines()[1] == "000009.jpg 1 -1 -1"
    done = subprocess.run(
        [*command, "--partition", "extra"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("facet: data/evaluate/extra.parquet: expected predictions")
