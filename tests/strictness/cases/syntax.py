"""What a request line, a field line and a Host may look like: RFC 9112 sections 2, 3 and 5, RFC 9110 sections 5 and 7.2.

What is malformed is refused, or put right where the standard allows it; it never reaches the worker as it came.
Lengths and codings: smuggling_*.py.
"""

from model import Table
from outcomes import A, W, answered, passed, refused
from spelling import AFTER, get, head

CASES = case = Table("syntax")

X, NEXT = W("GET", "/x"), W("GET", "/after")
HOST = b"Host: a.test"


def line(text, host=HOST):
    """This request line with a Host, and a request behind it."""
    return head(text, host) + AFTER


# The request line.
for name, text, grade in (
    ("two-blanks", b"GET  /x HTTP/1.1", "medium"), ("two-blanks-before-version", b"GET /x  HTTP/1.1", "medium"),
    ("tab-in-line", b"GET\t/x\tHTTP/1.1", "medium"), ("blank-behind-version", b"GET /x HTTP/1.1 ", "medium"),
):
    case(name, grade, "RFC 9112 3", line(text), (refused(400), passed(X, NEXT)),
         "a lenient reader may split at whitespace; then what goes on has single blanks")
for name, text, codes in (
    ("blank-in-target", b"GET /x y HTTP/1.1", (400,)),
    ("leading-blank", b" GET /x HTTP/1.1", (400,)),
    ("leading-tab", b"\tGET /x HTTP/1.1", (400,)),
    ("no-version", b"GET /x", (400, 505)),
    ("no-target", b"GET HTTP/1.1", (400,)),
    ("no-target-two-blanks", b"GET  HTTP/1.1", (400,)),
    ("only-method", b"GET", (400, 501)),
    ("method-colon", b"GE:T /x HTTP/1.1", (400, 405, 501)),
    ("method-control", b"GE\x01T /x HTTP/1.1", (400, 405, 501)),
    ("method-nul", b"GET\x00 /x HTTP/1.1", (400, 405, 501)),
    ("method-high-byte", b"G\xc3\x8bT /x HTTP/1.1", (400, 405, 501)),
    ("method-bracket", b"G[T] /x HTTP/1.1", (400, 405, 501)),
    ("method-slash", b"GET/ /x HTTP/1.1", (400, 405, 501)),
    ("method-quote", b'"GET" /x HTTP/1.1', (400, 405, 501)),
    ("method-comma", b"GET,PUT /x HTTP/1.1", (400, 405, 501)),
    ("version-lower-case", b"GET /x http/1.1", (400, 505)),
    ("version-two", b"GET /x HTTP/2.0", (400, 426, 505)),
    ("version-three", b"GET /x HTTP/3.0", (400, 505)),
    ("version-nine", b"GET /x HTTP/9.9", (400, 505)),
    ("version-zero-nine", b"GET /x HTTP/0.9", (400, 505)),
    ("version-two-digits", b"GET /x HTTP/1.10", (400, 505)),
    ("version-zero-first", b"GET /x HTTP/01.1", (400, 505)),
    ("version-no-minor", b"GET /x HTTP/1", (400, 505)),
    ("version-no-dot", b"GET /x HTTP/11", (400, 505)),
    ("version-comma", b"GET /x HTTP/1,1", (400, 505)),
    ("version-blank-inside", b"GET /x HTTP/ 1.1", (400, 505)),
    ("version-sign", b"GET /x HTTP/+1.1", (400, 505)),
    ("version-letters", b"GET /x HTTQ/1.1", (400, 505)),
    ("version-icy", b"GET /x ICY/1.1", (400, 505)),
    ("version-tail", b"GET /x HTTP/1.1x", (400, 505)),
    ("target-nul", b"GET /x\x00y HTTP/1.1", (400,)),
    ("target-control", b"GET /x\x01y HTTP/1.1", (400,)),
    ("target-delete", b"GET /x\x7fy HTTP/1.1", (400,)),
    ("target-vertical-tab", b"GET /x\x0by HTTP/1.1", (400,)),
    ("target-bare-cr", b"GET /x\ry HTTP/1.1", (400,)),
    ("target-no-slash", b"GET x HTTP/1.1", (400,)),
    ("target-query-only", b"GET ?x HTTP/1.1", (400,)),
    ("target-star-get", b"GET * HTTP/1.1", (400, 404)),
    ("target-backslash", b"GET \\x HTTP/1.1", (400,)),
    ("target-scheme-only", b"GET http:// HTTP/1.1", (400,)),
    ("target-scheme-no-host", b"GET http:///x HTTP/1.1", (400,)),
    ("target-authority-get", b"GET a.test:80 HTTP/1.1", (400,)),
    ("target-scheme-ftp", b"GET ftp://a.test/x HTTP/1.1", (400, 421, 403, 501)),
):
    case(name, "high", "RFC 9112 2.3, 3, 3.2", line(text), refused(*codes),
        "not a request line: an error, and nothing behind it")
    if text.startswith(b"GET") and name in ("target-no-slash", "target-star-get", "target-scheme-ftp", "target-authority-get"):
        CASES.pop()
        case(name, "high", "RFC 9112 3.2", head(text, HOST), answered(A(codes), worker=0), "no target for this method")
