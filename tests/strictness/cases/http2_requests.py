"""Requests over HTTP/2 and what becomes of them on HTTP/1.1: malformed ones, authority, cookies, lengths, trailers, tunnels.

RFC 9113 section 8 and 10.3, RFC 8441. A malformed request is a stream error or a 4xx and never reaches the worker: what
HTTP/1.1 would read as more than one thing must not be written there. Frames: http2_frames.py.
"""

from frames import COMPRESSION_ERROR, NO_ERROR, PROTOCOL_ERROR, ask, data, get, headers, post, request, rst
import hpack
from model import CLOSE, EARLY, HEAD_AT_WORKER, HOLD, RESET, Pause, Table
from outcomes import W
from outcomes_http2 import ANY_CODE, anything, answered, connection_error, cut, malformed, served, stream_error
from spelling import HELLO_CHUNKS, answer

CASES = case = Table("h2", protocol="http2")

X = W("GET", "/x")
MALFORMED = malformed(1)


def bad(name, grade, source, fields, why="", want=MALFORMED, end=True, more=b"", **kwargs):
    case(name, grade, source, ask(1, fields, end) + more, want, why, **kwargs)


# Fields that HTTP/1.1 would read otherwise.
for name, field in (
    ("name-upper-case", (b"X-A", b"b")), ("name-blank", (b"x a", b"b")), ("name-colon", (b"x:a", b"b")),
    ("name-crlf", (b"x-a: b\r\nx-c", b"d")),
    ("name-lf", (b"x\na", b"b")), ("name-nul", (b"x\0a", b"b")), ("name-empty", (b"", b"b")),
    ("name-high-byte", (b"x\xe4", b"b")), ("name-delete", (b"x\x7fa", b"b")),
    ("name-control", (b"x\x01a", b"b")), ("name-tab", (b"x\ta", b"b")), ("value-crlf", (b"x-a", b"b\r\nx-c: d")),
    ("value-lf", (b"x-a", b"b\nx-c: d")), ("value-cr", (b"x-a", b"b\rc")),
    ("value-nul", (b"x-a", b"b\0c")), ("value-request", (b"x-a", b"b\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n")),
):
    bad(name, "grave", "RFC 9113 8.2.1, 10.3", request(b"GET", b"/x", field),
        want=malformed(1, (PROTOCOL_ERROR, COMPRESSION_ERROR)))
for name, field in (("value-blank-front", (b"x-a", b" b")), ("value-blank-behind", (b"x-a", b"b ")),
    ("value-tab-front", (b"x-a", b"\tb"))):
    bad(name, "medium", "RFC 9113 8.2.1", request(b"GET", b"/x", field), "malformed; or stripped, as some do",
        (MALFORMED, served({1: W("GET", "/x", have={"x-a": "b"})})))
for name, field in (
    ("connection", (b"connection", b"close")), ("connection-keep-alive", (b"connection", b"keep-alive")),
    ("keep-alive", (b"keep-alive", b"timeout=5")),
    ("proxy-connection", (b"proxy-connection", b"keep-alive")), ("transfer-encoding", (b"transfer-encoding", b"chunked")),
    ("upgrade", (b"upgrade", b"h2c")),
    ("te-gzip", (b"te", b"trailers, deflate;q=0.5")), ("transfer-encoding-identity", (b"transfer-encoding", b"identity")),
):
    grave = "grave" if name.startswith("transfer") else "high"
    bad(f"field-{name}", grave, "RFC 9113 8.2.2", request(b"GET", b"/x", field), "no field of HTTP/2: malformed")
bad("field-transfer-encoding-body", "grave", "RFC 9113 8.2.2, h2.TE desync",
    request(b"POST", b"/x", (b"transfer-encoding", b"chunked")), end=False,
    more=data(1, b"0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n"))
bad("te-trailers", "low", "RFC 9113 8.2.2", request(b"GET", b"/x", (b"te", b"trailers")), "the one that is allowed",
    served({1: X}))

