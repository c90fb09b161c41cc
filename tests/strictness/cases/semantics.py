"""What messages mean: HEAD, 204 and 304, Expect, TRACE and CONNECT, OPTIONS *, absolute-form, HTTP/1.0, trailers.

RFC 9110 sections 7 to 10 and 15, RFC 9112 sections 3.2, 6 and 9. Fields on their way: forwarding.py.
"""

from model import ANSWER, CLOSE, CONTINUE, EARLY, HEAD_AT_WORKER, INTERIM, SHUT, Pause, Table
from outcomes import A, W, answered, passed, refused
from spelling import AFTER, HELLO_CHUNKS, answer, chunked, get, head, post

CASES = case = Table("semantics")

X, NEXT = W("GET", "/x"), W("GET", "/after")
HOST = b"Host: a.test"
DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT"

case("sanity-get", "high", "RFC 9112 3", get(b"/x"), passed(X))
case("sanity-query", "high", "RFC 9112 3.2.1", get(b"/x?a=b&c=%20d"), passed(W(target="/x?a=b&c=%20d")))
case("sanity-empty-query", "low", "RFC 3986 3.4", get(b"/x?"), passed(W(target=("/x?", "/x"))))
case("query-untouched", "medium", "RFC 9110 7.6", get(b"/x?a=/../b//c&d=%2e%2F;+%41"),
    passed(W(target="/x?a=/../b//c&d=%2e%2F;+%41")),
     "the query is the worker's")
case("pipelined", "high", "RFC 9112 9.3.2", b"".join(get(b"/p%d" % number) for number in range(8)),
     passed(*(W(target=f"/p{number}") for number in range(8))), "answers in order")
case("pipelined-posts", "high", "RFC 9112 9.3.2", b"".join(post(b"Content-Length: 1", b"%d" % n, b"/p%d" % n)
    for n in range(4)),
     passed(*(W("POST", f"/p{n}", b"%d" % n) for n in range(4))))
case("one-by-one", "medium", "RFC 9112 9.3", (get(b"/x"), ANSWER, AFTER, ANSWER), passed(X, NEXT, end="open"),
    "kept open by default")
case("close-asked", "medium", "RFC 9112 9.6", get(b"/x", b"Connection: close") + AFTER, passed(X, end="closed"),
    "nothing behind `close`")
case("close-asked-list", "medium", "RFC 9112 9.6", get(b"/x", b"TE: trailers", b"Connection: TE, CLOSE") + AFTER,
    passed(X, end="closed"))
case("half-close", "medium", "RFC 9112 9.6", (get(b"/x"), SHUT), passed(X),
    "a client may close its sending side and still read")

# HEAD, 204, 304: no body whatever the fields say.
for name, text, more in (
    ("head-length", answer(b"200 OK", b"Content-Length: 5"), {"content-length": "5"}),
    ("head-chunked", answer(b"200 OK", b"Transfer-Encoding: chunked"), {}), ("head-nothing", answer(b"200 OK"), {}),
):
    case(name, "grave", "RFC 9110 9.3.2, RFC 9112 6.3(1)", (get(b"/x", method=b"HEAD"), ANSWER, AFTER),
         answered(A(200, b"", have=more), 200), replies=((text,), (answer(b"200 OK", b"Content-Length: 2", body=b"ok"),)),
         asked=("HEAD", "GET"))
case("head-with-body", "grave", "RFC 9112 6.3(1)", (get(b"/x", method=b"HEAD"), ANSWER, AFTER),
    answered(A(200, b""), A(200, b"ok")),
     "a body behind an answer to HEAD is no answer to the next request",
     replies=((answer(b"200 OK", b"Content-Length: 5", body=b"hello"),),
     (answer(b"200 OK", b"Content-Length: 2", body=b"ok"),)), asked=("HEAD", "GET"))
case("no-content-length", "high", "RFC 9110 8.6, 15.3.5", (get(b"/x"), ANSWER, AFTER),
    answered(A(204, b"", lack=("content-length", "transfer-encoding")), 200),
     "no Content-Length with 204", replies=((answer(b"204 No Content", b"Content-Length: 0"),),
     (answer(b"200 OK", b"Content-Length: 2", body=b"ok"),)),
     strict_client=False)
case("no-content-body", "grave", "RFC 9112 6.3(1)", (get(b"/x"), ANSWER, AFTER),
    (answered(A(204, b""), A(200, b"ok")), answered(A(502), A(200, b"ok"))),
     "bytes behind a 204 are no answer to the next request",
     replies=((answer(b"204 No Content", b"Content-Length: 5", body=b"hello"),),
     (answer(b"200 OK", b"Content-Length: 2", body=b"ok"),)))
