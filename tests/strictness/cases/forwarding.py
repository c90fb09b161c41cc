"""What a client may not say about itself, and what belongs to one hop only: fields on their way, both directions.

RFC 9110 sections 7.6 and 11.7, RFC 7239. The proxies under test are told to replace X-Forwarded-For, -Proto, -Host,
X-Real-IP, Forwarded and X-Buckler-Caller; nothing that a client sends may undo that.
"""

from model import ANSWER, Table
from outcomes import A, W, answered, passed, refused
from spelling import AFTER, answer, chunked, get, head

CASES = case = Table("forwarding")

NEXT = W("GET", "/after")
OWN = {"x-forwarded-for": "127.0.0.1"}


def true_address(values):
    """Our own word alone, or last behind what was there."""
    return len(values) == 1 and values[0].split(",")[-1].strip() == "127.0.0.1"


def never(text):
    return lambda values: not any(text in value for value in values)


case("for-set", "high", "RFC 7239 4, 8.1", get(b"/x"), passed(W(have=OWN)))
for name, fields in (
    ("for-forged", (b"X-Forwarded-For: 10.9.9.9",)), ("for-forged-list", (b"X-Forwarded-For: 10.9.9.9, 127.0.0.1, 10.9.9.8",)),
    ("for-forged-lines", (b"X-Forwarded-For: 10.9.9.9", b"X-Forwarded-For: 10.9.9.8")),
    ("for-forged-case", (b"X-FORWARDED-FOR: 10.9.9.9",)),
):
    case(name, "grave", "RFC 7239 8.1", get(b"/x", *fields), passed(W(have={"x-forwarded-for": true_address})),
        "replaced, or the truth stands last")
for name, field in (
    ("for-underscore", b"X_Forwarded_For: 10.9.9.9"), ("for-half-underscore", b"X-Forwarded_For: 10.9.9.9"),
    ("caller-underscore", b"X_Buckler_Caller: root"), ("real-ip-underscore", b"X_Real_IP: 10.9.9.9"),
    ("host-underscore", b"X_Forwarded_Host: evil.test"),
):
    other = field.split(b":")[0].decode().lower()
    case(name, "high", "CGI look-alike", get(b"/x", field), (passed(W(have=OWN, lack=(other,))), refused(400)),
         "a name that a worker behind CGI or WSGI takes for ours does not arrive")
for name, field in (("for-dot", b"X.Forwarded.For: 10.9.9.9"),):
    case(name, "low", "look-alike", get(b"/x", field), (passed(W(have=OWN)), refused(400)))
case("proto-forged", "high", "RFC 7239 8.1", get(b"/x", b"X-Forwarded-Proto: https"),
    passed(W(have={"x-forwarded-proto": "http"})))
case("host-forged", "high", "RFC 7239 8.1", get(b"/x", b"X-Forwarded-Host: evil.test"),
    passed(W(have={"x-forwarded-host": never("evil")})))
case("real-ip-forged", "high", "RFC 7239 8.1", get(b"/x", b"X-Real-IP: 10.9.9.9"),
    passed(W(have={"x-real-ip": never("10.9.9.9")})))
case("forwarded-forged", "high", "RFC 7239 8.1", get(b"/x", b"Forwarded: for=10.9.9.9;host=evil.test;proto=https"),
     passed(W(have={"forwarded": never("10.9.9.9")})))
case("caller-forged", "grave", "identity", get(b"/x", b"X-Buckler-Caller: root"),
    passed(W(have={"x-buckler-caller": never("root")})))
case("caller-forged-trailer", "high", "RFC 9110 6.5.1, identity",
    chunked(b"5\r\nhello\r\n0\r\nX-Buckler-Caller: root\r\nX-Forwarded-For: 10.9.9.9\r\n\r\n"),
     (passed(W("POST", "/x", b"hello", have={**OWN, "x-buckler-caller": never("root")},
               trailers=lambda trailers: not {name for name, _ in trailers} & {"x-buckler-caller", "x-forwarded-for"})),
               refused(400)),
     "nor in a trailer", within=3.0)
