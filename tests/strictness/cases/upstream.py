"""Workers are not trusted, either: cut answers, surplus ones, garbage, heads that can be read in two ways, interim floods.

RFC 9112 sections 6.3, 8, 9.2 and 11.1, RFC 9110 sections 9.2.2 and 15.2. What a client gets is either sound and whole,
visibly cut, or a 502; and no answer ever goes to another request.
"""

from model import ANSWER, CLOSE, EARLY, HEAD_AT_WORKER, HOLD, NEW, RESET, Drip, Pause, Repeat, Table
from outcomes import A, W, answered, cut, passed
from spelling import AFTER, HELLO_CHUNKS, answer, get, post

CASES = case = Table("upstream")

OK = answer(b"200 OK", b"Content-Length: 2", body=b"ok")
BAD = answered(A((502, 500)))
GET = get(b"/x")
LINGERS = Pause(0.1)


def reply(name, grade, source, steps, want, why="", send=GET, **more):
    """A case about one answer to a plain GET."""
    case(name, grade, source, send, want, why, replies=(steps if isinstance(steps, tuple) else (steps,),), **more)


# Cut short: it must look cut.
for end, close in (("closed", CLOSE), ("reset", RESET)):
    reply(f"short-length-{end}", "grave", "RFC 9112 8", (answer(b"200 OK", b"Content-Length: 50", body=b"hello"), LINGERS,
        close), cut())
    reply(f"short-chunk-{end}", "grave", "RFC 9112 8", (answer(b"200 OK", b"Transfer-Encoding: chunked", body=b"ff\r\nhello"),
        LINGERS, close), cut())
    reply(f"short-chunks-{end}", "grave", "RFC 9112 8", (answer(b"200 OK", b"Transfer-Encoding: chunked",
        body=b"5\r\nhello\r\n"), LINGERS, close), cut(),
          "without the last chunk it is not complete")
    reply(f"short-last-chunk-{end}", "high", "RFC 9112 8", (answer(b"200 OK", b"Transfer-Encoding: chunked",
        body=b"5\r\nhello\r\n0\r\n"), LINGERS, close), cut())
    reply(f"short-trailer-{end}", "high", "RFC 9112 8", (answer(b"200 OK", b"Transfer-Encoding: chunked",
        body=b"5\r\nhello\r\n0\r\nX-T: "), LINGERS, close), cut())
    reply(f"short-head-{end}", "high", "RFC 9112 8", (b"HTTP/1.1 200 OK\r\nContent-Le", LINGERS, close), BAD)
    reply(f"short-line-{end}", "high", "RFC 9112 8", (b"HTTP/1.1 2", LINGERS, close), BAD)
    reply(f"nothing-{end}", "high", "RFC 9112 8", (close,), BAD)
reply("until-reset", "high", "RFC 9112 8", (answer(b"200 OK", body=b"hello"), LINGERS, RESET), cut(),
    "an answer that ends with the connection and is reset is not whole")
reply("short-length-http10-client", "high", "RFC 9112 8", (answer(b"200 OK", b"Content-Length: 50", body=b"hello"), LINGERS,
    CLOSE), cut(),
      send=b"GET /x HTTP/1.0\r\nHost: a.test\r\n\r\n")
reply("short-chunks-http10-client", "high", "RFC 9112 8", (answer(b"200 OK", b"Transfer-Encoding: chunked",
    body=b"5\r\nhello\r\n"), LINGERS, CLOSE), cut(),
      "without chunks only a reset tells an HTTP/1.0 client", send=b"GET /x HTTP/1.0\r\nHost: a.test\r\n\r\n")

# Heads that are faulty or can be read in two ways.
for name, text, grade, source in (
    ("length-and-chunks", answer(b"200 OK", b"Content-Length: 5", b"Transfer-Encoding: chunked", body=HELLO_CHUNKS), "grave",
    "RFC 9112 6.3(3)"),
    ("chunks-and-length", answer(b"200 OK", b"Transfer-Encoding: chunked", b"Content-Length: 3", body=HELLO_CHUNKS), "grave",
    "RFC 9112 6.3(3)"),
):
    reply(name, grade, source, text, (answered(A(200, b"hello")), BAD), "chunks alone, or 502; never both on")
