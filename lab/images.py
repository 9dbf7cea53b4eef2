"""Image names that lab itself has a stand-in for: the web server and the client of the examples."""

from lab.program import Registry, Standin

_CLIENT = Standin("lab.programs.client:main", preload=("lab.programs.client", "lab.programs.nginx"))
_NGINX = Standin("lab.programs.nginx:main", preload=("lab.programs.client", "lab.programs.nginx"))

IMAGES = Registry(
    (
        ("nginx*", lambda _pod, _container: _NGINX),
        ("curlimages/curl", lambda _pod, _container: _CLIENT),
        ("curl*", lambda _pod, _container: _CLIENT),
        ("busybox", lambda _pod, _container: _CLIENT),
    )
)
