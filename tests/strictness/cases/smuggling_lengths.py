"""How long is it? Transfer-Encoding and Content-Length in all the ways that two readers read differently.

RFC 9112 section 6.3 leaves the choice between refusing and reading one way that is safe; then what the worker gets is
framed in one way only, and nothing behind the message is taken for a request. Chunks: smuggling_chunks.py.
"""

from model import SHUT, Table
from outcomes import W, broken, passed, refused
from spelling import AFTER, HELLO_CHUNKS, get, head, post

CASES = case = Table("smuggling")

HELLO = W("POST", "/x", b"hello")
EMPTY = W("POST", "/x", b"")
NEXT = W("GET", "/after")
CHUNKED_THEN_CLOSED = passed(HELLO, end="closed")

for name, fields in (
    ("cl-te", (b"Content-Length: 6", b"Transfer-Encoding: chunked")),
    ("te-cl", (b"Transfer-Encoding: chunked", b"Content-Length: 15")),
    ("te-cl-zero", (b"Transfer-Encoding: chunked", b"Content-Length: 0")),
    ("te-cl-twice", (b"Content-Length: 15", b"Transfer-Encoding: chunked", b"Content-Length: 15")),
):
    case(name, "grave", "RFC 9112 6.1, 6.3", post(fields, HELLO_CHUNKS + AFTER), (refused(400), CHUNKED_THEN_CLOSED),
         "refuse, or read the chunks alone, drop the length and close after the answer")
case("cl-te-hidden", "grave", "RFC 9112 6.1, 6.3",
     post((b"Content-Length: 6", b"Transfer-Encoding: chunked"), b"0\r\n\r\nG"), (refused(400), passed(EMPTY, end="closed")),
     "the G must not become the beginning of the next request")

