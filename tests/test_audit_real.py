"""The audit on real photographs: planted copies are found, look-alikes are not called copies."""

import csv
import io
import zipfile
from pathlib import Path

import pytest
from audit_fabric import Row, encode, list_findings, write_download
from PIL import Image, ImageEnhance, ImageOps

from stages.audit.run import run
from stages.common.params import load_params
from stages.common.tables import ISSUES_SCHEMA, read_table

N_IMAGES = 500
PARAMS = load_params(Path(__file__).parent.parent / "params.yaml").audit.model_copy(
    update={"features": "none"}
)
CHANGES = {
    "coarse": lambda image: image,
    "small": lambda image: image.resize((100, 122)),
    "crop": lambda image: image.crop((12, 14, 166, 204)),
    "corner": lambda image: image.crop((13, 0, 178, 203)).resize((178, 218)),
    "dark": lambda image: ImageEnhance.Brightness(image).enhance(0.72),
    "contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.28),
    "mirror": ImageOps.mirror,
    "gray": ImageOps.grayscale,
}

pytestmark = pytest.mark.real_data


def test_planted_copies_of_photographs_are_found_and_no_others(
    real_data: Path, tmp_path: Path
) -> None:
    rows, planted = [], set()
    with zipfile.ZipFile(real_data / "img_align_celeba.zip") as file:
        names = sorted(name for name in file.namelist() if name.endswith(".jpg"))[:N_IMAGES]
        for k, name in enumerate(names):
            image_id, data = Path(name).name, file.read(name)
            rows.append(Row(image_id, data, identity=str(k)))
            if k % 10 == 0:
                kind = list(CHANGES)[k // 10 % len(CHANGES)]
                changed = CHANGES[kind](Image.open(io.BytesIO(data)).convert("RGB"))
                copy = Row(f"x{k:03d}_{kind}.jpg", encode(changed, 45), identity=str(k))
                rows.append(copy)
                planted.add((copy.image_id, image_id))
    download = write_download(tmp_path / "download", rows)
    run(PARAMS, download, tmp_path / "out", tmp_path / "reports")
    issues = read_table(tmp_path / "out" / "issues.parquet", ISSUES_SCHEMA)
    assert set(list_findings(issues, "near_duplicate", "image_id", "related_id")) == planted
    assert set(issues["check"]) == {"near_duplicate"}
    with (tmp_path / "reports" / "by_attribute.csv").open() as file:
        assert all(row["n_label_conflict"] == "0" for row in csv.DictReader(file))
