"""The bundled proxy: what a connection caught by the rules goes through, in Python you can read in an hour.

Read the data path in this order:

1. `main` (what is started), `proxy` (all of it together), `sockets` (its ports), `listener` (a connection arrives),
   `destination` (where it was going), `routes` (where that leads) and `direction` (what becomes of it);
2. `tcp` and `pump` (bytes), or `detect` (is it HTTP?), `body`, `fields` and `message` (HTTP/1.1's grammar),
   `gateway`, `downstream` and `exchange` (requests and how they are answered), `replies` (in the upstream's stead) and
   `upstream` (the other end of it);
3. `clusters`, `cluster`, `balance`, `host` and `dial` (the ways out), `transparent` (as somebody else);
4. underneath `wire` and `stream` (connections), `loop`, `alarm` and `deadlines` (events and time).

Beside it: `counters`, `outcome` and `account` are what the data path tells; `telemetry`, `accesslog` and `logwriter`
listen; `admin` serves the pages that `pages` makes of it.

One process, one thread, one epoll loop, and callbacks instead of tasks: a proxy's work per request is four system
calls, and everything around them is what this project measures.
"""
