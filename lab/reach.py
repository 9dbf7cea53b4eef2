"""Which files of this machine a pod's user can get at: that user is not the one who started the lab."""

from pathlib import Path


def closed(path: Path) -> Path | None:
    """Return what keeps others from `path`, the outermost directory or the file itself that lacks o+x; None: nothing.

    Raises OSError where `path` does not exist.
    """
    return next((each for each in reversed((path, *path.parents)) if not each.stat().st_mode & 0o001), None)
