"""Access logs in Istio's two formats, written by Envoy to its standard output. Pure."""

from sidelab.sidecar.config.intent import Intent
from sidelab.sidecar.envoy.configuration.typed_parts import Config, extension

_FIELDS = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "route_name": "%ROUTE_NAME%",
}
"""Istio's names in JSON, in the order of its text format, with Envoy's command operators for their values."""

_TEXT = (
    '[{start_time}] "{method} {path} {protocol}" {response_code} {response_flags} {response_code_details} '
    '{connection_termination_details} "{upstream_transport_failure_reason}" {bytes_received} {bytes_sent} {duration} '
    '{upstream_service_time} "{x_forwarded_for}" "{user_agent}" "{request_id}" "{authority}" "{upstream_host}" '
    "{upstream_cluster} {upstream_local_address} {downstream_local_address} {downstream_remote_address} "
    "{requested_server_name} {route_name}\n"
)


def access_log(intent: Intent) -> Config:
    """Return the `access_log` of an HTTP connection manager or a TCP proxy; empty if the intent wants none."""
    return {"access_log": [_file(intent)]} if intent.access_log else {}


def unrouted_log(intent: Intent) -> Config:
    """Return the `access_log` of a listener, for connections that match no filter chain (flag NR)."""
    if not intent.access_log:
        return {}
    return {"access_log": [{**_file(intent), "filter": {"response_flag_filter": {"flags": ["NR"]}}}]}


def _file(intent: Intent) -> Config:
    if intent.access_log == "json":
        form: Config = {"json_format": _FIELDS}
    else:
        form = {"text_format_source": {"inline_string": _TEXT.format(**_FIELDS)}}
    return extension(
        "envoy.access_loggers.file", "access_loggers.file.v3.FileAccessLog", path="/dev/stdout", log_format=form
    )
