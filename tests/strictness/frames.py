"""Frames of HTTP/2 as bytes (RFC 9113 section 6), right or wrong: every part can be given."""

import struct

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITIZED = 0x20

(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR,
    REFUSED_STREAM,
 CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM) = range(12)

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1, 7)
ENABLE_CONNECT_PROTOCOL = 8
MOST_IN_FRAME = 16384
WINDOW = 65535


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """Any frame; `length` may lie."""
    length = len(payload) if length is None else length
    return length.to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def settings(*pairs, flags=0, stream=0):
    return frame(SETTINGS, flags, stream, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def headers(stream, block, end=True, ended=True, flags=0):
    """HEADERS with this block: `end` ends the stream, `ended` the block."""
    return frame(HEADERS, flags | (END_STREAM if end else 0) | (END_HEADERS if ended else 0), stream, block)


def continuation(stream, block, ended=True):
    return frame(CONTINUATION, END_HEADERS if ended else 0, stream, block)


def data(stream, payload=b"", end=True, flags=0):
    return frame(DATA, flags | (END_STREAM if end else 0), stream, payload)


def rst(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def ping(payload=b"strictly", flags=0):
    return frame(PING, flags, 0, payload)


def goaway(last=0, code=NO_ERROR, more=b""):
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + more)


def window(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def priority(stream, on=0, weight=15):
    return frame(PRIORITY, 0, stream, struct.pack(">IB", on, weight))


def request(method=b"GET", path=b"/x", *more, scheme=b"http", authority=b"a.test"):
    """The fields of a request; a part that is None is left out."""
    parts = ((b":method", method), (b":scheme", scheme), (b":authority", authority), (b":path", path))
    return [*((name, value) for name, value in parts if value is not None), *more]


def get(stream=1, path=b"/x", *more, end=True, **parts):
    """A GET in one HEADERS frame, with further fields."""
    return ask(stream, request(b"GET", path, *more, **parts), end)


def post(stream, payload, *more, path=b"/x"):
    """A POST with its body in one DATA frame."""
    return ask(stream, request(b"POST", path, *more), end=False) + data(stream, payload)


def ask(stream, fields, end=True):
    """Any list of fields in HEADERS and, if they are many, CONTINUATION frames."""
    block = hpack.block(fields)
    first, rest = block[:MOST_IN_FRAME], block[MOST_IN_FRAME:]
    out = headers(stream, first, end, not rest)
    while rest:
        first, rest = rest[:MOST_IN_FRAME], rest[MOST_IN_FRAME:]
        out += continuation(stream, first, not rest)
    return out