case("prefix-forged", "medium", "common routing fields", get(b"/x", b"X-Original-URL: /admin", b"X-Rewrite-URL: /admin"),
    passed(W(target="/x")),
     "the path is the one in the request line")
case("method-override", "medium", "common override fields", get(b"/x", b"X-HTTP-Method-Override: DELETE"),
    passed(W("GET", "/x")))

# Connection and what it names.
case("nominated", "high", "RFC 9110 7.6.1", get(b"/x", b"Connection: X-Hop", b"X-Hop: 1", b"X-Stays: 2"),
    passed(W(have={"x-stays": "2"}, lack=("x-hop",))),
     "MUST be removed")
case("nominated-case", "high", "RFC 9110 7.6.1", get(b"/x", b"Connection: x-HOP", b"X-Hop: 1"), passed(W(lack=("x-hop",))))
case("nominated-several", "high", "RFC 9110 7.6.1", get(b"/x", b"Connection: keep-alive, X-One", b"X-One: 1",
    b"connection:X-Two", b"X-Two: 2"),
     passed(W(lack=("x-one", "x-two"))))
case("nominated-lines", "medium", "RFC 9110 7.6.1", get(b"/x", b"X-One: 1", b"X-One: 2", b"Connection: X-One"),
    passed(W(lack=("x-one",))))
case("nominated-empty-elements", "medium", "RFC 9110 5.6.1, 7.6.1", get(b"/x", b"Connection: ,, X-Hop ,,", b"X-Hop: 1"),
    passed(W(lack=("x-hop",))))
for name, nominated in (("for", b"X-Forwarded-For"), ("caller", b"X-Buckler-Caller"), ("host-forwarded", b"X-Forwarded-Host"),
    ("several", b"close, X-Forwarded-For")):
    case(f"strip-{name}", "grave", "CVE-2022-31813 class", get(b"/x", b"Connection: " + nominated,
        b"X-Forwarded-For: 10.9.9.9"),
         (passed(W(have={"x-forwarded-for": true_address})), refused(400)), "our own fields are set after the stripping",
         strict_origin=False)
case("strip-host", "grave", "RFC 9110 7.6.1", get(b"/x", b"Connection: Host"),
    (passed(W(have={"host": "a.test"})), refused(400), answered(A(400), worker=0)), strict_origin=False)
case("strip-length", "grave", "RFC 9110 7.6.1", get(b"/x", b"Connection: Content-Length", b"Content-Length: 5") + b"hello"
    + AFTER,
     (passed(W("GET", "/x", b"hello"), NEXT), refused(400)), "how long the message is cannot be taken away",
     strict_origin=False)
case("strip-coding", "grave", "RFC 9110 7.6.1", get(b"/x", b"Connection: Transfer-Encoding", b"Transfer-Encoding: chunked")
    + b"5\r\nhello\r\n0\r\n\r\n" + AFTER,
     (passed(W("GET", "/x", b"hello"), NEXT), refused(400)), strict_origin=False)
case("strip-authorization", "medium", "RFC 9110 7.6.1", get(b"/x", b"Connection: Authorization, Cookie",
    b"Authorization: Basic eDp5", b"Cookie: a=b"),
     (passed(W(lack=("authorization", "cookie"))), passed(W(have={"authorization": "Basic eDp5", "cookie": "a=b"}))),
     "harmless either way, not half", strict_origin=False)
for name, field in (("keep-alive", b"Keep-Alive: timeout=5"), ("proxy-connection", b"Proxy-Connection: keep-alive")):
    case(f"hop-{name}", "medium", "RFC 9110 7.6.1", get(b"/x", field), passed(W(lack=(name,))), "of one hop, named or not")
case("hop-te", "medium", "RFC 9110 10.1.4", get(b"/x", b"TE: gzip, deflate;q=0.5", b"Connection: TE"),
    passed(W(have={"te": lambda v: v in ([], ["trailers"])})))
case("hop-te-unnamed", "low", "RFC 9110 10.1.4", get(b"/x", b"TE: gzip"),
    passed(W(have={"te": lambda v: v in ([], ["trailers"])})))
