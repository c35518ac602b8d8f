"""A small set of aligned faces, downloaded, prepared and trained on, for whoever uses a model."""

from pathlib import Path

import pytest

from stages.common.files import write_manifest
from stages.common.params import load_params
from stages.common.tables import ISSUES
from stages.download.run import run as download
from stages.prepare.run import run as prepare
from stages.train.run import run as train
from tests.official_files import OfficialFolder
from tests.test_evaluate import write_issues
from tests.test_prepare import make_params as make_prepare_params
from tests.test_train import make_params as make_train_params

SIZES = {"crop_height_px": 178, "crop_width_px": 170, "height_px": 24, "width_px": 20}


def download_set(folder: Path, official: OfficialFolder) -> Path:
    """The canonical form of a fabricated set, in folder/download."""
    official.write(folder / "in")
    shipped = load_params(Path(__file__).parents[1] / "params.yaml").download
    source = {"source": "files", "path": str(folder / "in")}
    download(shipped.model_copy(update=source), folder / "download")
    return folder / "download"


def prepare_set(folder: Path) -> Path:
    """folder/download, prepared with SIZES, in folder/prepare."""
    if not (folder / "audit" / ISSUES).is_file():
        write_issues(folder / "audit")
        write_manifest(folder / "audit", {})
    prepare(make_prepare_params(**SIZES), folder / "download", folder / "audit", folder / "prepare")
    return folder / "prepare"


def make_project(folder: Path) -> OfficialFolder:
    """30 pictures of 178x218; folder gets in, download, audit, prepare and train."""
    official = OfficialFolder(height=218, width=178)
    download_set(folder, official)
    prepare_set(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        params = make_train_params(n_epochs=1, batch_size=6)
        train(params, folder / "prepare", folder / "train", folder / "rtrain")
    return official
