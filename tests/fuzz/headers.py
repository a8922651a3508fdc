"""Headers of calls: as they should be, changed here and there, and HPACK that means nothing."""

from hpack import Encoder, HeaderTuple, NeverIndexedHeaderTuple
from hypothesis import strategies as st

from atomix_election.rpc.methods import (
    ADMINISTRATION_METHODS,
    ELECTION_METHODS,
    INSPECTION_METHODS,
    SESSION_METHODS,
    Method,
)
from atomix_election.rpc.standard_methods import HEALTH_METHODS, REFLECTION_ALPHA_METHOD, REFLECTION_METHOD
from tests.rpc.raw import SERVICE, about, headers_of

METHODS: dict[str, Method] = {
    each.path: each
    for each in [
        *ELECTION_METHODS.values(),
        *SESSION_METHODS.values(),
        *INSPECTION_METHODS.values(),
        *ADMINISTRATION_METHODS.values(),
        *HEALTH_METHODS.values(),
        REFLECTION_METHOD,
        REFLECTION_ALPHA_METHOD,
    ]
}
"""All methods of a server, by their paths."""
ENDLESS = {path for path in METHODS if path.endswith(("/Events", "/KeepAlive", "/Watch", "/ServerReflectionInfo"))}
"""Those that go on as long as the client likes."""
SHORT = [f"{SERVICE}{name}" for name in ("Enter", "Withdraw", "Anoint", "Promote", "Evict", "GetTerm")]
"""Those that a server may answer without a task."""
NAMESPACE = "fuzz"
"""Where garbage may do what it likes."""
OPERATION = b"atomix-election-operation"

ARABIC_ONE = "\N{ARABIC-INDIC DIGIT ONE}"

Fields = list[tuple[bytes, bytes]]

ODD_VALUES = [b"", b" ", b"\0", b"\r\n", b"a\r\nb: c", b"\xff", b"\xc3\x28", b"\xc3\xa9", b"%zz%", b"-1", b"9" * 40]
ODD_VALUES += [b"a" * 300, b"1" * 18, b"1" * 19, b"\x10\x19atomix-election-operation\x011"]
VALUES: dict[bytes, list[bytes]] = {
    b":method": [b"GET", b"post", b"CONNECT", b"POST"],
    b":scheme": [b"https", b"ftp"],
    b":path": [b"/", b"*", b"/a", b"//", *(path.encode() for path in METHODS)],
    b":authority": [b"", b"a:b"],
    b":status": [b"200", b"100", b"204", b"404", b"abc", b"\xff"],
    b"grpc-status": [*b"0 1 3 5 8 10 12 14 16 17 -1 00 \xff".split(), b"9" * 5000],
    b"grpc-message": [b"%", b"%zz", b"%ff%fe", b"%00", b"\xff", b"x" * 5000],
    b"atomix-election-error": b"SessionEnded StoreError LeadershipLost object OutcomeUnknown \xff".split(),
    b"atomix-election-store": [b"", b"other", b"\xff"],
    b"te": [b"gzip", b"trailers"],
    b"content-type": [b"application/grpc+proto", b"application/grpc;x", b"application/grpc+json", b"text/plain"],
    b"content-length": [b"0", b"5", b"+5", b"5,5", b"x", b"-1", b" 5"],
    b"grpc-timeout": [*b"0n 99999999H 100000000S 1 S -1S 1s".split(), b" 1S", b"1S ", f"{ARABIC_ONE}S".encode()],
    b"grpc-encoding": [b"gzip", b"identity"],
    b"primitive-id": [b"e", b"", b"\xff", b"e" * 250, b"e" * 251, "é".encode()],
    b"application-id": [NAMESPACE.encode(), b"fuzz2", b"\xff", b"n" * 251],
    b"session-id": [b"s", b"t", b"", b"\xff", b"s" * 251],
    OPERATION: [b"1", b"2", b"3", b"0", b"01", b"+1", b"1" * 18, b"1" * 19, ARABIC_ONE.encode()],
    b"atomix-election-protocol": [b"1", b"1-3", b"2", b"0", b"3-1", b"1-", b"1-99999999999"],
    b"authorization": [b"Bearer x", b"bearer", b"Basic x", b"Bearer \xff"],
    b"connection": [b"close"],
    b"transfer-encoding": [b"chunked"],
    b"expect": [b"100-continue"],
    b"x-bin": [b"AAA=", b"\xff"],
}
"""For each name what it may say that is worth a try, beside anything."""

