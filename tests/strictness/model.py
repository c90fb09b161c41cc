"""What a case is: its name, grade and source, what is sent, and every outcome that the standard allows.

Not here: the cases (cases/), how they are played (play_http1.py, play_http2.py), how messages are read (messages.py).
"""

from dataclasses import dataclass, field
from typing import Callable

GRADES = ("grave", "high", "medium", "low")

# Steps of a client, beside bytes that are sent as they are.
SHUT = "the client closes its sending side"
RESET = "the connection is reset"
NEW = "the client opens a further connection; what follows goes there"
ANSWER = "the client waits for one more whole answer"
HEAD_AT_WORKER = "the client waits until the worker has one more request's head"
INTERIM = "the client waits for an interim answer"

# Steps of the worker, beside bytes and `Pause`.
CLOSE = "the worker closes the connection"
HOLD = "the worker says nothing more and leaves the connection open"
EARLY = "the worker does not wait for the request's body"
CONTINUE = "the worker says 100 if it was asked to, and waits for the body"
ECHO = "the worker sends back every byte that comes, until the end"


@dataclass(frozen=True)
class Pause:
    """A wait of so many seconds between two steps."""

    seconds: float


@dataclass(frozen=True)
class Drip:
    """Bytes sent one by one, with a pause behind each, until all are sent or the peer closes."""

    data: bytes
    every: float


@dataclass(frozen=True)
class Upload:
    """HTTP/2: a body in DATA frames, as fast as the proxy opens its windows, with END_STREAM at the end."""

    stream: int
    data: bytes


@dataclass(frozen=True)
class Repeat:
    """The same bytes many times over, as fast as they are taken, for at most `seconds`."""

    data: bytes
    times: int
    seconds: float = 5.0


@dataclass(frozen=True)
class Outcome:
    """One way in which a case may end well: `check` gives None, or what is not so."""

    name: str
    check: Callable


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    id: str
    grade: str
    source: str
    send: tuple
    want: tuple
    why: str = ""
    replies: tuple = ()
    timing: str = "patient"  # or "quick": timeouts of a second; "limited": few requests for
    # each key; or "worker2": a worker that speaks HTTP/2
    protocol: str = "http1"
    within: float = 3.0  # seconds until one of `want` must hold
    strict_origin: bool = True  # False: what the worker gets is a tunnel's bytes, or is checked by `want` alone
    strict_client: bool = True  # the same for what the client gets
    asked: tuple = ()  # methods of the requests, where an answer's framing depends on them
    bare: bool = False  # HTTP/2: without the preface and SETTINGS that are otherwise sent first
    settings: tuple = ()  # HTTP/2: (identifier, value) pairs in the client's first SETTINGS
    address: str = "127.0.0.1"  # the client's address
    window: bool = True  # HTTP/2: the client gives back what it has read

    @property
    def group(self):
        return self.id.split(".", 1)[0]


class Table(list):
    """The cases of one file. Calling it adds a row."""

    def __init__(self, prefix, **defaults):
        super().__init__()
        self.prefix = prefix
        self.defaults = defaults

    def __call__(self, name, grade, source, send, want, why="", **more):
        send = send if isinstance(send, tuple) else (send,)
        want = want if isinstance(want, tuple) else (want,)
        self.append(Case(f"{self.prefix}.{name}", grade, source, send, want, why, **{**self.defaults, **more}))


@dataclass
class Request:
    """What the worker got of one request."""

    method: str = ""
    target: str = ""
    version: str = ""
    fields: list = field(default_factory=list)  # (lower-case name, value) as text, in order
    body: bytes = b""
    trailers: list = field(default_factory=list)
    complete: bool = False
    connection: int = 0
    head: bytes = b""
    tunnel: bytes = b""  # what came behind it, once a reply became a tunnel
    tunnel_end: str = "open"

    def values(self, name):
        return [value for found, value in self.fields if found == name]


@dataclass
class Answer:
    """One final answer as the client got it; `interim` holds the statuses of the 1xx before it."""

    status: int = 0
    version: str = ""
    fields: list = field(default_factory=list)
    body: bytes = b""
    trailers: list = field(default_factory=list)
    complete: bool = False
    interim: list = field(default_factory=list)
    framing: str = "none"

    def values(self, name):
        return [value for found, value in self.fields if found == name]


@dataclass
class Connection:
    """One client connection: what came back on it and how it ended."""

    raw: bytearray = field(default_factory=bytearray)
    answers: list = field(default_factory=list)
    faults: list = field(default_factory=list)
    left: bytes = b""
    end: str = "open"  # open, closed, reset
    ended_after: float = 0.0


@dataclass
class Seen:
    """All that was seen of one case, by the client and by the worker."""

    connections: list = field(default_factory=list)
    requests: list = field(default_factory=list)
    worker_faults: list = field(default_factory=list)
    worker_bytes: int = 0
    worker_connections: int = 0
    h2: object = None
    seconds: float = 0.0

    @property
    def answers(self):
        return [answer for connection in self.connections for answer in connection.answers]

    @property
    def last(self):
        return self.connections[-1]

    def whole(self):
        return [request for request in self.requests if request.complete]
