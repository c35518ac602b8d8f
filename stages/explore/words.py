"""Numbers and lists in sentences of plain text."""

from collections.abc import Sequence

import numpy as np


def write_count(value: int) -> str:
    """An integer with a comma per thousand: 3,200."""
    return f"{int(value):,}"


def write_counted(value: int, singular: str, plural: str | None = None) -> str:
    """A count with its noun: 1 image, 3,200 images."""
    return f"{write_count(value)} {singular if value == 1 else plural or singular + 's'}"


def write_number(share: float) -> str:
    """A share times 100, in as many digits as keep it apart from 0 and 100: 15.3, 0.02."""
    rest = min(share, 1 - share)
    digits = 1 if rest == 0 or rest >= 0.001 else -int(np.floor(np.log10(100 * rest)))
    return f"{100 * share:.{min(digits, 6)}f}"


def write_percent(share: float) -> str:
    """A share as per cent: 15.3 %."""
    return f"{write_number(share)} %"


def write_signed(value: float) -> str:
    """Two digits after the point, and a true sign: +0.41, −0.24."""
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def write_list(names: Sequence[str], limit: int = 10) -> str:
    """Names with commas, those beyond the limit as a count."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
