"""params.yaml: one strict, frozen model per stage. A typo dies here, before any work."""

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from stages.common.errors import FacetError

Share = Annotated[float, Field(ge=0.0, le=0.25)]
Pixels = Annotated[int, Field(ge=16, le=2048)]
Bits = Annotated[int, Field(ge=0, le=20)]
Count = Annotated[int, Field(ge=1)]
Channels = Annotated[int, Field(ge=1, le=4096)]
FileName = Annotated[str, Field(pattern=r"^[\w-][\w.-]*$")]
DriveId = Annotated[str, Field(pattern=r"^[\w-]+$")]
Address = Annotated[str, Field(pattern=r"^https?://\S+$")]
ImagePolicy = Literal["drop", "keep"]
LabelPolicy = Literal["drop", "mask", "keep"]


class Section(BaseModel):
    """Base of all sections: unknown keys, wrong types and missing keys are errors."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class DemoFaults(Section):
    """Shares of faults planted in the demo."""

    byte_copy: Share
    near_copy: Share
    conflict_copy: Share
    leak_copy: Share
    flipped_labels: Share
    wrong_identity: Share
    faceless: Share


class DemoParams(Section):
    """The drawn faces of `download.source: demo`."""

    n_images: Annotated[int, Field(ge=200, le=10_000_000)]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    faults: DemoFaults


class SplitParams(Section):
    """Shares of the partitions that are made where a source has none; the rest is train."""

    valid: Annotated[float, Field(gt=0.0, lt=0.5)]
    test: Annotated[float, Field(gt=0.0, lt=0.5)]
    seed: Annotated[int, Field(ge=0, lt=2**32)]


class DownloadParams(Section):
    """Where the data comes from."""

    source: Literal["demo", "files", "kaggle", "huggingface", "google_drive", "url"]
    path: str | None
    kaggle: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+(/versions/\d+)?$")]
    huggingface: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+(@[\w./+-]+)?$")]
    google_drive: Annotated[dict[FileName, DriveId], Field(min_length=1)]
    url: Address | Annotated[list[Address], Field(min_length=1)] | None
    split: SplitParams
    demo: DemoParams

    @model_validator(mode="after")
    def check_url(self) -> Self:
        """`url` needs an address."""
        if self.source == "url" and self.url is None:
            raise ValueError(
                "download.url: expected an address, as download.source is url; got null"
            )
        return self

    @model_validator(mode="after")
    def check_path(self) -> Self:
        """`files` needs an existing folder."""
        if self.source == "files":
            if self.path is None:
                raise ValueError(
                    "download.path: expected a folder, as download.source is files; got null"
                )
            if not resolve_path(self.path).exists():
                raise ValueError(f"download.path: expected an existing path; got '{self.path}'")
        return self


class ExploreParams(Section):
    """Tables about the data."""

    n_images: Count
    seed: Annotated[int, Field(ge=0, lt=2**32)]


class AuditParams(Section):
    """Thresholds of the checks."""

    near_radius_bits: Bits
    near_similarity: Annotated[float, Field(gt=0.0, le=1.0)]
    mirrored: bool
    features: Annotated[str, Field(min_length=1)]
    weights: Annotated[str, Field(min_length=1)]
    fine_tune: Annotated[int, Field(ge=0, le=100)]
    n_folds: Annotated[int, Field(ge=2, le=20)]
    flag_above: Annotated[float, Field(gt=0.0, lt=1.0)]
    n_suspects: Annotated[int, Field(ge=0)]
    self_check: Annotated[float, Field(ge=0.005, le=0.2)]
    seed: Annotated[int, Field(ge=0, lt=2**32)]

    @model_validator(mode="after")
    def check_weights(self) -> Self:
        """`weights` is imagenet or a file, unless there are no features."""
        if self.features != "none" and self.weights != "imagenet":
            path = resolve_path(self.weights)
            if path.suffix != ".safetensors" or not path.is_file():
                raise ValueError(
                    "audit.weights: expected imagenet or an existing .safetensors file; "
                    f"got '{self.weights}'"
                )
        return self


class SubsetParams(Section):
    """How much of each partition is used: null for all, a count, or a share below 1."""

    train: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0.0, lt=1.0)] | None
    valid: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0.0, lt=1.0)] | None
    test: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0.0, lt=1.0)] | None


class ResplitParams(Section):
    """Validation images taken from train in place of the source's own."""

    valid: Annotated[float, Field(gt=0.0, lt=1.0)] | None
    by_identity: bool


