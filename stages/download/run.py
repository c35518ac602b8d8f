"""Any source in, canonical tables out: from here on nobody knows where the data came from."""

import logging
import shutil
from pathlib import Path

from stages.common.files import fresh_folder
from stages.common.params import DownloadParams, resolve_path
from stages.common.tables import TRUTH
from stages.download.canonical import write_canonical
from stages.download.demo import write_demo
from stages.download.official import open_official

log = logging.getLogger(__name__)


def run(params: DownloadParams, out: Path) -> str:
    """Write annotations, images and manifest of the source that `params` names to `out`.

    The demo is drawn as a folder in CelebA's official layout and then read like any other.

    Raises:
        FacetError: the source is not what it should be.
    """
    with fresh_folder(out) as folder:
        if params.source == "demo":
            drawn = folder / "drawn"
            drawn.mkdir()
            write_demo(
                drawn, params.demo.n_images, params.demo.seed, params.demo.faults.model_dump()
            )
            shutil.move(drawn / TRUTH, folder / TRUTH)
            with open_official(drawn) as source:
                counts = write_canonical(source, folder, "demo", remove=drawn)
        else:
            assert params.path is not None  # validated with the parameters
            with open_official(resolve_path(params.path)) as source:
                log.info("download: %s", source.description)
                counts = write_canonical(source, folder, "files")
    return f"download: {counts}"
