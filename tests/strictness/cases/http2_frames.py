"""Frames, streams and flow control of HTTP/2: what h2spec asks for, section by section (RFC 9113 sections 3 to 6, RFC 7541).

Not here: what requests mean (http2_requests.py), floods (http2_floods.py).
"""

from frames import (
    CANCEL, COMPRESSION_ERROR, CONTINUATION, DATA, ENABLE_PUSH, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, GOAWAY,
    HEADERS, INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE, PADDED, PING, PREFACE, PRIORITIZED, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, REFUSED_STREAM, RST_STREAM,
    SETTINGS, STREAM_CLOSED,
    WINDOW_UPDATE, continuation, data, frame, get, goaway, headers, ping, post, priority, request, rst, settings, window,
)
import hpack
from model import ANSWER, HEAD_AT_WORKER, HOLD, Pause, Table
from outcomes import W
from outcomes_http2 import ANY_CODE, anything, answered, connection_error, malformed, ponged, served, stream_error
from spelling import answer

CASES = case = Table("h2", protocol="http2")

BLOCK = hpack.block(request())
POST_BLOCK = hpack.block(request(b"POST"))
PROBE = ping(b"are you?")
ALIVE = ponged(b"are you?")
X = {1: W("GET", "/x")}
OPEN = headers(1, POST_BLOCK, end=False)
SLOW = ((HOLD,),)
PROTOCOL = connection_error(PROTOCOL_ERROR)
SIZE = connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR)

case("sanity", "high", "RFC 9113 8.1", get(), served(X))
case("sanity-post", "high", "RFC 9113 8.1", post(1, b"hello"), served({1: W("POST", "/x", b"hello")}))
case("two-streams", "high", "RFC 9113 5", get(1, b"/a") + get(3, b"/b"), served({1: W(target="/a"), 3: W(target="/b")}))

# 3.4, 6.5.3: preface and settings.
case("preface-settings", "medium", "RFC 9113 3.4", PREFACE + settings(),
    anything("SETTINGS first, and an ACK", lambda seen: None if
     seen.h2.frames and seen.h2.frames[0][0] == SETTINGS and not seen.h2.frames[0][1] & 1 and seen.h2.settings_acks
     else f"{seen.h2.frames[:3]}"), bare=True)
case("preface-no-settings", "medium", "RFC 9113 3.4", PREFACE + get(), connection_error(PROTOCOL_ERROR, FRAME_SIZE_ERROR),
    "SETTINGS must come first", bare=True)
case("preface-wrong", "medium", "RFC 9113 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX" + settings() + get(),
    connection_error(*ANY_CODE), bare=True, strict_client=False)
case("preface-ack-first", "low", "RFC 9113 3.4", PREFACE + settings(flags=1) + get(), (PROTOCOL, served(X)),
    "an ACK is no first SETTINGS", bare=True)
case("preface-pieces", "medium", "RFC 9113 3.4", (PREFACE[:5], Pause(0.1), PREFACE[5:16], Pause(0.1),
    PREFACE[16:] + settings()[:4], Pause(0.1), settings()[4:] + get()),
     answered(1, 200), "a preface in pieces is a preface", bare=True)
case("request-before-ack", "medium", "RFC 9113 3.4", PREFACE + settings() + get(), answered(1, 200), "a client need not wait",
    bare=True)

# 4: frames.
case("unknown-frame", "medium", "RFC 9113 4.1, 5.5", frame(0xfa, 0x5a, 0, b"unknown") + PROBE, ALIVE, "MUST be ignored")
case("unknown-frame-on-stream", "medium", "RFC 9113 5.5", OPEN + frame(0xfa, 0, 1, b"unknown") + data(1, b"x"),
    served({1: W("POST", "/x", b"x")}))
case("unknown-frame-large", "medium", "RFC 9113 4.2", frame(0xfa, 0, 0, bytes(16385)), SIZE)
case("unknown-flags", "low", "RFC 9113 4.1", frame(PING, 0x16, 0, b"are you?"), ALIVE)
case("reserved-bit", "low", "RFC 9113 4.1", frame(PING, 0, 0x80000000, b"are you?"), ALIVE)
case("data-16384", "medium", "RFC 9113 4.2", OPEN + data(1, b"x" * 16384), served({1: W("POST", "/x", b"x" * 16384)}))
case("data-16385", "medium", "RFC 9113 4.2", OPEN + data(1, b"x" * 16385), stream_error(1, FRAME_SIZE_ERROR))
case("headers-16385", "medium", "RFC 9113 4.2", headers(1, BLOCK + hpack.literal(b"x-a", b"b" * 16384)),
    connection_error(FRAME_SIZE_ERROR, ENHANCE_YOUR_CALM))
