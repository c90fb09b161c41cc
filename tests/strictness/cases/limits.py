"""One caller, one budget: three requests at once for each key or, without one, for each address, whatever is tried.

The services under test let each caller send three requests and then one in ten seconds. RFC 6585 section 4. Who is called
what (401, known callers) is each proxy's own affair and not asked here.
"""

import frames
from model import ANSWER, NEW, Outcome, Table
from outcomes import A, answered
from outcomes_http2 import anything
from spelling import AFTER, get, post

CASES = case = Table("limits", timing="limited")

BURST = 3


def key(text):
    return b"X-Api-Key: " + text


def held(most=BURST, least=0, refusals=(429,)):
    """The worker got at most so many requests; what was refused was refused with 429 (or with these)."""

    def check(seen):
        statuses = [answer.status for answer in seen.answers]
        if len(seen.requests) > most or statuses.count(200) > most:
            return f"the worker got {len(seen.requests)} requests, not {most}: {statuses}"
        if len(seen.requests) < least:
            return f"the worker got only {len(seen.requests)} requests: {statuses}"
        odd = [status for status in statuses if status not in (200, *refusals)]
        if odd:
            return f"answered {odd}"
        return None if any(status in refusals for status in statuses) else f"nothing was refused: {statuses}"

    return Outcome(f"at most {most} pass", check)


def each(count, *fields, path=b"/x"):
    """So many requests, each after the answer to the one before."""
    return tuple(step for _ in range(count) for step in (get(path, *fields), ANSWER))


case("key", "high", "RFC 6585 4", each(6, key(b"key-a")), held(least=3))
case("key-pipelined", "high", "RFC 6585 4", get(b"/x", key(b"key-b")) * 8, held(least=3), "at once is the same as one by one")
case("key-connections", "high", "RFC 6585 4", tuple(step for _ in range(8)
    for step in (get(b"/x", key(b"key-c")), ANSWER, NEW))[:-1], held(least=3), "nor do connections help")
case("key-name-case", "high", "RFC 9110 5.1", (*each(3, key(b"key-d")), *each(3, b"x-API-key: key-d")), held(least=3),
    "names have no case")
for name, field in (("tab", b"X-Api-Key:\tkey-%s"), ("blanks", b"X-Api-Key:   key-%s  "), ("no-blank", b"X-Api-Key:key-%s")):
    case(f"key-{name}", "high", "RFC 9110 5.5", (*each(3, key(b"key-" + name.encode())), *each(3, field % name.encode())),
        held(least=3, refusals=(429, 400, 401)),
         "blanks around a value are no part of it")
case("key-twice", "grave", "RFC 9110 5.3", (*each(3, key(b"key-e")), *each(3, key(b"key-e"), key(b"key-e2")),
    *each(3, key(b"key-e3"), key(b"key-e"))), held(refusals=(429, 400, 401)),
     "a used-up key beside a fresh one is used up, or two are refused")
case("key-method", "medium", "rule", (*each(3, key(b"key-g")), post((key(b"key-g"), b"Content-Length: 2"), b"hi"), ANSWER,
    get(b"/y", key(b"key-g"), method=b"HEAD")),
     held(least=3), "other methods and paths are the same caller's", asked=("GET",) * 4 + ("HEAD",))
case("key-path", "medium", "rule", (*each(3, key(b"key-h")), *each(2, key(b"key-h"), path=b"/other?y")), held(least=3))
case("key-connection-nominated", "high", "CVE-2022-31813 class", (*each(3, key(b"key-i")),
    *each(3, key(b"key-i"), b"Connection: X-Api-Key")), held(least=3, refusals=(429, 400, 401)),
     "who strips the key does not get another's budget")
case("retry-after", "low", "RFC 6585 4, RFC 9110 10.2.3", each(4, key(b"key-j")),
    answered(200, 200, 200, A(429, have={"retry-after": lambda v: len(v) == 1 and v[0].isdigit() and int(v[0]) > 0})),
     "it says when")
case("refused-body", "grave", "CVE-2025-4366", (*each(3, key(b"key-k")),
    post((key(b"key-k"), b"Content-Length: 37"), b"GET /smuggle HTTP/1.1\r\nHost: a.test\r\n\r\n"[:37]) + AFTER),
     Outcome("the body of a 429 is no request", lambda seen: None if len(seen.answers) >= 4 and seen.answers[3].status == 429
     and not any("smuggle" in request.target for request in seen.requests) else
             f"{[answer.status for answer in seen.answers]}, {[request.target for request in seen.requests]}"),
             "drained or closed", address="127.0.0.21")
case("address", "high", "RFC 6585 4", each(6), held(least=3), address="127.0.0.22")
for last, (name, field) in enumerate((("for", b"X-Forwarded-For: 10.0.0.%d"), ("real-ip", b"X-Real-IP: 10.0.0.%d"),
    ("forwarded", b"Forwarded: for=10.0.0.%d"), ("client-ip", b"True-Client-IP: 10.0.0.%d"),
    ("xff-underscore", b"X_Forwarded_For: 10.0.0.%d"))):
    case(f"address-{name}", "grave", "RFC 7239 8.1", tuple(step for number in range(6)
        for step in (get(b"/x", field % number), ANSWER)), held(least=3),
         "nobody changes who they are by saying so", address=f"127.0.0.{30 + last}")
case("address-empty-key", "medium", "identity", tuple(step for _ in range(6) for step in (get(b"/x", b"X-Api-Key:"), ANSWER)),
    held(refusals=(429, 400, 401)), "an empty key is none, or wrong",
     address="127.0.0.25")
case("address-underscore-key", "medium", "CGI look-alike", tuple(step for number in range(6)
    for step in (get(b"/x", b"X_Api_Key: k%d" % number), ANSWER)), held(least=3, refusals=(429, 400)),
     "a look-alike is no key", address="127.0.0.26")
case("many-keys", "high", "bounds", tuple(get(b"/x", key(b"made-up-%d" % number)) for number in range(400)),
    Outcome("all are served", lambda seen: None if
     [answer.status for answer in seen.answers].count(200) >= 390 else f"{len(seen.answers)} answers"),
     "made-up callers cost no more than their requests", within=8.0)


def two_held(seen):
    statuses = [stream.status for stream in seen.h2.streams.values()]
    if len(seen.requests) > BURST or len(seen.requests) < BURST:
        return f"the worker got {len(seen.requests)} requests: {statuses}"
    return None if statuses.count(429) == len(statuses) - BURST and len(statuses) == 10 else f"answered {statuses}"


case("key-streams", "high", "RFC 6585 4", b"".join(frames.get(number, b"/x", (b"x-api-key", b"key-l"))
    for number in range(1, 20, 2)), anything("at most 3 pass", two_held),
     "streams are requests", protocol="http2")
case("key-versions", "high", "RFC 6585 4", (*(frames.get(number, b"/x", (b"x-api-key", b"key-m")) for number in (1, 3, 5)),
    ANSWER, ANSWER, ANSWER, NEW,
     *(frames.get(number, b"/x", (b"X-API-Key".lower(), b"key-m")) for number in (1, 3, 5))),
     anything("none passes", lambda seen: None if len(seen.requests) == BURST
     and [stream.status for stream in seen.h2.streams.values()] == [429] * 3
     else f"{len(seen.requests)} requests, {[stream.status for stream in seen.h2.streams.values()]}"), protocol="http2")
