"""Any JSON in the place of any value of a good answer."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import strategies as st

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["stop", "length", "error", -1, 0, -9999.0, 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


def paths(held: Any, before: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place of a value in JSON, the whole included; of a long list the first two."""
    yield before
    inside: list[tuple[str | int, Any]] = list(held.items()) if isinstance(held, Mapping) else []
    for name, value in [*inside, *(enumerate(held[:2]) if isinstance(held, list) else ())]:
        yield from paths(value, (*before, name))


def changed(held: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A copy with `value` at `path`."""
    if not path:
        return value
    found = copy.deepcopy(held)
    place = found
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return found
