"""The programs that stand in for images: each module has a `main(context)` for the fork server to call.

Every plain pod is a fork of a process that has these imported, so they import little and allocate less.
"""
