"""One client connection and the workers, played in steps by one thread.

Nothing is sent, on either side, before Buckler has done all it had to do and sleeps. So it meets the same events in the
same order each time, and its instructions can be compared from run to run. With a worker of its own pace it would be
chance whether its answer is there when Buckler looks first, or only after it went to sleep.
"""

import contextlib
import pathlib
import re
import select
import socket
import ssl
import time

from checks import Failed

ANSWER_WITHIN_S = 60
RECEIVE_BYTES = 1 << 16
# So many looks in a row must find all threads asleep: between two steps of valgrind none runs for a moment.
QUIET_LOOKS = 3


class Steps:
    """The client's side and the workers' side of Buckler, both in this thread."""

    def __init__(self, pid, workers, answer):
        self.stack = contextlib.ExitStack()
        self.threads = pathlib.Path(f"/proc/{pid}/task")
        self.listeners = workers
        self.answer = answer
        self.upstream = {}

    def wait_quiet(self):
        """Returns once all threads of Buckler sleep."""
        end, looks = time.monotonic() + ANSWER_WITHIN_S, 0
        while looks < QUIET_LOOKS:
            looks = looks + 1 if all(state_of(thread) == "S" for thread in self.threads.iterdir()) else 0
            if time.monotonic() > end:
                raise Failed(f"Buckler did not come to rest within {ANSWER_WITHIN_S} s")

    def exchange(self, client, request):
        """Sends this request and plays the worker until the client's answer is complete; gives its status."""
        self.wait_quiet()
        client.send(request)
        end = time.monotonic() + ANSWER_WITHIN_S
        while True:
            ready, _, _ = select.select([client.socket, *self.listeners, *self.upstream], [], [], ANSWER_WITHIN_S)
            if not ready or time.monotonic() > end:
                raise Failed(f"no answer from Buckler within {ANSWER_WITHIN_S} s")
            for each in ready:
                if each in self.listeners:
                    connection, _ = each.accept()
                    self.upstream[connection] = b""
                elif each is client.socket:
                    status = client.receive()
                    if status is not None:
                        return status
                else:
                    self.work(each)

    def work(self, connection):
        """A worker reads what came, and answers when the request is complete."""
        got = connection.recv(RECEIVE_BYTES)
        if not got:
            del self.upstream[connection]
            connection.close()
            return
        held = self.upstream[connection] + got
        if http1_end(held) is None:
            self.upstream[connection] = held
            return
        self.upstream[connection] = b""
        self.wait_quiet()
        connection.sendall(self.answer)

    def close(self):
        for connection in self.upstream:
            connection.close()


def state_of(thread):
    """The kernel's word for what a thread does: S where it sleeps."""
    try:
        return (thread / "stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return "S"


def http1_end(held):
    """Where the first message of these bytes ends, or None while it is not complete."""
    head_end = held.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    head, body = held[: head_end + 2].lower(), head_end + 4
    if b"\r\ntransfer-encoding:" in head:
        end = held.find(b"0\r\n\r\n", body)
        return None if end < 0 else end + 5
    found = re.search(rb"\r\ncontent-length: *(\d+)", head)
    end = body + (int(found[1]) if found else 0)
    return end if len(held) >= end else None


class Http1Client:
    """A kept HTTP/1.1 connection, in clear or over TLS."""

    def __init__(self, port, tls=None):
        self.socket = socket.create_connection(("127.0.0.1", port), ANSWER_WITHIN_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="bench.test")
        self.held = b""

    def send(self, request):
        self.socket.setblocking(True)
        self.socket.sendall(request)

    def receive(self):
        """The status once the answer is complete, else None."""
        self.held += read_all(self.socket)
        end = http1_end(self.held)
        if end is None:
            return None
        answer, self.held = self.held[:end], self.held[end:]
        if self.held:
            raise Failed(f"Buckler sent more than one answer: {self.held[:200]!r}")
        return int(answer.split(b" ", 2)[1])


def read_all(connection):
    """What is there now, also what TLS has taken from the socket already."""
    connection.setblocking(False)
    got = b""
    while True:
        try:
            piece = connection.recv(RECEIVE_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return got
        if not piece:
            raise Failed("Buckler closed the client's connection, which must be kept")
        got += piece
