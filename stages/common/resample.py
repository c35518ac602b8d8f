"""The bootstrap clustered by identity: what other people's pictures would have given.

Pictures of one person resemble each other, so people are drawn, with replacement, and all pictures
of a person with them (the cluster bootstrap; Field & Welsh, JRSS B 2007). A picture without an
identity is a person of its own. A resample is a weight per person: how often the person was drawn.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

#: Weights held at once, (resamples, people): 16 MB.
CHUNK_WEIGHTS = 2**21
#: Weights of labels held at once while they are ranked: a few arrays of 4 to 8 MB.
CHUNK_RANKS = 2**20
#: An interval is undefined where a smaller share of the resamples has a value.
MIN_DEFINED = 0.9


class Resamples:
    """R resamples of N pictures; the same arguments give the same ones, whatever asks for them."""

    def __init__(self, identities: Sequence[str | None], n_resamples: int, seed: Sequence[int]):
        """Group the pictures.

        Args:
            identities: (N,), None where unknown.
            n_resamples: R; 0 makes every interval undefined.
            seed: Of the draws.
        """
        places: dict[str, int] = {}
        index = np.empty(len(identities), np.int64)
        n_clusters = 0
        for row, identity in enumerate(identities):
            place = n_clusters if identity is None else places.setdefault(identity, n_clusters)
            n_clusters += place == n_clusters
            index[row] = place
        self.n_resamples, self.n_clusters, self.clusters = n_resamples, n_clusters, index
        self._seed = list(seed)

    def iter_weights(self) -> Iterator[np.ndarray]:
        """Yield weights (r, n_clusters) int32, in all R rows; each row sums to n_clusters."""
        rng = np.random.default_rng(self._seed)
        n = self.n_clusters
        step = max(1, CHUNK_WEIGHTS // max(n, 1))
        for start in range(0, self.n_resamples if n else 0, step):
            rows = min(step, self.n_resamples - start)
            weights = np.empty((rows, n), np.int32)
            for row in range(rows):
                weights[row] = np.bincount(rng.integers(0, n, n), minlength=n)
            yield weights

    def sum_up(self, values: np.ndarray) -> np.ndarray:
        """Weighted sums over pictures, (R, K) float64, of values (N, K)."""
        n, k = values.shape
        if n == 0:
            return np.full((self.n_resamples, k), 0.0)
        places = (self.clusters, np.arange(n))
        grouping = sparse.csr_array((np.ones(n), places), (self.n_clusters, n))
        return self._multiply(grouping @ values.astype(np.float64))

    def sum_cells(self, values: np.ndarray, cells: np.ndarray, n_cells: int) -> np.ndarray:
        """Weighted sums (R, n_cells) float64 of values (N, A) by their cells (N, A)."""
        n, a = values.shape
        if n == 0:
            return np.full((self.n_resamples, n_cells), 0.0)
        places = (np.repeat(self.clusters, a), cells.ravel())
        table = sparse.coo_array((values.ravel(), places), (self.n_clusters, n_cells))
        return self._multiply(table.tocsr())

    def _multiply(self, table: np.ndarray | sparse.csr_array) -> np.ndarray:
        # One thread: beside other busy programs two waited for each other, forty times as long.
        with threadpool_limits(1, user_api="blas"):
            parts = [(table.T @ weights.T.astype(np.float64)).T for weights in self.iter_weights()]
        return np.concatenate(parts) if parts else np.empty((0, table.shape[1]))


class Ranking:
    """Labels in order of their probabilities, ready to be weighted again and again."""

    def __init__(self, probs: np.ndarray, labels: np.ndarray, clusters: np.ndarray) -> None:
        """Sort once.

        Args:
            probs: (n,), ties allowed.
            labels: (n,) in {0, 1}.
            clusters: (n,) index of the weight that counts for each.
        """
        truth = labels.astype(bool)
        order = np.argsort(probs, kind="stable")
        positive, negative = order[truth[order]], order[~truth[order]]
        self._positive, self._negative = clusters[positive], clusters[negative]
        high, low = probs[positive], probs[negative]
        self._below = np.searchsorted(low, high, "left")  # negatives below each positive
        self._up_to = np.searchsorted(low, high, "right")
        self._first = np.searchsorted(high, high, "left")  # positives below each positive

    def score(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """ROC AUC and average precision, each (r,), of weights (r, n_clusters); NaN if undefined.

        AUC is the weight of the pairs in the right order, ties by half; average precision is the
        mean over positives of the precision at their probability, as scikit-learn has both. Both
        need both classes.
        """
        n = len(self._positive) + len(self._negative)
        step = max(1, CHUNK_RANKS // max(n, 1))
        parts = [self._score(weights[k : k + step]) for k in range(0, len(weights), step)]
        auc, ap = zip(*parts, strict=True) if parts else ([np.empty(0)], [np.empty(0)])
        return np.concatenate(auc), np.concatenate(ap)

    def _score(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mine = np.take(weights, self._positive, axis=1)
        positives = _accumulate(mine)
        negatives = _accumulate(np.take(weights, self._negative, axis=1))
        n_positive, n_negative = positives[:, -1:], negatives[:, -1:]
        below = np.take(negatives, self._below, axis=1)
        up_to = np.take(negatives, self._up_to, axis=1)
        hits = n_positive - np.take(positives, self._first, axis=1)  # at this probability or above
        named = np.maximum(hits + (n_negative - below), 1)  # 0 only where the weight is 0
        with np.errstate(invalid="ignore", divide="ignore"):
            pairs = 2.0 * n_positive[:, 0] * n_negative[:, 0]
            auc = np.einsum("ij,ij->i", mine, below + up_to, dtype=np.float64) / pairs
            ap = np.einsum("ij,ij->i", mine, hits / named, dtype=np.float64) / n_positive[:, 0]
        return auc, np.where(np.isnan(auc), np.nan, ap)


def rank_resamples(
    resamples: Resamples, probs: np.ndarray, labels: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """ROC AUC and average precision of every resample, each (R, A), over known labels."""
    rankings = [
        Ranking(probs[known, k], labels[known, k], resamples.clusters[known])
        for k, known in enumerate(mask.T)
    ]
    parts = [
        [ranking.score(weights) for ranking in rankings] for weights in resamples.iter_weights()
    ]
    if not parts or not rankings:
        empty = np.empty((resamples.n_resamples if parts else 0, len(rankings)))
        return empty, empty
    columns = np.concatenate([np.array(part).transpose(1, 2, 0) for part in parts], axis=1)
    return columns[0], columns[1]


def find_interval(replicates: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval (low, high) over the first axis; NaN where too few have a value.

    Args:
        replicates: (R, ...) values of the resamples, NaN where undefined.
        confidence: Share of the resamples inside, such as 0.95.
    """
    if len(replicates) == 0:
        nothing = np.full(replicates.shape[1:], np.nan)
        return nothing, nothing.copy()
    n_defined = np.count_nonzero(~np.isnan(replicates), axis=0)
    ordered = np.sort(replicates, axis=0)  # undefined ones last
    low, high = (
        _interpolate(ordered, (n_defined - 1) * share)
        for share in ((1 - confidence) / 2, (1 + confidence) / 2)
    )
    usable = n_defined >= MIN_DEFINED * len(replicates)
    return np.where(usable, low, np.nan), np.where(usable, high, np.nan)


def _interpolate(ordered: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Values at fractional places of the first axis."""
    place = np.maximum(place, 0)
    lower = np.floor(place).astype(np.int64)
    upper = np.minimum(lower + 1, len(ordered) - 1)
    a, b = (np.take_along_axis(ordered, k[None], axis=0)[0] for k in (lower, upper))
    share = place - lower
    return np.where(share > 0, a + (b - a) * share, a)


def _accumulate(weights: np.ndarray) -> np.ndarray:
    """Sums (r, n + 1) int32 of the weights (r, n) before each place."""
    sums = np.zeros((len(weights), weights.shape[1] + 1), np.int32)
    np.cumsum(weights, axis=1, dtype=np.int32, out=sums[:, 1:])
    return sums
