"""Plays one HTTP/1.1 case: sends its steps, reads what comes back, until an outcome holds or the time is over.

Not here: what is right (the cases' outcomes), the worker (origin.py).
"""

import contextlib
import select
import socket
import time

import messages
import origin as worker_side
from model import ANSWER, HEAD_AT_WORKER, INTERIM, NEW, RESET, SHUT, Connection, Drip, Pause, Repeat, Seen

PIECE = 64 << 10
MOST_BYTES = 4 << 20
SETTLE_S = 0.08
REST_S = 0.04
RESTLESS_S = 0.3
MOST_RESTLESS_S = 2.0
STEP_S = 2.0
TICK_S = 0.02


def play(case, port, origin, patience=1.0, kind=None):
    """All that was seen of the case, and what is wrong with it: an empty list if it passed."""
    origin.begin(case.replies)
    client = (kind or Client)(case, port, origin, patience)
    try:
        client.run()
        faults = client.verdict()
    finally:
        client.close()
    wait_for_rest(origin, RESTLESS_S if faults else REST_S)
    return client.seen, faults


def wait_for_rest(origin, rest):
    """Waits until the worker has got nothing for so long: what the proxy still sends is no part of the next case."""
    end = time.monotonic() + MOST_RESTLESS_S
    while time.monotonic() < end:
        before = (origin.received, origin.connections)
        time.sleep(rest)
        if before == (origin.received, origin.connections):
            return


class Client:
    """The client side of one case."""

    def __init__(self, case, port, origin, patience):
        self.case, self.port, self.origin, self.patience = case, port, origin, patience
        self.seen = Seen()
        self.began = time.monotonic()
        self.end = self.began + case.within * patience
        self.answers_waited = self.heads_waited = 0
        self.sockets = []
        self.open()

    def open(self):
        sock = socket.create_connection(("127.0.0.1", self.port), 10, (self.case.address, 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self.sockets.append(sock)
        self.seen.connections.append(Connection())

    def close(self):
        for sock in self.sockets:
            worker_side.reset(sock)

    def run(self):
        for step in self.case.send:
            self.step(step)
        while not self.holds() and self.left() > 0:
            if not self.pump(min(TICK_S, self.left())):
                time.sleep(TICK_S)
        if self.holds():
            settled = time.monotonic() + SETTLE_S
            while time.monotonic() < settled:
                if not self.pump(TICK_S):
                    time.sleep(TICK_S)

    def step(self, step):
        if isinstance(step, bytes):
            self.send(step)
        elif isinstance(step, Pause):
            self.pump_for(step.seconds)
        elif isinstance(step, Drip):
            for at in range(len(step.data)):
                if self.seen.last.end != "open" or self.left() <= 0:
                    return
                self.send(step.data[at:at + 1])
                self.pump_for(step.every)
        elif isinstance(step, Repeat):
            end = time.monotonic() + step.seconds
            for _ in range(step.times):
                if self.seen.last.end != "open" or time.monotonic() > end:
                    return
                self.send(step.data, end)
        elif step == SHUT:
            with contextlib.suppress(OSError):
                self.sockets[-1].shutdown(socket.SHUT_WR)
        elif step == RESET:
            worker_side.reset(self.sockets[-1])
            self.sockets[-1] = socket.socket()
            self.seen.last.end = "reset by the client"
        elif step == NEW:
            self.open()
        else:
            self.wait(step)

    def wait(self, step):
        """Waits for what the step names; goes on without it when two seconds are over."""
        if step == ANSWER:
            self.answers_waited += 1
        if step == HEAD_AT_WORKER:
            self.heads_waited += 1
        conditions = {
            ANSWER: lambda: sum(answer.complete for answer in self.seen.answers) >= self.answers_waited,
            HEAD_AT_WORKER: lambda: len(self.origin.requests) >= self.heads_waited,
            INTERIM: lambda: any(answer.interim for answer in self.seen.answers),
        }
        self.wait_until(conditions[step])

    def wait_until(self, condition):
        """Reads until this is so, the connections are over, or the time of a step has passed."""
        end = time.monotonic() + min(STEP_S * self.patience, self.left())
        while not condition() and time.monotonic() < end:
            if not self.pump(TICK_S):
                return

    def left(self):
        return self.end - time.monotonic()

    def send(self, data, end=None):
        """Sends all of it, reading meanwhile; gives up when the time is over or the peer has closed."""
        sock, at = self.sockets[-1], 0
        end = end or self.end
        while at < len(data) and time.monotonic() < end:
            readable, writable, _ = select.select([sock], [sock], [], TICK_S)
            try:
                if writable:
                    at += sock.send(data[at:at + PIECE])
            except BlockingIOError:
                pass
            except OSError:
                break
            if readable and self.seen.last.end == "open":
                self.read(len(self.sockets) - 1)
            elif self.seen.last.end == "reset":
                break

    def pump_for(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not self.pump(min(TICK_S, max(0.0, end - time.monotonic()))):
                time.sleep(min(TICK_S, max(0.0, end - time.monotonic())))

    def pump(self, seconds):
        """Reads what is there within so many seconds; False if no connection is open any more."""
        numbers = [i for i, connection in enumerate(self.seen.connections) if connection.end == "open"]
        if not numbers:
            return False
        readable, _, _ = select.select([self.sockets[i] for i in numbers], [], [], seconds)
        for number in numbers:
            if self.sockets[number] in readable:
                self.read(number)
        return True

    def read(self, number):
        connection = self.seen.connections[number]
        try:
            piece = self.sockets[number].recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            connection.end = "reset"
            piece = b""
        if piece and len(connection.raw) < MOST_BYTES:
            connection.raw += piece
        if not piece:
            connection.end = "closed" if connection.end == "open" else connection.end
            connection.ended_after = time.monotonic() - self.began
        self.judge_answers(number)

    def judge_answers(self, number):
        messages.read_answers(self.seen.connections[number], self.case.asked if number == 0 else ())

    def look(self):
        """Takes over what the worker has seen so far."""
        with self.origin.lock:
            self.seen.requests = list(self.origin.requests)
            self.seen.worker_faults = list(self.origin.faults)
            self.seen.worker_bytes = self.origin.received
            self.seen.worker_connections = self.origin.connections
        self.seen.seconds = time.monotonic() - self.began

    def holds(self):
        self.look()
        return any(outcome.check(self.seen) is None for outcome in self.case.want)

    def client_faults(self):
        return [fault for each in self.seen.connections for fault in each.faults]

    def verdict(self):
        self.look()
        faults = []
        if self.case.strict_origin:
            faults += [f"the worker got {fault}" for fault in self.seen.worker_faults]
        if self.case.strict_client:
            faults += [f"the client got {fault}" for fault in self.client_faults()]
        reasons = [(outcome.name, outcome.check(self.seen)) for outcome in self.case.want]
        if all(reason is not None for _, reason in reasons):
            faults += [f"not {name}: {reason}" for name, reason in reasons]
        return faults
