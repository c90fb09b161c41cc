"""Who takes for ever: every wait has an end. The service has timeouts of one second here (slowloris and its family).

RFC 9112 section 9.5, RFC 9110 section 15.5.9. The end may come with a 408 or 504 or without a word, but it comes.
"""

from model import ANSWER, HEAD_AT_WORKER, HOLD, Drip, Pause, Repeat, Table
from outcomes import A, answered, broken, cut, passed, refused, W
from spelling import AFTER, answer, get, post
from model import Outcome

CASES = case = Table("slow", timing="quick", within=10.0)

OK = answer(b"200 OK", b"Content-Length: 2", body=b"ok")


def ended(answers=(), worker=None):
    """The connection is over, with these answers at most (408 always allowed)."""

    def check(seen):
        statuses = [each.status for each in seen.answers if each.status]
        if seen.last.end == "open":
            return f"still open after {seen.seconds:.1f} s, with {statuses}"
        if any(status not in (*answers, 408) for status in statuses):
            return f"answered {statuses}"
        if worker is not None and len(seen.whole()) != worker:
            return f"the worker got {len(seen.whole())} whole requests, not {worker}"
        return None

    return Outcome("over in time", check)


case("silent", "high", "slowloris", (), ended((400,), worker=0), "who says nothing at all")
case("head-stall", "high", "slowloris, RFC 9110 15.5.9", b"GET /x HTTP/1.1\r\nHost: a.test\r\nX-A: ", ended((400,), worker=0))
case("line-stall", "high", "slowloris", b"GET /x", ended((400,), worker=0))
case("head-drip", "high", "slowloris", (b"GET /x HTTP/1.1\r\nHost: a.test\r\n", Drip(b"X-A: " + b"b" * 200, 0.2)),
    ended((400,), worker=0), "a byte now and then is no head")
case("field-drip", "high", "slowloris", (b"GET /x HTTP/1.1\r\nHost: a.test\r\n", *((b"X-A: b\r\n", Pause(0.4)) * 12)),
    ended((400,), worker=0), "nor is a field now and then")
case("empty-lines", "medium", "slowloris", (*((b"\r\n", Pause(0.3)) * 16),), ended((400,), worker=0), "nor are empty lines")
case("body-stall", "high", "slow POST", (post(b"Content-Length: 50", b"hello"),), ended((400, 504, 502), worker=0))
case("body-silent", "high", "slow POST", (post(b"Content-Length: 50", b""),), ended((400, 504, 502), worker=0))
case("chunk-stall", "high", "slow POST", (post(b"Transfer-Encoding: chunked", b"5\r\nhel"),), ended((400, 504, 502), worker=0))
case("chunk-size-stall", "high", "slow POST", (post(b"Transfer-Encoding: chunked", b"5"),), ended((400, 504, 502), worker=0))
case("trailer-stall", "medium", "slow POST", (post(b"Transfer-Encoding: chunked", b"0\r\nX-T: "),),
    ended((400, 504, 502), worker=0))
case("chunk-size-drip", "medium", "slow POST", (post(b"Transfer-Encoding: chunked", b""), Drip(b"5;" + b"a" * 40, 0.2)),
    ended((400, 504, 502), worker=0), within=12.0)
case("idle", "medium", "RFC 9112 9.5", (get(b"/x"), ANSWER), ended((200,), worker=1), "an idle connection is closed")
case("second-head-stall", "high", "slowloris", (get(b"/x"), ANSWER, b"GET /af"), ended((200, 400), worker=1))
case("worker-silent", "high", "RFC 9110 15.6.5", get(b"/x"), answered(A((504, 502))), replies=((HOLD,),))
case("worker-head-stall", "high", "RFC 9110 15.6.5", get(b"/x"), answered(A((504, 502))),
    replies=((b"HTTP/1.1 200 OK\r\nX-A: ", HOLD),))
case("worker-body-stall", "high", "RFC 9112 8", get(b"/x"), cut(), "cut, visibly",
    replies=((answer(b"200 OK", b"Content-Length: 50", body=b"hello"), HOLD),))
case("worker-chunk-stall", "high", "RFC 9112 8", get(b"/x"), cut(), replies=((answer(b"200 OK", b"Transfer-Encoding: chunked",
    body=b"5\r\nhello\r\n"), HOLD),))
case("worker-close-delimited-stall", "medium", "RFC 9112 8", get(b"/x"), cut(),
    replies=((answer(b"200 OK", body=b"hello"), HOLD),))
case("slow-but-fine", "high", "fairness", (b"GET /x HTTP/1.1\r\n", Pause(0.3), b"Host: a.test\r\n", Pause(0.3), b"\r\n"),
    passed(W("GET", "/x")), "half a second is nobody's crime")
case("slow-body-fine", "high", "fairness", (post(b"Content-Length: 6", b""), *((b"x", Pause(0.4)) * 6)),
    passed(W("POST", "/x", b"xxxxxx")), "steady progress is served")
case("slow-answer-fine", "high", "fairness", get(b"/x"), answered(A(200, b"xxxxxx")),
    replies=((answer(b"200 OK", b"Content-Length: 6"), Drip(b"xxxxxx", 0.4)),))
case("pipeline-flood", "medium", "bounds", (Repeat(get(b"/x") * 100, 20), Pause(0.2)),
    Outcome("others are served", lambda seen: None if seen.answers else "no answer at all"),
     "a thousand requests at once are answered in turn", strict_client=False)
