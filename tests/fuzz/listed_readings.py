"""Where the bundled proxy reads HTTP/1.1 differently from llhttp, and why.

The proxy decides as Envoy does (`tests/sidecar/differential` compares with it); `proxy_reader` checks that a strict
llhttp reads everything forwarded as it was meant. An entry that no message needs is an error.
"""

from comparing_readers import LLHTTP, MISREAD, NOBODY, PATIENT, PROXY, Difference

_PARTS = ("start", "host", "fields", "body", "fate", "end", "one more message", "refused")


def _get(text: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: a\r\n" + text + b"\r\n\r\n"


def _chunked(text: bytes) -> bytes:
    return _get(b"Transfer-Encoding: chunked") + text


LENIENT = (
    Difference(
        "Lines that end in LF alone: read",
        "RFC 9112 §2.2 allows it, and Envoy does; they go on with CRLF.",
        (PATIENT, LLHTTP),
        (
            "Missing expected CR after header value",
            "Missing expected CR after response line",
            "Expected CRLF after version",
            "Invalid header field char",
            "Invalid header value char",
            "Invalid response status",
        ),
        rb"(?<!\r)\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
    ),
    Difference(
        "An empty line that is LF alone, straight after a request line that ends so: the end of the head",
        "Nothing else is; Envoy takes it so, too. A patient llhttp reads on, as if the line were not there.",
        (MISREAD, LLHTTP),
        ("",),
        rb"HTTP/\d\.\d\n\n",
        b"GET http://a/ HTTP/1.1\n\nX: 1\r\n\r\n",
    ),
    Difference(
        "Folded fields: read",
        "RFC 9112 §5.2 allows it, and Envoy does; they go on in one line.",
        (PATIENT, LLHTTP, MISREAD),
        ("Unexpected whitespace", "Duplicate Content-Length", "Invalid header value char", "fate"),
        rb"\n[ \t]",
        _get(b"X: 1\r\n 2"),
    ),
    Difference(
        "A CR within a line: read as if it were not there, or as a blank in the first line",
        "Envoy does; it does not go on. A patient llhttp takes it for the end of the line.",
        (LLHTTP, PATIENT, MISREAD),
        (
            *("Missing expected LF after header value", "Expected LF after CR", "Expected LF after headers"),
            *("Invalid header token", "Expected CRLF", "Invalid character in chunk size", "Invalid response status"),
            *("Empty Content-Length", "Empty Transfer-Encoding", *_PARTS),
        ),
        rb"\r(?!\n)",
        _get(b"X: a\rb"),
    ),
    Difference(
        "Blanks, tabs and CRs between the words of the first line and after them: read",
        "RFC 9112 §3 and §4 allow it, and Envoy does; one blank goes on.",
        (LLHTTP,),
        (
            *("Expected space after method", "Invalid characters in url", "Expected CRLF after version"),
            *("Expected HTTP/", "Expected space after version", "Invalid status code", "Invalid response status"),
        ),
        rb"[\t\r ][\t ]|\t|[\t ]\r?\n|\r[^\n]",
        b"GET\t/ HTTP/1.1 \r\nHost: a\r\n\r\n",
    ),
    Difference(
        "Blanks after the transfer coding: read; llhttp finds no chunks then",
        "RFC 9110 §5.5 has them left out; the coding goes on without.",
        (LLHTTP, PROXY, NOBODY, MISREAD),
        (
            "Request has invalid `Transfer-Encoding`",
            "malformed chunk",
            "malformed trailer",
            "body",
            "fate",
            "one more message",
        ),
        rb"(?i)\ntransfer-encoding:(?:[^\r\n]|\r*\n[ \t])*chunked(?:\r*\n)?[ \t]",
        _get(b"Transfer-Encoding: chunked\t") + b"0\r\n\r\n",
    ),
    Difference(
        "Blanks after a chunk's size: read",
        "RFC 9112 §7.1.1 allows it before an extension, and Envoy does; no blank goes on.",
        (PATIENT, LLHTTP),
        ("Invalid character in chunk size",),
        rb"\n[0-9A-Fa-f]+[ \t]",
        _chunked(b"1 \r\na\r\n0\r\n\r\n"),
    ),
    Difference(
        "Any bytes in a chunk's extension: read",
        "Envoy does; no extension goes on.",
        (LLHTTP,),
        ("Invalid character in chunk extensions",),
        rb"\n[0-9A-Fa-f]+[ \t]*;",
        _chunked(b"1;\xff\r\na\r\n0\r\n\r\n"),
    ),
    Difference(
        "Bytes between a chunk and the end of its line: passed over",
        "Envoy does; they do not go on.",
        (LLHTTP,),
        ("Expected LF after chunk data",),
        rb"(?i)\ntransfer-encoding:",
        _chunked(b"1\r\namore\r\n0\r\n\r\n"),
    ),
    Difference(
        "LF alone after a chunk: read",
        "Envoy does; CRLF goes on.",
        (PATIENT,),
        ("Missing expected CR after chunk data",),
        rb"(?i)\ntransfer-encoding:",
        _chunked(b"1\r\na\n0\r\n\r\n"),
    ),
    Difference(
        "Trailers that say how long a body is, or what becomes of the connection: passed over",
        "RFC 9110 §6.5.1 has none of these there, and Envoy does; no trailer goes on.",
        (LLHTTP,),
        ("Content-Length can't be present", "Invalid `Transfer-Encoding`", "Duplicate Content-Length", "Data after"),
        rb"(?i)\n0[^\n]*\n(?:[^\n]+\n)*(?:content-length|transfer-encoding|connection):",
        _chunked(b"0\r\nContent-Length: 5\r\n\r\n"),
    ),
    Difference(
        "The method MSEARCH: read",
        "Envoy knows it by this name; llhttp only M-SEARCH, which Envoy refuses.",
        (LLHTTP,),
        ("Invalid method encountered",),
        rb"MSEARCH",
        b"MSEARCH / HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    Difference(
        "A response of a version that there is not, as HTTP/1.2: read",
        "Envoy does; HTTP/1.1 goes on.",
        (LLHTTP,),
        ("Invalid HTTP version",),
        rb"HTTP/\d\.\d",
        b"HTTP/1.2 204 No\r\n\r\n",
        requests=False,
    ),
)

STRICT = (
    Difference(
        "A request without Host: refused",
        "RFC 9112 §3.2 demands it.",
        (PROXY,),
        ("an HTTP/1.1 request has a Host",),
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
    ),
    Difference(
        "A Host with bytes that no host's name has: refused",
        "RFC 9112 §3.2 demands it.",
        (PROXY,),
        ("the Host field has bytes",),
        b"",
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    ),
    Difference(
        "Requests of other versions than HTTP/1.1, or of none: refused",
        "Envoy does in Istio, with 426.",
        (PROXY,),
        ("HTTP/", "malformed request line"),
        b"",
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    ),
    Difference(
        "Methods that Envoy does not know, as QUERY: refused",
        "Envoy does.",
        (PROXY,),
        ("malformed head", *(f"{each} is not a known method" for each in ("QUERY", "DESCRIBE"))),
        rb"(?:QUERY|DESCRIBE|M-SEARCH)[ \t\r]",
        b"QUERY / HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    Difference(
        "Targets that are no path and no http URL, fragments, escaped NULs: refused",
        "RFC 9112 §3.2 has no others; a fragment and a NUL are refused by Envoy as it normalises paths.",
        (PROXY,),
        (
            *("the request's target is neither", "a request's target has no fragment", "the path has an escaped NUL"),
            *("only OPTIONS has the target *", "malformed CONNECT"),
        ),
        b"",
        b"GET ftp://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    Difference(
        "A CONNECT with a body: refused",
        "RFC 9110 §9.3.6 has none, and Envoy refuses it.",
        (PROXY,),
        ("a CONNECT has no body",),
        rb"CONNECT",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
    ),
    Difference(
        "Upgrades to other protocols than WebSocket: refused",
        "Envoy does, with 403.",
        (PROXY,),
        ("this upgrade is not served here",),
        rb"(?i)\nupgrade:",
        _get(b"Connection: upgrade\r\nUpgrade: x"),
    ),
    Difference(
        "An upgrade to h2c: the request is read as if nothing had been offered",
        "RFC 9110 §7.8 allows it, and Envoy does; the offer does not go on.",
        (NOBODY, MISREAD, PROXY),
        ("fate", "body fate", "malformed chunk", "malformed trailer"),
        rb"(?i)\nupgrade:[ \t]*h2c",
        _get(b"Connection: upgrade\r\nUpgrade: h2c"),
    ),
    Difference(
        "A Connection field that names host, or what begins with a colon: refused",
        "Envoy does; the field is needed.",
        (PROXY,),
        ("Connection names a field",),
        rb"(?i)\nconnection:",
        _get(b"Connection: host"),
    ),
    Difference(
        "Other transfer codings than one chunked: refused",
        "RFC 9112 §6.1 asks for it, with 501, where a coding is not understood; Envoy does.",
        (PROXY,),
        ("the only transfer coding is one chunked",),
        rb"(?i)\ntransfer-encoding:",
        _get(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    ),
    Difference(
        "A Content-Length of more than 32 digits: refused",
        "Nobody writes one; Envoy and llhttp count what follows the zeros.",
        (PROXY,),
        ("Content-Length is not one number",),
        rb"(?i)\ncontent-length:[ \t]*0\d{32}",
        _get(b"Content-Length: " + b"0" * 33),
    ),
    Difference(
        "A status below 100, control characters in a reason phrase, empty lines before a response: refused",
        "RFC 9110 §15 and RFC 9112 §4 have none; Envoy refuses the last two.",
        (PROXY,),
        ("malformed status line", "not HTTP"),
        b"",
        b"HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n",
        requests=False,
    ),
    Difference(
        "A length or chunks in a response that has no body, as 204: refused",
        "RFC 9110 §8.6 and RFC 9112 §6.1 forbid it, and Envoy refuses it.",
        (PROXY,),
        ("a response 1", "a response 204"),
        rb"(?i)\n(?:content-length|transfer-encoding):",
        b"HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n",
        requests=False,
    ),
    Difference(
        "Proxy-Connection: keep-alive in a response of HTTP/1.0: the connection is not kept",
        "RFC 9112 appendix C.2.2 warns of the field; Envoy does not keep it either.",
        (NOBODY, MISREAD),
        ("fate", "one more message"),
        rb"(?i)\nproxy-connection:",
        b"HTTP/1.0 204 No\r\nProxy-Connection: keep-alive\r\n\r\n",
        requests=False,
    ),
)

DIFFERENCES = (*LENIENT, *STRICT)
