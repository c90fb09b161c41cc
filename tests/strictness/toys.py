"""Proxies that are wrong on purpose. A case that none of them fails could not fail, and shows nothing.

`blind` passes every byte on as it came, `gullible` turns HTTP/2 into HTTP/1.1 without a look at it, `refusing` answers
400 to all, `agreeing` answers 200 to all and asks no worker, `silent` says nothing. Not here: the proxies under test.
"""

import contextlib
import socket
import struct
import threading

import frames
import hpack
import origin_http2
import run
from edge import Lane
from origin import Origin

LANES = 12
TIMINGS = ("patient", "quick", "limited", "worker2")
PATIENCE = 0.3
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NO = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"


def self_test(cases, say):
    """Plays the cases against every toy; 1 if some case fails with none of them, else 0."""
    failed = {case.id: [] for case in cases}
    for name, behaviour in TOYS.items():
        toy = Toy(behaviour)
        try:
            for result in run.run(toy, cases, PATIENCE):
                if result.faults:
                    failed[result.case.id].append(name)
        finally:
            toy.stop()
        say(f"{name}: {sum(name in names for names in failed.values())} of {len(cases)} cases fail")
    weak = [case for case, names in failed.items() if not names]
    for case in weak:
        say(f"fails with no toy: {case}")
    print(f"{len(cases) - len(weak)} of {len(cases)} cases fail with at least one of {len(TOYS)} toys")
    return 1 if weak else 0


class Toy:
    """A proxy of one behaviour, as many lanes as there are."""

    def __init__(self, behaviour):
        self.behaviour = behaviour
        self.listeners, self.lanes = [], []
        for number in range(4 * LANES):
            listener = socket.create_server(("127.0.0.1", 0), backlog=64)
            port = listener.getsockname()[1]
            worker = origin_http2.Origin() if number % 4 == 3 else Origin()
            lane = Lane(f"toy{number}", TIMINGS[number % 4], port, port, worker)
            self.listeners.append(listener)
            self.lanes.append(lane)
            threading.Thread(target=self.accept, args=(listener, lane), daemon=True).start()

    def accept(self, listener, lane):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client, lane), daemon=True).start()

    def serve(self, client, lane):
        with contextlib.suppress(OSError, hpack.Broken, IndexError, struct.error), client:
            client.settimeout(8)
            self.behaviour(client, lane.origin.port)

    def died(self):
        return None

    def stop(self):
        for listener in self.listeners:
            listener.close()
        for lane in self.lanes:
            lane.origin.stop()


def blind(client, port):
    with socket.create_connection(("127.0.0.1", port), 3) as worker:
        worker.settimeout(8)
        threading.Thread(target=pipe, args=(worker, client), daemon=True).start()
        pipe(client, worker)


def pipe(source, sink):
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)


def refusing(client, _):
    first = client.recv(65536)
    if first.startswith(frames.PREFACE[:3]):
        client.sendall(frames.settings() + frames.settings(flags=frames.ACK))
        client.recv(65536)
        client.sendall(frames.goaway(0, frames.PROTOCOL_ERROR))
    elif first:
        client.sendall(NO)
    client.shutdown(socket.SHUT_WR)


def agreeing(client, _):
    data = b""
    while piece := client.recv(65536):
        data += piece
        if data.startswith(frames.PREFACE):
            return two(client, data, lambda fields, body: (b"200", b"ok"))
        while b"\n\r\n" in data or b"\n\n" in data:
            data = data[min(at for at in (data.find(b"\n\r\n"), data.find(b"\n\n")) if at >= 0) + 3:]
            client.sendall(OK)
    return None


def silent(client, _):
    while client.recv(65536):
        pass


def gullible(client, port):
    first = client.recv(65536)
    while len(first) < len(frames.PREFACE) and frames.PREFACE.startswith(first):
        first += client.recv(65536)
    if not first.startswith(frames.PREFACE):
        return pipe_after(client, port, first)

    def ask(fields, body):
        parts = dict(fields)
        lines = [f"{parts.get(':method', '')} {parts.get(':path', '')} HTTP/1.1", f"host: {parts.get(':authority', '')}"]
        lines += [f"{name}: {value}" for name, value in fields if not name.startswith(":")]
        lines += [f"content-length: {len(body)}"] if body else []
        with socket.create_connection(("127.0.0.1", port), 3) as worker:
            worker.settimeout(1)
            worker.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
            with contextlib.suppress(OSError):
                answer = worker.recv(65536)
                return answer[9:12], answer.partition(b"\r\n\r\n")[2]
        return b"200", b""

    return two(client, first, ask)


def pipe_after(client, port, first):
    with socket.create_connection(("127.0.0.1", port), 3) as worker:
        worker.settimeout(8)
        worker.sendall(first)
        threading.Thread(target=pipe, args=(worker, client), daemon=True).start()
        pipe(client, worker)


def two(client, data, ask):
    """HTTP/2 without a single check: each block of fields is a request, each END_STREAM sends it off."""
    client.sendall(frames.settings() + frames.settings(flags=frames.ACK))
    data, decoder, asked = data[len(frames.PREFACE):], hpack.Decoder(), {}
    while True:
        while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
            length, kind, flags = int.from_bytes(data[:3], "big"), data[3], data[4]
            stream, payload, data = struct.unpack(">I", data[5:9])[0], data[9:9 + length], data[9 + length:]
            if kind in (frames.HEADERS, frames.CONTINUATION):
                asked.setdefault(stream, ([], []))[0].extend(decoder.decode(payload))
            elif kind == frames.DATA:
                asked.setdefault(stream, ([], []))[1].append(payload)
            if kind in (frames.HEADERS, frames.DATA) and flags & frames.END_STREAM:
                fields, body = asked.setdefault(stream, ([], []))
                status, text = ask(fields, b"".join(body))
                client.sendall(frames.headers(stream, hpack.literal(b":status", status), end=False)
                    + frames.data(stream, text[:16384]))
        piece = client.recv(65536)
        if not piece:
            return None
        data += piece


TOYS = {"blind": blind, "gullible": gullible, "refusing": refusing, "agreeing": agreeing, "silent": silent}
