"""Cases about a request's path: every byte and every escape, dot segments in many spellings, and what is made of these."""

import random

from lanes import Case

_PIECES = (
    *(b"/", b"/", b"/", b"//", b"\\", b".", b"..", b"...", b"%2e", b"%2E", b"%2e%2e", b".%2e", b"%2e.", b";", b";x=1", b"..;", b".;"),
    *(b"a", b"b", b"A", b"-", b"_", b"~", b"@", b":", b"%61", b"%7e", b"%2f", b"%2F", b"%5c", b"%5C", b"%25", b"%252e", b"%3b", b"%3f"),
    *(b"%", b"%%", b"%2", b"%zz", b"%4", b"%30", b"%32", b"%00", b"%c3%a9", b"%ff", b'"', b"<", b">", b"^", b"`", b"{", b"|", b"}"),
    *(b"?", b"?q=/../", b"#", b"*", b"[", b"]", b"'", b"!"),
)  # fmt: skip
_CANNED = (
    *(b"/.", b"/..", b"/./", b"/../", b"/a/.", b"/a/..", b"/a/./b", b"/a/../b", b"/a/../../b", b"/../a", b"/./a", b"/a/b/..", b"/a/b/../"),
    *(b"//", b"///a", b"//a", b"/a//b", b"/a//../b", b"/a//..", b"//..", b"//../a", b"/a/...", b"/a/.../b", b"/.a", b"/..a", b"/a.", b"/a.."),
    *(b"/a/.b", b"/.well-known/x", b"/a..b/c", b"/%2e", b"/%2E%2e", b"/a/%2e%2E/b", b"/a/.%2e/b", b"/a/%2e./b", b"/a/%2e%2eb", b"/a/%2e%2e"),
    *(b"/a\\b", b"/a\\..\\b", b"/\\a", b"\\a", b"/a/\\../b", b"/a%5c..%5cb", b"/a/..%2fb", b"/a/..%5cb", b"/a/%2e%2e%2fb", b"/%252e%252e/a"),
    *(b"/%2%65", b"/%2%65%2%65/a", b"/%%30%30", b"/%%31x", b"/%%31/1", b"/%%25", b"/%%41%42", b"/%4%zz", b"/%.%2e/a", b"/%2/..%32", b"/%"),
    *(b"/a/..;/b", b"/a/..;x/b", b"/a/.;x/b", b"/a/%2e%2e;x/b", b"/a/..;", b"/a/..;x\\b", b"/a\\..;x/b", b"/a/...;/b", b"/a/..;%00/b"),
    *(b"/;/", b"/a;b/../c", b"/a/;/../c", b"/a/b;../../c", b"/a/..%3b/b", b"/a/..;?..;/c", b"/a?b/../c", b"/a?%41", b"/a?\\", b"/a/..?b"),
    *(b"/a?b#c", b"/a#b", b"#", b"/#/../a", b"/a?", b"/?", b"/a?b?c", b"/a/.?", b"/?%00", b"/a?../b", b"/A/b", b"/*", b"*", b"/a/..%20/b"),
    *(b"http://h/a/../b", b"http://h/a/../b?c/../d", b"http://h/a\\b", b"http://h\\a", b"http://h", b"http://h?x", b"http://h?x#y", b"http://h#x"),
    *(b"http://h//a", b"http://h/%41", b"http://h/a#b", b"HTTP://H/A/../B", b"http://h/..", b"https://h/%2e%2e/a", b"http://u@h/a/../b", b"http://h/%00"),
    *(b"/" + b"a/" * 300 + b"../" * 299, b"/" + b"../" * 500 + b"a", b"/" + b"%2e%2e/" * 500, b"/" + b"." * 1000, b"/" + b";" * 1000),
)  # fmt: skip


def paths(count: int, seed: int = 3) -> tuple[Case, ...]:
    """Return the canned cases, one for each byte and each escape, and `count` of random pieces."""
    rng = random.Random(seed)
    bytes_ = [b"/a" + bytes((each,)) + b"b" for each in range(0x21, 0x100)]
    escapes = [b"/a%%%02Xb" % each for each in range(256)] + [b"/a%%%02xb" % each for each in range(256)]
    made = [b"/" + b"".join(rng.choices(_PIECES, k=rng.randint(1, 9))) for _ in range(count)]
    targets = dict.fromkeys((*_CANNED, *bytes_, *escapes, *made))
    return tuple(
        Case(f"path: {target[:200]!r}", (b"GET " + target + b" HTTP/1.1\r\nhost: a\r\n\r\n",)) for target in targets
    )