case("ping-huge", "medium", "RFC 9113 4.2", frame(PING, 0, 0, bytes(1 << 20)), SIZE)
case("length-without-payload", "low", "RFC 9113 4.1", (frame(PING, 0, 0, b"are", length=8), Pause(0.2), b" you?"), ALIVE,
    "a frame in pieces is a frame")
case("block-broken", "medium", "RFC 9113 4.3", headers(1, b"\x40\x02ab"), connection_error(COMPRESSION_ERROR))
case("block-interrupted-priority", "high", "RFC 9113 4.3, 6.2", headers(1, BLOCK[:9], ended=False) + priority(1)
    + continuation(1, BLOCK[9:]), PROTOCOL)
case("block-interrupted-other", "high", "RFC 9113 4.3, 6.2", headers(1, BLOCK[:9], ended=False) + headers(3, BLOCK), PROTOCOL)
case("block-interrupted-ping", "high", "RFC 9113 6.10", headers(1, BLOCK[:9], ended=False) + PROBE, PROTOCOL)
case("block-interrupted-unknown", "high", "RFC 9113 5.5", headers(1, BLOCK[:9], ended=False) + frame(0xfa, 0, 0)
    + continuation(1, BLOCK[9:]), PROTOCOL)
case("block-interrupted-data", "high", "RFC 9113 6.10", headers(1, POST_BLOCK, False, ended=False) + data(1, b"x"), PROTOCOL)

# 5.1: states of streams.
for name, text in (("data", data(1, b"x")), ("rst", rst(1)), ("window", window(1, 100)),
    ("continuation", continuation(1, BLOCK))):
    case(f"idle-{name}", "high", "RFC 9113 5.1", text + PROBE, connection_error(PROTOCOL_ERROR, STREAM_CLOSED)
        if name == "data" else PROTOCOL, "a stream that was never opened")
case("idle-priority", "low", "RFC 9113 5.1", priority(7, 0) + get(), served(X), "PRIORITY may come at any time")
HALF = headers(1, POST_BLOCK)
for name, text, want in (
    ("data", data(1, b"x"), stream_error(1, STREAM_CLOSED)), ("headers", headers(1, BLOCK),
    stream_error(1, STREAM_CLOSED, PROTOCOL_ERROR)),
    ("continuation", continuation(1, BLOCK), connection_error(PROTOCOL_ERROR, STREAM_CLOSED)),
):
    case(f"half-closed-{name}", "high", "RFC 9113 5.1", (HALF, HEAD_AT_WORKER, text), want, "after END_STREAM", replies=SLOW)
    case(f"closed-{name}", "medium", "RFC 9113 5.1", (get(), ANSWER, text + PROBE),
        (stream_error(1, STREAM_CLOSED, PROTOCOL_ERROR),
         *((ALIVE,) if name == "data" else ())), "after the end on both sides; DATA may be ignored for a while")
    case(f"reset-{name}", "medium", "RFC 9113 5.1", (OPEN, HEAD_AT_WORKER, rst(1) + text + PROBE),
        (stream_error(1, STREAM_CLOSED, PROTOCOL_ERROR),
         *((ALIVE,) if name == "data" else ())), "after RST_STREAM", replies=SLOW)
case("closed-window", "medium", "RFC 9113 5.1, 6.9", (get(), ANSWER, window(1, 1) + PROBE), ALIVE,
    "may arrive late and is no error")
case("closed-rst", "medium", "RFC 9113 5.1", (get(), ANSWER, rst(1) + PROBE), ALIVE, "may arrive late and is no error")
case("half-closed-window", "medium", "RFC 9113 5.1", HALF + window(1, 1), served({1: W("POST", "/x")}))
case("even-stream", "high", "RFC 9113 5.1.1", get(2), PROTOCOL)
case("smaller-stream", "high", "RFC 9113 5.1.1", (get(5), ANSWER, get(3)), connection_error(PROTOCOL_ERROR, STREAM_CLOSED))
case("stream-gap", "medium", "RFC 9113 5.1.1", get(101), answered(101, 200), "numbers may be left out")
case("stream-largest", "low", "RFC 9113 5.1.1", get(0x7fffffff), answered(0x7fffffff, 200))


