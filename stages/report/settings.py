"""The parameters of a training that had an effect, each with what it does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.report.words import compact

#: Values at which a parameter does nothing.
OFF = (False, 0, "none")


@dataclass(frozen=True)
class Rule:
    """A parameter of train: what it does, in general or by its value, and when it does anything.

    needs: other parameters' values without which it has no effect. off: values at which it has
    none, as null never has.
    """

    key: str
    meaning: str | Mapping[str, str]
    needs: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    off: tuple[Any, ...] = OFF


@dataclass(frozen=True)
class Setting:
    """A parameter that mattered: its name under train, its value, what it does."""

    key: str
    value: str
    meaning: str


FOCAL = {"loss": ("focal", "sigmoid_focal")}
ASYMMETRIC = {"loss": ("asymmetric",)}
PLATEAU = {"schedule": ("plateau",)}
SEVERAL = {"generations": tuple(range(2, 11))}
STEP = {"schedule": ("step",)}
RULES = (
    Rule("network", "what looks at the pictures"),
    Rule("channels", "of its convolutions"),
    Rule(
        "head",
        {
            "linear": "one layer for all attributes",
            "separate": "hidden layers of its own per attribute",
            "trunk": "a shared hidden layer, then one per attribute",
        },
    ),
    Rule("head_width", "hidden units per attribute", {"head": ("separate", "trunk")}),
    Rule("head_dropout", "left out after hidden layers", {"head": ("separate", "trunk")}),
    Rule("trunk_width", "units of the shared layer", {"head": ("trunk",)}),
    Rule("weights", "what the network began with", off=()),
    Rule("freeze", "parts that did not learn", off=([],)),
    Rule("dropout", "share of units left out while learning"),
    Rule("mirror", "answers are the mean of a picture’s and its mirror image’s"),
    Rule(
        "loss",
        {
            "bce": "binary cross-entropy",
            "focal": "focal, alpha on both labels",
            "sigmoid_focal": "focal, alpha on label 1",
            "asymmetric": "easy negatives count less than easy positives",
        },
    ),
    Rule("reduction", "over attributes, of each one’s mean", off=("mean",)),
    Rule("focal_gamma", "the larger, the less easy labels count", FOCAL),
    Rule("focal_alpha", "factor of the loss", FOCAL),
    Rule("asymmetric_gamma_positive", "the larger, the less easy positives count", ASYMMETRIC),
    Rule("asymmetric_gamma_negative", "the larger, the less easy negatives count", ASYMMETRIC),
    Rule("asymmetric_margin", "taken off the probability of negatives", ASYMMETRIC),
    Rule("label_smoothing", "how far labels are drawn towards one half"),
    Rule("generations", "trainings in turn, each taught by the one before", off=(1,)),
    Rule("distill", "share of the predecessor’s answers in each label", SEVERAL),
    Rule(
        "class_weights",
        {
            "effective": "labels weigh by the effective number of images",
            "prevalence": "label 1 weighs negatives per positive",
        },
    ),
    Rule("effective_beta", "of the effective number", {"class_weights": ("effective",)}),
    Rule("balance", "both classes are drawn equally often", off=([],)),
    Rule("optimizer", {"sgd": "gradient descent", "adam": "Adam", "adamw": "Adam, decay apart"}),
    Rule("lr", "largest learning rate, that of the last layer"),
    Rule(
        "schedule",
        {
            "constant": "one rate throughout",
            "cyclic": "up and down between a tenth of it and all of it",
            "one_cycle": "up once, then down to about 0",
            "cosine": "up, then down to 0 along a cosine",
            "plateau": "lowered when valid gets no better",
            "step": "lowered in steps",
        },
    ),
    Rule(
        "warmup_epochs",
        "epochs in which the rate rises",
        {"schedule": ("one_cycle", "cosine", "cyclic")},
    ),
    Rule("plateau_on", "what is watched on valid", PLATEAU),
    Rule("plateau_factor", "times this ...", PLATEAU),
    Rule("plateau_patience", "... after more than so many epochs without gain", PLATEAU, off=()),
    Rule("step_epochs", "after every so many epochs ...", STEP),
    Rule("step_factor", "... times this", STEP),
    Rule("layer_decay", "each layer’s rate is this times the next one’s", off=(1,)),
    Rule("momentum", "of gradient descent", {"optimizer": ("sgd",)}),
    Rule("nesterov", "momentum that looks ahead", {"optimizer": ("sgd",)}),
    Rule("weight_decay", "pull of the weights towards 0"),
    Rule("decay_norms", "on norms and biases too"),
    Rule("clip_norm", "largest norm of the gradient"),
    Rule("sam_rho", "sharpness-aware: how far uphill each gradient is taken"),
    Rule("ema_decay", "share that the average of the weights keeps per step"),
    Rule("batch_size", "images"),
    Rule("accumulate", "batches per step", off=(1,)),
    Rule("n_epochs", "passes over the training images, at most"),
    Rule("patience", "epochs that are not better before it stops"),
    Rule("patience_on", "what has to get better on valid"),
    Rule("patience_from_epoch", "no stop before"),
    Rule("precision", {"fp32": "single precision", "bf16": "bfloat16 where it is safe"}),
    Rule("seed", "decides order, augmentation and the start", off=()),
)


def list_settings(train: Mapping[str, Any]) -> list[Setting]:
    """The parameters that had an effect, in reading order; those that were off are left out."""
    found = []
    for rule in RULES:
        value = train.get(rule.key)
        if value is None or value in rule.off:
            continue
        if any(train.get(key) not in values for key, values in rule.needs.items()):
            continue
        if rule.key.startswith("patience_") and train.get("patience") is None:
            continue
        meaning = rule.meaning if isinstance(rule.meaning, str) else rule.meaning.get(value, "")
        found.append(Setting(rule.key, format_value(value), meaning))
    return found


def list_parameters(section: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """All parameters of a section by name, those of its parts as part.key."""
    rows: list[tuple[str, str]] = []
    for key, value in section.items():
        if isinstance(value, Mapping):
            rows += list_parameters(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", format_value(value)))
    return rows


def format_value(value: Any) -> str:
    """A parameter's value as params.yaml has it, numbers as readers see them."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return compact(value)
    if isinstance(value, list):
        return "[" + ", ".join(format_value(part) for part in value) + "]"
    return str(value)
