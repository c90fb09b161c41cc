"""Workers that speak HTTP/2, sound and hostile: what goes to them is HTTP/2, what comes from them is not believed.

RFC 9113 sections 5, 6.8, 8 and 10. A client gets an answer that is sound and whole, visibly cut, or a 502. Proxies that
cannot speak HTTP/2 to workers do not play these. Workers of HTTP/1.1: upstream.py.
"""

import frames
import hpack
from frames import CANCEL, INTERNAL_ERROR, NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, goaway, ping, rst, settings, window
from model import RESET as GIVE_UP
from model import ANSWER, CLOSE, EARLY, HEAD_AT_WORKER, NEW, RESET, Outcome, Pause, Repeat, Table
from origin_http2 import body, fields
from outcomes import A, W, answered, cut, passed
from outcomes_http2 import answer_differs, served
from spelling import AFTER, chunked, get, head, post

CASES = case = Table("workers", timing="worker2")

GET = get(b"/x")
BAD = answered(A((502, 500)))
OK = (fields(b"200", (b"content-length", b"2")), body(b"ok"))
NAMED = {":authority": "a.test"}
HELLO = W("POST", "/x", b"hello")


def asked(name, grade, source, send, *wanted, why="", **more):
    """A case about what goes to the worker."""
    case(name, grade, source, send, passed(*wanted), why, **more)


def reply(name, grade, source, steps, want, why="", send=GET, **more):
    """A case about one answer to a plain GET."""
    case(name, grade, source, send, want, why, replies=(steps if isinstance(steps, tuple) else (steps,),), **more)


# What goes to the worker.
asked("get", "high", "RFC 9113 8.3.1", GET, W(target="/x"))
asked("post-length", "high", "RFC 9113 8.1.1", post(b"Content-Length: 5", b"hello") + AFTER, HELLO, W(target="/after"))
asked("post-chunks", "high", "RFC 9113 8.2.2", chunked(b"5\r\nhello\r\n0\r\n\r\n") + AFTER, HELLO, W(target="/after"),
    why="no Transfer-Encoding in HTTP/2")
asked("get-body", "grave", "RFC 9110 9.3.1", post(b"Content-Length: 5", b"hello", method=b"GET"), W("GET", "/x", b"hello"))
asked("hop-fields", "high", "RFC 9113 8.2.2", get(b"/x", b"Connection: X-Hop, keep-alive", b"X-Hop: 1",
    b"Keep-Alive: timeout=5", b"Proxy-Connection: x", b"X-Stays: 2"),
      W(have={"x-stays": "2"}, lack=("x-hop", "connection", "keep-alive", "proxy-connection")))
asked("te", "medium", "RFC 9113 8.2.2", get(b"/x", b"TE: gzip, trailers", b"Connection: TE"),
    W(have={"te": lambda values: values in ([], ["trailers"])}))
asked("names", "high", "RFC 9113 8.2", get(b"/x", b"X-UPPER: Yes"), W(have={"x-upper": "Yes"}), why="in lower case")
asked("absolute", "high", "RFC 9112 3.2.2", head(b"GET http://a.test/x?y HTTP/1.1", b"Host: a.test"),
    W(target="/x?y", have=NAMED))
asked("upgrade", "high", "RFC 9113 8.6", get(b"/x", b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings",
    b"HTTP2-Settings: AAMAAABk"), W(lack=("upgrade", "http2-settings")))
asked("cookies", "medium", "RFC 9113 8.2.3", get(b"/x", b"Cookie: a=1; b=2"),
    W(have={"cookie": lambda values: "; ".join(values) == "a=1; b=2"}))
asked("identity", "grave", "identity", get(b"/x", b"X-Buckler-Caller: root", b"X-Forwarded-For: 10.9.9.9"),
      W(have={"x-buckler-caller": lambda values: "root" not in values,
      "x-forwarded-for": lambda values: values[-1].endswith("127.0.0.1")}))
asked("pipelined", "high", "RFC 9112 9.3.2", b"".join(get(b"/p%d" % number) for number in range(6)),
    *(W(target=f"/p{number}") for number in range(6)), why="answers in order")
asked("large-body", "high", "RFC 9113 6.9", post(b"Content-Length: 500000", b"x" * 500000), W("POST", "/x", b"x" * 500000),
    why="within the worker's windows", within=6.0)
case("options-star", "low", "RFC 9113 8.3.1", head(b"OPTIONS * HTTP/1.1", b"Host: a.test"),
    (passed(W("OPTIONS", "*")), answered(A((200, 204, 400, 405)), worker=0)))
