"""One answer to whether this machine can run labs, and the cure where it cannot."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One answer: `found` says what is so, `cure` what to do about a no. The main job needs those that are `needed`."""

    name: str
    ok: bool
    found: str
    cure: str = ""
    needed: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return asdict(self)
