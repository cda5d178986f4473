"""The boxes of an AVIF or HEIC: the one picture in it that counts, how large it says it is, and how large its coded parts are.

A decoder reserves memory for what the coded data state (sequence.py), so these must fit the size that the box states.
Sources: ISO/IEC 14496-12 and 23008-12, and the AVIF specification.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from serve_app.vision.container import MAX_ICC, Container, ContainerError, short
from serve_app.vision.sequence import av1_pixels, configured, hevc_pixels, units

Brand: TypeAlias = Literal["AVIF", "HEIC"]
Box: TypeAlias = tuple[bytes, int, int]  # name, first and last byte of its contents

_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_MAX_BOXES = 4096
_MAX_ITEMS = 4096
_MAX_EXTENTS = 8192
_ROOM = 2**20  # pixels that coded parts may have beyond four times the picture's, for small pictures in large blocks


def brand(data: bytes) -> Brand | None:
    """AVIF or HEIC by the file type box, or None."""
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4], "big"), 256, len(data))
    brands = {data[8:12]} | {data[at : at + 4] for at in range(16, end - 3, 4)}
    if data[8:12] in _HEIC or (data[8:12] not in (b"avif", b"avis") and brands & _HEIC):
        return "HEIC"
    return "AVIF" if brands & {b"avif", b"avis"} else None


@dataclass(slots=True)
class _Item:
    """Of the meta box. parts: (first byte, length) in the file or, `inside`, in the idat box."""

    kind: bytes = b""
    parts: list[tuple[int, int]] = field(default_factory=list)
    inside: bool = False
    elsewhere: bool = False
    properties: list[int] = field(default_factory=list)
    tiles: list[int] = field(default_factory=list)


class _Meta:
    def __init__(self, data: bytes, start: int, end: int) -> None:
        self.data = data
        self.primary = 0
        self.idat = (0, 0)
        self.properties: list[Box] = []
        self.items: dict[int, _Item] = {}
        self.auxiliary: dict[int, int] = {}  # item to the one that it belongs to
        readers = {b"pitm": self._pitm, b"iinf": self._iinf, b"iloc": self._iloc, b"iref": self._iref, b"iprp": self._iprp}
        for name, at, stop in _boxes(data, start + 4, end):
            if name == b"idat":
                self.idat = at, stop
            elif name in readers:
                readers[name](at, stop)

    def number(self, at: int, size: int, stop: int) -> int:
        if at + size > stop:
            raise ContainerError("a box is damaged")
        return int.from_bytes(self.data[at : at + size], "big")

    def item(self, id: int) -> _Item:
        if len(self.items) >= _MAX_ITEMS and id not in self.items:
            raise ContainerError("it has too many parts")
        return self.items.setdefault(id, _Item())

    def _pitm(self, at: int, stop: int) -> None:
        self.primary = self.number(at + 4, 2 if self.data[at] == 0 else 4, stop)

    def _iinf(self, at: int, stop: int) -> None:
        skip = 6 if self.number(at, 1, stop) == 0 else 8
        for name, entry, end in _boxes(self.data, at + skip, stop):
            version = self.number(entry, 1, end)
            if name == b"infe" and version >= 2:
                size = 2 if version == 2 else 4
                self.item(self.number(entry + 4, size, end)).kind = self.data[entry + 6 + size : entry + 10 + size]

    def _iloc(self, at: int, stop: int) -> None:
        version, sizes = self.number(at, 1, stop), self.number(at + 4, 2, stop)
        offset, length, base, index = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, sizes & 15 if version else 0
        if version > 2 or not {offset, length, base, index} <= {0, 4, 8}:
            raise ContainerError("a box is damaged")
        wide = 4 if version == 2 else 2
        count, at, extents = self.number(at + 6, wide, stop), at + 6 + wide, 0
        if count > _MAX_ITEMS:
            raise ContainerError("it has too many parts")
        for _ in range(count):
            item = self.item(self.number(at, wide, stop))
            at += wide
            if version:
                method = self.number(at, 2, stop) & 15
                item.inside, item.elsewhere = method == 1, method > 1
                at += 2
            item.elsewhere = item.elsewhere or self.number(at, 2, stop) != 0
            start, many = self.number(at + 2, base, stop), self.number(at + 2 + base, 2, stop)
            at, extents = at + 4 + base, extents + many
            if extents > _MAX_EXTENTS:
                raise ContainerError("it has too many parts")
            for _ in range(many):
                place = start + self.number(at + index, offset, stop)
                item.parts.append((place, self.number(at + index + offset, length, stop)))
                at += index + offset + length

    def _iref(self, at: int, stop: int) -> None:
        wide = 2 if self.number(at, 1, stop) == 0 else 4
        for name, entry, end in _boxes(self.data, at + 4, stop):
            from_, count = self.number(entry, wide, end), self.number(entry + wide, 2, end)
            if entry + wide + 2 + count * wide > end or count > _MAX_ITEMS:
                raise ContainerError("a box is damaged")
            to = [self.number(entry + wide + 2 + n * wide, wide, end) for n in range(count)]
            if name == b"dimg":
                self.item(from_).tiles = to
            elif name == b"auxl" and to:
                self.auxiliary[from_] = to[0]

    def _iprp(self, at: int, stop: int) -> None:
        for name, start, end in _boxes(self.data, at, stop):
            if name == b"ipco":
                self.properties = list(_boxes(self.data, start, end))
            elif name == b"ipma":
                self._ipma(start, end)

    def _ipma(self, at: int, stop: int) -> None:
        wide, long = 2 if self.number(at, 1, stop) == 0 else 4, self.number(at + 3, 1, stop) & 1
        count, at = self.number(at + 4, 4, stop), at + 8
        if count > _MAX_ITEMS:
            raise ContainerError("it has too many parts")
        for _ in range(count):
            item, many = self.item(self.number(at, wide, stop)), self.number(at + wide, 1, stop)
            at += wide + 1
            size = 2 if long else 1
            item.properties = [self.number(at + n * size, size, stop) & (0x7FFF if long else 0x7F) for n in range(many)]
            at += many * size

    def of(self, item: _Item, name: bytes) -> list[Box]:
        """The item's properties of that name."""
        found = (self.properties[n - 1] for n in item.properties if 0 < n <= len(self.properties))
        return [box for box in found if box[0] == name]

    def size(self, item: _Item) -> tuple[int, int]:
        """As stated in the item's box, before it is turned."""
        for _, at, stop in self.of(item, b"ispe"):
            return self.number(at + 4, 4, stop), self.number(at + 8, 4, stop)
        raise ContainerError("it states no size")

    def bytes_of(self, item: _Item, most: int = 2**26) -> bytes:
        """The item's data, of at most `most` bytes."""
        out = bytearray()
        for start, length in item.parts:
            if item.inside:
                start += self.idat[0]
            out += self.data[start : start + (length or most)][: most - len(out)]
        return bytes(out)


