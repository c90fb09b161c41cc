"""What a proxy must do before it is measured, and what must not happen while it is: less work is not compared."""

import contextlib
import http.client
import json
import socket
import ssl
import time
from collections import Counter
from dataclasses import dataclass

ANSWER_WITHIN_S = 5
CLIENT_CONNECTIONS = 4
REQUESTS_PER_CONNECTION = 60
UNEVEN = 0.2
# Go takes AES-128 first and cannot be told otherwise; all the others take what the client asks for first.
CIPHERS = {"caddy": "TLS_AES_128_GCM_SHA256"}
CIPHER = "TLS_AES_256_GCM_SHA384"
# What Buckler says of a refusal, and its peers where that is asked of them.
# By status: the fields, the members of the body, and the body's length in bytes.
FIELDS = ("x-request-id", "proxy-status", "ratelimit", "ratelimit-policy", "cache-control")
MEMBERS = ("type", "title", "status", "detail", "reason", "rule", "rule_reason", "request_id")
TOLD = {
    429: ((*FIELDS, "retry-after"), (*MEMBERS, "retry_after", "violated-policies"), 359),
    403: (FIELDS, MEMBERS, 244),
}


class Failed(Exception):
    """The comparison cannot go on; the text says what, where and what to do."""


@dataclass(frozen=True)
class Door:
    """Where a proxy is asked, and by which caller. `ca`: over TLS, with a certificate of this CA for `host`."""

    name: str
    port: int
    key: str
    ca: str = ""
    host: str = "127.0.0.1"

    def connection(self):
        if not self.ca:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_WITHIN_S)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=ANSWER_WITHIN_S, context=self.tls(["http/1.1"]))

    def tls(self, protocols):
        context = ssl.create_default_context(cafile=self.ca)
        context.set_alpn_protocols(protocols)
        return context


def works(door, weight_of):
    """200 through all workers by weight, kept connections on both sides, X-Forwarded-For set, the rules held."""
    seen, kept = Counter(), 0
    for _ in range(CLIENT_CONNECTIONS):
        with kept_connection(door) as ask:
            for _ in range(REQUESTS_PER_CONNECTION):
                answer = ask("GET", "/seen")
                expect(door, "the status of GET /seen", 200, answer.status)
                expect(door, "x-forwarded-for at the worker", "127.0.0.1", answer.headers["x-seen-forwarded-for"])
                seen[answer.headers["x-worker"]] += 1
                kept += int(answer.headers["x-connection-requests"]) > 1
    for method, path in (("GET", "/admin/keys"), ("DELETE", "/v1/tracks/42")):
        forbids(door, method, path)
    asked = CLIENT_CONNECTIONS * REQUESTS_PER_CONNECTION
    for worker, weight in weight_of.items():
        due = asked * weight / sum(weight_of.values())
        if abs(seen[worker] - due) > UNEVEN * due:
            raise Failed(f"{door.name}: worker {worker} of weight {weight} got {seen[worker]} of {asked} requests; due are {due:.0f}")
    if kept < asked / 2:
        raise Failed(f"{door.name}: only {kept} of {asked} requests went over a kept worker connection")
    shares = ":".join(str(seen[worker]) for worker in weight_of)
    return f"{door.name}: 200 through all four workers, {shares} of {asked} requests; {kept} of them over kept connections"


def refuses(door):
    """Over a limit of 1/s it is 429, and the refused caller keeps its connection."""
    with kept_connection(door) as ask:
        began = time.monotonic()
        statuses = [ask("GET", "/seen").status for _ in range(10)]
        due = 2 + int(time.monotonic() - began)
    expect(door, "the statuses over a limit of 1/s", {429}, set(statuses) - {200})
    if statuses.count(200) > due:
        raise Failed(f"{door.name}: a limit of 1/s let {statuses.count(200)} of {len(statuses)} requests pass: {statuses}")
    return f"{door.name}: refuses with 429 over the limit"


def forbids(door, method, path):
    """What a rule forbids is 403, and the connection is kept."""
    with kept_connection(door) as ask:
        statuses = {ask(method, path).status for _ in range(3)}
    expect(door, f"the statuses of {method} {path}", {403}, statuses)
    return f"{door.name}: refuses {method} {path} with 403"