any_value = st.sampled_from(ODD_VALUES) | st.binary(max_size=12)
any_name = st.sampled_from([*VALUES, b"X-Upper", b"Session-Id", b"", b":", b":x", b"a b", b"\0"]) | st.binary(
    max_size=8
)


def call_headers(path: str, election: str, session: str, namespace: str = NAMESPACE) -> Fields:
    """Return the headers of a call as they should be."""
    pairs = headers_of(path, *about(election, session, namespace))
    return [(_bytes(name), _bytes(value)) for name, value in pairs]


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


@st.composite
def value_for(draw: st.DrawFn, name: bytes) -> bytes:
    """Something that a header may say."""
    known = VALUES.get(name)
    return draw(st.sampled_from(known) | any_value) if known else draw(any_value)


@st.composite
def changed(draw: st.DrawFn, headers: Fields) -> Fields:
    """Headers in which up to three things are otherwise."""
    made = list(headers)
    for action in draw(st.lists(st.sampled_from(["set", "add", "drop", "twice", "swap", "name", "upper"]), max_size=3)):
        place = draw(st.integers(0, max(len(made) - 1, 0)))
        if action == "add" or not made:
            name = draw(any_name)
            made.insert(place if draw(st.booleans()) else len(made), (name, draw(value_for(name))))
        elif action == "set":
            made[place] = made[place][0], draw(value_for(made[place][0]))
        elif action == "drop":
            del made[place]
        elif action == "twice":
            made.insert(draw(st.integers(0, len(made))), made[place])
        elif action == "swap":
            other = draw(st.integers(0, len(made) - 1))
            made[place], made[other] = made[other], made[place]
        elif action == "name":
            made[place] = draw(any_name), made[place][1]
        else:
            made[place] = made[place][0].upper(), made[place][1]
    return made


@st.composite
def many(draw: st.DrawFn, headers: Fields) -> Fields:
    """Headers and a good many more, of which the last ones may be beyond what may be sent."""
    count, size = draw(st.sampled_from([(50, 4), (330, 1), (600, 1), (3, 4000), (1, 20_000)]))
    return [*headers, *((b"x-%d" % number, b"v" * size) for number in range(count))]


def encode(encoder: Encoder, headers: Fields, *, indexed: bool, huffman: bool) -> bytes:
    """Return headers as HPACK; those that are indexed go into the table of the connection."""
    kind = HeaderTuple if indexed else NeverIndexedHeaderTuple
    return encoder.encode([kind(*each) for each in headers], huffman=huffman)


def number(value: int, bits: int, first: int = 0) -> bytes:
    """Return a number as HPACK writes it, RFC 7541, section 5.1."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([first | value])
    made = bytearray([first | limit])
    value -= limit
    while value >= 128:
        made.append(value % 128 + 128)
        value //= 128
    return bytes([*made, value])


@st.composite
def text(draw: st.DrawFn) -> bytes:
    """A string of HPACK: plain, or what claims to be Huffman code, with a length that may lie."""
    data = draw(st.binary(max_size=6) | st.just(b"\xff" * 5) | st.just(b"a" * 200))
    length = draw(st.sampled_from([len(data), len(data), len(data), len(data) + 1, 127, 1 << 14, 1 << 40]))
    return number(length, 7, draw(st.sampled_from([0, 0x80]))) + data


indexes = st.sampled_from([0, 1, 2, 8, 61, 62, 63, 64, 127, 1 << 20, 1 << 70])
nonsense = st.one_of(
    indexes.map(lambda index: number(index, 7, 0x80)),
    st.sampled_from([0, 1, 100, 4096, 4097, 1 << 20, 1 << 70]).map(lambda size: number(size, 5, 0x20)),
    st.builds(
        lambda kind, name, value: bytes([kind[0]]) + name + value,
        st.sampled_from([(0x40, 6), (0x00, 4), (0x10, 4)]),
        text(),
        text(),
    ),
    st.builds(
        lambda kind, index, value: number(index, kind[1], kind[0]) + value,
        st.sampled_from([(0x40, 6), (0x00, 4), (0x10, 4)]),
        indexes,
        text(),
    ),
    st.sampled_from([b"\xff" + b"\x80" * 200 + b"\x01", b"\x7f" + b"\xff" * 300, b"\x3f\xe1\x1f", b"\xff", b"\x40"]),
    st.binary(min_size=1, max_size=8),
)
"""Parts of a block of headers that may mean something, or may not."""
