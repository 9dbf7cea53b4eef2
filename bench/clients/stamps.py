"""What a measuring client returns for one request, whichever client it is."""

Stamps = tuple[int | None, int, int, int, int, int]
"""connect (None on a kept-alive connection), pretransfer, starttransfer, total, in ns since the start; then the HTTP
status, and the size of the body in bytes."""
