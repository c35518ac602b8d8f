from pathlib import Path

import pytest

from stages.common.errors import FacetError
from stages.common.params import Params, load_params, resolve_path

SHIPPED = Path(__file__).parents[1] / "params.yaml"


def write_changed(folder: Path, old: str, new: str) -> Path:
    text = SHIPPED.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in params.yaml"
    path = folder / "params.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def test_shipped_file_is_valid() -> None:
    assert isinstance(load_params(SHIPPED), Params)


@pytest.mark.parametrize("written", ["1e-4", "1e-04", "0.0001", "1.0E-4", "1.0e-4"])
def test_floats_in_any_notation(tmp_path: Path, written: str) -> None:
    path = write_changed(tmp_path, "lr: 1.0e-3 ", f"lr: {written} ")
    assert load_params(path).train.lr == 1e-4


def test_whole_number_for_a_float(tmp_path: Path) -> None:
    path = write_changed(tmp_path, "weight_decay: 1.0e-2", "weight_decay: 0")
    assert load_params(path).train.weight_decay == 0


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(
            "  n_epochs: 3", "  epochs: 3", "train.epochs: unknown key", id="typo in a key"
        ),
        pytest.param("lr: 1.0e-3", "lr: fast", "train.lr: expected a number; got", id="text"),
        pytest.param("lr: 1.0e-3", "lr: '1e-3'", "train.lr: expected", id="number in quotes"),
        pytest.param("lr: 1.0e-3", "lr: .nan", "train.lr: expected", id="not a number"),
        pytest.param("lr: 1.0e-3", "lr: -1", "train.lr: expected", id="out of range"),
        pytest.param("n_epochs: 3", "n_epochs: 2.5", "train.n_epochs", id="fraction of an epoch"),
        pytest.param("n_epochs: 3", "n_epochs: true", "train.n_epochs", id="bool for a number"),
        pytest.param(
            "source: demo ", "source: dmo ", "'demo', 'files', 'kagg", id="unknown source"
        ),
        pytest.param("source: demo ", "source: files ", "download.path", id="source without path"),
        pytest.param("audit:", "audits:", "audit", id="unknown section"),
        pytest.param("  title: Facet", "  title:", "report.title", id="null for a text"),
        pytest.param("  title: Facet", "  title: [", "no valid YAML", id="broken YAML"),
        pytest.param("    leak: drop", "    leak: mask", "prepare.policy.leak", id="policy"),
        pytest.param("height_px: 112 ", "height_px: null ", "both or neither", id="one side"),
        pytest.param(
            "weights: imagenet         # none",
            "weights: no.pt",
            "train.weights",
            id="weights missing",
        ),
        pytest.param(
            "weights: imagenet         # imagenet",
            "weights: no.pt",
            "audit.weights",
            id="audit's weights missing",
        ),
        pytest.param("n_folds: 5 ", "n_folds: 1 ", "audit.n_folds", id="one fold"),
        pytest.param(
            "partitions: [valid, test]", "partitions: []", "evaluate.partitions", id="none"
        ),
        pytest.param(
            "  seed: 7                   # of subset", "  #", "prepare.seed", id="missing"
        ),
        pytest.param("source: demo ", "source: url ", "download.url: expected an add", id="no URL"),
        pytest.param("url: null ", "url: ftp://a/b ", "download.url", id="no HTTP address"),
        pytest.param(
            "jessicali9530/celeba-dataset", "celeba", "download.kaggle", id="Kaggle's name"
        ),
        pytest.param("flwrlabs/celeba ", "flwrlabs ", "download.huggingface", id="the hub's name"),
        pytest.param("img_align_celeba.zip:", "../x.zip:", "google_drive", id="file name"),
        pytest.param("    valid: 0.1 ", "    valid: 0.5 ", "download.split.valid", id="split"),
        pytest.param("valid: null             # null", "valid: 1 # null", "resplit", id="resplit"),
        pytest.param("attributes: all ", "attributes: [Male, Male] ", "once", id="twice"),
        pytest.param("warmup_epochs: 0.5", "warmup_epochs: 3", "warmup", id="warm-up too long"),
        pytest.param(
            "    train: null", "    train: 1.5", "prepare.subset.train", id="share over 1"
        ),
        pytest.param("    train: null", "    train: null\n    train: 5", "YAML", id="key twice"),
        pytest.param(
            "    valid: null\n    test: null\n  resplit:                  # validation images out "
            "of train, in place of the source's valid\n    valid: null ",
            "    valid: 5\n    test: null\n  resplit:\n    valid: 0.2 ",
            "prepare.subset.valid",
            id="subset of a valid that is made",
        ),
    ],
)
def test_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = write_changed(tmp_path, old, new)
    with pytest.raises(FacetError) as caught:
        load_params(path)
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message
    assert message.startswith(f"{path}:")
    assert len(message) < 300 + len(str(path))


def test_line_number_is_that_of_the_key(tmp_path: Path) -> None:
    path = write_changed(tmp_path, "lr: 1.0e-3", "lr: fast")
    line = (
        path.read_text(encoding="utf-8")
        .splitlines()
        .index(next(x for x in path.read_text(encoding="utf-8").splitlines() if "lr: fast" in x))
    )
    with pytest.raises(FacetError, match=rf":{line + 1}: train\.lr"):
        load_params(path)


def test_typo_gets_a_suggestion(tmp_path: Path) -> None:
    path = write_changed(tmp_path, "  momentum: 0.9", "  momentum: 0.9\n  momentums: 0.9")
    with pytest.raises(FacetError, match=r"train\.momentums: unknown key; did you mean momentum\?"):
        load_params(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FacetError, match="no such file"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("text", ["", "5", "- a", "download:"])
def test_no_sections(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(FacetError):
        load_params(tmp_path / "params.yaml")


def test_relative_paths_count_from_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert resolve_path("a/b") == tmp_path / "a/b"
    assert resolve_path("/a/b") == Path("/a/b")
