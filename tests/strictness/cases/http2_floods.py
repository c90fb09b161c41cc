"""Floods over HTTP/2, and clients that stop: what little a client may cost, and that everybody else is served meanwhile.

RFC 9113 section 10.5, CVE-2019-9511 to 9518, CVE-2023-44487, CVE-2024-27316, CVE-2025-8671. After each flood a further
client asks; it must be answered. Timeouts: one second in the service under test.
"""

from frames import (
    INITIAL_WINDOW_SIZE, PREFACE, PRIORITY, ask, continuation, data, frame, get, headers, ping, priority, request, rst,
    settings, window,
)
import hpack
from model import HOLD, NEW, Outcome, Pause, Repeat, Table
from outcomes_http2 import ANY_CODE, answer_differs, anything, connection_error, malformed, stream_differs
from spelling import answer

CASES = case = Table("h2", protocol="http2", within=10.0)

BLOCK = hpack.block(request())
OPEN = headers(1, hpack.block(request(b"POST")), end=False)
FIRST = answer(b"200 OK", b"Content-Length: 2", body=b"ok")
THEN = (Pause(0.2), NEW, get(1, b"/others"))


def others_served(worker=None):
    """A client that comes after the flood is answered; the worker got no more than so many requests."""

    def check(seen):
        different = answer_differs(seen.h2, 1, 200)
        if different is None and worker is not None and len(seen.requests) > worker:
            different = f"the worker got {len(seen.requests)} requests"
        return different

    return Outcome("others are served", check)


def flood(name, grade, source, steps, want=None, why="", **more):
    steps = steps if isinstance(steps, tuple) else (steps,)
    case(name, grade, source, (*steps, *THEN), want or others_served(), why, **{"replies": ((FIRST,),), **more})


def numbered(count, each):
    """So many streams, one after another."""
    return b"".join(each(2 * number + 1) for number in range(count))


flood("flood-rapid-reset", "high", "CVE-2023-44487", numbered(4000, lambda n: get(n) + rst(n)), others_served(2000),
    "bounded work, or the end of the connection")
flood("flood-rapid-reset-post", "high", "CVE-2023-44487", numbered(4000,
    lambda n: ask(n, request(b"POST"), False) + data(n, b"x", False) + rst(n)), others_served(2000))
flood("flood-made-you-reset-window", "high", "CVE-2025-8671", numbered(4000, lambda n: get(n) + window(n, 0)),
    others_served(2000), "resets that the client provokes count, too")
flood("flood-made-you-reset-data", "high", "CVE-2025-8671", numbered(4000, lambda n: get(n) + data(n, b"x")),
    others_served(2000))
flood("flood-made-you-reset-priority", "high", "CVE-2025-8671", numbered(4000,
    lambda n: get(n) + frame(PRIORITY, 0, n, bytes(4))), others_served(2000))
flood("flood-made-you-reset-overflow", "high", "CVE-2025-8671", numbered(4000, lambda n: get(n) + window(n, 0x7fffffff)),
    others_served(2000))
flood("flood-malformed", "high", "CVE-2025-8671", numbered(4000, lambda n: get(n, b"/x", (b"Bad Name", b"x"))),
    others_served(2))
flood("flood-settings", "high", "CVE-2019-9515", Repeat(settings() * 100, 300))
flood("flood-settings-values", "medium", "CVE-2019-9515", Repeat(settings(*(((INITIAL_WINDOW_SIZE, 100),) * 2000)), 50))
flood("flood-ping", "high", "CVE-2019-9512", Repeat(ping() * 100, 300))
flood("flood-priority", "medium", "CVE-2019-9513", Repeat(b"".join(priority(n) for n in range(1, 400, 2)), 200))
flood("flood-empty-data", "high", "CVE-2019-9518, RUSTSEC-2026-0258", (OPEN, Repeat(data(1, b"", False) * 500, 200)))
flood("flood-empty-data-padded", "medium", "CVE-2019-9518", (OPEN, Repeat(frame(0, 8, 1, b"\x00") * 500, 20)))
flood("flood-window", "medium", "RFC 9113 10.5", (OPEN, Repeat(window(1, 1) * 500, 200)))
flood("flood-unknown", "medium", "RFC 9113 10.5", Repeat(frame(0xfa, 0, 0, b"x" * 8) * 500, 100))
flood("flood-rst", "medium", "CVE-2019-9514", (get(), Pause(0.2), Repeat(rst(1) * 500, 200)))
flood("flood-continuation-empty", "high", "CVE-2024-27316", (headers(1, BLOCK, ended=False),
    Repeat(continuation(1, b"", False) * 100, 500, 3.0)), others_served(1))
flood("flood-headers-empty", "medium", "CVE-2019-9516", headers(1, BLOCK + hpack.literal(b"", b"") * 1000))

