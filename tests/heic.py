"""HEIC files made from pixels, for tests: no encoder of HEVC is installed, so every block is stored plainly (PCM), one slice each.

Sources: ITU-T H.265 7.3 and 9.3, ISO/IEC 23008-12.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np

from serve_app.vision.face import Pixels

SIDE = 32  # of a block
NCLX = b"nclx" + struct.pack(">HHHB", 1, 13, 6, 0x80)  # sRGB, full range
URN = b"urn:mpeg:hevc:2015:auxid:1\x00"


def heic(
    bgr: Pixels,
    *,
    alpha: Pixels | None = None,
    icc: bytes | None = None,
    turns: int = 0,
    mirror: int | None = None,
    exif: bytes = b"",
    coded: tuple[int, int] | None = None,
    stated: tuple[int, int] | None = None,
) -> bytes:
    """turns: irot, counterclockwise. mirror: imir's axis. exif: TIFF block. coded, stated: sizes that the sequence header and the box
    lie about."""
    height, width = bgr.shape[:2]
    size = stated or (width, height)
    picture, config = _coded(bgr, coded or (width, height))
    properties = [
        _box(b"hvcC", config),
        _box(b"ispe", struct.pack(">III", 0, *size)),
        _box(b"colr", NCLX),
    ]
    own = [1, 2, 3]
    if icc:
        properties.append(_box(b"colr", b"prof" + icc))
        own.append(len(properties))
    if turns:
        properties.append(_box(b"irot", bytes([turns])))
        own.append(len(properties))
    if mirror is not None:
        properties.append(_box(b"imir", bytes([mirror])))
        own.append(len(properties))
    items = [(1, b"hvc1", picture, own)]
    references = b""
    if alpha is not None:
        plane, config = _coded(np.dstack([alpha] * 3), (width, height))
        properties += [_box(b"hvcC", config), _box(b"auxC", bytes(4) + URN), _box(b"colr", NCLX)]
        items.append((2, b"hvc1", plane, [len(properties) - 2, 2, len(properties) - 1, len(properties)]))
        references += _box(b"auxl", struct.pack(">HHH", 2, 1, 1))
    if exif:
        items.append((3, b"Exif", bytes(4) + exif, []))
        references += _box(b"cdsc", struct.pack(">HHH", 3, 1, 1))
    ftyp = _box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    meta = _meta(items, properties, references, 0)
    return ftyp + _meta(items, properties, references, len(ftyp) + len(meta) + 8) + _box(b"mdat", b"".join(item[2] for item in items))


def _meta(items: list[tuple[int, bytes, bytes, list[int]]], properties: list[bytes], references: bytes, start: int) -> bytes:
    places = b""
    for id, _, data, _ in items:
        places += struct.pack(">HHHII", id, 0, 1, start, len(data))
        start += len(data)
    infos = b"".join(_box(b"infe", b"\x02\x00\x00\x00" + struct.pack(">HH", id, 0) + kind + b"\x00") for id, kind, _, _ in items)
    uses = b"".join(
        struct.pack(">HB", id, len(of)) + bytes(n | 0x80 * (properties[n - 1][4:8] in (b"hvcC", b"irot", b"imir")) for n in of)
        for id, _, _, of in items
    )
    parts = [
        _box(b"hdlr", bytes(8) + b"pict" + bytes(13)),
        _box(b"pitm", bytes(4) + struct.pack(">H", 1)),
        _box(b"iloc", bytes(4) + b"\x44\x00" + struct.pack(">H", len(items)) + places),
        _box(b"iinf", bytes(4) + struct.pack(">H", len(items)) + infos),
        _box(b"iref", bytes(4) + references) if references else b"",
        _box(b"iprp", _box(b"ipco", b"".join(properties)) + _box(b"ipma", bytes(4) + struct.pack(">I", len(items)) + uses)),
    ]
    return _box(b"meta", bytes(4) + b"".join(parts))


def _box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + name + body


class _Writer:
    def __init__(self) -> None:
        self.bits: list[int] = []

    def put(self, value: int, count: int = 1) -> None:
        self.bits += [value >> shift & 1 for shift in range(count - 1, -1, -1)]

    def golomb(self, *values: int) -> None:
        for value in values:
            length = (value + 1).bit_length()
            self.put(value + 1, 2 * length - 1)

    def done(self) -> bytes:
        """Aligned by zeros."""
        bits = self.bits + [0] * (-len(self.bits) % 8)
        return np.packbits(np.array(bits, np.uint8)).tobytes()

    def closed(self) -> bytes:
        self.put(1)
        return self.done()


def _coded(bgr: Pixels, stated: tuple[int, int]) -> tuple[bytes, bytes]:
    """The slices behind their lengths, and the configuration record."""
    height, width = bgr.shape[:2]
    assert not width % 2 | height % 2
    down, right = -height % SIDE, -width % SIDE
    whole = cv2.cvtColor(cv2.copyMakeBorder(bgr, 0, down, 0, right, cv2.BORDER_REPLICATE), cv2.COLOR_BGR2YCrCb)
    luma = whole[..., 0]
    blue, red = (cv2.resize(whole[..., n], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for n in (2, 1))
    rows, columns = luma.shape[0] // SIDE, luma.shape[1] // SIDE
    out = b""
    for row in range(rows):
        for column in range(columns):
            block = np.s_[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
            half = np.s_[row * SIDE // 2 : (row + 1) * SIDE // 2, column * SIDE // 2 : (column + 1) * SIDE // 2]
            samples = luma[block].tobytes() + blue[half].tobytes() + red[half].tobytes()
            unit = _slice(row * columns + column, rows * columns, samples)
            out += struct.pack(">I", len(unit)) + unit
    return out, _record(_sequence(stated, (right, down)))


def _unit(kind: int, body: bytes) -> bytes:
    """With emulation prevention."""
    out, zeros = bytearray([kind << 1, 1]), 0
    for byte in body:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


_PROFILE = bytes([1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0]) + bytes([186])  # Main, progressive, level 6.2


def _sequence(stated: tuple[int, int], cropped: tuple[int, int]) -> bytes:
    out = _Writer()
    out.put(0b0000_000_1, 8)
    out.put(int.from_bytes(_PROFILE, "big"), 96)
    width, height = (side + -side % SIDE for side in stated)
    out.golomb(0, 1, width, height)
    out.put(1)
    out.golomb(0, cropped[0] // 2, 0, cropped[1] // 2)
    out.golomb(0, 0, 0)
    out.put(1)
    out.golomb(0, 0, 0)
    out.golomb(2, 0, 0, 3, 0, 0)  # blocks of 32, transforms of 4 to 32
    out.put(0b0001, 4)  # no lists, no AMP, no SAO, PCM
    out.put(0x77, 8)
    out.golomb(2, 0)
    out.put(1)
    out.golomb(0)
    out.put(0, 5)
    return _unit(33, out.closed())


def _record(sequence: bytes) -> bytes:
    video, picture = _Writer(), _Writer()
    video.put(0b0000_11_000000_000_1, 16)
    video.put(0xFFFF, 16)
    video.put(int.from_bytes(_PROFILE, "big"), 96)
    video.put(1)
    video.golomb(0, 0, 0)
    video.put(0, 6)
    video.golomb(0)
    video.put(0, 2)
    picture.golomb(0, 0)
    picture.put(0, 7)
    picture.golomb(0, 0, 0)
    picture.put(0, 3)
    picture.golomb(0, 0)
    picture.put(0, 7)  # ... nothing across slices
    picture.put(0b1_0_1_0_0, 5)  # no deblocking
    picture.golomb(0)
    picture.put(0, 2)
    units = [(32, _unit(32, video.closed())), (33, sequence), (34, _unit(34, picture.closed()))]
    head = b"\x01" + _PROFILE + bytes([0xF0, 0, 0xFC, 0xFC | 1, 0xF8, 0xF8, 0, 0, 0x0F, len(units)])
    return head + b"".join(bytes([0x80 | kind]) + struct.pack(">HH", 1, len(unit)) + unit for kind, unit in units)


def _slice(number: int, count: int, samples: bytes) -> bytes:
    """One block: not divided (a probable bin), stored plainly, the last of its slice."""
    head = _Writer()
    head.put(number == 0)
    head.put(0)
    head.golomb(0)
    if number:
        head.put(number, (count - 1).bit_length())
    head.golomb(2, 0)
    head.put(1)
    start = _Writer()
    start.bits = _ended(low=0, range=270)
    end = _Writer()
    end.bits = _ended(low=0, range=510)
    return _unit(19, head.done() + start.done() + samples + end.done())


def _ended(low: int, range: int) -> list[int]:
    """What an arithmetic coder in that state writes for a terminating bin of 1 and its flush."""
    bits: list[int] = []
    waiting, first = 0, True

    def put(bit: int) -> None:
        nonlocal waiting, first
        if not first:
            bits.append(bit)
        first = False
        bits.extend([1 - bit] * waiting)
        waiting = 0

    low, range = low + range - 2, 2
    while range < 256:
        if low < 256:
            put(0)
        elif low >= 512:
            low -= 512
            put(1)
        else:
            low -= 256
            waiting += 1
        range, low = range << 1, low << 1
    put(low >> 9 & 1)
    return [*bits, low >> 8 & 1, 1]
