"""`sidelab demo`: one request into a pod with a sidecar, and all that the kernel and the sidecar know about it.

`observe` sends it and reads; `demo_page` writes down what was found. Neither starts a lab or knows how to end one.
"""
