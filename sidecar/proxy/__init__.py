"""The bundled proxy: what a connection caught by the rules goes through, in Python you can read in an hour.

Read it in this order: `main` (what is started), `listener` (a connection arrives), `destination` (where it was
going), `pump` (bytes), `message` (HTTP/1.1's grammar), `downstream` and `upstream` (an HTTP exchange from either
end), `cluster` (the way out), then `wire`, `stream` and `loop` underneath, and `admin` with `counters` beside it.

One process, one thread, one epoll loop, and callbacks instead of tasks: a proxy's work per request is four system
calls, and everything around them is what this project measures.
"""