class PolicyParams(Section):
    """What to do with a training image (drop, keep) or its doubted label (mask) per check."""

    exact_duplicate: ImagePolicy
    near_duplicate: ImagePolicy
    leak: ImagePolicy
    identity_conflict: ImagePolicy
    label_conflict: LabelPolicy
    label_rule: LabelPolicy
    mislabel: LabelPolicy
    faceless: ImagePolicy
    identity_outlier: ImagePolicy


class PrepareParams(Section):
    """From images to shards of pixels."""

    attributes: Literal["all"] | Annotated[list[str], Field(min_length=1)]
    subset: SubsetParams
    resplit: ResplitParams
    crop_height_px: Pixels | None
    crop_width_px: Pixels | None
    height_px: Pixels | None
    width_px: Pixels | None
    policy: PolicyParams
    seed: Annotated[int, Field(ge=0, lt=2**32)]

    @model_validator(mode="after")
    def check_pairs(self) -> Self:
        """Height and width come in pairs; an attribute stands once."""
        for name in ("crop_height_px", "height_px"):
            other = name.replace("height", "width")
            if (getattr(self, name) is None) != (getattr(self, other) is None):
                raise ValueError(f"prepare.{name} and prepare.{other}: expected both or neither")
        if self.attributes != "all" and len(set(self.attributes)) != len(self.attributes):
            raise ValueError("prepare.attributes: expected every attribute once")
        return self

    @model_validator(mode="after")
    def check_resplit(self) -> Self:
        """A valid that comes out of train has no subset of its own."""
        if self.resplit.valid is not None and self.subset.valid is not None:
            raise ValueError(
                "prepare.subset.valid: expected null, as prepare.resplit.valid takes the "
                f"validation images from train; got {self.subset.valid}"
            )
        return self


class AugmentParams(Section):
    """How training images are changed; what is 0 is off."""

    flip: Annotated[float, Field(ge=0.0, le=1.0)]
    crop_padding_px: Annotated[int, Field(ge=0, le=256)]
    border: Literal["reflect", "black"]
    affine: Annotated[float, Field(ge=0.0, le=1.0)]
    shift: Annotated[float, Field(ge=0.0, le=0.5)]
    scale: Annotated[float, Field(ge=0.0, le=0.9)]
    rotate_deg: Annotated[float, Field(ge=0.0, le=180.0)]
    jitter: Annotated[float, Field(ge=0.0, le=1.0)]
    brightness: Annotated[float, Field(ge=0.0, le=1.0)]
    contrast: Annotated[float, Field(ge=0.0, le=1.0)]
    saturation: Annotated[float, Field(ge=0.0, le=1.0)]
    hue: Annotated[float, Field(ge=0.0, le=0.5)]
    fancy_pca: Annotated[float, Field(ge=0.0, le=10.0)]
    noise: Annotated[float, Field(ge=0.0, le=255.0)]
    erase: Annotated[float, Field(ge=0.0, le=1.0)]
    erase_min_px: Annotated[int, Field(ge=1, le=2048)]
    erase_max_px: Annotated[int, Field(ge=1, le=2048)]
    mixup_alpha: Annotated[float, Field(ge=0.0, le=100.0)]
    cutmix_alpha: Annotated[float, Field(ge=0.0, le=100.0)]

    @model_validator(mode="after")
    def check_sense(self) -> Self:
        """What is switched on changes something."""
        if self.erase_min_px > self.erase_max_px:
            raise ValueError(
                "train.augment.erase_min_px: expected at most train.augment.erase_max_px "
                f"({self.erase_max_px}); got {self.erase_min_px}"
            )
        for name, strengths in (
            ("affine", ("shift", "scale", "rotate_deg")),
            ("jitter", ("brightness", "contrast", "saturation", "hue")),
        ):
            if getattr(self, name) > 0 and not any(getattr(self, key) for key in strengths):
                raise ValueError(
                    f"train.augment.{name}: expected 0, as {', '.join(strengths)} are all 0; "
                    f"got {getattr(self, name)}"
                )
        return self


