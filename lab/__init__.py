"""Pods as network namespaces: manifest, sandbox, network, runtime. It knows nothing of sidecars.

Importing the package imports nothing: the fork server starts from it, and is small because of that.
"""
