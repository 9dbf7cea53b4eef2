"""The agent: what istio-proxy's container runs, Istio's pilot-agent in the small.

It tells the proxy what to do (`delivery`), runs it (`proxy_child`), and answers for it and for the application on port
15020 (`agent_pages`, `probes`, `http`). Read `main` first. Where the pod captures DNS it is the pod's resolver too
(`dns`).
"""
