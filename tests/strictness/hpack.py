"""HPACK (RFC 7541): a decoder for what a proxy sends, and the pieces from which cases build what a client sends.

The encoder never compresses: cases say byte by byte what goes out. The Huffman code is canonical (appendix B), so the
lengths of its 257 codes are enough to make it.
"""

STATIC = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"), (":scheme", "http"),
    (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""), ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""), ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""), ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""),
    ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
]
ENTRY_OVERHEAD = 32
TABLE_BYTES = 4096

# The length of the code of each byte and, last, of EOS: A stands for 5 bits, B for 6 and so on.
LENGTHS = (
    "ISXXXXXXXTZXXZXXXXXXXXZXXXXXXXXXBFFHIBDGFFDGDBBBAAABBBBBBBCDKBHFIBCCCCCCCCCCCCCCCCCCCCCCDCDIOIJBKABA"
    "BABBBACCBBBABCBAABCCCCCKGJIXPRPPRRRSRSSSSSTSTTRSTSSSSQRSRSSTRQPRRSSQSRRTQRSSQQRQSRSSPRRRSRRSVVPORSRU"
    "VVVWWVTUOQVWWVWTQQVVXWWWPTPQRQQSRRUUTTVSVWVVWWWWWXWWWWWVZ"
)
EOS = 256


def huffman_codes():
    """Symbol by (length, code): codes of one length follow each other in the order of their symbols."""
    codes, code, length = {}, 0, 0
    for bits, symbol in sorted((ord(letter) - ord("A") + 5, symbol) for symbol, letter in enumerate(LENGTHS)):
        code <<= bits - length
        length = bits
        codes[bits, code] = symbol
        code += 1
    return codes


CODES = huffman_codes()
CODE_OF = {symbol: (bits, code) for (bits, code), symbol in CODES.items()}


class Broken(Exception):
    """A block that cannot be decoded."""


def unhuffman(data):
    out, code, bits = bytearray(), 0, 0
    for byte in data:
        for shift in range(7, -1, -1):
            code, bits = code << 1 | byte >> shift & 1, bits + 1
            symbol = CODES.get((bits, code))
            if symbol == EOS or bits > 30:
                raise Broken("EOS in a Huffman string")
            if symbol is not None:
                out.append(symbol)
                code = bits = 0
    if bits > 7 or code != (1 << bits) - 1:
        raise Broken("wrong padding of a Huffman string")
    return bytes(out)


def huffman(data):
    """The bits of these bytes, as text of 0 and 1, without padding."""
    return "".join(f"{CODE_OF[byte][1]:0{CODE_OF[byte][0]}b}" for byte in data)


def bits(text):
    """Bytes from a text of 0 and 1, padded with ones."""
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big") if text else b""


class Decoder:
    """One direction's decoding state."""

    def __init__(self):
        self.dynamic = []

    def decode(self, block):
        """The fields of a block, as (name, value) in Latin-1 text."""
        fields, at = [], 0
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = read_integer(block, at, 7)
                fields.append(self.entry(index))
            elif first & 0xe0 == 0x20:
                _, at = read_integer(block, at, 5)
                self.dynamic.clear()
            else:
                keeps = first & 0xc0 == 0x40
                index, at = read_integer(block, at, 6 if keeps else 4)
                name, at = (self.entry(index)[0], at) if index else read_string(block, at)
                value, at = read_string(block, at)
                fields.append((name, value))
                if keeps:
                    self.keep(name, value)
        return fields

    def entry(self, index):
        table = [*STATIC, *self.dynamic]
        if not 0 < index <= len(table):
            raise Broken(f"no entry {index}")
        return table[index - 1]

    def keep(self, name, value):
        self.dynamic.insert(0, (name, value))
        while sum(len(name) + len(value) + ENTRY_OVERHEAD for name, value in self.dynamic) > TABLE_BYTES:
            self.dynamic.pop()


def read_integer(data, at, prefix):
    value, at = data[at] & (1 << prefix) - 1, at + 1
    if value == (1 << prefix) - 1:
        shift = 0
        while True:
            if at >= len(data) or shift > 28:
                raise Broken("a broken integer")
            value += (data[at] & 0x7f) << shift
            shift, at = shift + 7, at + 1
            if not data[at - 1] & 0x80:
                break
    return value, at


def read_string(data, at):
    if at >= len(data):
        raise Broken("a string is missing")
    packed = data[at] & 0x80
    length, at = read_integer(data, at, 7)
    if at + length > len(data):
        raise Broken("a string is cut")
    text = bytes(data[at:at + length])
    return (unhuffman(text) if packed else text).decode("latin-1"), at + length


def integer(value, prefix, flags=0):
    limit = (1 << prefix) - 1
    if value < limit:
        return bytes([flags | value])
    out, value = bytearray([flags | limit]), value - limit
    while value >= 0x80:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes([*out, value])


def string(text):
    return integer(len(text), 7) + text


def literal(name, value, kept=False):
    """A literal field with a literal name; with `kept` it enters the peer's table."""
    return (b"\x40" if kept else b"\x00") + string(name) + string(value)


def indexed(number):
    return integer(number, 7, 0x80)


def size_update(size):
    return integer(size, 5, 0x20)


def block(fields):
    """Fields, as (name, value) in bytes, as literals."""
    return b"".join(literal(name, value) for name, value in fields)