case("not-modified-length", "high", "RFC 9110 8.6, 15.4.5", (get(b"/x", b'If-None-Match: "a"'), ANSWER, AFTER),
    answered(A(304, b""), A(200, b"ok")),
     "304 may carry the length of what it does not carry",
     replies=((answer(b"304 Not Modified", b'ETag: "a"', b"Content-Length: 999"),),
     (answer(b"200 OK", b"Content-Length: 2", body=b"ok"),)))
case("not-modified-body", "grave", "RFC 9112 6.3(1)", (get(b"/x"), ANSWER, AFTER),
    (answered(A(304, b""), A(200, b"ok")), answered(A(502), A(200, b"ok"))),
     replies=((answer(b"304 Not Modified", b"Content-Length: 5", body=b"hello"),),
     (answer(b"200 OK", b"Content-Length: 2", body=b"ok"),)))
case("reset-content", "low", "RFC 9110 15.3.6", (get(b"/x"), ANSWER, AFTER), answered(A(205), A(200, b"ok")),
     replies=((answer(b"205 Reset Content", b"Content-Length: 0"),), (answer(b"200 OK", b"Content-Length: 2", body=b"ok"),)))
case("status-unknown", "medium", "RFC 9110 15", get(b"/x"), answered(A(299, b"ok")),
    replies=((answer(b"299 Odd", b"Content-Length: 2", body=b"ok"),),))
case("error-passed", "medium", "RFC 9110 15.6", get(b"/x"), answered(A(503, b"no", have={"retry-after": "7"})),
     replies=((answer(b"503 Later", b"Retry-After: 7", b"Content-Length: 2", body=b"no"),),))

# Expect.
ASKS = post((b"Content-Length: 5", b"Expect: 100-continue"), b"")
case("expect-continue", "high", "RFC 9110 10.1.1", (ASKS, INTERIM, b"hello" + AFTER),
     answered(A(200, interim=lambda seen: 100 in seen), 200, worker=2), "100 before the body, from here or from the worker",
     replies=((EARLY, CONTINUE, answer(b"200 OK", b"Content-Length: 2", body=b"ok")),))
case("expect-body-at-once", "high", "RFC 9110 10.1.1", ASKS + b"hello" + AFTER, answered(200, 200, worker=2),
    "who sends at once is served, too")
case("expect-refused", "grave", "RFC 9110 10.1.1, 2025 desync", (ASKS, HEAD_AT_WORKER, ANSWER, AFTER),
     (answered(A(417), end="closed"), answered(A(417)), answered(A(417), 400, end="closed"),
     answered(A(417), 408, end="closed")),
     "after a refusal the body may or may not come: what follows is no second request unless the body came first",
     replies=((EARLY, answer(b"417 Expectation Failed", b"Content-Length: 0", b"Connection: close")),))
case("expect-unknown", "medium", "RFC 9110 10.1.1", post((b"Content-Length: 5", b"Expect: teapot"), b"hello"),
     (answered(A(417)), passed(W("POST", "/x", b"hello")), answered(A(400))), "417 may be answered to what is not known")
case("expect-get", "high", "RFC 9110 10.1.1, 2025 desync", get(b"/x", b"Expect: 100-continue") + AFTER,
     (answered(200, 200, worker=2), answered(A((400, 417)), worker=0), answered(A((400, 417)), 200, worker=1)),
     "without a body there is nothing to wait for")
case("expect-http10", "medium", "RFC 9110 10.1.1", head(b"POST /x HTTP/1.0", HOST, b"Content-Length: 5",
    b"Expect: 100-continue") + b"hello",
     (answered(A(200, interim=lambda seen: not seen)), refused(400, 417)), "an HTTP/1.0 client gets no 100")
case("expect-twice", "high", "RFC 9110 10.1.1", post((b"Content-Length: 5", b"Expect: 100-continue", b"Expect: 100-continue"),
    b"hello") + AFTER,
     (answered(200, 200, worker=2), answered(A((400, 417))), refused(400, 417)))
case("expect-folded-odd", "high", "2025 desync", post((b"Content-Length: 5", b"Expect: y 100-continue"), b"hello") + AFTER,
     (answered(200, 200, worker=2), answered(A((400, 417)), 200), refused(400, 417)))

# Methods that are not for everybody.
for name, text in (("connect", b"CONNECT b.test:443 HTTP/1.1"), ("connect-own-host", b"CONNECT a.test:80 HTTP/1.1"),
    ("connect-path", b"CONNECT /x HTTP/1.1")):
    case(name, "grave", "RFC 9110 9.3.6", head(text, b"Host: b.test:443") + AFTER,
        (refused(400, 403, 405, 421, 501), answered(A((400, 403, 405, 421, 501)), 200)),
         "an edge is no forward proxy")
