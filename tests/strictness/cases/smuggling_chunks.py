"""Where does it end? Chunked bodies whose size lines, data or trailers are not what RFC 9112 section 7.1 says.

A faulty body must never reach the worker as a whole request, and what stands behind the fault is no request. Some are
harmless if they are read in the one sensible way and written anew; then that is allowed and said.
"""

from model import SHUT, Table
from outcomes import W, broken, passed
from spelling import AFTER, chunked

CASES = case = Table("smuggling")

HELLO = W("POST", "/x", b"hello")
NEXT = W("GET", "/after")
END = b"0\r\n\r\n"
BROKEN = broken(400)

for name, line, source in (
    ("chunk-0x", b"0x5", "RFC 9112 7.1"),
    ("chunk-plus", b"+5", "RUSTSEC-2021-0078 class"),
    ("chunk-minus", b"-5", "RFC 9112 7.1"),
    ("chunk-underscore", b"0_5", "RFC 9112 7.1"),
    ("chunk-leading-blank", b" 5", "RFC 9112 7.1"),
    ("chunk-leading-tab", b"\t5", "RFC 9112 7.1"),
    ("chunk-letter", b"5g", "RFC 9112 7.1"),
    ("chunk-word", b"five", "RFC 9112 7.1"),
    ("chunk-empty", b"", "RFC 9112 7.1"),
    ("chunk-only-extension", b";a=b", "RFC 9112 7.1"),
    ("chunk-two-numbers", b"5 5", "RFC 9112 7.1"),
    ("chunk-comma", b"5,", "RFC 9112 7.1"),
    ("chunk-quote", b'"5"', "RFC 9112 7.1"),
    ("chunk-nul", b"5\x00", "RFC 9112 7.1"),
    ("chunk-vertical-tab", b"5\x0b", "RFC 9112 7.1"),
    ("chunk-high-byte", b"5\xa0", "RFC 9112 7.1"),
    ("chunk-overflow-64", b"10000000000000005", "RFC 9112 7.1, RUSTSEC-2021-0079"),
    ("chunk-overflow-32", b"1000000000000000000000005", "RFC 9112 7.1"),
    ("chunk-largest", b"FFFFFFFFFFFFFFFF", "RFC 9112 7.1"),
    ("chunk-largest-less-one", b"fffffffffffffffe", "RFC 9112 7.1"),
    ("chunk-extension-nul", b"5;a=\x00", "RFC 9112 7.1.1"),
    ("chunk-extension-bare-cr", b"5;a\rb", "RFC 9112 2.2, 7.1.1"),
):
    case(name, "grave", source, chunked(line + b"\r\nhello\r\n" + END + AFTER), broken(400, 413),
         "a size is 1*HEXDIG that does not overflow")

for name, body, source in (
    ("chunk-no-crlf", b"5\r\nhelloX\r\n" + END, "RFC 9112 7.1"),
    ("chunk-too-long", b"5\r\nhello, world\r\n" + END, "RFC 9112 7.1"),
    ("chunk-too-short", b"9\r\nhello\r\n" + END, "RFC 9112 7.1"),
    ("chunk-ends-bare-cr", b"5\r\nhello\r" + END, "RFC 9112 7.1"),
    ("chunk-ends-cr-x", b"5\r\nhello\rX" + END, "RFC 9112 7.1"),
    ("chunk-ends-lf-lf", b"5\r\nhello\n\n" + END, "RFC 9112 7.1"),
    ("chunk-size-bare-cr", b"5\rhello\r\n" + END, "RFC 9112 7.1"),
    ("chunk-size-cr-cr-lf", b"5\r\r\nhello\r\n" + END, "RFC 9112 7.1"),
    ("chunk-missing-size", b"\r\nhello\r\n" + END, "RFC 9112 7.1"),
    ("last-chunk-minus", b"5\r\nhello\r\n-0\r\n\r\n", "RFC 9112 7.1"),
    ("last-chunk-0x", b"5\r\nhello\r\n0x0\r\n\r\n", "RFC 9112 7.1"),
    ("last-chunk-blank", b"5\r\nhello\r\n0 0\r\n\r\n", "RFC 9112 7.1"),
):
    case(name, "grave", source, chunked(body + AFTER), BROKEN)

NO_TRAILERS = W("POST", "/x", b"hello", trailers=lambda trailers: not trailers)
for name, body, source in (
    ("trailer-blank-before-colon", b"5\r\nhello\r\n0\r\nX-T : y\r\n\r\n", "RFC 9112 5.1, 7.1.2"),
    ("trailer-no-colon", b"5\r\nhello\r\n0\r\nX-T y\r\n\r\n", "RFC 9112 5, 7.1.2"),
    ("trailer-no-name", b"5\r\nhello\r\n0\r\n: y\r\n\r\n", "RFC 9112 5"),
    ("trailer-control", b"5\r\nhello\r\n0\r\nX-T: \x01y\r\n\r\n", "RFC 9110 5.5"),
    ("trailer-nul", b"5\r\nhello\r\n0\r\nX-T: a\x00b\r\n\r\n", "RFC 9110 5.5"),
    ("trailer-bare-cr", b"5\r\nhello\r\n0\r\nX-T: a\rb\r\n\r\n", "RFC 9112 2.2"),
    ("trailer-leading-blank", b"5\r\nhello\r\n0\r\n X-T: y\r\n\r\n", "RFC 9112 5.2"),
):
    case(name, "high", source, chunked(body + AFTER), (BROKEN, passed(NO_TRAILERS, NEXT)),
        "refuse, or drop what is not a trailer")
