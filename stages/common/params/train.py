"""Parameters of train."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.common.params.augment import AugmentParams
from stages.common.params.section import Count, Section, Seed, Share, resolve_path

Units = Annotated[int, Field(ge=1, le=4096)]
Workers = Annotated[int, Field(ge=1, le=1024)]
#: Values of `train.weights` that are no file.
NAMED_WEIGHTS = ("none", "imagenet", "imagenet_v1")
#: The networks whose convolutions' channels are free; they have no ImageNet weights.
CNNS = ("celebmodel_cnn", "comp3419_cnn", "uab_cnn")
#: The networks that torchvision has two sets of ImageNet weights for.
TORCHVISION = ("mobilenet_v2", "resnet18", "resnet50", "resnext50_32x4d", "devarashs_cnn_rnn")


class TrainParams(Section):
    """The network and how it learns."""

    network: Annotated[str, Field(pattern=r"^(timm:)?[a-z0-9][a-zA-Z0-9_.]*$")]
    channels: Annotated[list[Units], Field(min_length=1, max_length=8)] | None
    head: Literal["linear", "separate", "trunk"]
    head_input: Literal["features", "classes"]
    head_width: Units
    head_dropout: Annotated[float, Field(ge=0.0, lt=1.0)]
    trunk_width: Units
    weights: Annotated[str, Field(min_length=1)]
    freeze: list[Annotated[str, Field(pattern=r"^[\w.]+$")]]
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)]
    mirror: bool
    loss: Literal["bce", "focal", "sigmoid_focal", "asymmetric"]
    reduction: Literal["mean", "sum"]
    focal_gamma: Annotated[float, Field(ge=0.0, le=10.0)]
    focal_alpha: Annotated[float, Field(gt=0.0, le=1.0)]
    asymmetric_gamma_positive: Annotated[float, Field(ge=0.0, le=10.0)]
    asymmetric_gamma_negative: Annotated[float, Field(ge=0.0, le=10.0)]
    asymmetric_margin: Annotated[float, Field(ge=0.0, lt=1.0)]
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)]
    generations: Annotated[int, Field(ge=1, le=10)]
    distill: Annotated[float, Field(ge=0.0, le=1.0)]
    class_weights: Literal["none", "effective", "prevalence"]
    effective_beta: Annotated[float, Field(gt=0.0, lt=1.0)]
    optimizer: Literal["sgd", "adam", "adamw"]
    lr: Annotated[float, Field(gt=0.0, le=10.0)]
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)]
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)]
    nesterov: bool
    weight_decay: Share
    decay_norms: bool
    clip_norm: Annotated[float, Field(gt=0.0)] | None
    sam_rho: Annotated[float, Field(ge=0.0, le=10.0)]
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)]
    schedule: Literal["constant", "cyclic", "one_cycle", "cosine", "plateau", "step"]
    warmup_epochs: Annotated[float, Field(ge=0.0)]
    plateau_on: Literal["loss", "accuracy"]
    plateau_factor: Annotated[float, Field(gt=0.0, lt=1.0)]
    plateau_patience: Annotated[int, Field(ge=0)]
    step_epochs: Count
    step_factor: Annotated[float, Field(gt=0.0, lt=1.0)]
    batch_size: Annotated[int, Field(ge=2)]
    accumulate: Annotated[int, Field(ge=1, le=1024)]
    n_epochs: Annotated[int, Field(ge=1, le=10_000)]
    patience: Count | None
    patience_on: Literal["accuracy", "loss", "either"]
    patience_from_epoch: Annotated[int, Field(ge=0)]
    augment: AugmentParams
    balance: list[Annotated[str, Field(min_length=1)]]
    memory: Literal["auto", "device", "host", "stream"]
    stream_images: Count
    precision: Literal["fp32", "bf16"]
    device: Literal["auto", "cpu", "cuda"]
    devices: Workers
    n_nodes: Workers
    compile: bool
    seed: Seed

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
        if self.network in CNNS and self.weights in NAMED_WEIGHTS[1:]:
            raise ValueError(
                f"train.weights: expected none or a file, as {self.network} has no ImageNet "
                f"weights; got {self.weights}"
            )
        if self.weights == "imagenet_v1" and self.network not in TORCHVISION:
            raise ValueError(
                f"train.weights: expected another than imagenet_v1, which {', '.join(TORCHVISION)} "
                f"alone have; got it for {self.network}"
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
        if self.schedule == "cyclic" and self.warmup_epochs == 0:
            raise ValueError(
                "train.warmup_epochs: expected above 0, as train.schedule is cyclic and this is "
                "half a cycle; got 0"
            )
        if self.sam_rho > 0 and self.accumulate > 1:
            raise ValueError(
                f"train.sam_rho: expected 0.0, as train.accumulate is {self.accumulate} and the "
                f"second gradient is of one batch; got {self.sam_rho}"
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
