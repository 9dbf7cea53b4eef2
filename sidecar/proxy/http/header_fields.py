"""What the fields of an HTTP/1.1 head mean for a proxy: the body's length, and which fields are hop-by-hop.

Pure. Sources: RFC 9110 §7.6.1 (Connection), RFC 9112 §6 (lengths). Anything that two readers could understand
differently is refused, because the server behind the proxy is the second reader.
"""

from sidelab.sidecar.proxy.http.message_body import CHUNKED, BadMessageError

METHODS = {
    **dict.fromkeys(b"DELETE GET HEAD TRACE".split(), False),
    **dict.fromkeys(
        b"ACL BIND CHECKOUT CONNECT COPY LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE MSEARCH".split(), True
    ),
    **dict.fromkeys(b"NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT REBIND REPORT SEARCH".split(), True),
    **dict.fromkeys(b"SOURCE SUBSCRIBE UNBIND UNLINK UNLOCK UNSUBSCRIBE".split(), True),
}
"""The methods that Envoy knows, and whether a request without a body is forwarded with `content-length: 0`."""

AUTHORITY = b"!$%&'()*+,-.0123456789:;=@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz~"
"""The bytes that Envoy accepts in a Host field."""

_NOT_TO_BE_NAMED = {b"host", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"}
_WELL_KNOWN_OPTIONS = {b"close", b"keep-alive", b"upgrade", b"te", b""}
NEVER_NOMINATED = {b"host", b"content-length", b"transfer-encoding"}
"""Fields that every hop needs: Connection cannot remove them."""

_LENGTHS_END = 1 << 64
_LONGEST_LENGTH_DIGITS = 32

HeaderFields = dict[bytes, list[bytes]]
"""Values by lower-case name, in the order received, without blanks at either end.

Only a transfer coding keeps its trailing blanks, so that it is seen to need rewriting before it is forwarded: with
them llhttp, for example, finds no chunks in a response and takes its body as it comes.
"""


def collect(found: list[tuple[bytes, bytes]]) -> HeaderFields:
    """Return names and values as `HeaderFields`."""
    fields: HeaderFields = {}
    for name, value in found:
        key = name.lower()
        fields.setdefault(key, []).append(value if key == b"transfer-encoding" else value.rstrip(b" \t"))
    return fields


def declared_length(fields: HeaderFields, malformed: int) -> int | None:
    """Return the declared length, `CHUNKED`, or None; raises `BadMessageError` with the status `malformed`, or 501."""
    codings = fields.get(b"transfer-encoding")
    lengths = fields.get(b"content-length")
    if codings is not None:
        if lengths is not None:
            raise BadMessageError(
                malformed, "both Transfer-Encoding and Content-Length", "http1.content_length_and_chunked_not_allowed"
            )
        if codings != [b"chunked"] and [coding.rstrip(b" \t").lower() for coding in codings] != [b"chunked"]:
            status = 501 if malformed == 400 else malformed
            raise BadMessageError(status, "the only transfer coding is one chunked", "http1.invalid_transfer_encoding")
        return CHUNKED
    if lengths is None:
        return None
    text = lengths[0]
    if len(lengths) > 1 or not text.isdigit() or len(text) > _LONGEST_LENGTH_DIGITS:
        raise BadMessageError(malformed, "Content-Length is not one number")
    length = int(text)
    if length >= _LENGTHS_END:
        raise BadMessageError(malformed, "Content-Length is too large")
    return length


def connection_options(fields: HeaderFields) -> set[bytes]:
    """Return the options that Connection lists, in lower case; `close` in Proxy-Connection counts too."""
    options = _words(fields, b"connection")
    if b"proxy-connection" in fields:
        options |= _words(fields, b"proxy-connection") & {b"close"}
    return options


def keeps_trailers(fields: HeaderFields) -> bool:
    """Return whether TE accepts trailers, the only part of it that an HTTP/1.1 hop may pass on."""
    return b"trailers" in _words(fields, b"te")


def without_nominated(head: bytes, options: set[bytes], malformed: int) -> bytes:
    """Return `head` without the fields that its Connection field names; raises `BadMessageError`.

    Naming a field that gives the body's length has no effect, because the next hop needs it.
    """
    if options <= _WELL_KNOWN_OPTIONS:
        return head
    nominated = options - _WELL_KNOWN_OPTIONS - NEVER_NOMINATED
    if options & _NOT_TO_BE_NAMED or any(option.startswith(b":") for option in nominated):
        raise BadMessageError(
            malformed, "Connection names a field that every hop needs", "http1.connection_header_rejected"
        )
    # The first line is not a field, even if its beginning equals a nominated name.
    first, *lines = head.split(b"\r\n")
    return b"\r\n".join(
        (first, *(line for line in lines if not line or line.partition(b":")[0].lower() not in nominated))
    )


def _words(fields: HeaderFields, name: bytes) -> set[bytes]:
    values = fields.get(name)
    if values is None:
        return set()
    return {word.strip(b" \t").lower() for value in values for word in value.split(b",")}
