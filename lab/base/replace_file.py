"""Replace a file in one step: a reader finds all of the old content or all of the new (rename(2)).

The new content is written beside the file first, as a `Draft`, so what can fail for lack of space is over before
anything is replaced; of several files, too.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple


class Draft(NamedTuple):
    """A complete file that is not in its place yet: it is at `new`, and `path` is to be replaced by it."""

    new: Path
    path: Path

    def put(self) -> None:
        """Replace the file by the draft."""
        self.new.replace(self.path)

    def discard(self) -> None:
        """Remove the draft; the file stays as it is."""
        self.new.unlink(missing_ok=True)


def write_draft(path: Path, content: bytes, *, mode: int | None = None, durable: bool = False) -> Draft:
    """Write a draft for the file at `path`, with the permissions `mode` or else those that the umask leaves.

    A durable one is on the disk when this returns. Raises `OSError` with `path` as its file name, and then leaves
    nothing behind.
    """
    draft = Draft(path.with_name(f".{path.name}.new"), path)
    with _removed_on_failure(draft):
        descriptor = _created(draft.new)
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(descriptor, mode)
            file.write(content)
            if durable:
                file.flush()
                os.fsync(descriptor)
    return draft


def link_draft(path: Path, same: Path) -> Draft:
    """Return a draft for the file at `path` that is the file `same` by another name. Raises `OSError`."""
    draft = Draft(path.with_name(f".{path.name}.new"), path)
    draft.discard()  # what a writer that was killed has left in its place
    draft.new.hardlink_to(same)
    return draft


def replace_file(path: Path, content: bytes, *, mode: int | None = None, durable: bool = False) -> None:
    """Replace the file at `path`, or make it; the parameters and the errors are those of `write_draft`."""
    draft = write_draft(path, content, mode=mode, durable=durable)
    with _removed_on_failure(draft):
        draft.put()
    if durable:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _created(new: Path) -> int:
    """Create a file; what a writer that was killed has left in its place is removed, and a link there not followed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(new, flags, 0o666)
    except FileExistsError:
        new.unlink()
        return os.open(new, flags, 0o666)


@contextmanager
def _removed_on_failure(draft: Draft) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if isinstance(error, OSError):
            error.filename = str(draft.path)
        with suppress(OSError):
            draft.discard()
        raise