# Pseudo-header fields.
for name, fields, grade in (
    ("pseudo-unknown", [(b":test", b"x"), *request()], "high"), ("pseudo-status", [*request(), (b":status", b"200")], "high"),
    ("pseudo-behind", [*request()[:3], (b"x-a", b"b"), (b":path", b"/x")], "high"), ("pseudo-no-method", request(None), "high"),
    ("pseudo-no-scheme", request(scheme=None), "high"), ("pseudo-no-path", request(path=None), "high"),
    ("pseudo-empty-path", request(path=b""), "high"),
    ("pseudo-empty-method", request(b""), "high"), ("pseudo-two-methods", [(b":method", b"GET"), *request()], "grave"),
    ("pseudo-two-methods-differ", [(b":method", b"POST"), *request()], "grave"),
    ("pseudo-two-schemes", [(b":scheme", b"http"), *request()], "high"),
    ("pseudo-two-paths", [(b":path", b"/y"), *request()], "grave"),
    ("pseudo-two-authorities", [(b":authority", b"b.test"), *request()], "grave"),
    ("pseudo-upper-case", [*request()[:3], (b":Path", b"/x")], "high"),
    ("pseudo-protocol", [*request(), (b":protocol", b"websocket")], "high"), ("pseudo-none", [(b"x-a", b"b")], "high"),
):
    bad(name, grade, "RFC 9113 8.3, 8.3.1", fields)
for name, parts in (
    ("method-blank", {"method": b"GET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\nGET"}), ("method-space", {"method": b"GE T"}),
    ("method-colon", {"method": b"GE:T"}), ("method-nul", {"method": b"GET\0"}),
    ("path-space", {"path": b"/x y"}), ("path-crlf", {"path": b"/x HTTP/1.1\r\nX-C: d"}), ("path-lf", {"path": b"/x\ny"}),
    ("path-nul", {"path": b"/x\0y"}), ("path-tab", {"path": b"/x\ty"}),
    ("path-control", {"path": b"/x\x01"}), ("path-no-slash", {"path": b"x"}), ("path-absolute", {"path": b"http://b.test/x"}),
    ("path-star", {"path": b"*"}), ("path-delete", {"path": b"/x\x7f"}),
    ("authority-crlf", {"authority": b"a.test\r\nX-C: d"}), ("authority-space", {"authority": b"a test"}),
    ("authority-userinfo", {"authority": b"u@a.test"}), ("authority-path", {"authority": b"a.test/x"}),
    ("authority-list", {"authority": b"a.test,b.test"}), ("authority-nul", {"authority": b"a.test\0"}),
    ("authority-empty", {"authority": b""}), ("authority-port-word", {"authority": b"a.test:x"}),
    ("authority-query", {"authority": b"a.test?x"}), ("authority-bracket", {"authority": b"[::1"}),
    ("scheme-crlf", {"scheme": b"http\r\nX-C: d"}), ("scheme-path", {"scheme": b"http://b.test/?"}),
    ("scheme-odd", {"scheme": b"ht tp"}),
):
    grade = "grave" if any(word in name for word in ("crlf", "blank", "-lf", "space")) else "high"
    bad(name, grade, "RFC 9113 8.3.1, 10.3", request(**{"method": b"GET", "path": b"/x", **parts}))
bad("path-fragment", "medium", "RFC 9113 8.3.1", request(path=b"/x#y"), "no fragment in a target",
    (MALFORMED, served({1: X}), served({1: W(target="/x%23y")})))
bad("scheme-https", "low", "RFC 9113 8.3.1", request(scheme=b"https"), "another scheme: served or refused",
    (served({1: X}), answered(1, (400, 421), worker=0), stream_error(1, *ANY_CODE[1:], worker=0)))

# Authority and Host.
bad("host-equal", "medium", "RFC 9113 8.3.1", request(b"GET", b"/x", (b"host", b"a.test")), "",
    served({1: W("GET", "/x", have={"host": "a.test"})}))
bad("host-differs", "grave", "RFC 9113 8.3.1", request(b"GET", b"/x", (b"host", b"b.test")),
    "MUST be malformed or :authority alone",
    (MALFORMED, served({1: W("GET", "/x", have={"host": "a.test"})})))
