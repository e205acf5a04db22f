"""What clients send on a WebSocket that is open, wrong and right, with the section of RFC 6455 (or 7692) beside each and the close code that is right."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
WRONG, NO_UTF8, TOO_BIG = 1002, 1007, 1009
LARGEST = 10_000
"""Of a message that the application of the tests takes."""

_MASK = b"\x37\xfa\x21\x3d"


@dataclass(frozen=True)
class Sent:
    """What a client sends, and what must come back: the echoes and pongs, and the code of the close frame; None: the client closed without one."""

    name: str
    rfc: str
    data: bytes
    codes: frozenset[int | None]
    before: tuple[tuple[int, bytes], ...] = ()
    deflate: bool = False


SENT: list[Sent] = []


def frame(opcode: int, data: bytes = b"", fin: bool = True, reserved: int = 0, mask: bytes | None = _MASK, form: int = 0, length: int | None = None) -> bytes:
    """A frame. ``form``: 126 or 127 for a length in 16 or 64 bits, though a shorter form would do. ``length``: another one than the data's."""
    size = len(data) if length is None else length
    form = form or (size if size < 126 else 126 if size < 65536 else 127)
    head = bytes([fin << 7 | reserved << 4 | opcode, (mask is not None) << 7 | form])
    head += struct.pack("!H", size) if form == 126 else struct.pack("!Q", size) if form == 127 else b""
    if mask is None:
        return head + data
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


def closing(code: int = 1000, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason)


def _in(section: str) -> None:
    global _section
    _section = section


_section = ""


def _wrong(name: str, data: bytes, *codes: int, before: tuple[tuple[int, bytes], ...] = (), deflate: bool = False) -> None:
    SENT.append(Sent(name, _section, data, frozenset(codes or (WRONG,)), before, deflate))


def _fine(name: str, data: bytes, *echoes: tuple[int, bytes], deflate: bool = False) -> None:
    SENT.append(Sent(name, _section, data + closing(), frozenset((1000,)), echoes, deflate))