def refused_beyond(seen):
    """Streams beyond the announced limit are refused, or the connection ends; what the worker got is bounded."""
    limit = seen.h2.settings.get(3, 1 << 31)
    if limit > 4000:
        return f"MAX_CONCURRENT_STREAMS is {limit}: no bound"
    refused = [number for number, stream in seen.h2.streams.items() if stream.reset in (REFUSED_STREAM, PROTOCOL_ERROR,
        ENHANCE_YOUR_CALM)]
    if not refused and seen.h2.goaway is None and seen.h2.end == "open":
        return "no stream was refused"
    return None if len(seen.requests) <= limit else f"the worker got {len(seen.requests)} requests"


case("streams-too-many", "high", "RFC 9113 5.1.2", b"".join(get(number, b"/%d" % number) for number in range(1, 1200, 2)),
    anything("bounded", refused_beyond),
     "more streams than allowed are refused", replies=SLOW, within=6.0)

# 6: each kind of frame.
case("data-stream-0", "high", "RFC 9113 6.1", data(0, b"x"), PROTOCOL)
case("data-padding-long", "high", "RFC 9113 6.1", OPEN + frame(DATA, PADDED | 1, 1, b"\x06hello"), PROTOCOL)
case("data-padding-all", "low", "RFC 9113 6.1", OPEN + frame(DATA, PADDED | 1, 1, b"\x03abc\0\0\0"),
    served({1: W("POST", "/x", b"abc")}))
case("data-padding-no-length", "medium", "RFC 9113 6.1", OPEN + frame(DATA, PADDED | 1, 1, b""), SIZE)
case("headers-stream-0", "high", "RFC 9113 6.2", headers(0, BLOCK), PROTOCOL)
case("headers-padding", "low", "RFC 9113 6.2", frame(HEADERS, PADDED | 5, 1, b"\x04" + BLOCK + bytes(4)), served(X))
case("headers-padding-long", "high", "RFC 9113 6.2", frame(HEADERS, PADDED | 5, 1, b"\xff" + BLOCK), PROTOCOL)
case("headers-priority", "low", "RFC 9113 6.2", frame(HEADERS, PRIORITIZED | 5, 1, b"\x00\x00\x00\x00\x0f" + BLOCK), served(X))
case("headers-priority-cut", "medium", "RFC 9113 6.2", frame(HEADERS, PRIORITIZED | 5, 1, b"\x00\x00"),
    connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR))
case("headers-self-dependency", "low", "RFC 7540 5.3.1", frame(HEADERS, PRIORITIZED | 5, 1, b"\x00\x00\x00\x01\x0f" + BLOCK),
    (stream_error(1, PROTOCOL_ERROR), served(X)),
     "an error once, and now nothing")
case("priority-stream-0", "medium", "RFC 9113 6.3", priority(0), PROTOCOL)
case("priority-length", "medium", "RFC 9113 6.3", OPEN + frame(PRIORITY, 0, 1, bytes(4)), stream_error(1, FRAME_SIZE_ERROR))
case("rst-stream-0", "high", "RFC 9113 6.4", rst(0), PROTOCOL)
case("rst-length", "high", "RFC 9113 6.4", OPEN + frame(RST_STREAM, 0, 1, bytes(3)), connection_error(FRAME_SIZE_ERROR))
case("rst-unknown-code", "low", "RFC 9113 7", (OPEN, rst(1, 0xff) + PROBE), ALIVE)
case("settings-ack-payload", "high", "RFC 9113 6.5", frame(SETTINGS, 1, 0, bytes(6)), connection_error(FRAME_SIZE_ERROR))
case("settings-stream-1", "high", "RFC 9113 6.5", settings(stream=1), PROTOCOL)
case("settings-length", "high", "RFC 9113 6.5", frame(SETTINGS, 0, 0, bytes(5)), connection_error(FRAME_SIZE_ERROR))
case("settings-push-2", "medium", "RFC 9113 6.5.2", settings((ENABLE_PUSH, 2)), PROTOCOL)
case("settings-window-huge", "high", "RFC 9113 6.5.2", settings((INITIAL_WINDOW_SIZE, 0x80000000)),
    connection_error(FLOW_CONTROL_ERROR))
case("settings-frame-small", "medium", "RFC 9113 6.5.2", settings((MAX_FRAME_SIZE, 16383)), PROTOCOL)
case("settings-frame-huge", "medium", "RFC 9113 6.5.2", settings((MAX_FRAME_SIZE, 16777216)), PROTOCOL)
case("settings-unknown", "medium", "RFC 9113 6.5.2", settings((0xff, 1)) + PROBE, ALIVE)
case("settings-acked", "medium", "RFC 9113 6.5.3", settings((INITIAL_WINDOW_SIZE, 100)) + settings((INITIAL_WINDOW_SIZE, 200))
    + PROBE,
     ponged(b"are you?", more=lambda seen: None if seen.h2.settings_acks == 3 else f"{seen.h2.settings_acks} acks for 3"),
     "an ACK for each")
