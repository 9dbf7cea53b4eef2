"""Serves one request after the other, from its head to its accounting.

`http_connection` runs the steps in order, `connection_states` is the table of possible transitions, and
`served_request` holds what the steps find out. The steps: `client_input` and `request_head`, `attempts` (upstream),
`request_body`, `response_start` with `local_replies` (answer), `account`. `gateway` is what the connections of one
direction share.
"""
