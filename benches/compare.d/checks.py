"""What a proxy must do before it is measured, and what must not happen while it is: less work is not compared."""

import contextlib
import http.client
import time
from collections import Counter

ANSWER_WITHIN_S = 5
CLIENT_CONNECTIONS = 4
REQUESTS_PER_CONNECTION = 60
UNEVEN = 0.2


class Failed(Exception):
    """The comparison cannot go on; the text says what, where and what to do."""


def works(name, port, key, weight_of):
    """200 through all workers by weight, kept connections on both sides, X-Forwarded-For set, the rules held."""
    seen, kept = Counter(), 0
    for _ in range(CLIENT_CONNECTIONS):
        with kept_connection(name, port, key) as ask:
            for _ in range(REQUESTS_PER_CONNECTION):
                answer = ask("GET", "/seen")
                expect(name, "the status of GET /seen", 200, answer.status)
                expect(name, "x-forwarded-for at the worker", "127.0.0.1", answer.headers["x-seen-forwarded-for"])
                seen[answer.headers["x-worker"]] += 1
                kept += int(answer.headers["x-connection-requests"]) > 1
        for method, path in (("GET", "/admin/keys"), ("DELETE", "/v1/tracks/42")):
            with kept_connection(name, port, key) as ask:
                expect(name, f"the status of {method} {path}", 403, ask(method, path).status)
    asked = CLIENT_CONNECTIONS * REQUESTS_PER_CONNECTION
    for worker, weight in weight_of.items():
        due = asked * weight / sum(weight_of.values())
        if abs(seen[worker] - due) > UNEVEN * due:
            raise Failed(f"{name}: worker {worker} of weight {weight} got {seen[worker]} of {asked} requests; due are {due:.0f}")
    if kept < asked / 2:
        raise Failed(f"{name}: only {kept} of {asked} requests went over a kept worker connection")
    shares = ":".join(str(seen[worker]) for worker in weight_of)
    return f"{name}: 200 through all four workers, {shares} of {asked} requests; {kept} of them over kept connections"


def refuses(name, port, key):
    """Over a limit of 1/s it is 429, and the refused caller keeps its connection."""
    with kept_connection(name, port, key) as ask:
        began = time.monotonic()
        statuses = [ask("GET", "/seen").status for _ in range(10)]
        due = 2 + int(time.monotonic() - began)
    expect(name, "the statuses over a limit of 1/s", {429}, set(statuses) - {200})
    if statuses.count(200) > due:
        raise Failed(f"{name}: a limit of 1/s let {statuses.count(200)} of {len(statuses)} requests pass: {statuses}")
    return f"{name}: refuses with 429 over the limit"


@contextlib.contextmanager
def kept_connection(name, port, key):
    """Gives a way to ask over one client connection, which the proxy must not close."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_WITHIN_S)
    with contextlib.closing(connection):
        connection.connect()
        first = connection.sock

        def ask(method, path):
            connection.request(method, path, headers={"x-api-key": key, "x-forwarded-for": "203.0.113.9"})
            answer = connection.getresponse()
            answer.read()
            expect(name, f"keeping the connection after a {answer.status}", True, connection.sock is first)
            return answer

        try:
            yield ask
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"{name}: asked on 127.0.0.1:{port}, no answer: {error!r}") from error


def expect(name, what, wanted, got):
    if wanted != got:
        raise Failed(f"{name} does not do the same work: {what} should be {wanted}, is {got}")


def answers_are_right(name, report, refused, seconds):
    """After a turn: no broken connection, no error among answers, or nothing but refusals beyond the quota."""
    passed = report["requests"] - report["refused"]
    if not report["requests"] or report["socket_errors"]:
        raise Failed(f"{name}: {report['requests']} requests and {report['socket_errors']} socket errors in a turn")
    if refused and passed > 2 * (seconds + 2):
        raise Failed(f"{name}: {passed} requests passed a limit of 1/s in {seconds} s")
    if not refused and report["refused"]:
        raise Failed(f"{name}: {report['refused']} of {report['requests']} answers were errors")
