"""Vectors of a small angle to many others, found in a few lists instead of by comparing all.

Vectors are sorted into lists around centres, and a query visits the lists of the nearest centres
(an inverted file; Sivic and Zisserman, "Video Google", 2003). Small collections are compared in
full; for large ones benchmarks/audit states which share of the pairs is found.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

LIST_SIZE = 512
N_PROBES = 24  # up to 12,000 vectors, that is all lists
SAMPLE_PER_LIST = 64
N_ROUNDS = 6
SEED = 7
CELLS = 1 << 20  # cosines at once: 4 MB


class Lists:
    """Unit vectors, sorted into lists.

    Args of `__init__`:
        vectors: (N, D) float32 of length 1, N at least 1.
    """

    def __init__(self, vectors: Floats) -> None:
        self.centres = _find_centres(vectors, max(1, len(vectors) // LIST_SIZE))
        nearest = np.concatenate(
            [(vectors[k : k + 8192] @ self.centres.T).argmax(1)
             for k in range(0, len(vectors), 8192)]
        )  # fmt: skip
        self.order = np.argsort(nearest, kind="stable")
        self.vectors = vectors[self.order]
        self.starts = np.searchsorted(nearest[self.order], np.arange(len(self.centres) + 1))

    def search(self, queries: Floats, min_cosine: float) -> tuple[Ints, Ints, Floats]:
        """Pairs of a query and a vector with at least a cosine.

        Args:
            queries: (Q, D) float32 of length 1.
            min_cosine: Least cosine.

        Returns:
            Numbers of queries and of vectors, and their cosines, (M,) each.
        """
        n_lists = len(self.centres)
        n_probes = min(N_PROBES, n_lists)
        toward = -(queries @ self.centres.T)
        probed = np.argpartition(toward, n_probes - 1, axis=1)[:, :n_probes].ravel()
        order = np.argsort(probed, kind="stable")
        bounds = np.searchsorted(probed[order], np.arange(n_lists + 1))
        hits: list[tuple[Ints, Ints, Floats]] = []
        for number in range(n_lists):
            low, high = self.starts[number : number + 2]
            rows = max(1, CELLS // max(1, int(high - low)))
            for start in range(bounds[number], bounds[number + 1], rows):
                asking = order[start : min(start + rows, bounds[number + 1])] // n_probes
                cosine = queries[asking] @ self.vectors[low:high].T
                first, second = np.nonzero(cosine >= min_cosine)
                hits.append((asking[first], self.order[low + second], cosine[first, second]))
        nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
        query, vector, cosine = (np.concatenate(part) for part in zip(nothing, *hits, strict=True))
        return query, vector, cosine


def _find_centres(vectors: Floats, n_lists: int) -> Floats:
    """Centres by k-means on the sphere over a sample, (n_lists, D)."""
    rng = np.random.default_rng(SEED)
    n_sample = min(len(vectors), n_lists * SAMPLE_PER_LIST)
    sample = vectors[np.sort(rng.choice(len(vectors), n_sample, replace=False))]
    centres = sample[rng.choice(n_sample, n_lists, replace=False)]
    for _ in range(N_ROUNDS if n_lists > N_PROBES else 0):
        nearest = (sample @ centres.T).argmax(1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, sample)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(length > 0, sums / (length + 1e-9), centres)
    return centres