#: Values of `train.weights` that are no file.
NAMED_WEIGHTS = ("none", "imagenet", "imagenet_v1")
#: The networks whose convolutions' channels are free; they have no ImageNet weights.
CNNS = ("celebmodel_cnn", "comp3419_cnn", "uab_cnn")


class TrainParams(Section):
    """The network and how it learns."""

    network: Annotated[str, Field(pattern=r"^(timm:)?[a-z0-9][a-zA-Z0-9_.]*$")]
    channels: Annotated[list[Channels], Field(min_length=1, max_length=8)] | None
    head: Literal["linear", "separate", "trunk"]
    head_input: Literal["features", "classes"]
    head_width: Annotated[int, Field(ge=1, le=4096)]
    head_dropout: Annotated[float, Field(ge=0.0, lt=1.0)]
    trunk_width: Annotated[int, Field(ge=1, le=4096)]
    weights: Annotated[str, Field(min_length=1)]
    freeze: list[Annotated[str, Field(pattern=r"^[\w.]+$")]]
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)]
    loss: Literal["bce", "focal", "sigmoid_focal", "asymmetric"]
    reduction: Literal["mean", "sum"]
    focal_gamma: Annotated[float, Field(ge=0.0, le=10.0)]
    focal_alpha: Annotated[float, Field(gt=0.0, le=1.0)]
    asymmetric_gamma_positive: Annotated[float, Field(ge=0.0, le=10.0)]
    asymmetric_gamma_negative: Annotated[float, Field(ge=0.0, le=10.0)]
    asymmetric_margin: Annotated[float, Field(ge=0.0, lt=1.0)]
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)]
    class_weights: Literal["none", "effective", "prevalence"]
    effective_beta: Annotated[float, Field(gt=0.0, lt=1.0)]
    optimizer: Literal["sgd", "adam", "adamw"]
    lr: Annotated[float, Field(gt=0.0, le=10.0)]
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)]
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)]
    nesterov: bool
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)]
    decay_norms: bool
    clip_norm: Annotated[float, Field(gt=0.0)] | None
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)]
    schedule: Literal["constant", "cyclic", "one_cycle", "cosine", "plateau", "step"]
    warmup_epochs: Annotated[float, Field(ge=0.0)]
    plateau_on: Literal["loss", "accuracy"]
    plateau_factor: Annotated[float, Field(gt=0.0, lt=1.0)]
    plateau_patience: Annotated[int, Field(ge=0)]
    step_epochs: Annotated[int, Field(ge=1)]
    step_factor: Annotated[float, Field(gt=0.0, lt=1.0)]
    batch_size: Annotated[int, Field(ge=2)]
    accumulate: Annotated[int, Field(ge=1, le=1024)]
    n_epochs: Annotated[int, Field(ge=1, le=10_000)]
    patience: Annotated[int, Field(ge=1)] | None
    patience_on: Literal["accuracy", "loss", "either"]
    patience_from_epoch: Annotated[int, Field(ge=0)]
    augment: AugmentParams
    balance: list[Annotated[str, Field(min_length=1)]]
    memory: Literal["auto", "device", "host", "stream"]
    stream_images: Annotated[int, Field(ge=1)]
    precision: Literal["fp32", "bf16"]
    device: Literal["auto", "cpu", "cuda"]
    devices: Annotated[int, Field(ge=1, le=1024)]
    n_nodes: Annotated[int, Field(ge=1, le=1024)]
    compile: bool
    seed: Annotated[int, Field(ge=0, lt=2**32)]

    @model_validator(mode="after")
    def check_balance(self) -> Self:
        """An attribute stands once."""
        if len(set(self.balance)) != len(self.balance):
            raise ValueError("train.balance: expected every attribute once")
        return self

    @model_validator(mode="after")
    def check_weights(self) -> Self:
        """`weights` is none, imagenet, imagenet_v1 or a file; the plain CNNs have no ImageNet."""
        if self.weights not in NAMED_WEIGHTS and not resolve_path(self.weights).is_file():
            raise ValueError(
                "train.weights: expected none, imagenet, imagenet_v1 or an existing .safetensors "
                f"file; got '{self.weights}'"
            )
        if self.network in CNNS and self.weights.startswith("imagenet"):
            raise ValueError(
                f"train.weights: expected none or a file, as {self.network} has no ImageNet "
                f"weights; got {self.weights}"
            )
        return self

    @model_validator(mode="after")
    def check_freeze(self) -> Self:
        """What is frozen at random never learns anything."""
        if self.freeze and self.weights == "none":
            raise ValueError(
                "train.freeze: expected [], as train.weights is none and parts that begin at "
                f"random have to learn; got {self.freeze}"
            )
        return self

    @model_validator(mode="after")
    def check_network(self) -> Self:
        """Channels are the plain CNNs'; only a head of its own layers reads classes."""
        if self.channels is not None and self.network not in CNNS:
            raise ValueError(
                f"train.channels: expected null, as train.network is {self.network} and none of "
                f"{', '.join(CNNS)}; got {self.channels}"
            )
        if self.head_input == "classes" and self.head == "linear":
            raise ValueError(
                "train.head_input: expected features, as train.head is linear; got classes"
            )
        if self.head_input == "classes" and self.network in (*CNNS, "devarashs_cnn_rnn"):
            raise ValueError(
                f"train.head_input: expected features, as {self.network} has no ImageNet outputs "
                "to keep; got classes"
            )
        return self

    @model_validator(mode="after")
    def check_learning(self) -> Self:
        """A warm-up ends, momentum is there to look ahead with, alpha leaves both labels a loss."""
        if self.warmup_epochs >= self.n_epochs:
            raise ValueError(
                f"train.warmup_epochs: expected less than train.n_epochs ({self.n_epochs}); "
                f"got {self.warmup_epochs}"
            )
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise ValueError(
                "train.nesterov: expected false, unless train.optimizer is sgd with a "
                "train.momentum above 0; got true"
            )
        if self.loss == "sigmoid_focal" and self.focal_alpha == 1:
            raise ValueError(
                "train.focal_alpha: expected less than 1, as sigmoid_focal weighs label 0 by "
                f"1 - alpha; got {self.focal_alpha}"
            )
        return self


