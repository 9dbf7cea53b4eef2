"""`sidelab demo`: one request into a pod with a sidecar, and all that the kernel and the sidecar know about it.

`observe` sends it and collects the facts; `demo_page` describes them. Neither starts a lab or ends one.
"""