def walk_heif(data: bytes, format: Brand) -> Container:
    """Raises ContainerError."""
    meta, more = _meta(data)
    item = meta.items.get(meta.primary)
    if item is None or not item.kind:
        raise ContainerError("it holds no picture data")
    for other in meta.items.values():
        end = meta.idat[1] - meta.idat[0] if other.inside else len(data)
        if not other.elsewhere and any(start + length > end for start, length in other.parts):
            raise ContainerError("a box is damaged") if other.inside else short()
    width, height = meta.size(item)
    if not width or not height:
        raise ContainerError("it states no size")
    _check_coded(meta, meta.primary, (width, height), format)
    alphas = [id for id, to in meta.auxiliary.items() if to == meta.primary]
    if len(alphas) > 8:
        raise ContainerError("it has too many parts")
    for id in alphas:
        if id in meta.items and meta.items[id].kind in (b"av01", b"hvc1", b"grid"):
            _check_coded(meta, id, (width, height), format)
    if meta.of(item, b"clap") and format == "HEIC":
        raise ContainerError("it is cropped by its container", foreign=True)
    deep = [data[at + 5] for _, at, stop in meta.of(item, b"pixi") if at + 5 < stop]
    return Container(
        format, width, height, icc=_profile(meta, item), orientation=_orientation(meta, item), more=more, bits=deep[0] if deep else 8
    )