def tells(door, path):
    """A refusal says why, by which rule, what the quota is, when to come again if that helps, and by which id it is
    found again: in fields and in its body, in about as many bytes as Buckler."""
    with kept_connection(door) as ask:
        # The first ones may pass.
        refusals = [ask("GET", path) for _ in range(6)][-2:]
    ids = set()
    for answer in refusals:
        expect(door, f"whether GET {path} is refused", True, answer.status in TOLD)
        told, told_in_body, length = TOLD[answer.status]
        try:
            problem = json.loads(answer.text)
        except ValueError:
            problem = {}
        missing = {name for name in told if not answer.headers[name]} | {name for name in told_in_body if not problem.get(name)}
        expect(door, f"what a {answer.status} leaves out", set(), missing)
        expect(door, f"the type of a {answer.status}", "application/problem+json", answer.headers.get_content_type())
        expect(door, "the status in the body", answer.status, problem["status"])
        expect(door, f"the id in the body of a {answer.status}", answer.headers["x-request-id"], problem["request_id"])
        expect(door, f"whether {len(answer.text)} bytes of body are about {length}", True, abs(len(answer.text) - length) < length / 10)
        ids.add(problem["request_id"])
    expect(door, "how many ids two refusals have", 2, len(ids))
    return f"{door.name}: says why with {answer.status}, in {len(answer.text)} bytes of problem+json"


def carries(door):
    """As much as a proxy without rules can show: an answer of the origin comes through, the connection is kept."""
    with kept_connection(door) as ask:
        statuses = {ask("GET", "/seen").status for _ in range(3)}
    expect(door, "the statuses of GET /seen", {200}, statuses)
    return f"{door.name}: carries requests and answers"


def speaks_tls(door):
    """TLS 1.3 with the same cipher at all that leave the choice to the client, by our certificate, with HTTP/1.1 and HTTP/2."""
    wanted = ("TLSv1.3", CIPHERS.get(door.name, CIPHER))
    for protocol in ("http/1.1", "h2"):
        try:
            with socket.create_connection(("127.0.0.1", door.port), ANSWER_WITHIN_S) as plain, \
                    door.tls([protocol]).wrap_socket(plain, server_hostname=door.host) as tls:
                agreed = (tls.version(), tls.cipher()[0], tls.selected_alpn_protocol())
        except OSError as error:
            raise Failed(f"{door.name}: no TLS on 127.0.0.1:{door.port}: {error!r}") from error
        expect(door, "what TLS agrees on", (*wanted, protocol), agreed)
    return f"{door.name}: {' '.join(wanted)}, http/1.1 and h2"


@contextlib.contextmanager
def kept_connection(door):
    """Gives a way to ask over one client connection, which the proxy must not close."""
    connection = door.connection()
    with contextlib.closing(connection):
        try:
            connection.connect()
            first = connection.sock

            def ask(method, path):
                connection.request(method, path, headers={"x-api-key": door.key, "x-forwarded-for": "203.0.113.9"})
                answer = connection.getresponse()
                answer.text = answer.read()
                expect(door, f"keeping the connection after a {answer.status}", True, connection.sock is first)
                return answer

            yield ask
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"{door.name}: asked on 127.0.0.1:{door.port}, no answer: {error!r}") from error


def expect(door, what, wanted, got):
    if wanted != got:
        raise Failed(f"{door.name} does not do the same work: {what} should be {wanted}, is {got}")


def answers_are_right(name, told, outcome, seconds):
    """After a turn: no broken connection, no error among answers, or nothing but refusals beyond the quota."""
    passed = told["count"] - told["refused"]
    if not told["count"] or told["broken"]:
        raise Failed(f"{name}: {told['count']} answers and {told['broken']} broken connections or streams in a turn")
    if outcome == "refused by rate" and passed > 2 * (seconds + 2):
        raise Failed(f"{name}: {passed} requests passed a limit of 1/s in {seconds} s")
    if outcome == "refused by rule" and passed:
        raise Failed(f"{name}: {passed} of {told['count']} requests passed a rule that forbids them")
    if outcome in ("passed", "ended") and told["refused"]:
        raise Failed(f"{name}: {told['refused']} of {told['count']} answers were errors")
