"""What is said over connections, without connections: HTTP/1's heads, a GET, gRPC's health check, DNS messages.

All of it takes bytes and gives bytes, so that an event loop and a thread with a deadline drive the same code. Only
`ask` uses a socket. Two readers of HTTP stay their own: the proxy's, which reads as Envoy does and passes on what it
reads (the agent's pages and the proxy's are served with it), and the measuring client's, which is part of what a run
measures.
"""