bad("host-differs-port", "high", "RFC 9113 8.3.1", request(b"GET", b"/x", (b"host", b"a.test:81")), "",
    (MALFORMED, served({1: W("GET", "/x", have={"host": "a.test"})})))
bad("host-twice", "grave", "RFC 9113 8.3.1, RFC 9112 3.2", request(b"GET", b"/x", (b"host", b"a.test"), (b"host", b"b.test")),
    "",
    (MALFORMED, served({1: W("GET", "/x", have={"host": "a.test"})})))
bad("host-only", "high", "RFC 9113 8.3.1", request(b"GET", b"/x", (b"host", b"a.test"), authority=None),
    "Host in place of :authority", served({1: W("GET", "/x", have={"host": "a.test"})}))
bad("host-none", "high", "RFC 9113 8.3.1, RFC 9112 3.2", request(authority=None), "no authority at all: 400", malformed(1))
bad("host-only-bad", "high", "RFC 9113 8.3.1", request(b"GET", b"/x", (b"host", b"a b"), authority=None))
bad("rule-host", "high", "rule", request(authority=b"SECRET.test:80"), "a rule on hosts holds here, too",
    answered(1, (400, 403, 421), worker=0))
bad("rule-path", "high", "rule", request(path=b"/public/%2e%2e/admin/x"), "a rule on paths holds here, too",
    answered(1, (400, 403, 404), worker=0))

# Cookies.
bad("cookies", "high", "RFC 9113 8.2.3", request(b"GET", b"/x", (b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"cookie", b"c=3")),
    "one field on HTTP/1.1, joined with `; `",
    served({1: W("GET", "/x", have={"cookie": "a=1; b=2; c=3"})}))
bad("cookies-between", "high", "RFC 9113 8.2.3", request(b"GET", b"/x", (b"cookie", b"a=1"), (b"x-a", b"b"),
    (b"cookie", b"b=2")), "", served({1: W("GET", "/x", have={"cookie": "a=1; b=2", "x-a": "b"})}))
bad("fields-repeated", "medium", "RFC 9110 5.3", request(b"GET", b"/x", (b"x-a", b"1"), (b"x-b", b"0"), (b"x-a", b"2")), "",
    served({1: W("GET", "/x", have={"x-a": lambda v: ", ".join(v).replace(",2", ", 2") == "1, 2"})}))

# Lengths.
for name, length, parts in (
    ("length-more", b"10", (b"hello",)), ("length-less", b"3", (b"hello",)), ("length-less-frames", b"7", (b"hello", b"world")),
    ("length-more-frames", b"11", (b"hello", b"world")),
    ("length-zero", b"0", (b"hello",)),
):
    frames_of = b"".join(data(1, part, end=number == len(parts) - 1) for number, part in enumerate(parts))
    bad(name, "grave", "RFC 9113 8.1.1", request(b"POST", b"/x", (b"content-length", length)),
        "a length that is not that of the DATA frames",
        malformed(1, (PROTOCOL_ERROR, NO_ERROR), whole_only=True), end=False, more=frames_of)
bad("length-no-data", "grave", "RFC 9113 8.1.1", request(b"POST", b"/x", (b"content-length", b"5")),
    "a length, and END_STREAM at once", malformed(1, whole_only=True))
for name, lengths in (("length-word", (b"five",)), ("length-minus", (b"-5",)), ("length-plus", (b"+5",)),
    ("length-list-differs", (b"5, 6",)), ("lengths-differ", (b"5", b"6")), ("length-empty", (b"",)),
                      ("length-overflow", (b"18446744073709551621",)), ("length-crlf", (b"5\r\nX-C: d",))):
    bad(name, "grave", "RFC 9113 8.1.1, RFC 9110 8.6", request(b"POST", b"/x",
        *((b"content-length", length) for length in lengths)), "", malformed(1, (PROTOCOL_ERROR, NO_ERROR)), end=False,
        more=data(1, b"hello"))