def _meta(data: bytes) -> tuple[_Meta, bool]:
    """The meta box, and whether there are tracks besides: an animation."""
    found, more, at = None, False, 0
    while at + 8 <= len(data):
        name, start, end = _box(data, at)
        if end > len(data):
            if found is None or name in (b"mdat", b"meta"):
                raise short()
            break  # something behind the picture
        if name == b"meta" and found is None:
            found = _Meta(data, start, end)
        more = more or name == b"moov"
        at = end
    if found is None:
        raise short()
    return found, more


def _box(data: bytes, at: int) -> Box:
    size, start = int.from_bytes(data[at : at + 4], "big"), at + 8
    if size == 1:
        size, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
    end = len(data) if size == 0 else at + size
    if end < start:
        raise ContainerError("a box is damaged")
    return data[at + 4 : at + 8], start, end


def _boxes(data: bytes, at: int, stop: int) -> Iterator[Box]:
    count = 0
    while at + 8 <= stop:
        name, start, end = _box(data, at)
        count += 1
        if end > stop or count > _MAX_BOXES:
            raise ContainerError("a box is damaged")
        yield name, start, end
        at = end


def _profile(meta: _Meta, item: _Item) -> bytes:
    for _, at, stop in meta.of(item, b"colr"):
        if meta.data[at : at + 4] in (b"prof", b"rICC") and stop - at - 4 <= MAX_ICC:
            return meta.data[at + 4 : stop]
    return b""


def _orientation(meta: _Meta, item: _Item) -> int:
    """The EXIF number of: turned counterclockwise (irot), then mirrored (imir). EXIF itself does not count in these files."""
    turns, mirror = 0, -1
    for _, at, stop in meta.of(item, b"irot"):
        turns = meta.number(at, 1, stop) & 3
    for _, at, stop in meta.of(item, b"imir"):
        mirror = meta.number(at, 1, stop) & 1
    return {-1: (1, 8, 3, 6), 0: (4, 5, 2, 7), 1: (2, 7, 4, 5)}[mirror][turns]


def _check_coded(meta: _Meta, id: int, size: tuple[int, int], format: Brand) -> None:
    """Raises ContainerError where decoding the item would take more than a picture of `size` does."""
    item = meta.items[id]
    most = 4 * size[0] * size[1] + _ROOM
    kind = b"av01" if format == "AVIF" else b"hvc1"
    if item.kind == b"grid":
        head = meta.bytes_of(item, 12)
        wide = 4 if len(head) > 1 and head[1] & 1 else 2
        canvas = int.from_bytes(head[4 : 4 + wide], "big"), int.from_bytes(head[4 + wide : 4 + 2 * wide], "big")
        if len(head) < 4 + 2 * wide or item.elsewhere or canvas[0] * canvas[1] > most or len(item.tiles) != (head[2] + 1) * (head[3] + 1):
            raise ContainerError("its tiles are damaged")
        parts = item.tiles
    else:
        parts = [id]
    coded, total = {}, 0
    for part in parts:
        if part not in coded:
            tile = meta.items.get(part)
            if tile is None or tile.kind != kind or tile.elsewhere:
                raise ContainerError("its coding is not taken", foreign=True)
            coded[part] = _coded_pixels(meta, tile)
        total += coded[part]
        if total > most:
            raise ContainerError("its coded data state another size")


def _coded_pixels(meta: _Meta, item: _Item) -> int:
    if item.kind == b"av01":
        return av1_pixels(meta.bytes_of(item, 2**16))
    sets = [unit for _, at, stop in meta.of(item, b"hvcC") for unit in configured(meta.data[at:stop])]
    largest = 0
    for unit in [*sets, *units(meta.bytes_of(item))]:
        if len(unit) > 2 and unit[0] >> 1 & 63 == 33:
            largest = max(largest, hevc_pixels(unit))
    if not largest:
        raise ContainerError("it holds no picture data")
    return largest
