"""The bundled proxy: what a connection caught by the rules goes through.

Read the data path in this order:

1. `main` (the program), `proxy` (the whole proxy), `captured_listeners` and `io.listener` (a connection arrives),
   `io.destination` (where it was going), `traffic` and `routing.routes` (where it is routed) and `direction` (how it
   is served);
2. `tcp` and `exchange.pump` (bytes), or `http.detect` (is it HTTP?), then `http` (HTTP/1.1's grammar) and `exchange`
   (requests and how they are answered);
3. `upstreams` (clusters, hosts, and the connections to them);
4. underneath, `io` (connections, events, time, and how much each source may buffer).

Besides these, `observation` and `stats` count and log what the data path reports, and `own_ports` and `admin` serve
pages about it.

One process, one thread, one epoll loop, and callbacks instead of tasks: a proxy's work per request is four system
calls, and everything around them is what this project measures.
"""
