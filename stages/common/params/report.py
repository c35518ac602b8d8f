"""Parameters of report."""

from typing import Annotated

from pydantic import Field

from stages.common.params.section import Section


class ReportParams(Section):
    """The HTML site."""

    title: Annotated[str, Field(min_length=1)]
    n_gallery: Annotated[int, Field(ge=0, le=200)]
