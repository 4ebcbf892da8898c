"""The policies that come with the embedded models."""

from __future__ import annotations

from pathlib import Path

from computewise.errors import UsageError

POLICIES = Path(__file__).parent.parent / "policies"


def policy_path(name: str) -> Path:
    """The shipped policy of a task, or the file of that name."""
    shipped = POLICIES / f"{name}.json"
    if shipped.exists():
        return shipped
    if not Path(name).exists():
        known = ", ".join(sorted(path.stem for path in POLICIES.glob("*.json")))
        raise UsageError(f"no policy {name!r}: allowed are a policy file, or {known}")
    return Path(name)
