"""The agent that istio-proxy's container runs: a small version of Istio's pilot-agent.

It delivers the intent to the proxy (`delivery`), runs it (`proxy_child`), and answers for it and for the application on
port 15020 (`agent_pages`, `probes`, `http`). Read `main` first. If the pod captures DNS, it is also the pod's resolver
(`dns`).
"""