class EvaluateParams(Section):
    """What is evaluated."""

    partitions: Annotated[list[Literal["valid", "test"]], Field(min_length=1)]
    threshold: Annotated[float, Field(gt=0.0, lt=1.0)]
    batch_size: Count
    extra: str | None
    slices: list[str | Annotated[list[str], Field(min_length=2, max_length=2)]]
    n_resamples: Annotated[int, Field(ge=0, le=100_000)]
    confidence: Annotated[float, Field(ge=0.5, lt=1.0)]
    n_bins: Annotated[int, Field(ge=2, le=100)]
    n_shown: Annotated[int, Field(ge=0, le=100)]
    seed: Annotated[int, Field(ge=0, lt=2**32)]

    @model_validator(mode="after")
    def check_extra(self) -> Self:
        """`extra` is an existing folder."""
        if self.extra is not None and not resolve_path(self.extra).is_dir():
            raise ValueError(
                "evaluate.extra: expected null or an existing folder, a data/download or "
                f"data/prepare; got '{self.extra}'"
            )
        return self

    @model_validator(mode="after")
    def check_slices(self) -> Self:
        """A slice stands once, and a pair has two different attributes."""
        names = [frozenset([entry] if isinstance(entry, str) else entry) for entry in self.slices]
        pairs = [entry for entry in self.slices if not isinstance(entry, str)]
        if any(first == second for first, second in pairs) or len(set(names)) != len(names):
            raise ValueError(
                "evaluate.slices: expected every attribute once, and every pair once with two "
                "different attributes"
            )
        return self


class ReportParams(Section):
    """The HTML site."""

    title: Annotated[str, Field(min_length=1)]
    n_gallery: Annotated[int, Field(ge=0, le=200)]


