"""params.yaml: one strict, frozen model per stage, each in a module of its own."""

from stages.common.params.audit import AuditParams
from stages.common.params.augment import AugmentParams
from stages.common.params.download import DownloadParams, SplitParams
from stages.common.params.evaluate import EvaluateParams
from stages.common.params.explain import explain_validation
from stages.common.params.explore import ExploreParams
from stages.common.params.prepare import PolicyParams, PrepareParams
from stages.common.params.read import load_params, read_yaml
from stages.common.params.report import ReportParams
from stages.common.params.section import Section, project_root, resolve_path
from stages.common.params.train import CNNS, NAMED_WEIGHTS, TrainParams
from stages.common.params.whole import Params

__all__ = [
    "CNNS",
    "NAMED_WEIGHTS",
    "AuditParams",
    "AugmentParams",
    "DownloadParams",
    "EvaluateParams",
    "ExploreParams",
    "Params",
    "PolicyParams",
    "PrepareParams",
    "ReportParams",
    "Section",
    "SplitParams",
    "TrainParams",
    "explain_validation",
    "load_params",
    "project_root",
    "read_yaml",
    "resolve_path",
]