bad("lengths-equal", "high", "RFC 9110 8.6", request(b"POST", b"/x", (b"content-length", b"5"), (b"content-length", b"5")),
    "one, or malformed",
    (malformed(1), served({1: W("POST", "/x", b"hello")})), end=False, more=data(1, b"hello"))
bad("length-right", "high", "RFC 9113 8.1.1", request(b"POST", b"/x", (b"content-length", b"5")), "",
    served({1: W("POST", "/x", b"hello")}), end=False, more=data(1, b"he", False) + data(1, b"llo"))
bad("length-none", "high", "RFC 9113 8.1.1", request(b"POST", b"/x"), "", served({1: W("POST", "/x", b"hello")}), end=False,
    more=data(1, b"he", False) + data(1, b"llo", False) + data(1))
bad("get-with-data", "high", "RFC 9110 9.3.1", request(), "a body is framed, whatever the method",
    (served({1: W("GET", "/x", b"GET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n")}), malformed(1, ANY_CODE)), end=False,
    more=data(1, b"GET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n"))
bad("head", "high", "RFC 9110 9.3.2", request(b"HEAD"), "", answered(1, 200, b""), asked=("HEAD",))
case("body-cut", "grave", "RFC 9113 8.1", (ask(1, request(b"POST"), False) + data(1, b"hel", False), Pause(0.1), rst(1),
    Pause(0.2), get(3, b"/next")),
     answered(3, 200, more=lambda seen: None if [request.target for request in seen.whole()] == ["/next"]
     else "the worker got a cut request whole"), "a request that is reset is never whole at the worker")

# Trailers.
TRAILERS = hpack.block([(b"x-t", b"y")])
case("trailers", "medium", "RFC 9113 8.1", ask(1, request(b"POST"), False) + data(1, b"hello", False) + headers(1, TRAILERS),
    served({1: W("POST", "/x", b"hello", lack=("x-t",))}), "on or dropped; never a field")
case("trailers-pseudo", "high", "RFC 9113 8.1", ask(1, request(b"POST"), False) + data(1, b"hello", False)
    + headers(1, hpack.block([(b":path", b"/y")])), malformed(1, whole_only=True))
case("trailers-no-end", "high", "RFC 9113 8.1", ask(1, request(b"POST"), False) + data(1, b"hello", False)
    + headers(1, TRAILERS, end=False), malformed(1, whole_only=True), "a second block ends the stream")
case("trailers-connection", "medium", "RFC 9113 8.2.2", ask(1, request(b"POST"), False) + data(1, b"hello", False)
    + headers(1, hpack.block([(b"connection", b"x-t")])),
     (malformed(1, whole_only=True), served({1: W("POST", "/x", b"hello", trailers=lambda trailers: not trailers)})))
case("trailers-upper-case", "medium", "RFC 9113 8.2.1", ask(1, request(b"POST"), False) + data(1, b"hello", False)
    + headers(1, hpack.block([(b"X-T", b"y")])),
     (malformed(1, whole_only=True), served({1: W("POST", "/x", b"hello", trailers=lambda trailers: not trailers)})))
for name, field in (("crlf", (b"x-t", b"y\r\n\r\nGET /hidden HTTP/1.1\r\nhost: a.test\r\n\r\n")),
    ("name-crlf", (b"x-t: y\r\nx-u", b"z")), ("length", (b"content-length", b"99")),
    ("coding", (b"transfer-encoding", b"chunked"))):
    case(f"trailers-{name}", "grave", "RFC 9113 8.2.1, 10.3; RFC 9110 6.5.1",
        ask(1, request(b"POST"), False) + data(1, b"hello", False) + headers(1, hpack.block([field])),
         (malformed(1, whole_only=True), served({1: W("POST", "/x", b"hello", trailers=lambda trailers: not trailers)})))
case("trailers-identity", "high", "RFC 9110 6.5.1, identity", ask(1, request(b"POST"), False) + data(1, b"hello", False)
    + headers(1, hpack.block([(b"x-buckler-caller", b"root")])),
     (malformed(1, whole_only=True), served({1: W("POST", "/x", b"hello",
     trailers=lambda trailers: all(name != "x-buckler-caller" for name, _ in trailers))})))