case("two-to-two", "high", "RFC 9113 8.1", frames.get(1, b"/a") + frames.post(3, b"hello", path=b"/b"),
    served({1: W(target="/a"), 3: W("POST", "/b", b"hello")}), protocol="http2")
case("trailers", "medium", "RFC 9113 8.1", chunked(b"5\r\nhello\r\n0\r\nX-T: y\r\n\r\n"),
    passed(W("POST", "/x", b"hello", lack=("x-t",))), "on or dropped; never a field")

# What comes from it.
reply("answer", "high", "RFC 9113 8.3.2", OK, answered(A(200, b"ok", have={"content-length": "2"})))
reply("answer-no-length", "high", "RFC 9113 8.1", (fields(), body(b"he", end=False), body(b"llo")), answered(A(200, b"hello")))
reply("answer-head", "high", "RFC 9110 9.3.2", (fields(b"200", (b"content-length", b"5"), end=True),), answered(A(200, b"")),
    send=get(b"/x", method=b"HEAD"), asked=("HEAD",))
reply("answer-no-content", "high", "RFC 9110 15.3.5", (fields(b"204", end=True),), answered(A(204, b"")))
reply("answer-empty", "medium", "RFC 9113 8.1", (fields(b"200", end=True),), answered(A(200, b"")))
reply("answer-trailers", "medium", "RFC 9113 8.1", (fields(), body(b"hello", end=False),
    lambda n: frames.headers(n, hpack.block([(b"x-t", b"y")]))), answered(A(200, b"hello", lack=("x-t",))))
reply("interim", "medium", "RFC 9113 8.1", (fields(b"103", (b"link", b"</a>")), *OK), answered(A(200, b"ok", lack=("link",))))
for name, field in (("value-crlf", (b"x-a", b"b\r\nX-Evil: 1")), ("value-lf", (b"x-a", b"b\nX-Evil: 1")),
    ("value-nul", (b"x-a", b"a\0b")), ("name-crlf", (b"x-a: b\r\nx-evil", b"1")), ("name-blank", (b"x evil", b"1")),
                    ("name-colon", (b"x:evil", b"1")), ("name-upper-case", (b"X-A", b"b")),
                    ("value-answer", (b"x-a", b"b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"))):
    reply(f"field-{name}", "grave", "RFC 9113 8.2.1, 10.3", (fields(b"200", field, (b"content-length", b"2")), body(b"ok")),
        BAD, "malformed: 502, and nothing of it goes on")
for name, field in (("connection", (b"connection", b"close")), ("keep-alive", (b"keep-alive", b"timeout=5")),
    ("transfer-encoding", (b"transfer-encoding", b"chunked")), ("upgrade", (b"upgrade", b"h2c"))):
    reply(f"field-{name}", "grave" if name.startswith("t") else "medium", "RFC 9113 8.2.2",
        (fields(b"200", field, (b"content-length", b"2")), body(b"ok")),
          (BAD, answered(A(200, b"ok", lack=("transfer-encoding", "upgrade", "keep-alive")))), "malformed, or gone")
for name, first in (("status-none", frames.request()[4:]), ("status-two", [(b":status", b"200"), (b":status", b"204")]),
    ("status-word", [(b":status", b"OK")]), ("status-long", [(b":status", b"2000")]),
                    ("status-101", [(b":status", b"101")]),
                    ("status-behind", [(b"x-a", b"b"), (b":status", b"200")]),
                    ("status-crlf", [(b":status", b"200\r\nX-Evil: 1")])):
    reply(f"pseudo-{name}", "high", "RFC 9113 8.3, 8.3.2", (lambda n, first=first: frames.headers(n, hpack.block(first),
        end=False), body(b"ok")), BAD, "malformed: 502")
for name, length, text in (("more", b"50", b"hello"), ("less", b"3", b"hello")):
    reply(f"length-{name}", "grave", "RFC 9113 8.1.1", (fields(b"200", (b"content-length", length)), body(text)), (cut(), BAD),
        "a length that is not that of the DATA frames is no whole answer")
reply("length-no-data", "grave", "RFC 9113 8.1.1", (fields(b"200", (b"content-length", b"5"), end=True),), (cut(), BAD))
for name, lengths in (("differ", (b"5", b"6")), ("word", (b"five",)), ("list", (b"5, 6",)), ("minus", (b"-5",))):
    reply(f"lengths-{name}", "grave", "RFC 9110 8.6", (fields(b"200", *((b"content-length", length) for length in lengths)),
        body(b"hello")), (BAD, cut()))