case("push-promise", "high", "RFC 9113 8.4", frame(PUSH_PROMISE, 4, 1, b"\0\0\0\2" + BLOCK), PROTOCOL, "a client cannot push")
case("ping", "medium", "RFC 9113 6.7", ping(b"\x00\xff234567"), ponged(b"\x00\xff234567"))
case("ping-ack", "medium", "RFC 9113 6.7", ping(b"unasked!", 1) + PROBE, ALIVE, "an ACK is not answered")
case("ping-stream-1", "medium", "RFC 9113 6.7", frame(PING, 0, 1, bytes(8)), PROTOCOL)
case("ping-length", "medium", "RFC 9113 6.7", frame(PING, 0, 0, bytes(6)), connection_error(FRAME_SIZE_ERROR))
case("goaway-stream-1", "medium", "RFC 9113 6.8", frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL)
case("goaway-finishes", "medium", "RFC 9113 6.8", get() + goaway(), answered(1, 200), "what was asked before is answered")
case("goaway-length", "medium", "RFC 9113 6.8, 4.2", frame(GOAWAY, 0, 0, bytes(7)), SIZE)
case("window-zero", "high", "RFC 9113 6.9", window(0, 0), connection_error(PROTOCOL_ERROR, FLOW_CONTROL_ERROR))
case("window-zero-stream", "high", "RFC 9113 6.9", (OPEN, HEAD_AT_WORKER, window(1, 0)), stream_error(1, PROTOCOL_ERROR),
    replies=SLOW)
case("window-length", "high", "RFC 9113 6.9", frame(WINDOW_UPDATE, 0, 0, bytes(3)), connection_error(FRAME_SIZE_ERROR))
case("window-overflow", "high", "RFC 9113 6.9.1", window(0, 0x7fffffff) + window(0, 0x7fffffff),
    connection_error(FLOW_CONTROL_ERROR))
case("window-overflow-stream", "high", "RFC 9113 6.9.1", (OPEN, HEAD_AT_WORKER, window(1, 0x7fffffff) + window(1, 0x7fffffff)),
    stream_error(1, FLOW_CONTROL_ERROR), replies=SLOW)
case("settings-window-overflow", "medium", "RFC 9113 6.9.2", (OPEN, HEAD_AT_WORKER,
    window(1, 0x7fff0000) + settings((INITIAL_WINDOW_SIZE, 0x7fffffff))),
     stream_error(1, FLOW_CONTROL_ERROR), "a change that overflows an open stream", replies=SLOW)
case("continuation", "medium", "RFC 9113 6.10", headers(1, BLOCK[:5], ended=False) + continuation(1, BLOCK[5:9], False)
    + continuation(1, b"", False) + continuation(1, BLOCK[9:]), served(X))
case("continuation-stream-0", "high", "RFC 9113 6.10", headers(1, BLOCK[:5], ended=False) + continuation(0, BLOCK[5:]),
    PROTOCOL)
case("continuation-other-stream", "high", "RFC 9113 6.10", headers(1, BLOCK[:5], ended=False) + continuation(3, BLOCK[5:]),
    PROTOCOL)
case("continuation-unasked", "high", "RFC 9113 6.10", (HALF, continuation(1, BLOCK)),
    connection_error(PROTOCOL_ERROR, STREAM_CLOSED), replies=SLOW)
case("continuation-after-data", "high", "RFC 9113 6.10", OPEN + data(1, b"x", end=False) + continuation(1, BLOCK), PROTOCOL)

# Flow control of what comes back.
BODY = b"y" * 5000
LARGE = ((answer(b"200 OK", b"Content-Length: 5000", body=BODY),),)


def at_most(count):
    def check(seen):
        sent = len(seen.h2.streams[1].body) if 1 in seen.h2.streams else 0
        return None if sent == count and seen.h2.end == "open" else f"{sent} bytes, not {count}, connection {seen.h2.end}"
    return anything(f"exactly {count} bytes", check)


case("window-kept", "high", "RFC 9113 6.9", get(), at_most(100), "no byte beyond the window",
    settings=((INITIAL_WINDOW_SIZE, 100),), window=False, replies=LARGE)
case("window-zero-kept", "high", "RFC 9113 6.9", get(), anything("fields, no data",
    lambda seen: None if 1 in seen.h2.streams and seen.h2.streams[1].status == 200
     and not seen.h2.streams[1].body else "no fields, or data"), settings=((INITIAL_WINDOW_SIZE, 0),), window=False,
     replies=LARGE)