# Who says what.
bad("caller-forged", "grave", "identity", request(b"GET", b"/x", (b"x-buckler-caller", b"root"),
    (b"x-forwarded-for", b"10.9.9.9"), (b"forwarded", b"for=10.9.9.9")), "",
    served({1: W("GET", "/x", have={"x-buckler-caller": lambda v: "root" not in v,
    "x-forwarded-for": lambda v: v[-1].endswith("127.0.0.1"), "forwarded": lambda v: not v})}))
bad("caller-underscore", "high", "CGI look-alike", request(b"GET", b"/x", (b"x_buckler_caller", b"root")), "",
    (served({1: W("GET", "/x", lack=("x_buckler_caller",))}), MALFORMED))
bad("version-field", "medium", "RFC 9113 8.3.1", [*request(), (b":version", b"HTTP/2")], "no such pseudo-header field")
bad("expect", "medium", "RFC 9110 10.1.1", request(b"POST", b"/x", (b"expect", b"100-continue")), "",
    answered(1, 200, worker=1), end=False, more=data(1, b"hello"))

# CONNECT.
bad("connect", "grave", "RFC 9113 8.5", [(b":method", b"CONNECT"), (b":authority", b"b.test:443")], "no forward proxy",
    malformed(1, ANY_CODE[1:], (400, 403, 404, 405, 421, 501)), end=False)
bad("connect-path", "high", "RFC 9113 8.5", request(b"CONNECT"), ":scheme and :path must be left out",
    malformed(1, ANY_CODE[1:], (400, 403, 404, 405, 421, 501)), end=False)
bad("connect-no-authority", "high", "RFC 9113 8.5", [(b":method", b"CONNECT")], "",
    malformed(1, ANY_CODE[1:], (400, 403, 404, 405, 421, 501)), end=False)
bad("connect-extended-odd", "high", "RFC 8441 4", [*request(b"CONNECT"), (b":protocol", b"frobnicate")],
    "an unknown protocol is refused",
    malformed(1, ANY_CODE[1:], (400, 403, 404, 405, 421, 501)), end=False)
bad("connect-extended-get", "high", "RFC 8441 4", [*request(b"POST"), (b":protocol", b"websocket")],
    ":protocol is for CONNECT alone")
bad("trace", "medium", "RFC 9110 9.3.8", request(b"TRACE"), "", (malformed(1, ANY_CODE[1:], (400, 403, 405, 501)),
    served({1: W("TRACE", "/x")})))
bad("options-star", "medium", "RFC 9113 8.3.1", request(b"OPTIONS", b"*"), "",
    (served({1: W("OPTIONS", "*")}), answered(1, (200, 204, 400, 405), worker=0)))

# Answers of the worker.
ASKED = get()


def back(name, grade, source, steps, want, why=""):
    case(name, grade, source, ASKED, want, why, replies=(steps if isinstance(steps, tuple) else (steps,),))


for end, close in (("closed", CLOSE), ("reset", RESET)):
    back(f"cut-length-{end}", "grave", "RFC 9113 8.1, RFC 9112 8", (answer(b"200 OK", b"Content-Length: 50", body=b"hello"),
        Pause(0.1), close), cut())
    back(f"cut-chunks-{end}", "grave", "RFC 9113 8.1, RFC 9112 8", (answer(b"200 OK", b"Transfer-Encoding: chunked",
        body=b"5\r\nhello\r\n"), Pause(0.1), close), cut())
    back(f"cut-head-{end}", "high", "RFC 9112 8", (b"HTTP/1.1 200 OK\r\nConte", Pause(0.1), close), answered(1, (502, 500)))
back("cut-until-reset", "high", "RFC 9112 8", (answer(b"200 OK", body=b"hello"), Pause(0.1), RESET), cut())
back("answer-hop-fields", "high", "RFC 9113 8.2.2", answer(b"200 OK", b"Connection: X-Hop", b"X-Hop: 1",
    b"Keep-Alive: timeout=5", b"Proxy-Connection: x", b"Content-Length: 2", body=b"ok"),
     answered(1, 200, b"ok", lack=("x-hop", "keep-alive", "connection")), "none of HTTP/1.1's hop in HTTP/2")
