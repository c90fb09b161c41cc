"""Clients of benches/instructions: each plays one request after another, and takes each answer to its last byte.

They never wait: the steps in steps.py say when one sends and when something is there to be read.
"""

import re
import socket
import ssl
import struct

from checks import Failed

CONNECT_WITHIN_S = 60
RECEIVE_BYTES = 1 << 16


class Kept:
    """One HTTP/1.1 connection for all requests; in clear, or over TLS if it is given a context."""

    def __init__(self, port, tls=None):
        self.port, self.tls = port, tls
        self.socket, self.held = None, b""

    def open(self):
        """Connects, if there is no connection."""
        if self.socket is None:
            self.socket = connect(self.port, self.tls)

    def send(self, request):
        send(self.socket, request)

    def receive(self):
        """Takes what is there; gives the status once the answer is complete, else None."""
        self.held += receive(self.socket)
        end = message_end(self.held)
        if end is None:
            return None
        answer, rest = self.held[:end], self.held[end:]
        self.held = b""
        if rest:
            raise Failed(f"Buckler sent more than the answer: {rest[:200]!r}")
        return int(answer.split(b" ", 2)[1])

    def close(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None


class New(Kept):
    """A connection for each request, closed by the client once it has the answer."""

    def receive(self):
        status = super().receive()
        if status is not None:
            self.close()
        return status


# Frames of HTTP/2 (RFC 9113 section 6) and the flags that count here.
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK, END_STREAM, END_HEADERS = 1, 1, 4
FRAME_HEAD_BYTES = 9
# The first index of the dynamic table (RFC 7541 section 2.3.3), and the index that stands for `:status: 200`.
DYNAMIC_INDEX = 62
STATUS_200 = 0x88


class Http2:
    """One HTTP/2 connection by prior knowledge (RFC 9113 section 3.3), a stream at a time. A request is its fields in order.

    As common clients do, it enters the fields into the table with the first request and refers to them afterwards.
    """

    def __init__(self, port, tls=None):
        self.port, self.tls = port, tls
        self.socket, self.held, self.stream, self.status = None, b"", -1, 0

    def open(self):
        if self.socket is None:
            self.socket = connect(self.port, self.tls)
            # No answer must wait for a window: the connection's is made as large as it may be (section 6.9.1).
            window = struct.pack(">I", 2**31 - 1 - 65535)
            send(self.socket, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS) + frame(WINDOW_UPDATE, 0, 0, window))

    def send(self, fields):
        first = self.stream < 0
        self.stream += 2
        if first:
            block = b"".join(b"\x40" + text(name) + text(value) for name, value in fields)
        else:
            block = bytes(0x80 | DYNAMIC_INDEX + place for place in reversed(range(len(fields))))
        send(self.socket, frame(HEADERS, END_STREAM | END_HEADERS, self.stream, block))

    def receive(self):
        self.held += receive(self.socket)
        while len(self.held) >= FRAME_HEAD_BYTES:
            length = int.from_bytes(self.held[:3], "big")
            if len(self.held) < FRAME_HEAD_BYTES + length:
                return None
            kind, flags = self.held[3], self.held[4]
            payload = self.held[FRAME_HEAD_BYTES : FRAME_HEAD_BYTES + length]
            self.held = self.held[FRAME_HEAD_BYTES + length :]
            if self.took(kind, flags, payload):
                return self.status
        return None

    def took(self, kind, flags, payload):
        """Whether this frame ends the answer."""
        if kind in (SETTINGS, PING) and not flags & ACK:
            send(self.socket, frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind in (RST_STREAM, GOAWAY):
            raise Failed(f"Buckler ended the HTTP/2 stream or connection: frame {kind}, {payload!r}")
        elif kind == HEADERS:
            self.status = 200 if payload[0] == STATUS_200 else 0
        return kind in (HEADERS, DATA) and bool(flags & END_STREAM)

    def close(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def frame(kind, flags=0, stream=0, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def text(value):
    """A string of HPACK (RFC 7541 section 5.2), shorter than 127 bytes."""
    return bytes((len(value),)) + value.encode()


def connect(port, tls):
    connection = socket.create_connection(("127.0.0.1", port), CONNECT_WITHIN_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return tls.wrap_socket(connection, server_hostname="bench.test") if tls else connection


def send(connection, data):
    connection.setblocking(True)
    connection.sendall(data)


def receive(connection):
    """What is there now, also what TLS has already taken from the socket."""
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


def message_end(held):
    """Where the first HTTP/1.1 message of these bytes ends, or None while it is not complete."""
    head_end = held.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    head, body = held[: head_end + 2].lower(), head_end + 4
    if b"\r\ntransfer-encoding:" in head:
        end = held.find(b"\r\n0\r\n\r\n", body - 2)
        return None if end < 0 else end + 7
    found = re.search(rb"\r\ncontent-length: *(\d+)", head)
    end = body + (int(found[1]) if found else 0)
    return end if len(held) >= end else None