case("no-last-line", "grave", "RFC 9112 7.1.2", chunked(b"5\r\nhello\r\n0\r\n" + AFTER), (BROKEN, passed(NO_TRAILERS)),
     "what follows stands where trailers stand: it is no request")

HIDDEN = END + b"GET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n"
READ_AS_LINE = "a lone LF in a chunked body: refuse, or take it for the end of the line and nothing else"
for name, body in (
    ("chunk-size-bare-lf", b"5\nhello\r\n" + END),
    ("chunk-ends-bare-lf", b"5\r\nhello\n" + END),
    ("last-chunk-bare-lf", b"5\r\nhello\r\n0\n\n"),
    ("last-line-bare-lf", b"5\r\nhello\r\n0\r\n\n"),
    ("trailer-bare-lf", b"5\r\nhello\r\n0\r\nX-T: y\n\r\n"),
):
    case(name, "grave", "RFC 9112 2.2, 7.1", chunked(body + AFTER), (BROKEN, passed(HELLO, NEXT)), READ_AS_LINE)

# TERM.EXT: who lets LF stand in an extension reads two chunks less or more than who ends the line there.
case("chunk-extension-bare-lf", "grave", "CVE-2025-55315, RFC 9112 7.1.1",
     chunked(b"5;a\nhello\r\n" + END + AFTER), (BROKEN, passed(HELLO, NEXT)), READ_AS_LINE)
case("chunk-extension-bare-lf-hidden", "grave", "CVE-2025-55315",
     chunked(b"2;\nxx\r\n%x\r\n%s\r\n" % (len(HIDDEN), HIDDEN) + END), (BROKEN, passed(W("POST", "/x", b"xx" + HIDDEN))),
     "read by LF it is two chunks; read by CRLF it is one, and a hidden request")
case("last-chunk-extension-bare-lf", "grave", "CVE-2025-55315",
     chunked(b"5\r\nhello\r\n0;a\n\r\n" + AFTER), (BROKEN, passed(HELLO, NEXT)), READ_AS_LINE)

for name, line in (("chunk-blank-behind", b"5 "), ("chunk-tab-behind", b"5\t"), ("chunk-empty-extension", b"5;"),
                   ("chunk-blank-before-extension", b"5 ;a=b"), ("chunk-zeros", b"0000000000000000000000005")):
    case(name, "high", "RFC 9112 7.1, 7.1.1", chunked(line + b"\r\nhello\r\n" + END + AFTER), (BROKEN, passed(HELLO, NEXT)),
         "harmless if written anew: refuse, or read it as 5")
for name, line in (("chunk-extension", b"5;a=b"), ("chunk-extension-quoted", b'5;a="b;c\\"d"'),
    ("chunk-extension-bare", b"5;a")):
    case(name, "medium", "RFC 9112 7.1.1", chunked(line + b"\r\nhello\r\n" + END + AFTER), passed(HELLO, NEXT),
         "unknown extensions must be ignored")
case("chunk-extension-quoted-crlf", "grave", "RFC 9112 7.1.1",
     chunked(b'5;a="\r\nhello\r\n' + END + AFTER), (BROKEN, passed(HELLO, NEXT)), "a quoted string ends with its line, too")
case("chunk-extension-long", "medium", "RFC 9112 7.1.1, CVE-2023-39326",
     chunked(b"5;a=" + b"b" * 40000 + b"\r\nhello\r\n" + END + AFTER), (broken(400, 413, 431), passed(HELLO, NEXT)),
     "a bound on the length of extensions is allowed")
case("chunk-upper-case", "medium", "RFC 9112 7.1", chunked(b"A\r\n0123456789\r\n" + END + AFTER),
     passed(W("POST", "/x", b"0123456789"), NEXT))
case("chunk-many", "medium", "RFC 9112 7.1", chunked(b"1\r\nx\r\n" * 300 + END + AFTER),
    passed(W("POST", "/x", b"x" * 300), NEXT))
case("last-chunk-zeros", "medium", "RFC 9112 7.1", chunked(b"5\r\nhello\r\n000\r\n\r\n" + AFTER), passed(HELLO, NEXT),
     "last-chunk = 1*\"0\"")
case("trailer-folded", "high", "RFC 9112 5.2", chunked(b"5\r\nhello\r\n0\r\nX-T: a\r\n b\r\n\r\n" + AFTER),
    (BROKEN, passed(HELLO, NEXT)))


def without(*names):
    return lambda trailers: not any(name in names for name, _ in trailers)


for name, line, grade in (
    ("trailer-length", b"Content-Length: 99", "grave"), ("trailer-coding", b"Transfer-Encoding: chunked", "grave"),
    ("trailer-host", b"Host: b.test", "high"), ("trailer-connection", b"Connection: close", "medium"),
    ("trailer-authorization", b"Authorization: Basic eDp5", "high"),
):
    field_name = line.split(b":")[0].decode().lower()
    case(name, grade, "RFC 9110 6.5.1", chunked(b"5\r\nhello\r\n0\r\n" + line + b"\r\n\r\n" + AFTER),
         (BROKEN, passed(W("POST", "/x", b"hello", trailers=without(field_name),
                           lack=("authorization",)), NEXT)),
         "no framing, routing or credentials in trailers: refuse, or drop it")
for name, body in (("chunk-cut-in-size", b"5"), ("chunk-cut-in-data", b"5\r\nhel"),
    ("chunk-cut-before-last", b"5\r\nhello\r\n"),
                   ("chunk-cut-in-last", b"5\r\nhello\r\n0\r\n")):
    case(name, "grave", "RFC 9112 8", (chunked(body), SHUT), broken(400, 408, answered=False),
         "a request that ends early is never handed on as a whole one")
