"""Mutated requests: bytes nobody thought of in, and a strict look at what comes out at both ends.

Each input is a case of the table with a few bytes changed, doubled, dropped or taken from another case. Nobody knows what
should become of it; but whatever the worker gets must be one clear request that went through the proxy, whatever the
client gets must be sound, and the proxy must live. Not here: outcomes.
"""

import contextlib
import random
import socket
import threading
import time

import frames
import messages
from model import Connection

LONGEST = 3000
QUIET_S = 0.12
MOST_S = 1.5
PIECES = (
    b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b":", b"\x0b", b",", b";", b"0", b"\r\n\r\n", b"\xff", b"chunked", b"identity",
    b"%00", b"%2f",
    b"..", b"//", b"HTTP/1.0", b"HEAD ", b"0\r\n\r\n", b"5\r\nhello\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\n",
    b"Host: b\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\nConnection: upgrade\r\n",
)


def campaign(edge, cases, seconds, seed, say):
    """Mutates and sends for so many seconds; the faults that were found, as (input, what was wrong)."""
    found, count = [], [0]
    corpora = [corpus(cases, "http1"), corpus(cases, "http2")]
    lanes = [lane for lane in edge.lanes if lane.timing == "patient"]

    def work(lane, dice):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not edge.died():
            two = dice.random() < 0.4
            data = mutated(dice, corpora[two])
            faults = play(lane, data, two)
            count[0] += 1
            if faults or edge.died():
                found.append((data, faults or [edge.died()]))

    threads = [threading.Thread(target=work, args=(lane, random.Random(f"{seed}-{lane.name}"))) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say(f"{count[0]} inputs with seed {seed}, {len(found)} with faults")
    return found


def corpus(cases, protocol):
    """What the cases of this protocol send, each as one run of bytes."""
    inputs = [b"".join(step for step in case.send if isinstance(step, bytes)) for case in cases
              if case.protocol == protocol and case.timing == "patient" and not case.bare]
    return [data for data in inputs if 10 < len(data) < LONGEST]


def mutated(dice, inputs):
    data = bytearray(dice.choice(inputs))
    for _ in range(dice.choice((1, 1, 2, 3, 5))):
        kind, at = dice.randrange(6), dice.randrange(len(data) + 1)
        if kind == 0 and data:
            data[min(at, len(data) - 1)] = dice.randrange(256)
        elif kind == 1:
            data[at:at] = dice.choice(PIECES)
        elif kind == 2:
            del data[at:at + dice.choice((1, 1, 2, 5, 20))]
        elif kind == 3:
            lines = bytes(data).split(b"\r\n")
            lines.insert(dice.randrange(len(lines) + 1), dice.choice(lines))
            data = bytearray(b"\r\n".join(lines))
        elif kind == 4:
            other = dice.choice(inputs)
            begin = dice.randrange(len(other))
            data[at:at] = other[begin:begin + dice.randrange(1, 40)]
        else:
            data[at:at] = bytes([dice.randrange(256)])
    return bytes(data)


def play(lane, data, two):
    """Sends it, reads what comes, and says what is wrong."""
    lane.origin.begin(())
    connection = Connection()
    with socket.create_connection(("127.0.0.1", lane.port_h2 if two else lane.port), 10) as sock:
        sock.settimeout(QUIET_S)
        with contextlib.suppress(OSError):
            sock.sendall((frames.PREFACE + frames.settings() if two else b"") + data)
        end = time.monotonic() + MOST_S
        with contextlib.suppress(OSError):
            while time.monotonic() < end:
                piece = sock.recv(65536)
                if not piece:
                    connection.end = "closed"
                    break
                connection.raw += piece
    with lane.origin.lock:
        faults = [f"the worker got {fault}" for fault in lane.origin.faults if "never ends" not in fault]
        # The proxy adds this to every request that it has read; one without it came as raw bytes.
        hidden = [request for request in lane.origin.requests if not request.values("x-forwarded-for")]
    faults += [f"the worker got a request that the proxy never read: {request.head[:200]!r}" for request in hidden]
    # How an answer ends depends on what was asked, and that nobody knows where these may have become a method.
    if not two and not any(word in data for word in (b"HEAD", b"CONNECT", b"Upgrade")):
        messages.read_answers(connection, ())
        faults += [f"the client got {fault}" for fault in connection.faults]
    return faults
