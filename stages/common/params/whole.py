"""The whole of params.yaml: one section per stage."""

from stages.common.params.audit import AuditParams
from stages.common.params.download import DownloadParams
from stages.common.params.evaluate import EvaluateParams
from stages.common.params.explore import ExploreParams
from stages.common.params.prepare import PrepareParams
from stages.common.params.report import ReportParams
from stages.common.params.section import Section
from stages.common.params.train import TrainParams


class Params(Section):
    """The whole of params.yaml."""

    download: DownloadParams
    explore: ExploreParams
    audit: AuditParams
    prepare: PrepareParams
    train: TrainParams
    evaluate: EvaluateParams
    report: ReportParams