case("target-fragment", "medium", "RFC 9112 3.2, RFC 3986 3.5", line(b"GET /x#y HTTP/1.1"),
     (refused(400), passed(X, NEXT), passed(W(target="/x%23y"), NEXT)), "no fragment in a target: refuse or drop it")
case("target-high-byte", "medium", "RFC 9112 3.2, RFC 3986 2", line(b"GET /\xc3\xa4 HTTP/1.1"),
     (refused(400), passed(W(target=("/%C3%A4", "/%c3%a4")), NEXT)), "not a URI: refuse, or encode it")
for name, text in (("target-bad-percent", b"/x%zz"), ("target-cut-percent", b"/x%2")):
    case(name, "medium", "RFC 3986 2.1", line(b"GET " + text + b" HTTP/1.1"), (refused(400), answered(A(400), 200, worker=1)),
         "not a URI: refuse")
case("version-one-two", "low", "RFC 9112 2.3, RFC 9110 2.5", line(b"GET /x HTTP/1.2"), (passed(X, NEXT), refused(400, 505)),
     "a higher minor version may be read as 1.1")
case("method-lower-case", "medium", "RFC 9110 9.1", line(b"get /x HTTP/1.1"),
     (passed(W("get", "/x"), NEXT), refused(400, 405, 501), answered(A((400, 405, 501)), 200, worker=1)),
     "methods have case: pass on as it is, or refuse; never as GET")
case("method-unknown", "medium", "RFC 9110 9.1, 16.1.1", line(b"FROBNICATE /x HTTP/1.1"),
     (passed(W("FROBNICATE", "/x"), NEXT), answered(A((403, 405, 501)), 200, worker=1), refused(405, 501)))
case("method-odd-token", "low", "RFC 9110 5.6.2", line(b"M-SEARCH!#$%&'*+.^_`|~ /x HTTP/1.1"),
     (passed(W("M-SEARCH!#$%&'*+.^_`|~", "/x"), NEXT), refused(400, 405, 501)))
case("method-long", "medium", "RFC 9112 3", line(b"M" * 20000 + b" /x HTTP/1.1"), refused(400, 405, 414, 431, 501))
case("empty-line-front", "medium", "RFC 9112 2.2", b"\r\n" + line(b"GET /x HTTP/1.1"), (passed(X, NEXT), refused(400)),
     "at least one empty line in front should be ignored")
case("empty-line-between", "medium", "RFC 9112 2.2", get(b"/x") + b"\r\n" + AFTER, (passed(X, NEXT), refused(400, before=(X,))))
case("bare-lf-everywhere", "medium", "RFC 9112 2.2", b"GET /x HTTP/1.1\nHost: a.test\n\n", (refused(400), passed(X)),
     "a lone LF may end a line")
case("bare-cr-end", "high", "RFC 9112 2.2", b"GET /x HTTP/1.1\rHost: a.test\r\r" + AFTER, refused(400))
case("cr-cr-lf", "high", "RFC 9112 2.2", b"GET /x HTTP/1.1\r\nHost: a.test\r\r\n\r\n" + AFTER, (refused(400), passed(X, NEXT)))
case("binary", "high", "RFC 9112 2.2", bytes(range(128, 200)) + b"\r\n\r\n", refused(400, 405, 501, answered=False),
    "no HTTP at all")
case("tls-hello", "medium", "RFC 9112 3", bytes.fromhex("16030100a5010000a10303") + bytes(154) + b"\r\n\r\n",
     refused(400, answered=False), "a TLS handshake on a plain port")
case("h2-preface-cut", "medium", "RFC 9113 3.4", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    refused(400, 405, 421, 426, 505, answered=False),
     "half a preface is neither version", strict_client=False)

