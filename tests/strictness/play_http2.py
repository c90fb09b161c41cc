"""Plays one HTTP/2 case on a cleartext connection with prior knowledge: frames out, frames in, judged as they come.

It checks what the proxy sends (RFC 9113 sections 4 to 8) for every case. Not here: what should happen (the cases).
"""

import struct
from dataclasses import dataclass, field

import frames
import hpack
import play_http1
from model import ANSWER, Upload

HOP_FIELDS = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}


@dataclass
class Stream:
    """What came back on one stream."""

    fields: list = field(default_factory=list)
    interim: list = field(default_factory=list)
    body: bytes = b""
    trailers: list = field(default_factory=list)
    ended: bool = False
    reset: int | None = None

    @property
    def status(self):
        return next((int(value) for name, value in self.fields if name == ":status"), 0)

    def values(self, name):
        return [value for found, value in self.fields if found == name]


@dataclass
class Talk:
    """What came back on one HTTP/2 connection."""

    streams: dict = field(default_factory=dict)
    frames: list = field(default_factory=list)
    settings: dict = field(default_factory=dict)
    settings_acks: int = 0
    pongs: list = field(default_factory=list)
    goaway: int | None = None
    goaway_last: int | None = None
    faults: list = field(default_factory=list)
    end: str = "open"

    def stream(self, number):
        return self.streams.setdefault(number, Stream())


def play(case, port, origin, patience=1.0):
    """All that was seen of the case, and what is wrong with it: an empty list if it passed."""
    return play_http1.play(case, port, origin, patience, Client)


