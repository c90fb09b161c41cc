"""The worker of a lane that speaks HTTP/2 without TLS: keeps what it gets, answers with the frames that the case wrote.

A reply is steps: bytes, a function from the stream's number to bytes, a pause, `EARLY`, `CLOSE`, `RESET`. Flow control is
left to the case: an answer must fit into the first window. Not here: HTTP/1.1 (origin.py).
"""

import socket
import struct
import time

import frames
import hpack
import messages
import origin
from model import CLOSE, EARLY, RESET, Pause, Repeat, Request

HOP_FIELDS = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "http2-settings"}
PSEUDO = {":method", ":scheme", ":authority", ":path", ":protocol"}


def fields(status=b"200", *more, end=False):
    """A step: HEADERS with this status and these fields."""
    return lambda stream: frames.headers(stream, hpack.block([(b":status", status), *more]), end=end)


def body(text, end=True):
    """A step: DATA."""
    return lambda stream: frames.data(stream, text, end=end)


def plain_answer(request):
    text = f"{request.method} {request.target}".encode()
    length = (b"content-length", b"%d" % len(text))
    if request.method == "HEAD":
        return (fields(b"200", length, end=True),)
    return fields(b"200", length), body(text)


class Origin(origin.Origin):
    """The same as the one for HTTP/1.1, with other visits."""

    def visit(self, sock):
        return Visit(self, sock, self.generation, self.connections)


class Visit(origin.Visit):
    """One connection from the proxy."""

    def run(self):
        try:
            with self.sock:
                self.serve()
        except (OSError, ValueError, struct.error, hpack.Broken) as error:
            if isinstance(error, hpack.Broken):
                self.fault(f"a block that cannot be decoded: {error}")

    def fault(self, text):
        self.noted(lambda origin: origin.faults.append(text))

    def serve(self):
        self.streams, self.decoder, self.block = {}, hpack.Decoder(), None
        while len(self.data) < len(frames.PREFACE):
            if not self.read():
                return
        if not self.data.startswith(frames.PREFACE):
            self.fault(f"no preface: {bytes(self.data[:60])!r}")
            return
        del self.data[:len(frames.PREFACE)]
        self.sock.sendall(frames.settings())
        while True:
            while len(self.data) >= 9 and len(self.data) >= 9 + int.from_bytes(self.data[:3], "big"):
                length = int.from_bytes(self.data[:3], "big")
                stream = struct.unpack(">I", self.data[5:9])[0]
                kind, flags, payload = self.data[3], self.data[4], bytes(self.data[9:9 + length])
                del self.data[:9 + length]
                self.take(kind, flags, stream, payload)
            if not self.read():
                return

    def take(self, kind, flags, stream, payload):
        if kind == frames.SETTINGS and not flags & frames.ACK:
            self.sock.sendall(frames.settings(flags=frames.ACK))
        elif kind == frames.PING and not flags & frames.ACK:
            self.sock.sendall(frames.ping(payload, frames.ACK))
        elif kind == frames.RST_STREAM and stream in self.streams:
            self.streams[stream].tunnel_end = "reset"
        elif kind in (frames.HEADERS, frames.CONTINUATION):
            before = self.block if kind == frames.CONTINUATION else (flags & frames.END_STREAM, b"")
            start = 5 if kind == frames.HEADERS and flags & frames.PRIORITIZED else 0
            self.block = (before[0], before[1] + payload[start:])
            if flags & frames.END_HEADERS:
                (end, block), self.block = self.block, None
                self.take_fields(stream, self.decoder.decode(block), end)
        elif kind == frames.DATA:
            self.take_data(stream, flags, payload)

    def take_data(self, stream, flags, payload):
        request = self.streams.get(stream)
        if request is None or request.complete:
            self.fault("DATA on a stream that is not open")
            return
        request.body += payload
        if payload:
            self.sock.sendall(frames.window(0, len(payload)) + frames.window(stream, len(payload)))
        if flags & frames.END_STREAM:
            self.finish(stream, request)

    def take_fields(self, stream, found, end):
        if stream in self.streams:
            request = self.streams[stream]
            request.trailers = found
            if not end or any(name.startswith(":") for name, _ in found):
                self.fault(f"trailers {found}, end {bool(end)}")
        else:
            parts = dict(found)
            head = repr(found).encode()
            request = Request(parts.get(":method", ""), parts.get(":path", ""), "2", list(found), head=head)
            self.streams[stream] = request
            for fault in faults_of(found):
                self.fault(fault)
            request.steps = self.noted(lambda origin: self.take_reply(origin, request)) or plain_answer(request)
            if EARLY in request.steps:
                self.answer(stream, request.steps)
        if end:
            self.finish(stream, request)

    def take_reply(self, origin, request):
        number = len(origin.requests)
        request.connection = self.number
        origin.requests.append(request)
        return origin.replies[min(number, len(origin.replies) - 1)] if origin.replies else None

    def finish(self, stream, request):
        lengths = request.values("content-length")
        if lengths and lengths != [str(len(request.body))]:
            self.fault(f"content-length {lengths} with {len(request.body)} bytes")

        def note(_):
            request.complete = True

        self.noted(note)
        if EARLY not in request.steps:
            self.answer(stream, request.steps)

    def answer(self, stream, steps):
        for step in steps:
            if callable(step):
                self.sock.sendall(step(stream))
            elif isinstance(step, bytes):
                self.sock.sendall(step)
            elif isinstance(step, Pause):
                self.pause(step.seconds)
            elif isinstance(step, Repeat):
                self.repeat(step)
            elif step == CLOSE:
                self.sock.shutdown(socket.SHUT_WR)
                time.sleep(0.05)
                raise OSError("closed")
            elif step == RESET:
                origin.reset(self.sock)
                raise OSError("reset")


def faults_of(found):
    """What a strict sender of HTTP/2 would not send (RFC 9113 section 8)."""
    names = [name for name, _ in found]
    pseudo = [name for name in names if name.startswith(":")]
    if names[:len(pseudo)] != pseudo or len(set(pseudo)) != len(pseudo) or set(pseudo) - PSEUDO:
        yield f"pseudo-header fields {pseudo}"
    if ":method" not in pseudo or ("CONNECT" not in dict(found).values() and not {":scheme", ":path"} <= set(pseudo)):
        yield f"not all of the pseudo-header fields: {pseudo}"
    if any(name != name.lower() or name in HOP_FIELDS for name in names):
        yield f"fields that HTTP/2 does not have: {names}"
    if [value for name, value in found if name == "te"] not in ([], ["trailers"]):
        yield "te that is not `trailers`"
    hosts = {value for name, value in found if name in (":authority", "host")}
    if len(hosts) != 1 or not messages.HOST.fullmatch(next(iter(hosts))):
        yield f"authority and host {hosts}"
    if any(ord(byte) < 32 and byte != "\t" or byte == "\x7f" for name, value in found for byte in name + value):
        yield "a control byte in a field"
    lengths = [value for name, value in found if name == "content-length"]
    if len(lengths) > 1 or any(not length.isdigit() for length in lengths):
        yield f"content-length {lengths}"