case("connect-body", "grave", "RFC 9110 9.3.6", head(b"CONNECT b.test:443 HTTP/1.1", b"Host: b.test:443",
    b"Content-Length: %d" % len(AFTER)) + AFTER,
     (refused(400, 403, 405, 421, 501), answered(A((400, 403, 405, 421, 501)), worker=0)), "no tunnel, and no request in it")
case("trace", "high", "RFC 9110 9.3.8", get(b"/x", b"Cookie: a=b", method=b"TRACE"),
    (answered(A((400, 403, 405, 501)), worker=0), passed(W("TRACE", "/x"))),
     "refuse, or pass on")
case("trace-body", "high", "RFC 9110 9.3.8", post(b"Content-Length: 5", b"hello", method=b"TRACE"),
    (answered(A((400, 403, 405, 501)), worker=0),),
     "a client must not send content with TRACE")
case("trace-max-forwards", "medium", "RFC 9110 7.6.2", get(b"/x", b"Max-Forwards: 0", method=b"TRACE"),
     (answered(A((400, 403, 405, 501)), worker=0), answered(A(200), worker=0)), "0: never further")
case("options-max-forwards-zero", "medium", "RFC 9110 7.6.2", get(b"/x", b"Max-Forwards: 0", method=b"OPTIONS"),
     answered(A((200, 204, 400, 403, 405, 501)), worker=0), "0: the recipient answers itself")
case("options-max-forwards", "low", "RFC 9110 7.6.2", get(b"/x", b"Max-Forwards: 5", method=b"OPTIONS"),
     passed(W("OPTIONS", "/x", have={"max-forwards": "4"})), "one less with each hop")
case("get-max-forwards", "low", "RFC 9110 7.6.2", get(b"/x", b"Max-Forwards: 0"), passed(X), "only for OPTIONS and TRACE")
case("options-star", "medium", "RFC 9112 3.2.4", head(b"OPTIONS * HTTP/1.1", HOST),
    (passed(W("OPTIONS", "*")), answered(A((200, 204, 400, 405)), worker=0)))
case("options-absolute-empty", "medium", "RFC 9112 3.2.4", head(b"OPTIONS http://a.test HTTP/1.1", HOST),
     (passed(W("OPTIONS", ("*", "/"))), answered(A((200, 204, 400, 405)), worker=0)), "the last proxy makes it `*`")

# Absolute-form.
case("absolute", "high", "RFC 9112 3.2.2", head(b"GET http://a.test/x?y HTTP/1.1", HOST),
    passed(W(target="/x?y", have={"host": "a.test"})),
     "MUST be accepted; goes on as a path")
case("absolute-upper-case", "medium", "RFC 9110 4.2.3", head(b"GET HTTP://A.test/x HTTP/1.1", b"Host: A.test"),
     passed(W(target=("/x", "HTTP://A.test/x", "http://a.test/x"), have={"host": ("a.test", "A.test")})),
     "schemes and hosts have no case")
case("absolute-no-path", "medium", "RFC 9112 3.2.1", head(b"GET http://a.test HTTP/1.1", HOST),
    passed(W(target=("/", "http://a.test/"))), "an empty path is `/`")
case("absolute-query", "medium", "RFC 9112 3.2.1", head(b"GET http://a.test?y HTTP/1.1", HOST),
    passed(W(target=("/?y", "http://a.test/?y"))))
case("absolute-differs", "high", "RFC 9112 3.2.2", head(b"GET http://a.test/x HTTP/1.1", b"Host: b.test"),
     (passed(W(target="/x", have={"host": "a.test", "x-forwarded-host": lambda v: v in ([], ["a.test"])})),
     answered(A((400, 421)), worker=0)),
     "the target wins, or it is refused")
case("absolute-userinfo", "high", "RFC 9110 4.2.4", head(b"GET http://b.test@a.test/x HTTP/1.1", HOST),
     (passed(W(target="/x", have={"host": "a.test"})), answered(A(400), worker=0)), "user information is an error or ignored")
case("absolute-https", "medium", "RFC 9110 7.4", head(b"GET https://a.test/x HTTP/1.1", HOST),
    (passed(X), answered(A((400, 403, 421)), worker=0)))
case("absolute-no-host", "high", "RFC 9112 3.2", head(b"GET http://a.test/x HTTP/1.1"), (answered(A(400), worker=0),),
     "a request without Host is a 400, whatever its target")
case("absolute-two-hosts", "grave", "RFC 9112 3.2", head(b"GET http://a.test/x HTTP/1.1", HOST, b"Host: b.test"),
    answered(A(400), worker=0))
