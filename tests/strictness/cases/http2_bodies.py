"""Bodies over HTTP/2 in both directions under flow control, WebSocket by extended CONNECT, and frames of later RFCs.

RFC 9113 sections 5.2, 6.9 and 8.5, RFC 8441, RFC 9218. Framing errors: http2_frames.py; requests: http2_requests.py.
"""

import hpack
from frames import (
    CANCEL, DATA, ENABLE_PUSH, INITIAL_WINDOW_SIZE, PADDED, ask, data, frame, get, headers, ping, request, rst, settings,
    window,
)
from model import ANSWER, CLOSE, EARLY, ECHO, HEAD_AT_WORKER, Outcome, Pause, Table, Upload
from outcomes import W
from outcomes_http2 import ANY_CODE, answer_differs, answered, anything, malformed, ponged, served
from spelling import answer, head

CASES = case = Table("h2", protocol="http2")

OPEN = ask(1, request(b"POST"), end=False)
PROBE = ping(b"are you?")
ALIVE = ponged(b"are you?")
OK = answer(b"200 OK", b"Content-Length: 2", body=b"ok")

case("upload-large", "high", "RFC 9113 5.2, 6.9", (OPEN, Upload(1, b"u" * 1000000)),
    served({1: W("POST", "/x", b"u" * 1000000)}), "windows are opened as the body is taken", within=8.0)
case("upload-two", "high", "RFC 9113 5.2", (ask(1, request(b"POST", b"/a"), False), ask(3, request(b"POST", b"/b"), False),
    Upload(1, b"a" * 200000), Upload(3, b"b" * 200000)),
     served({1: W("POST", "/a", b"a" * 200000), 3: W("POST", "/b", b"b" * 200000)}), within=8.0)
case("upload-length", "high", "RFC 9113 8.1.1", (ask(1, request(b"POST", b"/x", (b"content-length", b"300000")), False),
    Upload(1, b"u" * 300000)), served({1: W("POST", "/x", b"u" * 300000)}), within=8.0)
case("upload-padded", "medium", "RFC 9113 6.1, 6.9", (OPEN, *((frame(DATA, PADDED, 1, b"\xff" + b"p" * 100 + bytes(255)),
    Pause(0.004)) * 400), data(1)),
     served({1: W("POST", "/x", b"p" * 40000)}), "padding counts for the window, and is given back", within=8.0)
case("window-of-reset-streams", "high", "RFC 9113 5.1, 6.9.1",
     tuple(step for number in range(1, 25, 2) for step in (ask(number, request(b"POST", b"/cut"), False),
     data(number, b"u" * 16000, False), Pause(0.05), rst(number)))
     + (ask(31, request(b"POST", b"/last"), False), Upload(31, b"l" * 60000)),
     Outcome("the last one is served", lambda seen: answer_differs(seen.h2, 31, 200)
     or (None if seen.whole() and seen.whole()[-1].body == b"l" * 60000 else "not whole")),
     "what was sent on reset streams is given back to the connection's window", within=8.0)
case("window-after-refusal", "high", "RFC 9113 6.9.1", tuple(step for number in range(1, 21, 2)
    for step in (ask(number, request(b"POST", b"/admin/x"), False), data(number, b"u" * 16000), Pause(0.03)))
     + (ask(31, request(b"POST", b"/last"), False), Upload(31, b"l" * 60000)),
     Outcome("the last one is served", lambda seen: answer_differs(seen.h2, 31, 200)), "so are bodies of refused requests",
     within=8.0)
case("download-windows", "high", "RFC 9113 6.9", (get(), Pause(0.1), window(0, 100000), window(1, 100000)),
    answered(1, 200, b"y" * 150000), "a window in pieces",
     window=False, replies=((answer(b"200 OK", b"Content-Length: 150000", body=b"y" * 150000),),))