back("answer-chunks", "high", "RFC 9113 8.1", answer(b"200 OK", b"Transfer-Encoding: chunked", body=HELLO_CHUNKS),
    answered(1, 200, b"hello", lack=("transfer-encoding",)))
back("answer-upper-case", "medium", "RFC 9113 8.2", answer(b"200 OK", b"X-UPPER: Yes", b"Content-Length: 0"),
    answered(1, 200, have={"x-upper": "Yes"}))
back("answer-until-close", "high", "RFC 9112 6.3(8)", (answer(b"200 OK", body=b"hello"), CLOSE), answered(1, 200, b"hello"))
back("answer-unasked-101", "high", "RFC 9113 8.6",
    (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", HOLD),
    (answered(1, (502, 500)), stream_error(1, *ANY_CODE[1:])), "HTTP/2 has no 101")
back("answer-no-content", "high", "RFC 9110 15.3.5", answer(b"204 No Content"), answered(1, 204, b""))
back("answer-not-modified", "high", "RFC 9110 15.4.5", answer(b"304 Not Modified", b"Content-Length: 99"),
    answered(1, 304, b""))
back("answer-length-differs", "grave", "RFC 9112 6.3(5)", answer(b"200 OK", b"Content-Length: 5", b"Content-Length: 6",
    body=b"hello"), (answered(1, (502, 500)), cut()))
back("answer-garbage", "high", "RFC 9112 4", (b"not HTTP\r\n\r\n", CLOSE), answered(1, (502, 500)))
back("answer-value-nul", "high", "RFC 9113 8.2.1", answer(b"200 OK", b"X-A: a\0b", b"Content-Length: 0"),
    (answered(1, (502, 500)), answered(1, 200, have={"x-a": lambda v: not any("\0" in value for value in v)})))
back("answer-interim", "medium", "RFC 9113 8.1", (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", Pause(0.05),
    answer(b"200 OK", b"Content-Length: 2", body=b"ok")), answered(1, 200, b"ok", lack=("link",)))
back("answer-cookies", "high", "RFC 6265 3", answer(b"200 OK", b"Set-Cookie: a=1", b"Set-Cookie: b=2", b"Content-Length: 0"),
    answered(1, 200, have={"set-cookie": lambda v: v == ["a=1", "b=2"]}))
case("early-answer", "high", "RFC 9113 8.1", (ask(1, request(b"POST", b"/x", (b"content-length", b"50")), False)
    + data(1, b"hello", False), HEAD_AT_WORKER, Pause(0.3), get(3, b"/next")),
     anything("answered, and the next one, too", lambda seen: None if 3 in seen.h2.streams and seen.h2.streams[3].ended
     and (len({r.connection for r in seen.requests}) == len(seen.requests))
              else "the next request was not answered, or went behind half a body"),
     "an answer before the end of the request; no request behind half a body",
         replies=((EARLY, answer(b"403 Forbidden", b"Content-Length: 2", body=b"no"), HOLD),
         (answer(b"200 OK", b"Content-Length: 0"),)))
case("headers-twice", "high", "RFC 9113 8.1", (ask(1, request(b"POST"), False), ask(1, request(b"POST"), False)),
    malformed(1, whole_only=True), "a second head on an open stream")
case("next-after-malformed", "medium", "RFC 9113 5.4.2", (ask(1, request(b"GET", b"/x", (b"x-a", b"b\0c"))), get(3, b"/next")),
    (served({3: W(target="/next")}), connection_error(*ANY_CODE)),
     "an error of one stream need not end the others")
case("post-not-repeated", "grave", "RFC 9110 9.2.2", post(1, b"hello"),
    (answered(1, (502, 500), worker=1), stream_error(1, *ANY_CODE[1:], worker=1)), "never twice",
    replies=((CLOSE,), (answer(b"200 OK", b"Content-Length: 0"),)))
