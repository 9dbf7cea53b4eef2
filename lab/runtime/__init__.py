"""Pods as running things: the supervisor, its fork servers, and every container's life."""
