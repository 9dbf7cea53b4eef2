"""How Go's HTTP client reads odd answers, as a Go program found out: a table for code that must read them alike.

Measured with Go 1.27 (its module says `go 1.26`): a server of canned bytes, which then closes the connection or holds
it open; a client like the kubelet's (`DisableKeepAlives`, `RedirectChecker`, ten kilobytes of body, a time-out). The
verdict is the status if the answer and its body came, HEAD if the client failed before it had an answer, BODY if the
answer's body broke off or did not come in time. Run as a program, this file tests again, with the Go on the path, and
prints where the table differs:

    python3 tests/lab/go_answers.py
"""

import base64
import json
import subprocess
from pathlib import Path

HEAD, BODY = "fails before the answer", "fails in the body"

GO_ANSWERS: dict[str, tuple[bytes, bool, int | str]] = {
    # name: the bytes, whether the connection stays open after them, and the verdict
    "plain": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", False, 200),
    "lf": (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", False, 200),
    "mixed-lf": (b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 0\r\n\n", False, 200),
    "lf-until-close": (b"HTTP/1.1 200 OK\n\nhello", False, 200),
    "cr-only": (b"HTTP/1.1 200 OK\rContent-Length: 0\r\r", False, HEAD),
    "leading-crlf": (b"\r\nHTTP/1.1 200 OK\r\n\r\n", False, HEAD),
    "leading-space": (b" HTTP/1.1 200 OK\r\n\r\n", False, HEAD),
    "no-reason": (b"HTTP/1.1 200\r\n\r\n", False, 200),
    "no-reason-space": (b"HTTP/1.1 200 \r\n\r\n", False, 200),
    "two-spaces": (b"HTTP/1.1  200 OK\r\n\r\n", False, 200),
    "tab": (b"HTTP/1.1\t200 OK\r\n\r\n", False, HEAD),
    "four-digits": (b"HTTP/1.1 2000 OK\r\n\r\n", False, HEAD),
    "two-digits": (b"HTTP/1.1 20 OK\r\n\r\n", False, HEAD),
    "glued-reason": (b"HTTP/1.1 200OK\r\n\r\n", False, HEAD),
    "status-099": (b"HTTP/1.1 099 X\r\n\r\n", False, 99),
    "status--20": (b"HTTP/1.1 -20 X\r\n\r\n", False, HEAD),
    "status-000": (b"HTTP/1.1 000 X\r\n\r\n", False, 0),
    "status-999": (b"HTTP/1.1 999 X\r\n\r\n", False, 999),
    "status-600": (b"HTTP/1.1 600 X\r\n\r\n", False, 600),
    "status-399": (b"HTTP/1.1 399 X\r\n\r\n", False, 399),
    "http10": (b"HTTP/1.0 200 OK\r\n\r\nhi", False, 200),
    "http10-chunked": (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", False, 200),
    "http09": (b"<html>hi</html>", False, HEAD),
    "http20": (b"HTTP/2.0 200 OK\r\n\r\n", False, 200),
    "http17": (b"HTTP/1.7 200 OK\r\n\r\n", False, 200),
    "http2": (b"HTTP/2 200 OK\r\n\r\n", False, HEAD),
    "http-lower": (b"http/1.1 200 OK\r\n\r\n", False, HEAD),
    "http-11": (b"HTTP/1.10 200 OK\r\n\r\n", False, HEAD),
    "icy": (b"ICY 200 OK\r\n\r\n", False, HEAD),
    "folded": (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n", False, 200),
    "folded-length": (b"HTTP/1.1 200 OK\r\nContent-Length:\r\n 0\r\n\r\n", True, 200),
    "fold-first": (b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", False, HEAD),
    "no-colon": (b"HTTP/1.1 200 OK\r\ngarbage\r\n\r\n", False, HEAD),
    "empty-name": (b"HTTP/1.1 200 OK\r\n: b\r\n\r\n", False, HEAD),
    "space-in-name": (b"HTTP/1.1 200 OK\r\nA B: c\r\n\r\n", False, 200),
    "space-before-colon": (b"HTTP/1.1 200 OK\r\nA : c\r\n\r\n", False, 200),
    "space-before-colon-cl": (b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n", True, BODY),
    "bad-name-char": (b"HTTP/1.1 200 OK\r\nA(B: c\r\n\r\n", False, HEAD),
    "utf8-name": (b"HTTP/1.1 200 OK\r\n\xc3\xa9: c\r\n\r\n", False, HEAD),
    "nul-value": (b"HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\n", False, HEAD),
    "ctl-value": (b"HTTP/1.1 200 OK\r\nA: b\x01c\r\n\r\n", False, HEAD),
    "bare-cr-value": (b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", False, HEAD),
    "latin-value": (b"HTTP/1.1 200 OK\r\nA: \xe9\r\n\r\n", False, 200),
    "cl-same-twice": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", True, 200),
    "cl-differ": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\nx", False, HEAD),
    "cl-list": (b"HTTP/1.1 200 OK\r\nContent-Length: 0, 0\r\n\r\n", True, HEAD),
    "cl-abc": (b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n", False, HEAD),
    "cl-neg": (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", False, HEAD),
    "cl-plus": (b"HTTP/1.1 200 OK\r\nContent-Length: +0\r\n\r\n", True, HEAD),
    "cl-empty": (b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n", False, HEAD),
    "cl-empty-hold": (b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n", True, HEAD),
    "cl-huge": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", False, HEAD),
    "cl-short-body": (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", False, BODY),
    "cl-hold": (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", True, BODY),
    "cl-and-more": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokGARBAGE", True, 200),
    "until-close": (b"HTTP/1.1 200 OK\r\n\r\nhello", False, 200),
    "until-close-hold": (b"HTTP/1.1 200 OK\r\n\r\nhello", True, BODY),
    "until-close-10k-hold": (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10240, True, 200),
    "until-close-10k-1-hold": (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10239, True, BODY),
    "cl-20k-10k-hold": (b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"x" * 10240, True, 200),
    "cl-10240-hold": (b"HTTP/1.1 200 OK\r\nContent-Length: 10240\r\n\r\n" + b"x" * 10240, True, 200),
    "404-hold": (b"HTTP/1.1 404 NF\r\n\r\nabc", True, BODY),
    "500-short": (b"HTTP/1.1 500 X\r\nContent-Length: 10\r\n\r\nabc", False, BODY),
    "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", True, 200),
    "chunked-lf": (b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\n\n", True, BODY),
    "chunked-no-end": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", True, BODY),
    "chunked-no-end-close": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", False, BODY),
    "chunked-no-trailer-end": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", True, BODY),
    "chunked-no-trailer-end-close": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
        False,
        BODY,
    ),
    "chunked-trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n",
        True,
        200,
    ),
    "chunked-bad-trailer": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ngarbage\r\n\r\n",
        True,
        BODY,
    ),
    "chunked-ext": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\n\r\n", True, 200),
    "chunked-padded": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2  \r\nok\r\n0\r\n\r\n", True, 200),
    "chunked-lead-space": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n 2\r\nok\r\n0\r\n\r\n", True, BODY),
    "chunked-zeros": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0002\r\nok\r\n000\r\n\r\n", True, 200),
    "chunked-0x": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n", True, BODY),
    "chunked-junk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n", True, BODY),
    "chunked-empty-size": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nok\r\n0\r\n\r\n", True, BODY),
    "chunked-17-digits": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000002\r\nok\r\n0\r\n\r\n",
        True,
        BODY,
    ),
    "chunked-missing-crlf": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok0\r\n\r\n", True, BODY),
    "chunked-10k": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2800\r\n" + b"x" * 10240, True, 200),
    "chunked-upper": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n2\r\nok\r\n0\r\n\r\n", True, 200),
    "te-gzip-chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", True, HEAD),
    "te-identity": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok", False, HEAD),
    "te-twice": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        True,
        HEAD,
    ),
    "te-and-cl": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        True,
        200,
    ),
    "te-and-bad-cl": (
        b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        True,
        HEAD,
    ),
    "204": (b"HTTP/1.1 204 NC\r\n\r\n", True, 204),
    "204-cl": (b"HTTP/1.1 204 NC\r\nContent-Length: 5\r\n\r\n", True, 204),
    "204-chunked": (b"HTTP/1.1 204 NC\r\nTransfer-Encoding: chunked\r\n\r\n", True, 204),
    "304": (b"HTTP/1.1 304 NM\r\nContent-Length: 5\r\n\r\n", True, 304),
    "205-hold": (b"HTTP/1.1 205 RC\r\n\r\n", True, BODY),
    "100-200": (b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", False, 200),
    "103-200": (b"HTTP/1.1 103 EH\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", False, 200),
    "5x100-200": (b"HTTP/1.1 100 C\r\n\r\n" * 5 + b"HTTP/1.1 200 OK\r\n\r\n", False, 200),
    "6x100-200": (b"HTTP/1.1 100 C\r\n\r\n" * 6 + b"HTTP/1.1 200 OK\r\n\r\n", False, 200),
    "100-only": (b"HTTP/1.1 100 C\r\n\r\n", True, HEAD),
    "100-only-close": (b"HTTP/1.1 100 C\r\n\r\n", False, HEAD),
    "100-cl": (b"HTTP/1.1 100 C\r\nContent-Length: 3\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", False, 200),
    "101": (b"HTTP/1.1 101 SP\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", True, 101),
    "301-no-location": (b"HTTP/1.1 301 M\r\nContent-Length: 0\r\n\r\n", False, 301),
    "300-location": (b"HTTP/1.1 300 M\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", False, 300),
    "304-location": (b"HTTP/1.1 304 M\r\nLocation: /x\r\n\r\n", False, 304),
    "305-location": (b"HTTP/1.1 305 M\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", False, 305),
    "301-loop": (b"HTTP/1.1 301 M\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", False, HEAD),
    "301-loop-short": (b"HTTP/1.1 301 M\r\nLocation: /x\r\nContent-Length: 9\r\n\r\n", False, HEAD),
    "302-other-hold": (b"HTTP/1.1 302 M\r\nLocation: http://other/\r\n\r\nabc", True, BODY),
    "302-other-short": (b"HTTP/1.1 302 M\r\nLocation: http://other/\r\nContent-Length: 9\r\n\r\nabc", False, BODY),
    "302-other": (b"HTTP/1.1 302 M\r\nLocation: http://other/\r\nContent-Length: 0\r\n\r\n", False, 302),
    "302-two-locations": (
        b"HTTP/1.1 302 M\r\nLocation: http://other/\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
        False,
        302,
    ),
    "empty": (b"", False, HEAD),
    "empty-hold": (b"", True, HEAD),
    "half-head": (b"HTTP/1.1 200 OK\r\nA: b", False, HEAD),
    "half-head-hold": (b"HTTP/1.1 200 OK\r\nA: b", True, HEAD),
    "head-no-blank-close": (b"HTTP/1.1 200 OK\r\nA: b\r\n", False, HEAD),
    "head-line-close": (b"HTTP/1.1 200 OK\r\n", False, HEAD),
    "head-100k": (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100000 + b"\r\n\r\n", False, 200),
    "1000-fields": (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n", False, 200),
    "gzip-claimed": (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", False, 200),
}


def main() -> None:
    """Let Go's client judge every answer, and exit 1 if it differs from the table."""
    program = Path(__file__).parents[1] / "data" / "go_answers.go"
    answers = [
        {"Name": name, "Data": base64.b64encode(data).decode(), "Held": held}
        for name, (data, held, _) in GO_ANSWERS.items()
    ]
    done = subprocess.run(["go", "run", program], input=json.dumps(answers), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    differ = {name: found[name] for name, (_, _, comes) in GO_ANSWERS.items() if str(comes) != found[name]}
    lines = [f"{name}: Go says {verdict}" for name, verdict in differ.items()]
    raise SystemExit("\n".join(lines) or None)


if __name__ == "__main__":
    main()