# Codings that are not exactly `chunked`, once and last.
for name, line in (
    ("te-identity", b"Transfer-Encoding: identity"),
    ("te-unknown", b"Transfer-Encoding: xchunked"),
    ("te-cut", b"Transfer-Encoding: chunke"),
    ("te-quoted", b'Transfer-Encoding: "chunked"'),
    ("te-parameter", b"Transfer-Encoding: chunked;q=1"),
    ("te-parameter-blank", b"Transfer-Encoding: chunked ; x"),
    ("te-chunked-first", b"Transfer-Encoding: chunked, identity"),
    ("te-chunked-gzip", b"Transfer-Encoding: chunked, gzip"),
    ("te-identity-chunked", b"Transfer-Encoding: identity, chunked"),
    ("te-gzip-chunked", b"Transfer-Encoding: gzip, chunked"),
    ("te-twice-in-line", b"Transfer-Encoding: chunked, chunked"),
    ("te-two-words", b"Transfer-Encoding: chunked chunked"),
    ("te-two-lines", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    ("te-unknown-line-before", b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked"),
    ("te-unknown-line-behind", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x"),
    ("te-empty-line-behind", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
    ("te-vertical-tab", b"Transfer-Encoding: \x0bchunked"),
    ("te-form-feed", b"Transfer-Encoding: chunked\x0c"),
    ("te-nul", b"Transfer-Encoding: chunked\x00"),
    ("te-high-byte", b"Transfer-Encoding: \xffchunked"),
    ("te-nbsp", b"Transfer-Encoding: chunked\xa0"),
    ("te-semicolon-front", b"Transfer-Encoding: ;chunked"),
    ("te-bracket", b"Transfer-Encoding: [chunked]"),
):
    case(name, "grave", "RFC 9112 6.1, 6.3, 7", post(line, HELLO_CHUNKS + AFTER), refused(400, 422, 501),
         "unknown, repeated or not last: a refusal, and the end of the connection")
    if name in ("te-identity", "te-unknown", "te-quoted", "te-vertical-tab", "te-chunked-first"):
        case(f"{name}-with-length", "grave", "RFC 9112 6.3",
             post((b"Content-Length: 5", line), HELLO_CHUNKS + AFTER), refused(400, 422, 501),
             "a length beside an odd coding is no way out")

# Spellings of the field itself.
for name, line in (
    ("te-space-before-colon", b"Transfer-Encoding : chunked"),
    ("te-tab-before-colon", b"Transfer-Encoding\t: chunked"),
    ("te-control-in-name", b"Transfer-Encoding\x0b: chunked"),
    ("te-nul-in-name", b"Transfer-Encoding\x00: chunked"),
    ("te-no-colon", b"Transfer-Encoding chunked"),
    ("te-leading-blank", b" Transfer-Encoding: chunked"),
    ("te-equals", b"Transfer-Encoding= chunked"),
):
    case(name, "grave", "RFC 9112 5, 5.1", post((b"Content-Length: 5", line), b"hello" + AFTER), refused(400),
         "no field name looks like that: 400")

case("te-upper-case", "high", "RFC 9112 7", post(b"TRANSFER-ENCODING: ChUnKeD", HELLO_CHUNKS + AFTER), passed(HELLO, NEXT),
     "names of fields and codings have no case")
case("te-tab-before-value", "medium", "RFC 9112 5", post(b"Transfer-Encoding:\tchunked\t", HELLO_CHUNKS + AFTER),
     (passed(HELLO, NEXT), refused(400)), "blanks around a value are no part of it")
case("te-no-blank", "medium", "RFC 9112 5", post(b"Transfer-Encoding:chunked", HELLO_CHUNKS + AFTER), passed(HELLO, NEXT))
for name, line in (
    ("te-empty-element-front", b"Transfer-Encoding: , chunked"), ("te-empty-element-behind", b"Transfer-Encoding: chunked,")):
    case(name, "high", "RFC 9110 5.6.1.2", post(line, HELLO_CHUNKS + AFTER), (refused(400, 422, 501), passed(HELLO, NEXT)),
         "empty list elements may be ignored, but then everywhere")
case("te-empty", "grave", "RFC 9112 6.1", post((b"Transfer-Encoding:", b"Content-Length: 5"), b"hello" + AFTER),
     (refused(400, 422, 501), passed(HELLO, NEXT), passed(HELLO, end="closed")), "no coding at all: 400, or the length alone")
case("te-folded", "grave", "RFC 9112 5.2", post(b"Transfer-Encoding:\r\n chunked", HELLO_CHUNKS + AFTER),
     (refused(400, 422, 501), passed(HELLO, NEXT)), "obs-fold: 400, or one blank in its place")
case("te-in-fold", "grave", "RFC 9112 5.2",
     post((b"Content-Length: 5", b"X-A: b\r\n Transfer-Encoding: chunked"), b"hello" + AFTER),
     (refused(400), passed(HELLO, NEXT)), "obs-fold: 400, or a part of X-A")
case("te-behind-bare-lf", "grave", "RFC 9112 2.2", post(b"X-A: b\nTransfer-Encoding: chunked", HELLO_CHUNKS + AFTER),
     (refused(400), passed(HELLO, NEXT)), "a lone LF may end a line, and then it does")
case("te-behind-bare-cr", "grave", "RFC 9112 2.2",
     post((b"Content-Length: 5", b"X-A: b\rTransfer-Encoding: chunked"), b"hello" + AFTER),
     (refused(400), passed(HELLO, NEXT)), "a lone CR ends nothing: 400, or a blank in its place")
case("te-underscore", "high", "RFC 9112 6.3, CGI look-alike",
     post((b"Content-Length: 5", b"Transfer_Encoding: chunked"), b"hello" + AFTER),
     (refused(400), passed(W("POST", "/x", b"hello", lack=("transfer_encoding",)), NEXT)),
     "another name; a worker behind CGI or WSGI could take it for this one, so it must not arrive")
for name, line in (("te-http10", b"POST /x HTTP/1.0"), ("te-http10-keep-alive", b"POST /x HTTP/1.0")):
    keep = (b"Connection: keep-alive",) if name.endswith("alive") else ()
    case(name, "grave", "RFC 9112 6.1", head(line, b"Host: a.test", b"Transfer-Encoding: chunked", *keep) + HELLO_CHUNKS
        + AFTER,
         (refused(400, 411, 501, 505), CHUNKED_THEN_CLOSED), "faulty framing: refuse, or close after the answer")
case("te-http10-length", "grave", "RFC 9112 6.1",
     head(b"POST /x HTTP/1.0", b"Host: a.test", b"Connection: keep-alive", b"Content-Length: 5", b"Transfer-Encoding: chunked")
     + HELLO_CHUNKS + AFTER, (refused(400, 411, 501, 505), CHUNKED_THEN_CLOSED), "as above, with a length")

# Lengths.
for name, value in (
    ("cl-plus", b"+5"), ("cl-minus", b"-5"), ("cl-minus-zero", b"-0"), ("cl-hex", b"0x5"), ("cl-letter", b"5a"),
    ("cl-word", b"five"), ("cl-blank-inside", b"5 5"), ("cl-fraction", b"5.0"), ("cl-exponent", b"5e0"),
    ("cl-underscore", b"0_5"), ("cl-quoted", b'"5"'), ("cl-semicolon", b"5;"), ("cl-vertical-tab", b"\x0b5"),
    ("cl-nul", b"5\x00"), ("cl-high-byte", b"5\xa0"), ("cl-other-digits", "\u0665".encode()),
    ("cl-list-differs", b"5, 6"), ("cl-list-zero", b"0, 5"), ("cl-empty", b""), ("cl-comma", b","),
    ("cl-overflow-64", b"18446744073709551621"), ("cl-overflow-32", b"4294967301x"),
    ("cl-overflow-long", b"9" * 40), ("cl-overflow-128", b"340282366920938463463374607431768211461"),
):
    case(name, "grave", "RFC 9112 6.3, RFC 9110 8.6", post(b"Content-Length: " + value, b"hello" + AFTER), refused(400, 413),
         "no valid length: 400 and the end of the connection")
for name, lines in (("cl-differ", (b"5", b"6")), ("cl-differ-zero", (b"0", b"5")), ("cl-differ-later", (b"5", b"5", b"6"))):
    case(name, "grave", "RFC 9112 6.3", post([b"Content-Length: " + line for line in lines], b"hello" + AFTER), refused(400))
for name, lines in (("cl-same-lines", (b"5", b"5")), ("cl-same-list", (b"5, 5",)), ("cl-empty-element", (b"5,",))):
    case(name, "high", "RFC 9112 6.3, RFC 9110 8.6", post([b"Content-Length: " + line for line in lines], b"hello" + AFTER),
         (refused(400), passed(HELLO, NEXT)), "equal lengths may be merged into one")
case("cl-zeros", "medium", "RFC 9110 8.6", post(b"Content-Length: 0000000005", b"hello" + AFTER),
     (passed(HELLO, NEXT), refused(400)), "1*DIGIT allows leading zeros")
case("cl-octal", "high", "RFC 9110 8.6", post(b"Content-Length: 010", b"0123456789" + AFTER),
     (passed(W("POST", "/x", b"0123456789"), NEXT), refused(400)), "decimal, never octal")
for name, line in (
    ("cl-space-before-colon", b"Content-Length : 5"), ("cl-tab-before-colon", b"Content-Length\t: 5"),
    ("cl-leading-blank", b" Content-Length: 5"), ("cl-control-in-name", b"Content-Length\x01: 5"),
):
    case(name, "grave", "RFC 9112 5.1", post(line, b"hello" + AFTER), refused(400), "no field name looks like that: 400")
case("cl-folded", "grave", "RFC 9112 5.2", post(b"Content-Length:\r\n 5", b"hello" + AFTER),
    (refused(400), passed(HELLO, NEXT)))
case("cl-fold-adds-digit", "grave", "RFC 9112 5.2", post(b"Content-Length: 5\r\n 0", b"hello" + AFTER), refused(400),
     "obs-fold: 400, or `5 0`, which is no length either")
case("cl-underscore-name", "high", "RFC 9110 5.1, CGI look-alike",
     post(b"Content_Length: 35", b"GET /after HTTP/1.1\r\nHost: a.test\r\n\r\n"),
     (refused(400), passed(W("POST", "/x", b"", lack=("content_length",)), NEXT)), "no length: what follows is a request")

# Every method is framed alike.
for name, method in (("get", b"GET"), ("delete", b"DELETE"), ("options", b"OPTIONS"), ("odd", b"FROBNICATE")):
    body = AFTER.replace(b"after", b"hidden")
    case(f"body-of-{name}", "grave", "RFC 9110 9.3.1, CL.0 desync", post(b"Content-Length: %d" % len(body), body + AFTER,
        method=method),
         (passed(W(method.decode(), "/x", body), NEXT), refused(400, 405, 413, 501)),
         "a body is a body, whatever the method: it must not become a request")
    case(f"chunks-of-{name}", "grave", "RFC 9110 9.3.1",
         post(b"Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) + AFTER, method=method),
         (passed(W(method.decode(), "/x", body), NEXT), refused(400, 405, 413, 501)))
case("body-is-request", "grave", "RFC 9112 6.3", post(b"Content-Length: %d" % len(AFTER),
    AFTER.replace(b"after", b"hiddn") + AFTER),
     passed(W("POST", "/x", AFTER.replace(b"after", b"hiddn")), NEXT), "a body that looks like a request stays a body")
case("get-with-no-length", "grave", "RFC 9112 6.3(7)", get(b"/x", b"Content-Type: text/plain") + AFTER,
     passed(W("GET", "/x"), NEXT), "neither length nor coding: no body")
case("post-with-no-length", "high", "RFC 9112 6.3(7)", post((), AFTER), (passed(EMPTY, NEXT), refused(411)),
     "no body, or 411: never until the connection ends")
case("short-body", "grave", "RFC 9112 8", (post(b"Content-Length: 50", b"hello"), SHUT), broken(400, 408, answered=False),
     "a request that ends early is never handed on as a whole one")
case("keep-alive-10-no-length", "grave", "CVE-2026-2835",
     head(b"POST /x HTTP/1.0", b"Host: a.test", b"Connection: keep-alive") + AFTER,
     (passed(EMPTY, NEXT), passed(EMPTY, end="closed"), refused(400, 411)), "HTTP/1.0 without a length has no body, either")
