"""What is said over connections, without connections: HTTP/1 answers, a GET, gRPC's health check, DNS messages.

All of it takes bytes and gives bytes, so that an event loop and a thread with a deadline drive the same code. Only
`ask` holds a socket. Not for the proxy and the measuring clients: theirs is hot, and reads both directions.
"""
