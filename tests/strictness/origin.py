"""The worker of one lane: a raw server that keeps every byte it gets and answers what the case wrote down for it.

It reads strictly (messages.py). After the first fault of a connection it only collects, since nobody may know any more
where a request begins. Not here: what should have come.
"""

import contextlib
import select
import socket
import struct
import threading
import time

import messages
from model import CLOSE, CONTINUE, ECHO, EARLY, HOLD, RESET, Drip, Pause, Repeat

MOST_BYTES = 8 << 20
PIECE = 64 << 10
IDLE_S = 30.0


def plain_answer(request):
    """What is answered unless the case says otherwise: it names the request, so that crossed answers show."""
    body = f"{request.method} {request.target}".encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
    return (head if request.method == "HEAD" else head + body,)


def reset(sock):
    """Ends the connection with RST."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Origin:
    """Listens on a port of its own. One case at a time: `begin`, then what it saw, at any time."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Condition()
        self.generation = 0
        self.forget()
        threading.Thread(target=self.accept, daemon=True).start()

    def forget(self):
        self.replies, self.requests, self.faults = (), [], []
        self.sockets, self.received, self.connections = [], 0, 0

    def begin(self, replies):
        """Ends all connections of the case before, and takes the replies of the next: one for each request."""
        with self.lock:
            self.generation += 1
            for sock in self.sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            self.forget()
            self.replies = replies
            self.lock.notify_all()

    def stop(self):
        self.begin(())
        self.listener.close()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.sockets.append(sock)
                visit = self.visit(sock)
            threading.Thread(target=visit.run, daemon=True).start()

    def visit(self, sock):
        return Visit(self, sock, self.generation, self.connections)


class Visit:
    """One connection from the proxy."""

    def __init__(self, origin, sock, generation, number):
        self.origin, self.sock, self.generation, self.number = origin, sock, generation, number
        self.data, self.at = bytearray(), 0
        self.request = None

    def run(self):
        try:
            with contextlib.closing(self.sock):
                while self.serve_one():
                    pass
        except (OSError, ValueError):
            pass
        finally:
            with self.origin.lock:
                if self.request and self.request.tunnel_end == "open":
                    self.request.tunnel_end = "closed"

    def noted(self, note):
        """Runs `note` on the origin's records, unless the case is over."""
        with self.origin.lock:
            if self.generation != self.origin.generation:
                raise OSError("the case is over")
            result = note(self.origin)
            self.origin.lock.notify_all()
            return result

    def read(self, timeout=IDLE_S):
        """More bytes; False at the end."""
        ready, _, _ = select.select([self.sock], [], [], timeout)
        piece = self.sock.recv(PIECE) if ready else b""
        if piece and len(self.data) < MOST_BYTES:
            self.data += piece

        def note(origin):
            origin.received += len(piece)

        self.noted(note)
        return bool(piece)

    def serve_one(self):
        """Reads and answers one request; False if the connection is over."""
        self.request = None
        try:
            request = self.read_head()
            if request is None:
                return False
            steps = self.noted(lambda origin: self.take_reply(origin, request))
            steps = plain_answer(request) if steps is None else steps
            if EARLY not in steps and not self.read_body(request):
                return False
            self.answer(request, steps)
            return self.read_body(request)
        except messages.Fault as fault:
            self.noted(lambda origin: origin.faults.append(str(fault)))
            while self.read():
                pass
            return False

    def take_reply(self, origin, request):
        number = len(origin.requests)
        request.connection = self.number
        origin.requests.append(request)
        origin.faults.extend(messages.faults_of(request))
        self.request = request
        if not origin.replies:
            return None
        return origin.replies[min(number, len(origin.replies) - 1)]

    def read_head(self):
        while True:
            del self.data[:self.at]
            self.at = 0
            try:
                request, self.at = messages.read_request_head(self.data, 0)
                return request
            except messages.Incomplete:
                if not self.read():
                    if self.data:
                        left = bytes(self.data[:120])
                        self.noted(lambda origin: origin.faults.append(f"a head that never ends: {left!r}"))
                    return None

    def read_body(self, request):
        """Reads to the end of the body; False if the connection ends before."""
        while not request.complete:
            try:
                self.at = messages.read_request_body(self.data, self.at, request)
                self.noted(lambda origin: None)
            except messages.Incomplete:
                if not self.read():
                    return False
        return True

    def answer(self, request, steps):
        for step in steps:
            if isinstance(step, bytes):
                self.sock.sendall(step)
            elif isinstance(step, Pause):
                self.pause(step.seconds)
            elif isinstance(step, Drip):
                for byte in step.data:
                    self.sock.sendall(bytes([byte]))
                    self.pause(step.every)
            elif isinstance(step, Repeat):
                self.repeat(step)
            elif step == CLOSE:
                self.sock.shutdown(socket.SHUT_WR)
                while self.read(1.0):
                    pass
                raise OSError("closed")
            elif step == RESET:
                reset(self.sock)
                raise OSError("reset")
            elif step == HOLD:
                while self.read():
                    pass
                raise OSError("the proxy closed")
            elif step == CONTINUE:
                if request.values("expect") and not request.complete:
                    self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                self.read_body(request)
            elif step == ECHO:
                self.echo(request)

    def pause(self, seconds):
        with self.origin.lock:
            self.origin.lock.wait_for(lambda: self.generation != self.origin.generation, seconds)
        self.noted(lambda origin: None)

    def repeat(self, step):
        end = time.monotonic() + step.seconds
        for _ in range(step.times):
            if time.monotonic() > end:
                return
            self.sock.settimeout(max(0.01, end - time.monotonic()))
            self.sock.sendall(step.data)
        self.sock.settimeout(None)

    def echo(self, request):
        """Sends back what comes, until the proxy closes its side."""
        request.tunnel = bytes(self.data[self.at:])
        self.sock.sendall(request.tunnel)
        while True:
            before = len(self.data)
            try:
                more = self.read()
            except ConnectionResetError:
                request.tunnel_end = "reset"
                raise
            if not more:
                request.tunnel_end = "closed"
                raise OSError("the tunnel is over")
            piece = bytes(self.data[before:])
            request.tunnel += piece
            self.sock.sendall(piece)
