"""One request after the other, from its head to its account.

`http_connection` is the order of the steps, `connection_states` the table of what may happen, and `served_request` what
the steps find out. Then a step each: `client_input` and `request_head`, `attempts` (upstream), `request_body`,
`response_start` with `local_replies` (answer), `account`. `gateway` is what the connections of a direction share.
"""