for name, lines in (
    ("lengths-differ", (b"Content-Length: 5", b"Content-Length: 6")), ("length-list-differs", (b"Content-Length: 5, 6",)),
    ("length-plus", (b"Content-Length: +5",)),
    ("length-minus", (b"Content-Length: -5",)), ("length-hex", (b"Content-Length: 0x5",)),
    ("length-word", (b"Content-Length: five",)),
    ("length-empty", (b"Content-Length:",)), ("length-overflow", (b"Content-Length: 18446744073709551621",)),
    ("length-blank-inside", (b"Content-Length: 5 5",)),
):
    reply(name, "grave", "RFC 9112 6.3(5)", (answer(b"200 OK", *lines, body=b"hello"), LINGERS, CLOSE), BAD, "MUST be a 502")
for name, lines in (("lengths-equal", (b"Content-Length: 5", b"Content-Length: 5")),
    ("length-list-equal", (b"Content-Length: 5, 5",))):
    reply(name, "high", "RFC 9112 6.3(5)", answer(b"200 OK", *lines, body=b"hello"), (answered(A(200, b"hello")), BAD),
        "merged into one, or 502")
for name, coding in (("coding-unknown", b"xchunked"), ("coding-twice", b"chunked, chunked"), ("coding-gzip", b"gzip, chunked"),
    ("coding-not-last", b"chunked, gzip"),
                     ("coding-identity", b"identity, chunked"), ("coding-quoted", b'"chunked"')):
    reply(name, "high", "RFC 9112 6.1, 6.3(4)", (answer(b"200 OK", b"Transfer-Encoding: " + coding, body=HELLO_CHUNKS), LINGERS,
        CLOSE),
          (BAD, answered(A(200, HELLO_CHUNKS)) if coding in (b"xchunked", b'"chunked"', b"chunked, gzip") else BAD),
          "what cannot be taken off is not handed on as if it were")
for name, line in (("chunk-0x", b"0x5"), ("chunk-plus", b"+5"), ("chunk-letter", b"5g"),
    ("chunk-overflow", b"10000000000000005"), ("chunk-empty", b""), ("chunk-minus", b"-5")):
    reply(name, "high", "RFC 9112 7.1", (answer(b"200 OK", b"Transfer-Encoding: chunked",
        body=line + b"\r\nhello\r\n0\r\n\r\n"), LINGERS, CLOSE), cut())
reply("chunk-no-crlf", "high", "RFC 9112 7.1", (answer(b"200 OK", b"Transfer-Encoding: chunked",
    body=b"5\r\nhelloX\r\n0\r\n\r\n"), LINGERS, CLOSE), cut())
for name, text in (
    ("field-nul", b"X-A: a\x00b"), ("field-bare-cr", b"X-A: a\rX-B: c"), ("field-name-blank", b"X A: b"),
    ("field-name-control", b"X\x01A: b"), ("field-no-colon", b"X-A b"),
    ("field-blank-before-colon", b"X-A : b"), ("field-no-name", b": b"), ("field-control", b"X-A: a\x01b"),
    ("field-fold", b"X-A: a\r\n b"), ("field-bare-lf", b"X-A: a\nX-B: b"),
):
    reply(name, "grave" if name in ("field-nul", "field-bare-cr") else "medium", "RFC 9112 5, 5.1, 5.2; RFC 9110 5.5",
          answer(b"200 OK", text, b"Content-Length: 5", body=b"hello"), (BAD, answered(A(200, b"hello"))),
          "502, or put right: what goes on is sound")