class Client(play_http1.Client):
    """The client side of one HTTP/2 case. Of several connections, the last one speaks HTTP/2 and is judged."""

    def open(self):
        super().open()
        self.decoder = hpack.Decoder()
        self.seen.h2 = Talk()
        self.at = self.sent = 0
        self.block = None
        if not self.case.bare:
            self.send(frames.PREFACE + frames.settings(*self.case.settings))
            self.wait_until(lambda: self.seen.h2.settings_acks)

    def step(self, step):
        if isinstance(step, Upload):
            self.upload(step.stream, step.data)
        else:
            super().step(step)

    def upload(self, number, data):
        """Sends within the windows of the stream and of the connection."""
        talk, sent = self.seen.h2, 0
        while sent < len(data) and self.left() > 0 and self.seen.last.end == "open":
            room = min(self.room(number) - sent, self.room(0) - self.sent, frames.MOST_IN_FRAME)
            stream = talk.streams.get(number)
            if stream is not None and (stream.reset is not None or stream.ended):
                return
            if room <= 0:
                self.pump(play_http1.TICK_S)
                continue
            piece = data[sent:sent + room]
            sent += len(piece)
            self.sent += len(piece)
            self.send(frames.data(number, piece, end=sent == len(data)))

    def room(self, number):
        """How many bytes the proxy has allowed so far, on a stream or (0) on the connection."""
        given = [int.from_bytes(payload, "big") for kind, _, stream, payload in self.seen.h2.frames
                 if kind == frames.WINDOW_UPDATE and stream == number]
        first = self.seen.h2.settings.get(frames.INITIAL_WINDOW_SIZE, frames.WINDOW) if number else frames.WINDOW
        return first + sum(given)

    def wait(self, step):
        if step != ANSWER:
            super().wait(step)
            return
        self.answers_waited += 1
        self.wait_until(lambda: sum(stream.ended or stream.reset is not None
            for stream in self.seen.h2.streams.values()) >= self.answers_waited)

    def read(self, number):
        connection = self.seen.connections[number]
        super().read(number)
        if number != len(self.sockets) - 1:
            return
        talk = self.seen.h2
        talk.end = connection.end
        data = connection.raw
        while len(data) - self.at >= 9:
            length = int.from_bytes(data[self.at:self.at + 3], "big")
            kind, flags = data[self.at + 3], data[self.at + 4]
            stream = struct.unpack(">I", data[self.at + 5:self.at + 9])[0] & 0x7fffffff
            if data[self.at:self.at + 5] == b"HTTP/":
                return
            if length > frames.MOST_IN_FRAME and not self.case.bare:
                talk.faults.append(f"a frame of {length} bytes")
                return
            if len(data) - self.at < 9 + length:
                return
            payload = bytes(data[self.at + 9:self.at + 9 + length])
            self.at += 9 + length
            self.take(kind, flags, stream, payload)

    def judge_answers(self, number):
        """The bytes are frames, not HTTP/1.1 answers."""

    def take(self, kind, flags, stream, payload):
        """One frame from the proxy."""
        talk = self.seen.h2
        talk.frames.append((kind, flags, stream, payload))
        if self.block is not None and kind != frames.CONTINUATION:
            talk.faults.append("a frame inside a block of fields")
        if kind == frames.SETTINGS:
            self.take_settings(flags, payload)
        elif kind == frames.PING:
            if flags & frames.ACK:
                talk.pongs.append(payload)
            else:
                self.send(frames.ping(payload, frames.ACK))
        elif kind == frames.GOAWAY:
            talk.goaway_last, talk.goaway = struct.unpack(">II", payload[:8])
        elif kind == frames.RST_STREAM:
            talk.stream(stream).reset = struct.unpack(">I", payload)[0]
        elif kind in (frames.HEADERS, frames.CONTINUATION):
            self.take_headers(kind, flags, stream, payload)
        elif kind == frames.DATA:
            self.take_data(flags, stream, payload)
        elif kind == frames.PUSH_PROMISE:
            talk.faults.append("PUSH_PROMISE")

    def take_settings(self, flags, payload):
        talk = self.seen.h2
        if flags & frames.ACK:
            talk.settings_acks += 1
            return
        talk.settings.update(struct.unpack(">HI", payload[at:at + 6]) for at in range(0, len(payload), 6))
        if not self.case.bare:
            self.send(frames.settings(flags=frames.ACK))

    def take_headers(self, kind, flags, stream, payload):
        talk = self.seen.h2
        if kind == frames.HEADERS:
            pad = payload[0] + 1 if flags & frames.PADDED else 0
            start = (1 if pad else 0) + (5 if flags & frames.PRIORITIZED else 0)
            self.block = (stream, flags & frames.END_STREAM, payload[start:len(payload) - max(0, pad - 1)])
        elif self.block is None or self.block[0] != stream:
            talk.faults.append("CONTINUATION that continues nothing")
            return
        else:
            self.block = (stream, self.block[1], self.block[2] + payload)
        if not flags & frames.END_HEADERS:
            return
        (_, end, block), self.block = self.block, None
        try:
            fields = self.decoder.decode(block)
        except (hpack.Broken, IndexError) as error:
            talk.faults.append(f"a block of fields that cannot be decoded: {error}")
            return
        self.take_fields(talk.stream(stream), fields, end)

    def take_fields(self, stream, fields, end):
        faults = self.seen.h2.faults
        pseudo = [name for name, _ in fields if name.startswith(":")]
        if any(name != name.lower() for name, _ in fields) or {name for name, _ in fields} & HOP_FIELDS:
            faults.append(f"fields that HTTP/2 does not have: {[name for name, _ in fields]}")
        if stream.ended or stream.reset is not None:
            faults.append("HEADERS on a stream that is over")
        if stream.status:
            if pseudo or not end:
                faults.append(f"a second block of fields with {pseudo}, end {bool(end)}")
            stream.trailers = fields
        elif pseudo != [":status"] or not fields[0][1].isdigit() or len(fields[0][1]) != 3:
            faults.append(f"an answer with {pseudo}")
        elif 100 <= int(fields[0][1]) < 200:
            stream.interim.append(int(fields[0][1]))
            if end or fields[0][1] == "101":
                faults.append(f"a final {fields[0][1]}")
            return
        else:
            stream.fields = fields
        if end:
            self.finish(stream)

    def finish(self, stream):
        stream.ended = True
        lengths = stream.values("content-length")
        if lengths and stream.status not in (204, 304) and self.case.asked != ("HEAD",) and lengths != [str(len(stream.body))]:
            self.seen.h2.faults.append(f"content-length {lengths} with {len(stream.body)} bytes, ended as if it were whole")

    def take_data(self, flags, number, payload):
        talk = self.seen.h2
        stream = talk.stream(number)
        if not stream.status or stream.ended:
            talk.faults.append("DATA before an answer's fields, or after its end")
        if flags & frames.PADDED:
            stream.body += payload[1:len(payload) - payload[0]]
        else:
            stream.body += payload
        if flags & frames.END_STREAM:
            self.finish(stream)
        if self.case.window and payload:
            self.send(frames.window(0, len(payload)) + (b"" if stream.ended else frames.window(number, len(payload))))

    def client_faults(self):
        return self.seen.h2.faults


def show(seen):
    """What was seen, in a few lines for people."""
    talk = seen.h2
    lines = [f"client: {connection.end}, {bytes(connection.raw[:60])!r}" for connection in seen.connections
        if connection.raw[:5] == b"HTTP/"]
    for number, stream in sorted(talk.streams.items())[:12]:
        how = "whole" if stream.ended else f"reset with {stream.reset}" if stream.reset is not None else "not ended"
        lines.append(f"client: stream {number}: {stream.interim} {stream.status}, {how}, body {stream.body[:50]!r}")
    lines.append(f"client: connection {talk.end}, GOAWAY {talk.goaway} (last {talk.goaway_last}), "
                 f"{len(talk.pongs)} pongs, {talk.settings_acks} SETTINGS acks")
    for request in seen.requests[:6]:
        whole = "" if request.complete else ", not complete"
        lines.append(f"worker: {request.head[:300]!r}{whole}, body {request.body[:60]!r}")
    if len(seen.requests) > 6:
        lines.append(f"worker: {len(seen.requests)} requests in all")
    return lines