case("hop-upgrade-unnamed", "high", "RFC 9110 7.8", get(b"/x", b"Upgrade: websocket"),
    (passed(W(lack=("upgrade",))), refused(400)),
     "Upgrade without its connection option is not for anybody")
case("hop-proxy-authorization", "low", "RFC 9110 11.7.2", get(b"/x", b"Proxy-Authorization: Basic eDp5"),
    passed(W(lack=("proxy-authorization",))),
     "for the first proxy that asks")
case("hop-trailer-field", "low", "RFC 9110 6.6.2", chunked(b"5\r\nhello\r\n0\r\nX-T: y\r\n\r\n"),
    passed(W("POST", "/x", b"hello", lack=("x-t",))),
     "a trailer does not become a field")
case("hop-via", "low", "RFC 9110 7.6.3", get(b"/x", b"Via: 1.0 inner"),
    passed(W(have={"via": lambda v: ", ".join(v).startswith("1.0 inner") and len(", ".join(v)) > 9})),
     "a gateway sends Via to its worker (MUST)")

# Answers.
case("answer-nominated", "high", "RFC 9110 7.6.1", (get(b"/x"), ANSWER, AFTER),
    answered(A(200, b"ok", lack=("x-hop", "keep-alive")), 200),
     replies=((answer(b"200 OK", b"Connection: X-Hop", b"X-Hop: 1", b"Content-Length: 2", body=b"ok"),),
     (answer(b"200 OK", b"Content-Length: 0"),)))
case("answer-hop", "medium", "RFC 9110 7.6.1", get(b"/x"), answered(A(200,
    lack=("keep-alive", "proxy-connection", "upgrade", "te"))),
     replies=((answer(b"200 OK", b"Keep-Alive: timeout=5", b"Proxy-Connection: close", b"Upgrade: h2c", b"Connection: Upgrade",
     b"Content-Length: 0"),),))
case("answer-close-is-own", "medium", "RFC 9112 9.6", (get(b"/x"), ANSWER, AFTER), answered(A(200), A(200)),
    "the worker's `close` ends the worker's connection only",
     replies=((answer(b"200 OK", b"Connection: close", b"Content-Length: 0"),),))
case("answer-cookies", "high", "RFC 6265 3, RFC 9110 5.3", get(b"/x"),
    answered(A(200, have={"set-cookie": lambda v: v == ["a=1; Path=/", "b=2, c"]})),
     "never joined", replies=((answer(b"200 OK", b"Set-Cookie: a=1; Path=/", b"Set-Cookie: b=2, c", b"Content-Length: 0"),),))
case("answer-order", "medium", "RFC 9110 5.3", get(b"/x"), answered(A(200, have={"x-a": lambda v: ", ".join(v) == "1, 2, 3"})),
     replies=((answer(b"200 OK", b"X-A: 1", b"X-A: 2", b"X-B: 0", b"X-A: 3", b"Content-Length: 0"),),))
case("answer-encoding", "high", "RFC 9110 7.7", get(b"/x", b"Accept-Encoding: gzip"),
    answered(A(200, b"\x1f\x8b", have={"content-encoding": "gzip"})),
     replies=((answer(b"200 OK", b"Content-Encoding: gzip", b"Content-Length: 2", body=b"\x1f\x8b"),),))
case("errors-tell-nothing", "low", "RFC 9110 10.2.4", head(b"GET /x HTTP/1.1"), answered(A(400, have={
    "server": lambda v: not any(any(c.isdigit() for c in value) for value in v)})), "no versions in error pages")
case("end-to-end", "high", "RFC 9110 7.6", get(b"/x", b"Authorization: Basic eDp5", b"Cookie: a=b; c=d", b"Accept: */*",
    b"X-Unknown: z", b"If-Match: \"e\""),
     passed(W(have={"authorization": "Basic eDp5", "cookie": "a=b; c=d", "accept": "*/*", "x-unknown": "z",
     "if-match": '"e"'})), "goes on as it came")