# Field lines.
for name, field, grade, source in (
    ("name-blank-before-colon", b"X-A : b", "high", "RFC 9112 5.1"),
    ("name-tab-before-colon", b"X-A\t: b", "high", "RFC 9112 5.1"),
    ("name-blank-inside", b"X A: b", "high", "RFC 9110 5.1"),
    ("name-empty", b": b", "high", "RFC 9110 5.1"),
    ("name-control", b"X\x01A: b", "high", "RFC 9110 5.1"),
    ("name-nul", b"X\x00A: b", "high", "RFC 9110 5.1"),
    ("name-high-byte", b"X\xc3\xa4: b", "high", "RFC 9110 5.1"),
    ("name-slash", b"X/A: b", "high", "RFC 9110 5.1"),
    ("name-parenthesis", b"X(A): b", "high", "RFC 9110 5.1"),
    ("name-at", b"X@A: b", "medium", "RFC 9110 5.1"),
    ("name-quote", b'"X-A": b', "medium", "RFC 9110 5.1"),
    ("name-bracket", b"X[A]: b", "medium", "RFC 9110 5.1"),
    ("name-brace", b"{X}: b", "medium", "RFC 9110 5.1"),
    ("name-equals", b"X=A: b", "medium", "RFC 9110 5.1"),
    ("no-colon", b"X-A b", "high", "RFC 9112 5"),
):
    wanted = "" if b":" not in field else field.split(b":")[0].strip().decode("latin-1").lower()
    case(name, grade, source, get(b"/x", field) + AFTER,
         (refused(400),) if name in ("name-blank-before-colon", "name-tab-before-colon") else
         (refused(400), passed(W("GET", "/x", lack=(wanted, "x-a")), NEXT)),
         "not a field line: 400, or (but for the blank) gone")
for name, value, grade, source in (
    ("value-nul", b"a\x00b", "grave", "RFC 9110 5.5"), ("value-bare-cr", b"a\rb", "grave", "RFC 9110 5.5, RFC 9112 2.2"),
):
    case(name, grade, source, get(b"/x", b"X-A: " + value) + AFTER,
         (refused(400), passed(W("GET", "/x", have={"x-a": "a b"}), NEXT)), "refuse, or a blank in its place")
for name, value in (("value-control", b"a\x01b"), ("value-escape", b"a\x1bb"), ("value-delete", b"a\x7fb"),
    ("value-vertical-tab", b"a\x0bb"),
                    ("value-backspace", b"a\x08b")):
    case(name, "medium", "RFC 9110 5.5", get(b"/x", b"X-A: " + value) + AFTER,
         (refused(400), passed(W("GET", "/x", have={"x-a": ("a b", "ab")}), NEXT), passed(W("GET", "/x", lack=("x-a",)), NEXT)),
         "not field-content: invalid; refuse, replace or drop it")
case("value-high-bytes", "medium", "RFC 9110 5.5", get(b"/x", b"X-A: \xc3\xa4\xff") + AFTER,
     (passed(W("GET", "/x", have={"x-a": "\xc3\xa4\xff"}), NEXT), refused(400)), "obs-text is opaque")
case("value-blanks-around", "medium", "RFC 9110 5.5", get(b"/x", b"X-A: \t  b c\t ") + AFTER,
     passed(W("GET", "/x", have={"x-a": "b c"}), NEXT))
case("value-empty", "medium", "RFC 9110 5.5", get(b"/x", b"X-A:") + AFTER,
     (passed(W("GET", "/x", have={"x-a": ""}), NEXT), passed(W("GET", "/x", lack=("x-a",)), NEXT)))
case("value-only-blanks", "low", "RFC 9110 5.5", get(b"/x", b"X-A:  \t ") + AFTER,
     (passed(W("GET", "/x", have={"x-a": ""}), NEXT), passed(W("GET", "/x", lack=("x-a",)), NEXT)))
case("fold", "high", "RFC 9112 5.2", get(b"/x", b"X-A: b\r\n c") + AFTER,
     (refused(400), passed(W("GET", "/x", have={"x-a": lambda v: len(v) == 1 and v[0].split() == ["b", "c"]}), NEXT)),
     "obs-fold: 400, or blanks in its place")
case("fold-first-line", "high", "RFC 9112 2.2, 5.2", head(b"GET /x HTTP/1.1", b" X-A: b", HOST) + AFTER,
     (refused(400), passed(W("GET", "/x", lack=("x-a",)), NEXT)), "a blank behind the request line: 400, or skip these lines")
case("fold-empty", "high", "RFC 9112 5.2", b"GET /x HTTP/1.1\r\nHost: a.test\r\nX-A: b\r\n \r\n\r\n" + AFTER,
    (refused(400), passed(X, NEXT)))
case("fold-hides-end", "grave", "RFC 9112 2.1, 5.2", b"GET /x HTTP/1.1\r\nHost: a.test\r\n \r\nX-B: c\r\n\r\n" + AFTER,
     (refused(400), passed(W("GET", "/x", have={"x-b": "c"}), NEXT)), "a line of blanks is not the empty line")
case("same-name-lines", "medium", "RFC 9110 5.3", get(b"/x", b"X-A: b", b"X-C: d", b"X-A: e") + AFTER,
     passed(W("GET", "/x", have={"x-a": lambda v: ", ".join(v) in ("b, e", "b,e")}), NEXT), "order of equal names is kept")

