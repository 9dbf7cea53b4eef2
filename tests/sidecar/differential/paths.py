"""Cases about a request's path: every byte and every escape, dot segments in many spellings, and combinations."""

import random

from lanes import Case

_PIECES = rb"""
/ / / // \ . .. ... %2e %2E %2e%2e .%2e %2e. ; ;x=1 ..; .; a b A - _ ~ @ : %61 %7e %2f %2F %5c %5C %25 %252e %3b
%3f % %% %2 %zz %4 %30 %32 %00 %c3%a9 %ff " < > ^ ` { | } ? ?q=/../ # * [ ] ' !
""".split()
_CANNED = rb"""
/. /.. /./ /../ /a/. /a/.. /a/./b /a/../b /a/../../b /../a /./a /a/b/.. /a/b/../ // ///a //a /a//b /a//../b
/a//.. //.. //../a /a/... /a/.../b /.a /..a /a. /a.. /a/.b /.well-known/x /a..b/c /%2e /%2E%2e /a/%2e%2E/b
/a/.%2e/b /a/%2e./b /a/%2e%2eb /a/%2e%2e /a\b /a\..\b /\a \a /a/\../b /a%5c..%5cb /a/..%2fb /a/..%5cb
/a/%2e%2e%2fb /%252e%252e/a /%2%65 /%2%65%2%65/a /%%30%30 /%%31x /%%31/1 /%%25 /%%41%42 /%4%zz /%.%2e/a
/%2/..%32 /% /a/..;/b /a/..;x/b /a/.;x/b /a/%2e%2e;x/b /a/..; /a/..;x\b /a\..;x/b /a/...;/b /a/..;%00/b /;/
/a;b/../c /a/;/../c /a/b;../../c /a/..%3b/b /a/..;?..;/c /a?b/../c /a?%41 /a?\ /a/..?b /a?b#c /a#b # /#/../a /a?
/? /a?b?c /a/.? /?%00 /a?../b /A/b /* * /a/..%20/b http://h/a/../b http://h/a/../b?c/../d http://h/a\b
http://h\a http://h http://h?x http://h?x#y http://h#x http://h//a http://h/%41 http://h/a#b HTTP://H/A/../B
http://h/.. https://h/%2e%2e/a http://u@h/a/../b http://h/%00
""".split()
_LONG = (
    b"/" + b"a/" * 300 + b"../" * 299,
    b"/" + b"../" * 500 + b"a",
    b"/" + b"%2e%2e/" * 500,
    b"/" + b"." * 1000,
    b"/" + b";" * 1000,
)


def paths(count: int, seed: int = 3) -> tuple[Case, ...]:
    """Return the fixed cases, one for each byte and each escape, and `count` cases of random pieces."""
    rng = random.Random(seed)
    bytes_ = [b"/a" + bytes((each,)) + b"b" for each in range(0x21, 0x100)]
    escapes = [b"/a%%%02Xb" % each for each in range(256)] + [b"/a%%%02xb" % each for each in range(256)]
    made = [b"/" + b"".join(rng.choices(_PIECES, k=rng.randint(1, 9))) for _ in range(count)]
    targets = dict.fromkeys((*_CANNED, *_LONG, *bytes_, *escapes, *made))
    return tuple(
        Case(f"path: {target[:200]!r}", (b"GET " + target + b" HTTP/1.1\r\nhost: a\r\n\r\n",)) for target in targets
    )
