"""Numbers as readers see them; what is undefined is 'n/a', never 0."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

NOT_AVAILABLE = "n/a"
NARROW_SPACE = "\u202f"
MINUS = "\u2212"


def is_undefined(value: Any) -> bool:
    """True for None, NaN and NA."""
    return value is None or bool(pd.isna(value))


def count(value: Any) -> str:
    """An integer with a comma per thousand."""
    return NOT_AVAILABLE if is_undefined(value) else _signed(f"{int(value):,}")


def decimal(value: Any, digits: int = 3) -> str:
    """A number with a fixed count of digits after the point, commas per thousand."""
    return NOT_AVAILABLE if is_undefined(value) else _signed(f"{float(value):,.{digits}f}")


def compact(value: Any, digits: int = 4) -> str:
    """A number of any size in a few significant digits: 0.001, 86.42, 12,345."""
    if is_undefined(value):
        return NOT_AVAILABLE
    number = float(value)
    if number == 0 or 1e-4 <= abs(number) < 1e6:
        n_before = len(str(int(abs(number))))
        text = f"{number:,.{max(0, digits - n_before + (abs(number) < 1) * 3)}f}"
        return _signed(text.rstrip("0").rstrip(".") if "." in text else text)
    return _signed(f"{number:.2e}")


def percent(value: Any, digits: int = 1) -> str:
    """A fraction as per cent."""
    if is_undefined(value):
        return NOT_AVAILABLE
    return _signed(f"{100 * float(value):.{digits}f}{NARROW_SPACE}%")


def chance(value: Any) -> str:
    """A p value in three digits after the point, '<0.001' below that."""
    if is_undefined(value):
        return NOT_AVAILABLE
    return "<0.001" if float(value) < 0.001 else f"{float(value):.3f}"


def sentence(text: str) -> str:
    """A sentence of plain text with its per cent signs kept to their numbers."""
    return text.replace(" %", f"{NARROW_SPACE}%")


def interval(row: Mapping[str, Any]) -> str:
    """The interval of an error rate: '1.20 to 3.45 %'; needs error_rate_low and error_rate_high."""
    low, high = row["error_rate_low"], row["error_rate_high"]
    if is_undefined(low) or is_undefined(high):
        return NOT_AVAILABLE
    return f"{100 * float(low):.2f} to {percent(high, 2)}"


def between(row: Mapping[str, Any], key: str, digits: int = 1, factor: float = 100) -> str:
    """The interval of row[key] from its _low and _high: '85.1 to 90.2', in per cent; '' if none."""
    ends: list[Any] = [row.get(f"{key}_low"), row.get(f"{key}_high")]
    if any(map(is_undefined, (row.get(key), *ends))):
        return ""
    return " to ".join(_signed(f"{factor * float(end):.{digits}f}") for end in ends)


def points(value: Any, digits: int = 1) -> str:
    """A difference of fractions in percentage points, always with its sign."""
    if is_undefined(value):
        return NOT_AVAILABLE
    text = f"{100 * float(value):+.{digits}f}"
    return _signed(text.lstrip("+-") if float(text) == 0 else text)


def counted(value: Any, singular: str, plural: str | None = None) -> str:
    """A count with its noun: '1 pair', '2,000 pairs'."""
    return f"{count(value)} {singular if value == 1 else plural or singular + 's'}"


def listed(names: Sequence[str], limit: int = 8) -> str:
    """Names as a list in words: 'a, b and c', or 'a, b and 12 more'."""
    shown = list(names[:limit])
    if len(names) > limit:
        return f"{', '.join(shown)} and {len(names) - limit} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))


def shorten(name: str, limit: int = 24) -> str:
    """A name that fits beside an axis."""
    return name if len(name) <= limit else name[: limit - 1] + "…"


def bar_share(value: Any, largest: Any) -> float:
    """Length of a bar in a table cell, 0..1 of the largest; 0 where undefined."""
    if is_undefined(value) or is_undefined(largest) or float(largest) <= 0:
        return 0.0
    return round(max(0.0, min(1.0, float(value) / float(largest))), 4)


def _signed(text: str) -> str:
    return text.replace("-", MINUS, 1) if text.startswith("-") else text


def breakable(name: str) -> Markup:
    """A name, escaped, that may be broken after an underscore."""
    return Markup("_<wbr>").join(str(name).split("_"))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as a template takes them."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


FILTERS = {
    "between": between,
    "breakable": breakable,
    "chance": chance,
    "count": count,
    "decimal": decimal,
    "compact": compact,
    "percent": percent,
    "interval": interval,
    "points": points,
    "sentence": sentence,
    "listed": listed,
}