# Host.
for name, hosts, grade in (
    ("host-missing", (), "high"),
    ("host-twice", (HOST, b"Host: b.test"), "grave"),
    ("host-twice-equal", (HOST, HOST), "high"),
    ("host-list", (b"Host: a.test, b.test",), "grave"),
    ("host-blank-inside", (b"Host: a.test b.test",), "high"),
    ("host-userinfo", (b"Host: x@a.test",), "high"),
    ("host-slash", (b"Host: a.test/x",), "high"),
    ("host-scheme", (b"Host: http://a.test",), "high"),
    ("host-query", (b"Host: a.test?x",), "high"),
    ("host-fragment", (b"Host: a.test#x",), "high"),
    ("host-port-word", (b"Host: a.test:http",), "high"),
    ("host-port-huge", (b"Host: a.test:99999999",), "medium"),
    ("host-port-sign", (b"Host: a.test:+80",), "medium"),
    ("host-port-twice", (b"Host: a.test:80:80",), "high"),
    ("host-control", (b"Host: a\x01.test",), "high"),
    ("host-high-byte", (b"Host: \xc3\xa4.test",), "medium"),
    ("host-bracket", (b"Host: [::1",), "high"),
    ("host-bad-literal", (b"Host: [1::2::3]",), "medium"),
    ("host-literal-tail", (b"Host: [::1]a.test",), "high"),
    ("host-backslash", (b"Host: a.test\\x",), "high"),
    ("host-quote", (b'Host: "a.test"',), "medium"),
    ("host-angle", (b"Host: <a.test>",), "medium"),
    ("host-bad-percent", (b"Host: a%zz.test",), "medium"),
    ("host-only-port", (b"Host: :80",), "medium"),
    ("host-blank-before-colon", (b"Host : a.test",), "high"),
    ("host-twice-one-odd", (HOST, b"Host : b.test"), "grave"),
    ("host-folded", (b"Host:\r\n a.test",), "medium"),
):
    ways = (refused(400),)
    if name == "host-folded":
        ways = (refused(400), passed(X))
    case(name, grade, "RFC 9112 3.2, RFC 9110 7.2", head(b"GET /x HTTP/1.1", *hosts), (*ways, answered(A(400), worker=0)),
         "MUST 400: missing, more than one, or not a valid host")
case("host-empty", "medium", "RFC 9112 3.2", head(b"GET /x HTTP/1.1", b"Host:"), answered(A(400), worker=0),
     "an http URI has a host; who gives none means none of ours")
for name, host in (("host-port", b"a.test:8080"), ("host-port-empty", b"a.test:"), ("host-upper-case", b"A.TEST"),
    ("host-literal", b"[::1]:80"),
                   ("host-dot", b"a.test."), ("host-address", b"127.0.0.1"), ("host-underscore", b"a_b.test")):
    allowed = {host.decode(), host.decode().lower(), host.decode().rstrip(":"), host.decode().rstrip("."),
               host.decode().removesuffix(":80"), host.decode().removesuffix(":8080")}
    case(name, "medium", "RFC 9110 7.2, 4.2.3", head(b"GET /x HTTP/1.1", b"Host: " + host),
        passed(W("GET", "/x", have={"host": allowed})))

# Sizes.
case("uri-long", "medium", "RFC 9110 15.5.15", line(b"GET /" + b"x" * 100000 + b" HTTP/1.1"), refused(400, 414, 431),
    "a bound, and 414")
case("uri-4000", "low", "RFC 9112 3", line(b"GET /" + b"x" * 4000 + b" HTTP/1.1"), passed(W(target="/" + "x" * 4000), NEXT),
     "at least 8000 bytes of request line should do")
case("value-huge", "medium", "RFC 6585 5", get(b"/x", b"X-A: " + b"b" * 300000) + AFTER, refused(400, 413, 431),
    "a bound, and 431")
case("name-huge", "medium", "RFC 6585 5", get(b"/x", b"X" * 300000 + b": b") + AFTER, refused(400, 413, 431))
case("fields-many", "medium", "RFC 6585 5", get(b"/x", *(b"X-%d: y" % number for number in range(20000))) + AFTER,
    refused(400, 413, 431))
case("fields-50", "low", "RFC 9112 5", get(b"/x", *(b"X-%d: y" % number for number in range(50))) + AFTER,
     passed(W("GET", "/x", have={"x-0": "y", "x-49": "y"}), NEXT))
case("head-endless", "medium", "RFC 6585 5", b"GET /x HTTP/1.1\r\nHost: a.test\r\n" + b"X-A: b\r\n" * 200000,
    refused(400, 413, 431, answered=False),
     "cut off while it is being sent", within=6.0)