reply("pseudo-of-requests", "low", "RFC 9113 8.3", (lambda n: frames.headers(n,
    hpack.block([(b":status", b"200"), (b":path", b"/")]),
    end=False), body(b"ok")), BAD, "malformed: 502")

# Cut, refused, gone.
PART = (fields(b"200", (b"content-length", b"50")), body(b"hello", end=False), Pause(0.1))
STREAM = (fields(), body(b"hello", end=False), Pause(0.1))
for name, step in (("rst", lambda n: rst(n, INTERNAL_ERROR)), ("rst-cancel", lambda n: rst(n, CANCEL)),
    ("rst-no-error", lambda n: rst(n, NO_ERROR)), ("closed", CLOSE), ("reset", RESET),
    ("goaway", lambda n: goaway(0, PROTOCOL_ERROR))):
    tail = (step, CLOSE) if name == "goaway" else (step,)
    reply(f"cut-length-{name}", "grave", "RFC 9113 8.1", (*PART, *tail), cut())
    reply(f"cut-stream-{name}", "grave", "RFC 9113 8.1", (*STREAM, *tail), cut(), "without END_STREAM it is not whole")
for name, step in (("rst", lambda n: rst(n, INTERNAL_ERROR)), ("closed", CLOSE), ("reset", RESET)):
    reply(f"nothing-{name}", "high", "RFC 9113 5.4", (Pause(0.05), step), BAD)
    case(f"post-not-repeated-{name}", "grave", "RFC 9110 9.2.2", post(b"Content-Length: 5", b"hello"),
        answered(A((502, 500)), worker=1), "never twice", replies=((Pause(0.05), step), OK))
case("refused-stream", "high", "RFC 9113 8.7", GET, (answered(A(200, b"ok"), worker=2), answered(A((502, 503)))),
    "not processed: safe to ask again", replies=((lambda n: rst(n, REFUSED_STREAM),), OK))
case("refused-stream-post", "medium", "RFC 9113 8.7", post(b"Content-Length: 5", b"hello"),
    (answered(A(200, b"ok"), worker=2), answered(A((502, 503)), worker=1)), "safe for any method",
     replies=((lambda n: rst(n, REFUSED_STREAM),), OK))
case("goaway-unprocessed", "high", "RFC 9113 6.8", GET, (answered(A(200, b"ok"), worker=2), answered(A((502, 503)))),
    "beyond the last stream: not processed", replies=((lambda n: goaway(0), Pause(0.05), CLOSE), OK))
case("goaway-then-next", "high", "RFC 9113 6.8", (GET, ANSWER, Pause(0.1), AFTER),
    answered(A(200, b"ok"), A(200, b"ok"), more=lambda seen: None if len({r.connection for r in seen.requests}) == 2 else
     "a request on a connection that said goodbye"), "after GOAWAY a new connection", replies=((*OK, lambda n: goaway(n)), OK))
case("goaway-finishes", "high", "RFC 9113 6.8", GET, answered(A(200, b"ok")), "streams up to the last one are answered",
    replies=((lambda n: goaway(n), Pause(0.1), *OK),))


def given_up(seen):
    """The next client got its own answer, and the worker was told to stop, or gets the next request elsewhere."""
    if not seen.connections[-1].answers or seen.connections[-1].answers[0].body != b"mine":
        return f"the next client got {[answer.body for answer in seen.connections[-1].answers]}"
    first, last = seen.requests[0], seen.requests[-1]
    return None if first.tunnel_end == "reset" or first.connection != last.connection else "the abandoned stream was left open"


case("abandoned", "high", "RFC 9113 5.4.2", (GET, HEAD_AT_WORKER, Pause(0.1), GIVE_UP, Pause(0.2), NEW, AFTER),
    Outcome("reset, and answered", given_up), "who gives up resets the stream",
    replies=((fields(), body(b"pois", end=False)), (fields(b"200", (b"content-length", b"4")), body(b"mine"))))
case("early-answer", "high", "RFC 9113 8.1", (post(b"Content-Length: 50", b"hello"), ANSWER, NEW, AFTER),
    (answered(A(403, b"no"), A(200, b"ok")), answered(A((502,)), A(200, b"ok"))),
     "an answer before the end of the request", replies=((EARLY, fields(b"403", (b"content-length", b"2")), body(b"no")), OK))

# Hostile.
reply("push", "high", "RFC 9113 8.4", (lambda n: frames.frame(frames.PUSH_PROMISE, 4, n,
    b"\0\0\0\2" + hpack.block(frames.request())), *OK), (BAD, answered(A(200, b"ok"))), "nobody asked for pushes")