for name, text in (
    ("garbage", b"this is not HTTP at all\r\n\r\n"), ("version-two", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("version-none", b"200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("version-letters", b"HTTQ/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("version-odd", b"HTTP/1.x 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status-word", b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n"), ("status-two-digits",
    b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status-four-digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status-zero", b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status-99", b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"), ("status-sign",
    b"HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n"),
    ("ssh", b"SSH-2.0-OpenSSH_9.2\r\n"), ("binary", bytes(range(128, 180)) + b"\r\n\r\n"),
    ("tls", bytes.fromhex("15030100020246")),
    ("h2-settings", bytes.fromhex("000000040000000000")),
):
    reply(name, "high", "RFC 9112 4", (text, LINGERS, CLOSE), BAD, "no status line of HTTP/1: 502")
reply("reason-odd", "low", "RFC 9112 4", b"HTTP/1.1 200 \xc3\x84ch so\r\nContent-Length: 2\r\n\r\nok",
    (answered(A(200, b"ok")), BAD))
reply("reason-none", "low", "RFC 9112 4", b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", answered(A(200, b"ok")))
reply("reason-no-blank", "low", "RFC 9112 4", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", (answered(A(200, b"ok")), BAD))
reply("reason-nul", "high", "RFC 9112 4", b"HTTP/1.1 200 O\x00K\r\nContent-Length: 2\r\n\r\nok", (BAD, answered(A(200, b"ok"))),
    "nothing of it goes on")
reply("reason-bare-cr", "high", "RFC 9112 4", b"HTTP/1.1 200 O\rX-A: K\r\nContent-Length: 2\r\n\r\nok",
    (BAD, answered(A(200, b"ok"))), "nothing of it goes on")
reply("head-huge", "medium", "bounds", (answer(b"200 OK", b"X-A: " + b"b" * 2000000, b"Content-Length: 0"), LINGERS, CLOSE),
    BAD, "a bound")
reply("head-endless", "high", "bounds", (b"HTTP/1.1 200 OK\r\n", Repeat(b"X-A: b\r\n" * 1000, 4000), CLOSE), BAD, "a bound",
    within=8.0)
reply("fields-many", "medium", "bounds", answer(b"200 OK", *(b"X-%d: y" % n for n in range(30000)), b"Content-Length: 0"), BAD,
    "a bound")
reply("empty-line-front", "low", "RFC 9112 2.2", b"\r\n" + OK, (BAD, answered(A(200, b"ok"))))

# Answers nobody asked for.
reply("unasked-101", "high", "RFC 9110 15.2.2, 7.8",
    (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", b"raw", HOLD),
      BAD, "nobody asked to switch: 502")
for name, status in (("102", b"102 Processing"), ("103", b"103 Early Hints"), ("100", b"100 Continue"), ("199", b"199 Odd")):
    reply(f"interim-{name}", "medium", "RFC 9110 15.2", (b"HTTP/1.1 " + status + b"\r\nX-Early: 1\r\n\r\n", Pause(0.05), OK),
        answered(A(200, b"ok", lack=("x-early",))),
          "passed on or dropped; never the answer")
reply("interim-many", "medium", "RFC 9110 15.2", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 5 + OK,
    (answered(A(200, b"ok", lack=("link",))), BAD))
reply("interim-flood", "medium", "bounds", (Repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 200, 10000, 1.0), OK, CLOSE),
      (BAD, answered(A(200, b"ok"))), "bounded: an end, and the proxy lives", within=8.0, strict_client=False)
reply("interim-length", "high", "RFC 9110 8.6, RFC 9112 6.3(1)", b"HTTP/1.1 103 Early Hints\r\nContent-Length: 20\r\n\r\n" + OK,
    (answered(A(200, b"ok")), BAD),
      "an interim answer has no body")
reply("interim-http10", "medium", "RFC 9110 15.2", b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK,
    answered(A(200, b"ok", interim=lambda seen: not seen)),
      "never to an HTTP/1.0 client", send=b"GET /x HTTP/1.0\r\nHost: a.test\r\n\r\n")
reply("interim-then-closed", "medium", "RFC 9112 8", (b"HTTP/1.1 103 Early Hints\r\n\r\n", LINGERS, CLOSE), BAD)

# Surplus: nobody else may get it.
POISON = answer(b"200 OK", b"Content-Length: 6", body=b"poison")
for name, first in (("surplus-answer", OK + POISON), ("surplus-bytes", OK + b"surplus"),
    ("surplus-chunks", answer(b"200 OK", b"Transfer-Encoding: chunked", body=HELLO_CHUNKS) + POISON),
                    ("surplus-empty", answer(b"200 OK", b"Content-Length: 0") + POISON),
                    ("surplus-304", answer(b"304 Not Modified") + POISON)):
    case(name, "grave", "RFC 9112 9.2, 6.3", (GET, ANSWER, Pause(0.05), NEW, AFTER), answered(A((200, 304)), A(200, b"mine")),
         "bytes behind an answer end that connection; they answer nobody",
         replies=((first,), (answer(b"200 OK", b"Content-Length: 4", body=b"mine"),)))
case("unasked-idle", "grave", "RFC 9112 9.2", (GET, ANSWER, Pause(0.3), NEW, AFTER), answered(A(200, b"ok"), A(200, b"mine")),
     "an answer on an idle connection answers nobody", replies=((OK, Pause(0.1), POISON),
     (answer(b"200 OK", b"Content-Length: 4", body=b"mine"),)))
case("surplus-head", "grave", "RFC 9112 9.2", (get(b"/x", method=b"HEAD"), ANSWER, Pause(0.05), NEW, AFTER),
    answered(A(200, b""), A(200, b"mine")), asked=("HEAD",),
     replies=((POISON,), (answer(b"200 OK", b"Content-Length: 4", body=b"mine"),)))
case("abandoned-answer", "grave", "RFC 9112 9.2", (GET, HEAD_AT_WORKER, Pause(0.05), RESET, Pause(0.1), NEW, AFTER),
     answered(A(200, b"mine")), "who gives up leaves no answer for the next",
     replies=((Pause(0.3), POISON), (answer(b"200 OK", b"Content-Length: 4", body=b"mine"),)))
case("abandoned-body", "grave", "RFC 9112 9.2, 9.3", (post(b"Content-Length: 50", b"hello"), HEAD_AT_WORKER, Pause(0.1), RESET,
    Pause(0.1), NEW, AFTER),
     answered(A(200), worker=(1, 2), more=lambda seen: None if seen.requests[-1].target == "/after"
     and seen.requests[-1].connection != seen.requests[0].connection
              or len(seen.requests) == 1 else "a request went behind half a body"), "half a body keeps its connection from use")
case("early-answer-body", "grave", "RFC 9112 9.3, 9.5", (post(b"Content-Length: 50", b"hello"), HEAD_AT_WORKER, ANSWER, NEW,
    AFTER),
     (answered(A((200, 403)), A(200), more=lambda seen: None if len({r.connection
     for r in seen.requests}) == len(seen.requests) else "a connection with half a body was used again"),
     answered(A(200), worker=1)),
     "an answer before the end of the request: that worker connection is not used again until the body is through",
     replies=((EARLY, answer(b"403 Forbidden", b"Content-Length: 2", body=b"no"), HOLD), (OK,)), within=8.0)
case("early-answer-close", "high", "RFC 9112 9.5", post(b"Content-Length: 300000", b"x" * 300000),
    (answered(A(413, b"no")), answered(A((502,)))),
     "an early refusal reaches the client", replies=((EARLY, answer(b"413 Content Too Large", b"Content-Length: 2",
     b"Connection: close", body=b"no"), Pause(0.1), CLOSE),))

# Once is enough.
for name, end in (("closed", CLOSE), ("reset", RESET)):
    case(f"post-not-repeated-{name}", "grave", "RFC 9110 9.2.2", post(b"Content-Length: 5", b"hello"),
        answered(A((502, 500)), worker=1), "never twice",
         replies=((end,), (OK,)))
    case(f"post-not-repeated-used-{name}", "grave", "RFC 9110 9.2.2", (GET, ANSWER, post(b"Content-Length: 5", b"hello")),
         (answered(A(200), A((502, 500)), worker=2), answered(A(200), end="closed", worker=2)),
         "not even on a connection that was used before", replies=((OK,), (end,), (OK,)))
case("get-repeated-idle", "medium", "RFC 9112 9.3.1", (GET, ANSWER, Pause(0.15), AFTER),
    answered(A(200, b"ok"), A(200, b"mine")),
     "a worker that closed an idle connection is asked on a new one", replies=((OK, CLOSE),
     (answer(b"200 OK", b"Content-Length: 4", body=b"mine"),)))
reply("half-answer-not-repeated", "grave", "RFC 9110 9.2.2", (answer(b"200 OK", b"Content-Length: 50", body=b"hello"), LINGERS,
    CLOSE),
      (cut(),), "nothing is sent again once an answer has begun")
reply("split-everywhere", "medium", "RFC 9112 2.2", (Drip(answer(b"200 OK", b"Transfer-Encoding: chunked", body=HELLO_CHUNKS),
    0.005),), answered(A(200, b"hello")))
reply("split-fields", "medium", "response splitting", answer(b"200 OK", b"X-A: b", b"Content-Length: 44",
    body=b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!"),
      answered(A(200, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!")), "a body is a body")
reply("large-then-cut", "high", "RFC 9112 8", (answer(b"200 OK", b"Content-Length: 3000000", body=b"z" * 1000000), LINGERS,
    RESET), cut(), within=5.0)