_in("5.1")
_wrong("text that is not masked", frame(TEXT, b"a", mask=None))
_wrong("nothing that is not masked", frame(TEXT, mask=None))
_wrong("a ping that is not masked", frame(PING, mask=None))
_wrong("a close that is not masked", frame(CLOSE, b"\x03\xe8", mask=None))
_wrong("a request in place of a frame", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
_fine("a mask of zeros", frame(TEXT, b"a", mask=bytes(4)), (TEXT, b"a"))

_in("5.2")
for _opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
    _wrong(f"opcode {_opcode}", frame(_opcode, b"a"))
    _wrong(f"opcode {_opcode}, empty and behind a message", frame(TEXT, b"a") + frame(_opcode), before=((TEXT, b"a"),))
for _bits in range(1, 8):
    _wrong(f"reserved bits {_bits:03b} of text", frame(TEXT, b"a", reserved=_bits))
    _wrong(f"reserved bits {_bits:03b} of a ping", frame(PING, b"a", reserved=_bits))
    _wrong(f"reserved bits {_bits:03b} of a close", frame(CLOSE, b"\x03\xe8", reserved=_bits))
_wrong("a length below 126 in 16 bits", frame(TEXT, b"a", form=126))
_wrong("a length below 126 in 64 bits", frame(TEXT, b"a", form=127))
_wrong("a length of 16 bits in 64", frame(TEXT, b"a" * 200, form=127))
_wrong("a length with its highest bit set", frame(BINARY, b"a", form=127, length=1 << 63))
_wrong("a length with all bits set", frame(BINARY, b"a", form=127, length=(1 << 64) - 1))
_wrong("zeros", bytes(100))
_wrong("ones", b"\xff" * 100)
for _size in (0, 1, 125, 126, 127, 4096, LARGEST):
    _fine(f"a message of {_size} bytes", frame(BINARY, b"a" * _size), (BINARY, b"a" * _size))
_wrong("a message that is too large", frame(BINARY, b"a" * (LARGEST + 1)), TOO_BIG)
_wrong("a message of which so much has come that it is too large", frame(BINARY, b"a" * (LARGEST + 1), form=127, length=1 << 40), TOO_BIG)

_in("5.4")
_wrong("a continuation of nothing", frame(0, b"a"))
_wrong("a continuation of nothing that goes on", frame(0, b"a", fin=False))
_wrong("a continuation of a message that is whole", frame(TEXT, b"a") + frame(0, b"b"), before=((TEXT, b"a"),))
_wrong("text within text", frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"))
_wrong("bytes within text", frame(TEXT, b"a", fin=False) + frame(BINARY, b"b"))
_wrong("pieces that are too large together", frame(TEXT, b"a" * LARGEST, fin=False) + frame(0, b"a"), TOO_BIG)
_fine("pieces", frame(TEXT, b"a", fin=False) + frame(0, b"b", fin=False) + frame(0, b"c"), (TEXT, b"abc"))
_fine("empty pieces", frame(TEXT, fin=False) + frame(0, fin=False) * 2000 + frame(0), (TEXT, b""))
_fine("a ping between pieces", frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(0, b"b"), (PONG, b"p"), (TEXT, b"ab"))
_wrong("a close between pieces", frame(TEXT, b"a", fin=False) + closing(), 1000)

_in("5.5")
for _name, _opcode in {"ping": PING, "pong": PONG, "close": CLOSE}.items():
    _wrong(f"a {_name} in pieces", frame(_opcode, b"\x03\xe8", fin=False))
    _wrong(f"a {_name} of 126 bytes", frame(_opcode, b"\x03\xe8" + b"a" * 124))
_fine("a ping", frame(PING, b"a"), (PONG, b"a"))
_fine("an empty ping", frame(PING), (PONG, b""))
_fine("a ping of 125 bytes", frame(PING, b"a" * 125), (PONG, b"a" * 125))
_fine("a hundred pings", frame(PING, b"a") * 100, *[(PONG, b"a")] * 100)
_fine("a pong that nobody asked for", frame(PONG, b"a"))

_in("5.5.1")
SENT.append(Sent("a close without a code", _section, frame(CLOSE), frozenset((1000, None))))
_wrong("a close with half a code", frame(CLOSE, b"\x03"))
_wrong("a close with a reason", closing(1000, b"bye"), 1000)
_wrong("a close with the longest of reasons", closing(1000, b"a" * 123), 1000)
_wrong("a close with a reason that is no UTF-8", closing(1000, b"\xff"), WRONG, NO_UTF8)
_wrong("a close with a reason of half a character", closing(1000, b"\xc3"), WRONG, NO_UTF8)
_wrong("two closes", closing() * 2, 1000)
_wrong("text behind a close", closing() + frame(TEXT, b"a"), 1000)
_wrong("a ping behind a close", closing() + frame(PING), 1000)
_in("7.4")
for _code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
    _wrong(f"the code {_code}", closing(_code), _code, 1000)
for _code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
    _wrong(f"the code {_code}", closing(_code))

_in("8.1")
for _name, _bytes in {
    "a lone continuation": b"\x80", "an overlong slash": b"\xc0\xaf", "an overlong letter": b"\xc1\x80", "overlong, in three bytes": b"\xe0\x80\x80",
    "overlong, in four bytes": b"\xf0\x80\x80\x80", "a surrogate": b"\xed\xa0\x80", "beyond Unicode": b"\xf4\x90\x80\x80", "far beyond": b"\xf5\x80\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80", "a byte of none": b"\xfe", "Latin-1": b"caf\xe9 a", "half a character": b"\xe2\x82",
}.items():  # fmt: skip
    _wrong(f"text that is no UTF-8: {_name}", frame(TEXT, _bytes), NO_UTF8)
    _wrong(f"text in pieces that is no UTF-8: {_name}", frame(TEXT, _bytes[:1], fin=False) + frame(0, _bytes[1:]), NO_UTF8)
_wrong("text that is no UTF-8, and goes on", frame(TEXT, b"\xff", fin=False), NO_UTF8)
_fine("a character in pieces", frame(TEXT, b"\xe2", fin=False) + frame(0, b"\x82", fin=False) + frame(0, b"\xac"), (TEXT, b"\xe2\x82\xac"))
_fine("characters that stand for none", frame(TEXT, "\0\ufffe\U0010ffff".encode()), (TEXT, "\0\ufffe\U0010ffff".encode()))
_fine("bytes that are no UTF-8", frame(BINARY, b"\xff"), (BINARY, b"\xff"))


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


_in("7692 6")
_HELLO = _deflated(b"hello")
_wrong("a ping that is compressed", frame(PING, _HELLO, reserved=4), deflate=True)
_wrong("a close that is compressed", frame(CLOSE, b"\x03\xe8", reserved=4), deflate=True)
_wrong("a continuation that says that it is compressed", frame(TEXT, _HELLO[:2], fin=False, reserved=4) + frame(0, _HELLO[2:], reserved=4), deflate=True)
_wrong("another reserved bit", frame(TEXT, _HELLO, reserved=2), deflate=True)
_wrong("what cannot be decompressed", frame(TEXT, b"\xff" * 8, reserved=4), WRONG, NO_UTF8, deflate=True)
_wrong("what swells", frame(BINARY, _deflated(bytes(10_000_000)), reserved=4), TOO_BIG, deflate=True)
_wrong("text that is no UTF-8 once it is decompressed", frame(TEXT, _deflated(b"\xff"), reserved=4), NO_UTF8, deflate=True)
_fine("text that is not compressed, though it might be", frame(TEXT, b"a"), (TEXT, b"a"), deflate=True)
_fine("text that is compressed", frame(TEXT, _HELLO, reserved=4), (TEXT, b"hello"), deflate=True)
_fine(
    "text that is compressed, in pieces, with a ping between them",
    frame(TEXT, _HELLO[:2], fin=False, reserved=4) + frame(PING) + frame(0, _HELLO[2:]),
    (PONG, b""),
    (TEXT, b"hello"),
    deflate=True,
)
