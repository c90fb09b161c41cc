"""The ways in which an HTTP/2 case may end well, for the tables in cases/http2_*.py.

RFC 9113 section 5.4.1 lets an endpoint treat a stream error as a connection error, so that always passes, too; a
connection that is closed without GOAWAY is one. Not here: HTTP/1.1 (outcomes.py).
"""

import frames
from model import Outcome
from outcomes import fields_differ, one_of, requests_differ

NAMES = ("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
         "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM")
ANY_CODE = tuple(range(14))


def named(codes):
    return "/".join(NAMES[code] for code in codes) if len(codes) < 6 else "any code"


def connection_differs(talk, codes):
    """None if the connection ended in error, with one of these codes if it said one."""
    if talk.goaway is not None and talk.goaway not in codes:
        return f"GOAWAY with {talk.goaway}, not {named(codes)}"
    if talk.goaway is None and talk.end == "open":
        return "the connection goes on"
    return None


def stream_differs(talk, number, codes):
    """None if the stream was reset with one of these codes, or the whole connection."""
    stream = talk.streams.get(number)
    if stream is not None and stream.reset is not None and stream.reset in codes:
        return None
    different = connection_differs(talk, codes)
    if different is None:
        return None
    if stream is None:
        return f"nothing on stream {number}, and {different}"
    if stream.reset is not None:
        return f"stream {number} reset with {stream.reset}, and {different}"
    return f"stream {number} answered {stream.status}{', ended' if stream.ended else ''}, and {different}"


def answer_differs(talk, number, status=200, body=None, have=None, lack=()):
    stream = talk.streams.get(number)
    if stream is None or not stream.status:
        reset = f" (reset with {stream.reset})" if stream is not None and stream.reset is not None else ""
        return f"no answer on stream {number}{reset}"
    if stream.status not in one_of(status):
        return f"stream {number} was answered {stream.status}, not {status}"
    if not stream.ended:
        return f"the answer on stream {number} is not whole"
    if body is not None and stream.body != body:
        return f"stream {number} has the body {stream.body[:60]!r}, not {body[:60]!r}"
    return fields_differ(f"stream {number} has", stream, have or {}, lack)


def connection_error(*codes, worker=None):
    """GOAWAY with one of these codes, or the connection is closed."""

    def check(seen):
        return connection_differs(seen.h2, codes) or worker_differs(seen, worker)

    return Outcome(f"connection error {named(codes)}", check)


def stream_error(number, *codes, worker=None):
    """RST_STREAM with one of these codes, or a connection error."""

    def check(seen):
        return stream_differs(seen.h2, number, codes) or worker_differs(seen, worker)

    return Outcome(f"stream error {named(codes)}", check)


def worker_differs(seen, worker):
    if worker is not None and len(seen.whole()) not in one_of(worker):
        shown = [f"{request.method} {request.target[:50]}" for request in seen.whole()[:5]]
        return f"the worker got {shown}, not {worker} requests"
    return None


def malformed(number=1, codes=(frames.PROTOCOL_ERROR,), statuses=(*range(400, 500), 501), whole_only=False):
    """Refused as RFC 9113 section 8.1.1 allows: a stream error or a 4xx; the worker saw nothing of it.

    `whole_only`: the worker may have got its head, but never the whole request.
    """

    def check(seen):
        got = seen.whole() if whole_only else seen.requests
        if got:
            return f"the worker got {got[0].head[:200]!r}"
        if stream_differs(seen.h2, number, codes) is None:
            return None
        return answer_differs(seen.h2, number, statuses)

    return Outcome(f"malformed: {named(codes)} or 4xx", check)


def served(wanted, statuses=None, more=None):
    """The worker got exactly these requests (by stream number), and each stream was answered 200."""

    def check(seen):
        for number in wanted:
            different = answer_differs(seen.h2, number, (statuses or {}).get(number, 200))
            if different:
                return different
        got = sorted(seen.requests, key=lambda request: [want.target for want in wanted.values()].index(request.target)
                     if request.target in [want.target for want in wanted.values()] else 99)
        different = requests_differ(got, list(wanted.values()))
        unfinished = [request.target for request in got if not request.complete]
        if different is None and unfinished:
            different = f"the worker got only a part of {unfinished}"
        return different or (more(seen) if more else None)

    return Outcome(f"served: {[want.target for want in wanted.values()]}", check)


def answered(number=1, status=200, body=None, have=None, lack=(), worker=None, more=None):
    """This answer on this stream; `worker` says how many requests the worker may have got."""

    def check(seen):
        different = answer_differs(seen.h2, number, status, body, have, lack) or worker_differs(seen, worker)
        return different or (more(seen) if more else None)

    return Outcome(f"stream {number} answered {status}", check)


def ponged(*payloads, more=None):
    """PING was answered with exactly these payloads, and the connection lives."""

    def check(seen):
        if tuple(seen.h2.pongs) != payloads:
            return f"pongs {seen.h2.pongs}, not {payloads}"
        if seen.h2.end != "open" or seen.h2.goaway is not None:
            return f"the connection ended ({seen.h2.end}, GOAWAY {seen.h2.goaway})"
        return more(seen) if more else None

    return Outcome("the connection lives", check)


def cut(number=1):
    """The stream was visibly cut: RST_STREAM (never NO_ERROR) or the connection, or a 502 or 504 in its place."""

    def check(seen):
        stream = seen.h2.streams.get(number)
        if stream is not None and stream.ended and stream.status in (502, 504):
            return None
        if stream is not None and stream.ended:
            return f"stream {number} ended as if its answer {stream.status} were whole"
        return stream_differs(seen.h2, number, ANY_CODE[1:])

    return Outcome("visibly cut, or 502", check)


def anything(name, check):
    """An outcome that the case itself judges."""
    return Outcome(name, check)