for name, each in (("continuation", continuation(1, hpack.literal(b"x-a", b"b" * 1000), False)),
    ("continuation-large", continuation(1, hpack.literal(b"x-a", b"b" * 16000), False))):
    case(f"flood-{name}", "high", "CVE-2024-27316", (headers(1, BLOCK, ended=False), Repeat(each * 10, 5000, 6.0)),
        connection_error(*ANY_CODE, worker=0), "cut off: no block is endless")
    flood(f"flood-{name}-others", "medium", "CVE-2024-27316", (headers(1, BLOCK, ended=False), Repeat(each * 10, 500, 3.0)))

BOMB = headers(1, BLOCK + hpack.literal(b"x-bomb", b"b" * 4000, kept=True) + hpack.indexed(62) * 12000)
case("flood-hpack-bomb", "high", "RFC 9113 10.5.1, CVE-2016-1544", BOMB, malformed(1, ANY_CODE, (400, 413, 431)),
    "the size counts after decoding")
case("flood-hpack-bomb-cookies", "high", "RFC 9113 10.5.1", headers(1,
    BLOCK + hpack.literal(b"cookie", b"a=b", kept=True) + hpack.indexed(62) * 16000),
     malformed(1, ANY_CODE, (400, 413, 431)), "crumbs count, too")
case("flood-fields-large", "high", "RFC 9113 10.5.1", ask(1, request(b"GET", b"/x",
    *((b"x-%d" % n, b"b" * 1000) for n in range(1000)))), malformed(1, ANY_CODE, (400, 413, 431)))
case("flood-fields-many", "high", "RFC 9113 10.5.1", ask(1, request(b"GET", b"/x",
    *((b"x-%d" % n, b"b") for n in range(5000)))), malformed(1, ANY_CODE, (400, 413, 431)))
case("flood-path-long", "medium", "RFC 9110 15.5.15", ask(1, request(b"GET", b"/" + b"x" * 100000)),
    malformed(1, ANY_CODE, (400, 414, 431)))

# Who stops.
LARGE = answer(b"200 OK", b"Content-Length: 500000", body=b"y" * 500000)


def freed(number=1, answers=(408, 502, 504)):
    """The stream or the connection is over; an answer may say why."""

    def check(seen):
        if stream_differs(seen.h2, number, ANY_CODE) is None or seen.last.end != "open":
            return None
        return answer_differs(seen.h2, number, answers)

    return Outcome("over within the time", check)


QUICK = {"timing": "quick", "within": 10.0}
case("stall-zero-window", "high", "CVE-2019-9511, 9517", get(), freed(), "who never takes the answer is cut off",
    settings=((INITIAL_WINDOW_SIZE, 0),), window=False, replies=((LARGE,),), **QUICK)
case("stall-small-window", "high", "CVE-2019-9511", get(), freed(), "", settings=((INITIAL_WINDOW_SIZE, 1),), window=False,
    replies=((LARGE,),), **QUICK)
case("stall-window-drip", "medium", "CVE-2019-9511", (get(), *((window(1, 1), Pause(0.3)) * 24)), freed(),
    "a byte at a time is no progress", settings=((INITIAL_WINDOW_SIZE, 0),), window=False,
     replies=((LARGE,),), **{**QUICK, "within": 12.0})
case("stall-block", "high", "slowloris", headers(1, BLOCK[:9], ended=False), freed(), "a block that never ends", **QUICK)
case("stall-frame", "high", "slowloris", headers(1, BLOCK)[:20], freed(), "half a frame", **QUICK)
case("stall-body", "high", "slow POST", OPEN + data(1, b"hello", False), freed(), "a body that never ends", **QUICK)
case("stall-idle", "medium", "RFC 9113 9.1", (), freed(), "a connection that asks nothing", **QUICK)
case("stall-idle-after", "medium", "RFC 9113 9.1", get(), freed(3), "a connection that asks nothing more", **QUICK)
case("stall-pings", "low", "RFC 9113 9.1", tuple(step for _ in range(20) for step in (ping(), Pause(0.3))), freed(),
    "PING alone keeps nothing open", **QUICK)
case("stall-preface", "high", "slowloris", PREFACE[:10], Outcome("over within the time",
    lambda seen: None if seen.last.end != "open" else "still open"), "half a preface",
     bare=True, strict_client=False, **QUICK)
case("stall-worker", "high", "RFC 9110 15.6.5", get(), freed(1, (502, 504)), "a worker that never answers", replies=((HOLD,),),
    **QUICK)
case("stall-worker-body", "high", "RFC 9113 8.1", get(), anything("visibly cut",
    lambda seen: stream_differs(seen.h2, 1, ANY_CODE[1:])), "a worker that stops in its answer",
     replies=((answer(b"200 OK", b"Content-Length: 50", body=b"hello"), HOLD),), **QUICK)
