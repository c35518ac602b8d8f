"""Parameters of explore."""

from stages.common.params.section import Count, Section, Seed


class ExploreParams(Section):
    """Tables about the data."""

    n_images: Count
    seed: Seed