case("absolute-bad-host", "high", "RFC 9112 3.2", head(b"GET http://a.test/x HTTP/1.1", b"Host: a b"),
    answered(A(400), worker=0),
     "an invalid Host is a 400, whatever the target")

# HTTP/1.0.
case("http10", "medium", "RFC 9112 9.3", head(b"GET /x HTTP/1.0", HOST) + AFTER, passed(X, end="closed"),
    "closed without keep-alive")
case("http10-no-host", "low", "RFC 9112 3.2", head(b"GET /x HTTP/1.0"), (passed(X), answered(A(400), worker=0)),
    "needs none, and the worker gets one")
case("http10-keep-alive", "low", "RFC 9112 9.3", head(b"GET /x HTTP/1.0", HOST, b"Connection: keep-alive") + AFTER,
     (passed(X, NEXT), passed(X, end="closed")))
case("http10-version", "low", "RFC 9112 2.3, RFC 9110 6.2", head(b"GET /x HTTP/1.0", HOST),
     answered(A(200), more=lambda seen: None if seen.answers[0].version == "1.1"
     else "an answer of HTTP/1.0: not our own version"),
     "an answer has the sender's own version")
case("http10-version-on", "medium", "RFC 9112 2.3", head(b"GET /x HTTP/1.0", HOST),
     answered(A(200), worker=1, more=lambda seen: None if seen.requests[0].version == "1.1" else "the worker got HTTP/1.0"),
     "an intermediary sends its own version")
case("http10-no-chunks", "grave", "RFC 9112 6.1", head(b"GET /x HTTP/1.0", HOST),
    answered(A(200, b"hello", lack=("transfer-encoding",)), end="closed"),
     "no chunks for a client of HTTP/1.0", replies=((answer(b"200 OK", b"Transfer-Encoding: chunked", body=HELLO_CHUNKS),),))
case("http10-answer", "medium", "RFC 9112 2.3, 9.3", (get(b"/x"), ANSWER, AFTER), answered(A(200, b"ok"), A(200, b"ok")),
    "a worker may speak HTTP/1.0",
     replies=((b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", CLOSE),))

# Bodies and trailers on their way.
case("chunked-on", "high", "RFC 9112 7.1", chunked(b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n") + AFTER,
    passed(W("POST", "/x", b"abcdefg"), NEXT))
case("chunked-drip", "medium", "RFC 9112 7.1", (chunked(b"3\r\nab"), Pause(0.1), b"c\r", Pause(0.1), b"\n0\r\n\r", Pause(0.1),
    b"\n"),
     passed(W("POST", "/x", b"abc")))
case("head-drip", "medium", "RFC 9112 2.2", (b"GE", Pause(0.05), b"T /x HT", Pause(0.05), b"TP/1.1\r", Pause(0.05),
    b"\nHost: a.test\r\n\r", Pause(0.05), b"\n"), passed(X))
case("large-body", "medium", "RFC 9112 6", post(b"Content-Length: 1000000", b"x" * 1000000) + AFTER,
    passed(W("POST", "/x", b"x" * 1000000), NEXT), within=6.0)
case("answer-trailers", "low", "RFC 9112 7.1.2", get(b"/x", b"TE: trailers", b"Connection: TE"),
     answered(A(200, b"hello")), "passed on or dropped, never among the fields",
     replies=((answer(b"200 OK", b"Transfer-Encoding: chunked", b"Trailer: X-T", body=b"5\r\nhello\r\n0\r\nX-T: y\r\n\r\n"),),))
case("answer-large", "medium", "RFC 9112 6", get(b"/x"), answered(A(200, b"y" * 1000000)), within=6.0,
     replies=((answer(b"200 OK", b"Content-Length: 1000000", body=b"y" * 1000000),),))
case("answer-until-close", "high", "RFC 9112 6.3(8)", get(b"/x"), answered(A(200, b"hello")),
    replies=((answer(b"200 OK", body=b"hello"), CLOSE),))
case("range", "low", "RFC 9110 14", get(b"/x", b"Range: bytes=0-1"), answered(A(206, b"he",
    have={"content-range": "bytes 0-1/5"})),
     replies=((answer(b"206 Partial Content", b"Content-Range: bytes 0-1/5", b"Content-Length: 2", body=b"he"),),))
case("date", "low", "RFC 9110 6.6.1", get(b"/x"), answered(A(200, have={"date": "Sun, 06 Nov 1994 08:49:37 GMT"})),
    "the worker's date stays",
     replies=((answer(b"200 OK", DATE, b"Content-Length: 0"),),))
case("date-added", "low", "RFC 9110 6.6.1", get(b"/x"), answered(A(200, have={"date": lambda values: len(values) == 1})),
    "a recipient with a clock adds a date",
     replies=((answer(b"200 OK", b"Content-Length: 0"),),))
