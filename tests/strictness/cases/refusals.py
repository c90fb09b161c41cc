"""Refusals of the proxy's own: what becomes of the body that nobody wanted, and what the answer looks like.

CVE-2025-4366 and RUSTSEC-2025-0037: a body that is left unread behind a 403 must not be read as the next request. RFC 9110
sections 6.6.1, 9.3.2 and 15.5 say what an answer must carry. Rules themselves: rules.py.
"""

from model import ANSWER, Outcome, Pause, Repeat, Table
from outcomes import A, W, answered, passed
from spelling import AFTER, get, head, post

CASES = case = Table("smuggling")

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n"
NEXT = W("GET", "/after")


def unread(name, grade, send, why="", waits=False, **more):
    """403, and then the next request or the end; never the hidden one."""

    def check(seen):
        statuses = [answer.status for answer in seen.answers]
        hidden = [request.target for request in seen.requests if request.target != "/after"]
        if hidden or any(status not in (200, 403, 408, 400) for status in statuses):
            return f"the worker got {hidden}, the client {statuses}"
        if not statuses or statuses[0] not in (403, 400):
            return f"the client got {statuses}, not 403 first"
        if waits and statuses == [403] and not seen.requests:
            return None
        if statuses == [403, 200] and [request.target for request in seen.requests] == ["/after"]:
            return None
        if seen.last.end != "open" and len(statuses) <= 2 and not seen.requests:
            return None
        return f"neither went on nor ended: {statuses}"

    case(f"unread-{name}", grade, "CVE-2025-4366, RUSTSEC-2025-0037", send,
        Outcome("403, then the next request or the end", check), why, **more)


BODY = b"Content-Length: %d" % len(HIDDEN)
unread("length", "grave", post(BODY, HIDDEN, b"/admin/x") + AFTER, "drain it or close")
unread("chunks", "grave", post(b"Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN), b"/admin/x")
    + AFTER)
unread("get", "grave", post(BODY, HIDDEN, b"/admin/x", method=b"GET") + AFTER)
unread("later", "grave", (post(BODY, b"", b"/admin/x"), ANSWER, HIDDEN + AFTER), "the body comes after the refusal")
unread("pieces", "high", (post(BODY, HIDDEN[:10], b"/admin/x"), Pause(0.1), HIDDEN[10:], Pause(0.1), AFTER))
unread("large", "high", post(b"Content-Length: 1000000", HIDDEN * (1000000 // len(HIDDEN)) + b"x" * (1000000 % len(HIDDEN)),
    b"/admin/x") + AFTER, within=6.0)
unread("expect", "grave", (post((BODY, b"Expect: 100-continue"), b"", b"/admin/x"), ANSWER, AFTER),
    "without 100 the body does not come: close, or take what follows for it", waits=True)
unread("expect-body", "grave", post((BODY, b"Expect: 100-continue"), HIDDEN, b"/admin/x") + AFTER)
unread("chunks-broken", "high", post(b"Transfer-Encoding: chunked", b"zz\r\n" + HIDDEN, b"/admin/x") + AFTER)
unread("http10", "medium", head(b"POST /admin/x HTTP/1.0", b"Host: a.test", BODY, b"Connection: keep-alive") + HIDDEN + AFTER)
case("unread-endless", "high", "CVE-2025-4366", (post(b"Transfer-Encoding: chunked", b"", b"/admin/x"),
    Repeat(b"1000\r\n" + b"x" * 4096 + b"\r\n", 50000, 8.0)),
     Outcome("403, and an end", lambda seen: None if seen.last.end != "open"
     and [answer.status for answer in seen.answers] in ([403], []) else
             f"{[answer.status for answer in seen.answers]}, connection {seen.last.end}"),
     "nobody reads an upload without end", timing="quick", within=12.0)

# What a refusal looks like.
SEMANTICS = Table("semantics")
own = SEMANTICS


def nothing_behind_head(seen):
    return None if not seen.connections[0].left and not seen.answers[0].body else "a body behind an answer to HEAD"


own("own-head", "high", "RFC 9110 9.3.2", (get(b"/admin/x", method=b"HEAD"), ANSWER, AFTER),
    (answered(A(403, b""), A(200), more=nothing_behind_head), answered(A(403, b""), end="closed", more=nothing_behind_head)),
    "no body in an answer to HEAD, of ours either", asked=("HEAD", "GET"))
own("own-head-malformed", "medium", "RFC 9110 9.3.2", head(b"HEAD /x HTTP/1.1", b"Host: a b"),
    answered(A(400, b""), more=nothing_behind_head), asked=("HEAD",))
own("own-head-no-host", "medium", "RFC 9110 9.3.2", head(b"HEAD /x HTTP/1.1"), answered(A(400, b""), more=nothing_behind_head),
    asked=("HEAD",))
own("own-date", "low", "RFC 9110 6.6.1", get(b"/admin/x"), answered(A(403, have={"date": lambda values: len(values) == 1})),
    "who has a clock dates 4xx (MUST)")
own("own-date-malformed", "low", "RFC 9110 6.6.1", head(b"GET /x HTTP/1.1"),
    answered(A(400, have={"date": lambda values: len(values) == 1})))
own("own-length", "medium", "RFC 9112 6.3", get(b"/admin/x") + AFTER, (answered(A(403), A(200)),
    answered(A(403), end="closed")), "a refusal is framed, too")
for name, method in (("trace", b"TRACE"), ("connect", b"CONNECT")):
    target = b"/x" if method == b"TRACE" else b"b.test:443"
    own(f"own-allow-{name}", "low", "RFC 9110 15.5.6", head(method + b" " + target + b" HTTP/1.1", b"Host: b.test:443"),
        (answered(A(405, have={"allow": lambda values: len(values) >= 1})), answered(A((400, 403, 421, 501))),
        passed(W(method.decode()))),
        "a 405 says what is allowed (MUST)")
own("own-bad-gateway", "medium", "RFC 9110 15.6.3", get(b"/x") + AFTER,
    (answered(A(502), A(200)), answered(A(502), end="closed")),
    "a 502 is framed, and the next request is served or the connection ends",
    replies=((b"garbage\r\n\r\n", "the worker closes the connection"), (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",)))
CASES += SEMANTICS
