"""Upgrades on HTTP/1.1: WebSocket as a tunnel after 101 and never before; h2c and unknown protocols not at all.

RFC 9110 section 7.8, RFC 6455, RFC 9113 section 3.1, CVE-2026-2833. What a client sends before the worker has said 101
is HTTP and is judged as such: a request for /admin in it must never reach the worker.
"""

from model import ANSWER, CLOSE, ECHO, HEAD_AT_WORKER, HOLD, RESET, SHUT, Outcome, Pause, Repeat, Table
from outcomes import A, W, answered, passed, refused, requests_differ
from spelling import AFTER, answer, get, head, post

CASES = case = Table("upgrade")

KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
FIELDS = (b"Upgrade: websocket", b"Connection: Upgrade", KEY, b"Sec-WebSocket-Version: 13")
WS = get(b"/chat", *FIELDS)
SWITCH = head(b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade", ACCEPT)
NO = answer(b"403 Forbidden", b"Content-Length: 2", body=b"no")
OK = answer(b"200 OK", b"Content-Length: 2", body=b"ok")
HIDDEN = b"GET /admin/hidden HTTP/1.1\r\nHost: a.test\r\n\r\n"
ASKED = W(target="/chat", have={"upgrade": lambda v: [value.lower() for value in v] == ["websocket"],
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version": "13"})


def tunnelled(sent_back, end="any", worker_end=None, start=True):
    """101, then these bytes from the worker, through a tunnel that ended so."""

    def check(seen):
        connection = seen.connections[0]
        different = requests_differ(seen.requests, (ASKED,))
        if different:
            return different
        if not connection.answers or connection.answers[-1].status != 101:
            return f"answered {[each.status for each in connection.answers]}, not 101"
        if connection.left != sent_back:
            return f"{len(connection.left)} bytes came back, {connection.left[:40]!r}, not {sent_back[:40]!r}"
        if end == "closed" and connection.end == "open":
            return "the client's side stayed open"
        if worker_end and seen.requests[0].tunnel_end not in worker_end:
            return f"the worker's side is {seen.requests[0].tunnel_end}"
        return None

    return Outcome("a tunnel", check)


def no_tunnel(*statuses):
    """The first request was answered with one of these; /admin/hidden did not reach the worker, nor any raw byte."""

    def check(seen):
        answers = [each.status for each in seen.answers]
        if not answers or answers[0] not in statuses:
            return f"answered {answers}, not {statuses}"
        hidden = [request.target for request in seen.requests if "hidden" in request.target] + [request.target
            for request in seen.requests if request.tunnel]
        return f"the worker got {hidden}" if hidden else None

    return Outcome(f"no tunnel, {'/'.join(map(str, statuses))}", check)


TALK = ((SWITCH, ECHO),)
case("websocket", "high", "RFC 6455 4, RFC 9110 7.8", (WS, ANSWER, b"hello"), tunnelled(b"hello"), replies=TALK)
case("websocket-case", "medium", "RFC 6455 4.2.1, RFC 9110 7.8", (get(b"/chat", b"UPGRADE: WebSocket",
    b"connection: keep-alive, upgrade", KEY, b"Sec-WebSocket-Version: 13"), ANSWER, b"hello"),
     tunnelled(b"hello"), "names and options have no case", replies=TALK)
case("websocket-large", "medium", "RFC 6455", (WS, ANSWER, Repeat(b"0123456789abcdef" * 4096, 8)),
    tunnelled(b"0123456789abcdef" * 4096 * 8), replies=TALK, within=6.0)
case("websocket-bytes-with-101", "high", "RFC 6455 4.1", (WS,), tunnelled(b"early"), "bytes in one packet with the 101",
    replies=((SWITCH + b"early", ECHO),))
case("websocket-pieces", "medium", "RFC 9112 2.2", (WS, ANSWER, b"hello"), tunnelled(b"hello"),
    replies=((SWITCH[:30], Pause(0.1), SWITCH[30:], ECHO),))
case("websocket-http-in-tunnel", "medium", "RFC 9110 7.8", (WS, ANSWER, HIDDEN), tunnelled(HIDDEN),
    "after 101 everything is the tunnel's", replies=TALK)
case("websocket-client-ends", "high", "RFC 9110 9.3.6", (WS, ANSWER, b"hello", Pause(0.1), RESET),
    Outcome("the worker's side ends, too", lambda seen: None if
     len(seen.requests) == 1 and seen.requests[0].tunnel == b"hello" and seen.requests[0].tunnel_end != "open"
     else "the worker's side stayed open, or got something else"), replies=TALK)
case("websocket-client-shuts", "medium", "RFC 9110 9.3.6", (WS, ANSWER, b"hello", Pause(0.1), SHUT),
    tunnelled(b"hello", "closed", ("closed", "reset")), "a closed side closes the tunnel", replies=TALK)
case("websocket-worker-ends", "high", "RFC 9110 9.3.6", (WS, ANSWER), tunnelled(b"bye", "closed"),
    replies=((SWITCH, b"bye", Pause(0.05), CLOSE),))
case("websocket-worker-resets", "high", "RFC 9110 9.3.6", (WS, ANSWER, Pause(0.1)), tunnelled(b"", "closed"),
    replies=((SWITCH, Pause(0.1), RESET),))
case("refused", "high", "RFC 9110 7.8", (WS, ANSWER, AFTER), answered(A(403, b"no"), A(200, b"ok")),
    "a refused upgrade is an answer like any other", replies=((NO,), (OK,)))
case("refused-hidden", "grave", "CVE-2026-2833 class", (WS, ANSWER, HIDDEN), no_tunnel(403), "no tunnel without 101",
    replies=((NO,), (OK,)))
case("refused-eager", "grave", "CVE-2026-2833", WS + HIDDEN, no_tunnel(403, 400),
    "bytes behind the head are HTTP until the worker said 101", replies=((Pause(0.1), NO), (OK,)))
case("refused-200-eager", "grave", "CVE-2026-2833", WS + HIDDEN, no_tunnel(200, 400), replies=((Pause(0.1), OK), (OK,)))
case("refused-426", "grave", "RFC 6455 4.4", (get(b"/chat", *FIELDS[:3], b"Sec-WebSocket-Version: 12"), ANSWER, HIDDEN),
    no_tunnel(426, 400), "a wrong version is no tunnel",
     replies=((answer(b"426 Upgrade Required", b"Sec-WebSocket-Version: 13", b"Content-Length: 0"),), (OK,)))
case("accepted-eager", "high", "CVE-2026-2833", WS + b"eager", (tunnelled(b"eager"), refused(400)),
    "after 101 the waiting bytes are the tunnel's", replies=((Pause(0.1), SWITCH, ECHO),))
case("cut-101", "high", "RFC 9112 8", WS, answered(A((502, 500))), replies=((b"HTTP/1.1 101 Switching Proto", Pause(0.05),
    CLOSE),))
case("other-protocol", "medium", "RFC 9110 7.8", (WS, Pause(0.2)), Outcome("502, or no tunnel",
    lambda seen: None if seen.answers and seen.answers[0].status in (500, 502)
    else "the client was switched to what it did not ask for"),
     "a worker may only switch to what was asked", replies=((SWITCH.replace(b"websocket", b"frobnicate"), HOLD),))
case("rule", "grave", "rule", get(b"/admin/chat", *FIELDS), answered(A(403), worker=0), "an upgrade is judged like any request",
    replies=TALK)
case("http10", "high", "RFC 9110 7.8", head(b"GET /chat HTTP/1.0", b"Host: a.test", *FIELDS),
    (passed(W(target="/chat", lack=("upgrade",))), refused(400, 426, 505)), "MUST be ignored in HTTP/1.0")
case("post", "high", "RFC 6455 4.1", post((*FIELDS, b"Content-Length: %d" % len(HIDDEN)), HIDDEN, b"/chat"),
    (passed(W("POST", "/chat", HIDDEN, lack=("upgrade",))), passed(W("POST", "/chat", HIDDEN)), refused(400, 405, 501)),
     "a body is a body; no tunnel", replies=())
case("chunked-body", "high", "RFC 9112 7, h2c/ws smuggling", post((*FIELDS, b"Transfer-Encoding: chunked"),
    b"%x\r\n%s\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN), b"/chat", method=b"GET"),
     (passed(W("GET", "/chat", HIDDEN, lack=("upgrade",))), passed(W("GET", "/chat", HIDDEN)), refused(400, 405, 501)))
case("connection-without-upgrade", "medium", "RFC 9110 7.6.1", get(b"/x", b"Connection: upgrade"),
    (passed(W(lack=("upgrade", "connection"))), passed(W(have={"connection": lambda v: "upgrade" not in str(v)})),
    refused(400)))
H2C = (b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
for name, protocol in (("h2c", b"h2c"), ("h2c-upper-case", b"H2C"), ("h2c-list", b"h2c, websocket"),
    ("h2c-second", b"websocket, h2c")):
    case(name, "high", "RFC 9113 3.1, h2c smuggling", (get(b"/x", b"Upgrade: " + protocol, *H2C), ANSWER, HIDDEN),
         (answered(A(200), A(403), worker=1, more=lambda seen: None if not any("h2c" in value.lower()
         for value in seen.requests[0].values("upgrade")) and not seen.requests[0].values("http2-settings") else "h2c went on"),
          answered(A((400, 403, 421, 426, 501)), worker=0), answered(A((400, 403, 421, 426, 501)), 403, worker=0)),
          "never handed on: rules would not see what is in it")
case("h2c-accepted", "grave", "h2c smuggling", (get(b"/x", b"Upgrade: h2c", *H2C), Pause(0.2), HIDDEN, Pause(0.2)),
    no_tunnel(200, 400, 403, 421, 426, 500, 501, 502), "and a 101 to it is no tunnel",
     replies=((head(b"HTTP/1.1 101 Switching Protocols", b"Upgrade: h2c", b"Connection: Upgrade"), ECHO),))
for name, protocol in (("unknown", b"frobnicate"), ("tls", b"TLS/1.0"), ("http2", b"HTTP/2.0"), ("empty", b""),
    ("odd", b"websocket/13x, ,")):
    case(f"protocol-{name}", "medium", "RFC 9110 7.8", get(b"/x", b"Upgrade: " + protocol, b"Connection: Upgrade"),
         (passed(W(lack=("upgrade",))), answered(A((400, 403, 421, 426, 501)), worker=0)),
         "an edge knows which protocols it lets through")
case("worker-silent", "high", "RFC 9110 15.6.5", WS, answered(A((502, 504))), replies=((HOLD,),), timing="quick", within=8.0)
case("tunnel-idle", "medium", "RFC 9112 9.5", (WS, ANSWER, b"hello", Pause(0.2)), tunnelled(b"hello", "closed"),
    "an idle tunnel has an end", replies=TALK, timing="quick", within=10.0)
case("tunnel-busy", "medium", "fairness", (WS, ANSWER, *((b"x", Pause(0.4)) * 6)), tunnelled(b"xxxxxx"),
    "a tunnel that is used lives", replies=TALK, timing="quick", within=10.0)
