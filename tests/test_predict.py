import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.common.errors import FacetError
from stages.common.files import read_json
from stages.common.tables import PREDICTIONS, predictions_schema, read_table
from stages.evaluate.run import run as evaluate
from stages.predict import photos as module
from stages.predict.photos import Answer, answer_photos, describe_answer, print_answers, to_record
from tests.model_fabric import make_project
from tests.official_files import ATTRIBUTES
from tests.test_evaluate import make_params

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, its evaluation on valid and test, and the test pictures as files in photos/."""
    folder = tmp_path_factory.mktemp("predict")
    official = make_project(folder)
    params = make_params(n_resamples=0, slices=[])
    paths = folder / "prepare", folder / "train", folder / "audit"
    evaluate(params, *paths, folder / "evaluate", folder / "reports")
    official.write_pictures(folder / "photos")
    return folder


def test_photos_get_the_probabilities_of_the_pipeline(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cropped and resized exactly as by prepare; the order and batches do not matter."""
    table = read_table(project / "evaluate" / PREDICTIONS, predictions_schema(ATTRIBUTES))
    monkeypatch.setattr(module, "BATCH_IMAGES", 5)
    shuffled = table.sample(frac=1, random_state=1)
    paths = [project / "photos" / name for name in shuffled["image_id"]]
    answers = list(answer_photos(paths, project / "train/model"))
    assert [answer.photo for answer in answers] == paths
    assert all(tuple(answer.probs) == ATTRIBUTES for answer in answers)
    got = np.array([list(answer.probs.values()) for answer in answers])
    assert got == pytest.approx(shuffled[list(ATTRIBUTES)].to_numpy(), abs=1e-6)


def encode(size: tuple[int, int], kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (90, 120, 150)).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(encode((640, 480)), "178x218 pixels .* got 640x480", id="another size"),
        pytest.param(encode((218, 178)), "178x218 pixels .* got 218x178", id="on its side"),
        pytest.param(encode((178, 218))[:500], "expected a picture", id="truncated"),
        pytest.param(b"GIF89a nonsense", r"expected a picture \(JPEG, PNG", id="no picture"),
        pytest.param(b"", "empty file", id="empty"),
        pytest.param(None, "there is no such file", id="missing"),
        pytest.param("folder", "got a folder", id="a folder"),
    ],
)
def test_photos_that_cannot_be_used_say_why_and_spare_the_others(
    project: Path, tmp_path: Path, data: bytes | str | None, expected: str
) -> None:
    bad, good = tmp_path / "bad.jpg", project / "photos" / "000001.jpg"
    if isinstance(data, bytes):
        bad.write_bytes(data)
    elif data:
        bad.mkdir()
    answers = list(answer_photos([good, bad, good], project / "train/model"))
    assert [answer.error is None for answer in answers] == [True, False, True]
    assert answers[0].probs == answers[2].probs
    assert answers[1].probs == {}
    import re

    assert re.search(expected, answers[1].error or "")


def test_png_and_turned_jpegs_are_read(project: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode((178, 218), "PNG"))
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "b.jpg").write_bytes(encode((218, 178), exif=exif))
    answers = list(answer_photos([tmp_path / "a.png", tmp_path / "b.jpg"], project / "train/model"))
    assert [answer.error for answer in answers] == [None, None]


def test_other_sizes_can_be_accepted(project: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode((300, 300), "PNG"))
    (answer,) = answer_photos([tmp_path / "a.png"], project / "train/model", any_size=True)
    assert answer.error is None


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(FacetError, match=r"expected a trained model .* run `dvc repro train`"):
        list(answer_photos([tmp_path / "a.jpg"], tmp_path / "nowhere"))


def test_text_shows_what_is_above_the_threshold_most_probable_first() -> None:
    answer = Answer(Path("a.jpg"), {"Male": 0.2, "Smiling": 0.61, "Young": 0.987})
    assert describe_answer(answer, 0.5) == "a.jpg\n   98.7%  Young\n   61.0%  Smiling"
    assert describe_answer(answer, 0.5, show_all=True).endswith("\n   20.0%  Male")
    assert describe_answer(answer, 0.99) == "a.jpg\n  no attribute above 0.99"


def test_records_hold_all_probabilities_or_the_error() -> None:
    record = to_record(Answer(Path("a.jpg"), {"Male": 0.2, "Smiling": 0.61}), 0.5)
    assert record["above"] == ["Smiling"]
    assert record["probabilities"] == {"Male": 0.2, "Smiling": 0.61}
    assert to_record(Answer(Path("b.jpg"), {}, "why"), 0.5) == {"photo": "b.jpg", "error": "why"}


def test_print_answers_parts_results_and_errors(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, model = project / "photos" / "000001.jpg", project / "train/model"
    assert print_answers([good], model, None, True, False, False)
    out, err = capsys.readouterr()
    assert sorted(line.split()[-1] for line in out.splitlines()[1:]) == sorted(ATTRIBUTES)
    assert not print_answers([good, tmp_path / "no.jpg"], model, 0.9, False, True, False)
    out, err = capsys.readouterr()
    first, second = json.loads(out)
    assert (first["photo"], first["threshold"]) == (str(good), 0.9)
    assert "no such file" in second["error"]
    assert err == ""


def test_the_command(project: Path, tmp_path: Path) -> None:
    def facet(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "stages.cli", "predict", *arguments],
            cwd=project, env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True,
        )  # fmt: skip

    done = facet("--model", "train/model", "--all", "photos/000001.jpg", "photos/nothing.jpg")
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "photos/000001.jpg"
    assert len(done.stdout.splitlines()) == 1 + len(ATTRIBUTES)
    (line,) = done.stderr.splitlines()
    assert line == "facet: photos/nothing.jpg: expected a picture; there is no such file"
    done = facet("photos/000001.jpg")
    assert done.returncode == 1
    assert done.stderr.startswith("facet: data/train/model: expected a trained model")
    assert len(done.stderr.splitlines()) == 1
    threshold = read_json(project / "train/model/model.json")["threshold"]
    done = facet("--model", "train/model", "--json", "photos/000001.jpg", "photos/000002.jpg")
    assert (done.returncode, done.stderr) == (0, "")
    assert [record["threshold"] for record in json.loads(done.stdout)] == [threshold] * 2