class Params(Section):
    """The whole of params.yaml."""

    download: DownloadParams
    explore: ExploreParams
    audit: AuditParams
    prepare: PrepareParams
    train: TrainParams
    evaluate: EvaluateParams
    report: ReportParams


def project_root() -> Path:
    """The repository's root: DVC_ROOT, which also temporary and queued experiments see, or here."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd())


def resolve_path(path: str | Path) -> Path:
    """Absolute form of a path of params.yaml; a relative one counts from the project's root."""
    return project_root() / Path(path).expanduser()


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and validate the whole of params.yaml.

    Raises:
        FacetError: one line that names file, line, key, what was expected and what was got.
    """
    path = Path(path)
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise FacetError(f"{path}: expected a mapping of sections; got {describe(values)}")
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise FacetError(explain_validation(path, values, error)) from None


def read_yaml(path: Path) -> Any:
    """A YAML 1.2 file as plain values (`1e-3` is a number, which PyYAML reads as text).

    Raises:
        FacetError: the file is missing or is no YAML.
    """
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FacetError(f"{path}: no such file; run from the repository's root") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = f":{mark.line + 1}" if mark else ""
        raise FacetError(f"{path}{line}: no valid YAML: {error.problem}") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise FacetError(f"{path}: no valid YAML: {' '.join(str(error).split())}") from None


def explain_validation(path: Path, values: dict[str, Any], error: ValidationError) -> str:
    """The first failure of a ValidationError as one line: file:line: key: expected; got."""
    failures = error.errors(include_url=False)
    # A misspelt key is missing under its right name too: the typo is what the user wrote.
    failure = min(failures, key=lambda failure: failure["type"] == "missing")
    keys = tuple(key for key in failure["loc"] if key_exists(values, key, failure["loc"]))
    dotted = ".".join(str(key) for key in failure["loc"] if isinstance(key, int) or _is_name(key))
    where = f"{path}:{find_line(path, keys)}"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    kind, got = failure["type"], describe(failure["input"])
    if kind == "value_error":
        return f"{where}: {failure['ctx']['error']}{more}"
    if kind == "missing":
        return f"{where}: {dotted}: expected this key; it is missing{more}"
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(failure["loc"][-1]), _siblings(failure["loc"]), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{where}: {dotted}: unknown key{hint}{more}"
    expected = failure["msg"].replace("Input should be", "expected").replace("a valid ", "a ")
    return f"{where}: {dotted}: {expected}; got {got}{more}"


def describe(value: Any) -> str:
    """A value as a user wrote it, short, with its type where that helps."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"the text '{value[:60]}'"
    if isinstance(value, dict):
        return "a mapping"
    return str(value)[:60]


def key_exists(values: Any, key: Any, loc: tuple[Any, ...]) -> bool:
    """True where `key` of an error's location is a key of the file, not a branch of a union."""
    for step in loc:
        if (isinstance(values, dict) and step in values) or (
            isinstance(values, list) and isinstance(step, int) and step < len(values)
        ):
            if step == key:
                return True
            values = values[step]
    return False


def find_line(path: Path, keys: tuple[Any, ...]) -> int:
    """The line (from 1) at which the deepest of `keys` stands in a YAML file."""
    node: Any = YAML().load(path.read_text(encoding="utf-8"))
    line = 1
    for key in keys:
        try:
            place = node.lc.key if hasattr(node, "keys") else node.lc.item
            line = place(key)[0] + 1
            node = node[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return line


def _is_name(key: Any) -> bool:
    """Union branches appear in a location as 'int', 'constrained-float' or 'literal[...]'."""
    return (
        isinstance(key, str) and key.isidentifier() and key not in ("int", "float", "list", "str")
    )


def _siblings(loc: tuple[Any, ...]) -> list[str]:
    """Keys beside the one at `loc`; none where it is no place in params.yaml."""
    model: Any = Params
    for key in loc[:-1]:
        field = getattr(model, "model_fields", {}).get(key)
        if field is None:
            return []
        model = field.annotation
    return list(getattr(model, "model_fields", {}))
