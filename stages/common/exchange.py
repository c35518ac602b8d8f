"""Exchange groups of rows between parts until the parts resemble one another.

What falls with every exchange is chi2, the sum over parts and values of (have - goal)^2 / goal.
"""

import numpy as np

#: Bundles of either part that are drawn for one exchange, and pairs of them that are compared.
N_BUNDLES, N_PAIRS = 128, 1024
#: Exchanges between two parts end after so many draws in a row that hold nothing better ...
MAX_VAIN = 30
#: ... or after so many draws; parts take turns at most so many times.
MAX_DRAWS, MAX_TURNS = 1000, 5


class Exchange:
    """Exchanges between P parts of G groups; changes the parts of the groups in place.

    A bundle is one group or two: a pair of numbers of groups, of which -1 stands for none.

    part_of: (G,) int64 part of each group. counts: (G, A) how often each value stands in a group.
    n_members: (G,) rows of each group. goal: (P, A) how often each value should stand in a part.
    """

    def __init__(
        self, part_of: np.ndarray, counts: np.ndarray, n_members: np.ndarray, goal: np.ndarray
    ) -> None:
        self._part_of = part_of
        self._counts = np.concatenate([counts, np.zeros_like(counts[:1])])  # last: that of -1
        self._n_members = np.append(n_members, 0)
        self._weight = np.divide(1.0, goal, out=np.zeros(goal.shape), where=goal > 0)
        self._surplus = -goal
        for part in range(len(goal)):
            self._surplus[part] += counts[part_of == part].sum(0)

    def even_out(self, room: list[int]) -> None:
        """Move a group, or exchange two, while this brings the sizes of two parts nearer.

        room: Rows that each part lacks, below 0 those that it has too many.
        """
        while min(room) < 0:
            full, free = int(np.argmin(room)), int(np.argmax(room))
            wanted = min(-room[full], room[free])
            here, there = (np.append(self._list_groups(part), -1) for part in (full, free))
            given, taken = (np.unique(self._n_members[groups]) for groups in (here, there))
            moved = given[:, None] - taken
            error = np.where(moved > 0, np.abs(wanted - moved), wanted)
            k, j = np.unravel_index(np.argmin(error), error.shape)
            if error[k, j] >= wanted:
                break
            give = here[self._n_members[here] == given[k]][:N_BUNDLES]
            take = there[self._n_members[there] == taken[j]][:N_BUNDLES]
            give, take = (side.ravel()[:N_PAIRS] for side in np.meshgrid(give, take))
            none = np.full(len(give), -1)
            self._apply_best(
                full, free, np.stack([give, none], 1), np.stack([take, none], 1), is_forced=True
            )
            room[full] += int(moved[k, j])
            room[free] -= int(moved[k, j])

    def refine(self, rng: np.random.Generator) -> None:
        """Exchange bundles of equal size, which leaves sizes as they are, while chi2 falls."""
        parts = np.unique(self._part_of).tolist()
        for _ in range(MAX_TURNS):
            n_done = sum(
                self._refine_pair(one, other, rng)
                for one in parts
                for other in parts
                if one < other
            )
            if not n_done:
                break

    def _refine_pair(self, one: int, other: int, rng: np.random.Generator) -> int:
        """Exchanges between two parts; returns their number."""
        ours, theirs = self._list_groups(one), self._list_groups(other)
        n_done = n_vain = 0
        for _ in range(MAX_DRAWS):
            give, take = _draw_bundles(ours, rng), _draw_bundles(theirs, rng)
            sizes = [self._n_members[bundles].sum(1) for bundles in (give, take)]
            k, j = (side[:N_PAIRS] for side in np.nonzero(sizes[0][:, None] == sizes[1]))
            if len(k) and self._apply_best(one, other, give[k], take[j]):
                ours, theirs = self._list_groups(one), self._list_groups(other)
                n_vain, n_done = 0, n_done + 1
                continue
            n_vain += 1
            if n_vain == MAX_VAIN:
                break
        return n_done

    def _apply_best(
        self, one: int, other: int, give: np.ndarray, take: np.ndarray, is_forced: bool = False
    ) -> bool:
        """Exchange the pair of bundles, of give and take (M, 2), that lowers chi2 most.

        Returns:
            False where nothing was done, because nothing is gained.
        """
        change = (self._counts[give].sum(1) - self._counts[take].sum(1)).astype(np.float64)
        weight = self._weight[one] + self._weight[other]
        slope = self._weight[other] * self._surplus[other] - self._weight[one] * self._surplus[one]
        rise = (change * (change * weight + 2 * slope)).sum(1)
        best = int(np.argmin(rise))
        if rise[best] > -1e-9 and not is_forced:
            return False
        self._surplus[one] -= change[best]
        self._surplus[other] += change[best]
        for bundle, part in ((give[best], other), (take[best], one)):
            self._part_of[bundle[bundle >= 0]] = part
        return True

    def _list_groups(self, part: int) -> np.ndarray:
        return np.flatnonzero(self._part_of == part)


def _draw_bundles(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N_BUNDLES, 2) of these groups; in about half of them the second is -1."""
    bundles = groups[rng.integers(0, len(groups), (N_BUNDLES, 2))]
    is_single = (rng.random(N_BUNDLES) < 0.5) | (bundles[:, 0] == bundles[:, 1])
    bundles[is_single, 1] = -1
    return bundles
