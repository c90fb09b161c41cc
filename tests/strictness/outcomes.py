"""The ways in which an HTTP/1.1 case may end well, for the tables in cases/.

`refused`, `broken` and `passed` say it for both sides: what the client sees and what the worker sees.
Not here: the grammar of what is sent on, which is checked for every case (messages.py).
"""

from dataclasses import dataclass, field

from model import Outcome

ANY_4XX = tuple(range(400, 500))
GATEWAY = (502,)


@dataclass(frozen=True)
class W:
    """A request that the worker must have got. None means anything."""

    method: str = "GET"
    target: str | None = None
    body: bytes | None = b""
    have: dict = field(default_factory=dict)  # name: the value, a set of values, or a function of the list of values
    lack: tuple = ()
    trailers: object = None

    def differs(self, request):
        if request.method != self.method:
            return f"the worker got the method {request.method}, not {self.method}"
        if self.target is not None and request.target not in one_of(self.target):
            return f"the worker got the target {request.target}, not {self.target}"
        if self.body is not None and request.body != self.body:
            return f"the worker got the body {request.body[:60]!r}, not {self.body[:60]!r}"
        if self.trailers is not None and not self.trailers(request.trailers):
            return f"the worker got the trailers {request.trailers}"
        return fields_differ("the worker got", request, self.have, self.lack)


@dataclass(frozen=True)
class A:
    """An answer that the client must have got."""

    status: object = 200
    body: bytes | None = None
    have: dict = field(default_factory=dict)
    lack: tuple = ()
    complete: bool | None = True
    interim: object = None

    def differs(self, answer):
        if answer.status not in one_of(self.status):
            return f"the client got {answer.status}, not {self.status}"
        if self.complete is not None and answer.complete != self.complete:
            return f"the client's answer is {'' if answer.complete else 'not '}complete"
        if self.body is not None and answer.body != self.body:
            return f"the client got the body {answer.body[:60]!r}, not {self.body[:60]!r}"
        if self.interim is not None and not self.interim(answer.interim):
            return f"the client got the interim answers {answer.interim[:10]}"
        return fields_differ("the client got", answer, self.have, self.lack)


def one_of(value):
    return value if isinstance(value, (tuple, list, set, frozenset, range)) else (value,)


def fields_differ(who, message, have, lack):
    for name, wanted in have.items():
        values = message.values(name)
        if callable(wanted):
            if not wanted(values):
                return f"{who} {name}: {values}"
        elif len(values) != 1 or values[0] not in one_of(wanted):
            return f"{who} {name}: {values}, not {wanted}"
    for name in lack:
        if message.values(name):
            return f"{who} {name}: {message.values(name)}"
    return None


def end_differs(seen, end):
    """`end` of the last connection: open, closed (reset counts), or any."""
    actual = seen.last.end
    if end == "open" and actual != "open":
        return f"the client's connection ended ({actual})"
    if end == "closed" and actual == "open":
        return "the client's connection stayed open"
    return None


def answers_differ(seen, wanted):
    answers = seen.answers
    statuses = [answer.status for answer in answers]
    if len(answers) != len(wanted):
        return f"the client got {len(answers)} answers {statuses[:12]}, not {len(wanted)}"
    for answer, want in zip(answers, wanted):
        want = want if isinstance(want, A) else A(want)
        different = want.differs(answer)
        if different:
            return different
    return None


def requests_differ(requests, wanted):
    if len(requests) != len(wanted):
        shown = [f"{request.method} {request.target[:60]}" for request in requests[:6]]
        return f"the worker got {len(requests)} requests {shown}, not {len(wanted)}"
    for request, want in zip(requests, wanted):
        different = want.differs(request)
        if different:
            return different
    return None


def refused(*codes, before=(), answered=True):
    """One of these codes, then the end of the connection; the worker saw nothing but the requests in `before`.

    `answered=False`: a connection that ends without an answer will do, too.
    """
    codes = codes or (400,)

    def check(seen):
        return refusal_differs(seen, codes, len(before), answered) or requests_differ(seen.requests, before)

    return Outcome(f"refused with {short(codes)}", check)


def broken(*codes, before=(), answered=True):
    """Refused inside its body: the worker may have seen its head, but never a whole request."""
    codes = codes or (400,)

    def check(seen):
        different = refusal_differs(seen, codes, len(before), answered) or requests_differ(seen.whole(), before)
        if different is None and len(seen.requests) > len(before) + 1:
            different = f"the worker got {len(seen.requests)} heads"
        return different

    return Outcome(f"broken off with {short(codes)}", check)


def refusal_differs(seen, codes, before, answered):
    answers = seen.answers
    statuses = [answer.status for answer in answers]
    if seen.last.end == "open":
        return f"the client's connection stayed open after {statuses}"
    if not answered and len(answers) == before:
        return None
    if len(answers) != before + 1:
        return f"the client got {len(answers)} answers {statuses[:12]}, not {before + 1}"
    if answers[-1].status not in codes:
        return f"the client got {answers[-1].status}, not {short(codes)}"
    return None


def passed(*requests, answers=None, end="any", twice_is_fine=False):
    """The worker got exactly these requests, and the client these answers (default: each its own 200)."""

    def check(seen):
        got = seen.requests
        different = requests_differ(got, requests)
        if different:
            return different
        if answers is None:
            wanted = [A(200, None if request.method == "HEAD" else f"{request.method} {request.target}".encode())
                      for request in got]
        else:
            wanted = answers
        unfinished = [request.target for request in got if not request.complete]
        if unfinished:
            return f"the worker got only a part of {unfinished}"
        return answers_differ(seen, wanted) or end_differs(seen, end)

    return Outcome(f"passed on as {[f'{request.method} {request.target}' for request in requests]}", check)


def answered(*wanted, end="any", worker=None, more=None):
    """The client got these answers; `worker` says how many requests the worker may have got."""

    def check(seen):
        different = answers_differ(seen, wanted) or end_differs(seen, end)
        if different is None and worker is not None and len(seen.requests) not in one_of(worker):
            different = f"the worker got {len(seen.requests)} requests, not {worker}"
        return different or (more(seen) if more else None)

    return Outcome(f"answered with {[getattr(want, 'status', want) for want in wanted]}", check)


def cut(*statuses):
    """The client saw that the answer is not complete: cut off, or a 502 or 504 in its place.

    A connection that ends without a byte is visibly cut, too.
    """
    statuses = statuses or (200,)

    def check(seen):
        answers = seen.answers
        if len(answers) > 1:
            return f"the client got {len(answers)} answers"
        if not answers or (answers[0].status in (502, 504) and answers[0].complete):
            return None if answers else end_differs(seen, "closed")
        if answers[0].status not in statuses:
            return f"the client got {answers[0].status}"
        if answers[0].complete and not (answers[0].framing == "close" and seen.connections[0].end == "reset"):
            return "the client took the cut answer for a whole one"
        return end_differs(seen, "closed")

    return Outcome("visibly cut off, or 502", check)


def short(codes):
    return "4xx" if tuple(codes) == ANY_4XX else "/".join(map(str, codes))