case("window-given", "high", "RFC 9113 6.9", (get(), Pause(0.2), window(1, 50), Pause(0.1), window(1, 25)), at_most(75),
    settings=((INITIAL_WINDOW_SIZE, 0),), window=False, replies=LARGE)
case("window-given-by-settings", "medium", "RFC 9113 6.9.2", (get(), Pause(0.2), settings((INITIAL_WINDOW_SIZE, 300))),
    at_most(300), settings=((INITIAL_WINDOW_SIZE, 1),),
     window=False, replies=LARGE)
case("window-negative", "medium", "RFC 9113 6.9.2", (get(), Pause(0.3), settings((INITIAL_WINDOW_SIZE, 40)), Pause(0.1),
    window(1, 70)), at_most(110),
     "100 sent, 60 too many, then 10", settings=((INITIAL_WINDOW_SIZE, 100),), window=False, replies=LARGE)
case("frame-size-kept", "medium", "RFC 9113 4.2", get(), answered(1, 200, b"y" * 60000),
    "no frame beyond 16384 (checked for each)",
     replies=((answer(b"200 OK", b"Content-Length: 60000", body=b"y" * 60000),),))

# HPACK.
# The right code is asked for once (block-broken); here it counts that the connection ends.
COMPRESSION = connection_error(COMPRESSION_ERROR, PROTOCOL_ERROR)
case("hpack-index", "high", "RFC 7541 2.3.3", headers(1, BLOCK + hpack.indexed(70)), COMPRESSION)
case("hpack-index-huge", "high", "RFC 7541 2.3.3, 5.1", headers(1, BLOCK + b"\xff\xff\xff\xff\xff\x0f"), COMPRESSION)
case("hpack-integer-endless", "high", "RFC 7541 5.1", headers(1, BLOCK + b"\xff" + b"\x80" * 100 + b"\x01"), COMPRESSION)
case("hpack-index-0", "high", "RFC 7541 6.1", headers(1, BLOCK + b"\x80"), COMPRESSION)
case("hpack-table-huge", "high", "RFC 7541 6.3", headers(1, hpack.size_update(1 << 24) + BLOCK), COMPRESSION)
case("hpack-table-late", "medium", "RFC 7541 4.2", headers(1, BLOCK + hpack.size_update(1)), COMPRESSION,
    "only at the beginning of a block")
case("hpack-table-fine", "low", "RFC 7541 4.2", headers(1, hpack.size_update(0) + hpack.size_update(4096) + BLOCK), served(X))
case("hpack-string-long", "high", "RFC 7541 5.2", headers(1, BLOCK + b"\x00\x7f\xff\xff\xff\x07x"), COMPRESSION)


def huffman_case(name, text, want, source):
    block = BLOCK + b"\x00\x03x-a" + hpack.integer(len(text), 7, 0x80) + text
    case(name, "medium", source, headers(1, block), want)


huffman_case("hpack-huffman", hpack.bits(hpack.huffman(b"hello, world")),
    served({1: W("GET", "/x", have={"x-a": "hello, world"})}), "RFC 7541 5.2")
huffman_case("hpack-huffman-eos", hpack.bits(hpack.huffman(b"a") + "1" * 30), COMPRESSION, "RFC 7541 5.2")
huffman_case("hpack-huffman-zeros", int((hpack.huffman(b"a") + "000")[:8], 2).to_bytes(1, "big"), COMPRESSION, "RFC 7541 5.2")
huffman_case("hpack-huffman-padding-long", hpack.bits(hpack.huffman(b"aa") + "1" * 14), COMPRESSION, "RFC 7541 5.2")
case("hpack-kept", "medium", "RFC 7541 2.3", (headers(1, BLOCK + hpack.literal(b"x-a", b"b", kept=True)), ANSWER,
    headers(3, hpack.block(request(path=b"/y")) + hpack.indexed(62))),
     served({1: W("GET", "/x", have={"x-a": "b"}), 3: W("GET", "/y", have={"x-a": "b"})}))
case("hpack-refused-kept", "high", "RFC 9113 4.3", (headers(1, hpack.block(request(path=b"/x y"))
    + hpack.literal(b"x-a", b"b", kept=True)), ANSWER,
     headers(3, hpack.block(request(path=b"/y")) + hpack.indexed(62))), (answered(3, 200), connection_error(*ANY_CODE)),
     "a refused block is decoded all the same")
case("cancel-then-next", "medium", "RFC 9113 5.4.2", (get(1, b"/a"), HEAD_AT_WORKER, rst(1, CANCEL) + get(3, b"/b")),
    answered(3, 200), replies=((HOLD,), (answer(b"200 OK", b"Content-Length: 0"),)))