reply("crossed", "grave", "RFC 9113 5.1", (lambda n: frames.headers(n + 2, hpack.block([(b":status", b"200")]), end=False)
    + frames.data(n + 2, b"poison"), Pause(0.05), *OK), (BAD, answered(A(200, b"ok"))),
      "an answer on a stream that nobody opened answers nobody")
reply("even-stream", "high", "RFC 9113 5.1.1", (lambda n: frames.headers(2, hpack.block([(b":status", b"200")])), Pause(0.05),
    *OK), (BAD, answered(A(200, b"ok"))))
reply("data-first", "high", "RFC 9113 8.1", (body(b"poison", end=False), *OK), BAD)
reply("answer-twice", "grave", "RFC 9113 5.1", (*OK, fields(), body(b"poison")), (answered(A(200, b"ok")), BAD))
case("answer-twice-next", "grave", "RFC 9113 5.1", (GET, ANSWER, Pause(0.1), AFTER),
    (answered(A(200, b"ok"), A(200, b"mine")),), replies=((*OK, fields(), body(b"poison")),
    (fields(b"200", (b"content-length", b"4")), body(b"mine"))))
reply("block-broken", "high", "RFC 9113 4.3", (lambda n: frames.headers(n, b"\x40\x02ab", end=False),), BAD)
reply("frame-huge", "high", "RFC 9113 4.2", (fields(), lambda n: frames.data(n, b"x" * 20000)), (cut(), BAD))
reply("not-http2", "high", "RFC 9113 3.4", (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", CLOSE), BAD)
reply("settings-flood", "medium", "RFC 9113 10.5", (Repeat(settings() * 100, 300, 1.0), *OK), (BAD, answered(A(200, b"ok"))),
    "bounded", within=6.0)
reply("ping-flood", "medium", "RFC 9113 10.5", (Repeat(ping() * 100, 300, 1.0), *OK), (BAD, answered(A(200, b"ok"))),
    within=6.0)
reply("fields-many", "high", "RFC 9113 10.5.1", (lambda n: frames.ask(n,
    [(b":status", b"200"), *((b"x-%d" % k, b"b" * 500) for k in range(2000))], end=True),), BAD, "a bound on the head")
reply("bomb", "high", "RFC 9113 10.5.1", (lambda n: frames.headers(n, hpack.block([(b":status", b"200")])
    + hpack.literal(b"x-b", b"b" * 4000, kept=True) + hpack.indexed(62) * 12000),), BAD)
reply("continuation-flood", "high", "CVE-2024-27316", (lambda n: frames.headers(n, hpack.block([(b":status", b"200")]),
    end=False, ended=False) + frames.continuation(n, hpack.literal(b"x-a", b"b" * 1000), False) * 3000,), BAD)
reply("interim-flood", "medium", "bounds", (lambda n: frames.headers(n, hpack.block([(b":status", b"103")]), end=False) * 5000,
    *OK), (BAD, answered(A(200, b"ok"))), "bounded", strict_client=False, within=6.0)
case("next-after-fault", "high", "RFC 9113 5.4.1", (GET, ANSWER, NEW, AFTER), answered(A((502, 500)), A(200, b"ok")),
    "one broken connection does not end the worker",
     replies=((lambda n: frames.headers(n, b"\x40\x02ab", end=False),), OK))


def visibly_cut(seen):
    stream = seen.h2.streams.get(1)
    if stream is None or (stream.reset is None and not stream.ended):
        return None if seen.h2.end != "open" else "goes on"
    return f"stream 1 ended with {stream.status} as if it were whole" if stream.ended and stream.status == 200 else None


case("cut-in-http2", "grave", "RFC 9113 8.1", frames.get(), Outcome("visibly cut", visibly_cut), protocol="http2",
    replies=((*STREAM, lambda n: rst(n, INTERNAL_ERROR)),))
case("crlf-in-http2", "grave", "RFC 9113 8.2.1", frames.get(), Outcome("502",
    lambda seen: answer_differs(seen.h2, 1, (502, 500))), protocol="http2",
     replies=((fields(b"200", (b"x-a", b"b\r\nX-Evil: 1"), (b"content-length", b"2")), body(b"ok")),))
case("flow", "high", "RFC 9113 6.9", GET, answered(A(200, b"y" * 60000)), "within the first window",
    replies=((fields(), *(body(b"y" * 10000, end=n == 5) for n in range(6))),))
