"""How large the coded pictures of an AV1 or HEVC stream are, by its sequence headers; nothing is decoded.

Sources: ITU-T H.265 7.3.2.2, the AV1 specification 5.5, and ISO/IEC 14496-15 for how the units stand in a file.
"""

from __future__ import annotations

from collections.abc import Iterator

from serve_app.vision.container import ContainerError


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), len(data) * 8

    def take(self, count: int) -> int:
        if count > self._left:
            raise ContainerError("its coded data are damaged")
        self._left -= count
        return self._value >> self._left & (1 << count) - 1

    def golomb(self) -> int:
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 31:
                raise ContainerError("its coded data are damaged")
        return (1 << zeros) - 1 + self.take(zeros)


def configured(record: bytes) -> Iterator[bytes]:
    """The NAL units of an HEVC configuration record."""
    at = 23
    for _ in range(record[22] if len(record) > 22 else 0):
        count, at = int.from_bytes(record[at + 1 : at + 3], "big"), at + 3
        for _ in range(count):
            if at + 2 > len(record):
                return
            length = int.from_bytes(record[at : at + 2], "big")
            yield record[at + 2 : at + 2 + min(length, 512)]
            at += 2 + length


def units(data: bytes) -> Iterator[bytes]:
    """The beginnings of NAL units that stand behind their lengths, of four bytes."""
    at, count = 0, 0
    while at + 4 <= len(data):
        count += 1
        if count > 20_000:
            raise ContainerError("it has too many parts")
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 4 + min(length, 512)]
        at += 4 + length


def hevc_pixels(unit: bytes) -> int:
    """Of a sequence parameter set."""
    bits = _Bits(unit[2:].replace(b"\x00\x00\x03", b"\x00\x00"))
    bits.take(4)
    layers = bits.take(3)
    bits.take(1 + 96)
    flags = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    if layers:
        bits.take(2 * (8 - layers))
    for profile, level in flags:
        bits.take(88 * profile + 8 * level)
    bits.golomb()
    if bits.golomb() == 3:
        bits.take(1)
    return bits.golomb() * bits.golomb()


def av1_pixels(data: bytes) -> int:
    """Of every sequence header in the beginning of an AV1 picture, the largest."""
    at, largest = 0, 0
    while at < len(data):
        kind, extended, sized = data[at] >> 3 & 15, data[at] >> 2 & 1, data[at] >> 1 & 1
        at += 1 + extended
        length, shift = 0, 0
        if sized:
            while at < len(data) and shift < 35:
                length |= (data[at] & 0x7F) << shift
                shift += 7
                at += 1
                if not data[at - 1] & 0x80:
                    break
        else:
            length = len(data) - at
        if kind == 1:
            largest = max(largest, _sequence_pixels(data[at : at + min(length, 256)]))
        at += length
    if not largest:
        raise ContainerError("it holds no picture data")
    return largest


def _sequence_pixels(header: bytes) -> int:
    bits = _Bits(header)
    bits.take(4)
    if bits.take(1):  # reduced_still_picture_header
        bits.take(5)
    else:
        decoder, delay = 0, 0
        if bits.take(1):  # timing
            bits.take(64)
            if bits.take(1):
                bits.golomb()
            decoder = bits.take(1)
            if decoder:
                delay = bits.take(5) + 1
                bits.take(32 + 10)
        shown = bits.take(1)
        for _ in range(bits.take(5) + 1):
            bits.take(12)
            if bits.take(5) > 7:
                bits.take(1)
            if decoder and bits.take(1):
                bits.take(2 * delay + 1)
            if shown and bits.take(1):
                bits.take(4)
    wide, high = bits.take(4) + 1, bits.take(4) + 1
    return (bits.take(wide) + 1) * (bits.take(high) + 1)
