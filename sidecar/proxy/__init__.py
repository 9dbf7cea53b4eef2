"""The bundled proxy: what a connection caught by the rules goes through.

Read the data path in this order:

1. `main` (what is started), `proxy` (all of it together), `captured_listeners` and `io.listener` (a connection
   arrives), `io.destination` (where it was going), `traffic` and `routing.routes` (where that leads) and `direction`
   (what becomes of it);
2. `tcp` and `exchange.pump` (bytes), or `http.detect` (is it HTTP?), then `http` (HTTP/1.1's grammar) and `exchange`
   (requests and how they are answered);
3. `upstreams` (the ways out: clusters, hosts, and the connections to them);
4. underneath `io` (connections, events, time, and what each source may keep waiting).

Beside it: `observation` and `stats` count and log what the data path tells, `own_ports` and `admin` serve the pages
that are made of it.

One process, one thread, one epoll loop, and callbacks instead of tasks: a proxy's work per request is four system
calls, and everything around them is what this project measures.
"""