case("download-connection-window", "high", "RFC 9113 6.9.1", (get(1, b"/a"), get(3, b"/b")),
    anything("exactly 65535 bytes in all", lambda seen: None if
     sum(len(stream.body) for stream in seen.h2.streams.values()) == 65535 and seen.h2.end == "open"
     else f"{sum(len(stream.body) for stream in seen.h2.streams.values())} bytes"),
     "the connection's window holds for all streams together", settings=((INITIAL_WINDOW_SIZE, 1 << 20),), window=False,
     replies=((answer(b"200 OK", b"Content-Length: 100000", body=b"y" * 100000),),))
case("download-beside-stalled", "high", "RFC 9113 5.2", (get(1, b"/stalled"), Pause(0.1), window(0, 1 << 20), get(3, b"/next"),
    window(3, 1 << 20)),
     Outcome("the other one is served", lambda seen: answer_differs(seen.h2, 3, 200, b"y" * 200000)),
     "one stream without a window holds up no other", window=False,
     replies=((answer(b"200 OK", b"Content-Length: 200000", body=b"y" * 200000),),))
case("empty-data-end", "medium", "RFC 9113 6.1", OPEN + data(1, b"hello", False) + data(1, b""),
    served({1: W("POST", "/x", b"hello")}))
case("empty-data-few", "medium", "RFC 9113 6.1", OPEN + data(1, b"", False) * 5 + data(1, b"hello"),
    served({1: W("POST", "/x", b"hello")}), "a few empty frames are no flood")
case("length-zero-data", "medium", "RFC 9113 8.1.1", ask(1, request(b"POST", b"/x", (b"content-length", b"0")), False)
    + data(1, b""), served({1: W("POST", "/x")}))
case("get-length-zero", "medium", "RFC 9110 8.6", get(1, b"/x", (b"content-length", b"0")), served({1: W("GET", "/x")}))
case("post-at-once", "medium", "RFC 9113 8.1", ask(1, request(b"POST")), served({1: W("POST", "/x")}), "a POST without a body")
case("cancel-upload", "high", "RFC 9113 5.4.2, 8.1", (OPEN + data(1, b"hel", False), HEAD_AT_WORKER, rst(1, CANCEL), Pause(0.3),
    PROBE),
     ponged(b"are you?", more=lambda seen: "the worker got a whole request" if seen.whole() else None))
case("answer-then-no-error", "medium", "RFC 9113 8.1", (OPEN + data(1, b"hello", False),), (answered(1, 403, b"no"),),
    "an early answer is whole; RST_STREAM NO_ERROR may follow",
     replies=((EARLY, answer(b"403 Forbidden", b"Content-Length: 2", b"Connection: close", body=b"no"), Pause(0.2), CLOSE),))
case("refused-upload-early", "high", "RFC 9113 8.1", ask(1, request(b"POST", b"/admin/x"), False), answered(1, 403, worker=0),
    "a refusal need not wait for the body")
case("refused-upload-after", "high", "RFC 9113 8.1", (ask(1, request(b"POST", b"/admin/x"), False), ANSWER, data(1, b"late"),
    PROBE, get(3, b"/next")),
     anything("others go on", lambda seen: answer_differs(seen.h2, 1, 403) or answer_differs(seen.h2, 3, 200)),
     "late DATA behind a refusal ends nothing but itself")

# Frames and settings of later documents.
case("priority-update", "medium", "RFC 9218 7.1", frame(16, 0, 0, b"\0\0\0\1u=1") + get(), served({1: W("GET", "/x")}))
case("altsvc-origin", "low", "RFC 7838 4, RFC 8336 2", frame(10, 0, 0, b"\0\0") + frame(12, 0, 0, b"") + get(),
    served({1: W("GET", "/x")}), "frames that a client never sends, unknown here")
case("settings-later", "low", "RFC 9218 2.1, RFC 8441 3", settings((9, 1)) + settings((8, 1)) + get(),
    served({1: W("GET", "/x")}))
case("settings-push-0", "low", "RFC 9113 6.5.2", settings((ENABLE_PUSH, 0)) + get(), served({1: W("GET", "/x")}))
case("window-reserved-bit", "low", "RFC 9113 6.9", frame(8, 0, 0, b"\x80\x00\x00\x01") + PROBE, ALIVE)
case("table-size-0", "medium", "RFC 7541 4.2", get(), served({1: W("GET", "/x")}),
    "blocks for a client without a table (each is decoded)", settings=((1, 0),))
case("list-size-small", "low", "RFC 9113 6.5.2", get(), anything("answered or refused",
    lambda seen: None if 1 in seen.h2.streams and (seen.h2.streams[1].ended or seen.h2.streams[1].reset is not None)
     else "nothing"), "a limit of the client's is advice", settings=((6, 100),))
case("streams-0", "low", "RFC 9113 6.5.2", get(), served({1: W("GET", "/x")}), "the client's limit is for pushes",
    settings=((3, 0),))
case("goaway-new-stream", "low", "RFC 9113 6.8", frame(7, 0, 0, bytes(8)) + get(),
    anything("served or refused", lambda seen: None if seen.h2.end != "open" or (1 in seen.h2.streams and
     (seen.h2.streams[1].ended or seen.h2.streams[1].reset is not None)) else "nothing"),
     "who said goodbye may still ask, or not")

# WebSocket over HTTP/2.
TUNNEL = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":authority", b"a.test"),
    (b":path", b"/chat"), (b"sec-websocket-version", b"13")]
SWITCH = head(b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade",
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")


def tunnelled(seen):
    """With SETTINGS_ENABLE_CONNECT_PROTOCOL a tunnel, without it a refusal; never a plain request."""
    stream = seen.h2.streams.get(1)
    if seen.h2.settings.get(8) != 1:
        if seen.whole():
            return f"the worker got {seen.requests[0].head[:100]!r}"
        return None if stream is not None and (stream.reset is not None
            or stream.status >= 400) or seen.h2.end != "open" else "neither offered nor refused"
    if stream is None or stream.status not in (200, 502):
        return f"offered, and answered {stream.status if stream else 'nothing'}"
    return None if stream.status == 502 or stream.body == b"hello" else f"{stream.body!r} came back"


case("websocket", "medium", "RFC 8441 4, 5", (headers(1, hpack.block(TUNNEL), end=False), Pause(0.3), data(1, b"hello", False)),
    anything("a tunnel if it was offered, else refused", tunnelled),
     replies=((SWITCH, ECHO),))
case("websocket-rule", "grave", "RFC 8441 4, rule", headers(1, hpack.block([*TUNNEL[:4], (b":path", b"/admin/chat"),
    TUNNEL[5]]), end=False),
     malformed(1, ANY_CODE[1:]), "a tunnel is judged like any request", replies=((SWITCH, ECHO),))
case("websocket-no-path", "high", "RFC 8441 4", headers(1, hpack.block([part for part in TUNNEL if part[0] != b":path"]),
    end=False), malformed(1, ANY_CODE[1:]), "the other pseudo-header fields must be there")
case("websocket-refused", "high", "RFC 8441 5", (headers(1, hpack.block(TUNNEL), end=False), Pause(0.2),
    data(1, b"GET /admin/hidden HTTP/1.1\r\nHost: a.test\r\n\r\n", False)),
     anything("no tunnel", lambda seen: f"the worker got {[request.target for request in seen.requests]}"
     if any("hidden" in request.target for request in seen.requests) or any(
         request.tunnel for request in seen.requests) else None if 1 in seen.h2.streams
         and (seen.h2.streams[1].status >= 400 or seen.h2.streams[1].reset is not None) or seen.h2.end != "open"
         else "not refused"),
     "a refused tunnel carries nothing", replies=((answer(b"403 Forbidden", b"Content-Length: 2", body=b"no"),), (OK,)))
