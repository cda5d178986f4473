"""What an ONNX file says about itself, read without loading its weights: signature, initializers, damage.

A model of 554 MB is looked through in milliseconds: the file is a protobuf message, whose fields are walked and whose
large ones are skipped. Only the few small records that are wanted are parsed.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it comes without annotations
from numpy.typing import NDArray
from onnx import numpy_helper

Bytes: TypeAlias = bytes | mmap.mmap
Dim: TypeAlias = int | None  # None: any size

# Field numbers of onnx.proto: ModelProto's; GraphProto's; TensorProto's.
_GRAPH, _OPSETS = 7, 8
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _INNER = 1, 5, 11, 12, 13
_DIMS, _NAME, _LOCATION = 1, 8, 14
_BYTES = 2  # the kind of a field that says its length


class OnnxFileError(RuntimeError):
    """The file is not a whole ONNX model; the message says what it is instead, in one line."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output. shape: without a number where the file leaves it open. dtype: NumPy's name of it."""

    name: str
    dtype: str
    shape: tuple[Dim, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}[{','.join('?' if n is None else str(n) for n in self.shape)}]"


@dataclass(frozen=True, slots=True)
class Weight:
    """An initializer: name, shape, whether any node reads it, and where it lies in the file."""

    name: str
    shape: tuple[int, ...]
    used: bool
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Signature:
    """inputs: those that a caller must give. nodes: the names of the graph's nodes in their order."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: tuple[Weight, ...]
    nodes: tuple[str, ...]

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.inputs))}) -> ({', '.join(map(str, self.outputs))})"

    @property
    def floats(self) -> bool:
        """Whether all that goes in and comes out is of a kind that the engines give and take."""
        return all(tensor.dtype in ("float32", "float16") for tensor in (*self.inputs, *self.outputs))


def read_signature(path: Path) -> Signature:
    """Raises OnnxFileError when the file is missing, cut short, a web page, otherwise no ONNX model, or not all of one."""
    with _opened(path) as data:
        return _signature(data, path)


def read_weight(path: Path, weight: Weight) -> NDArray[Any]:
    """The values of one initializer, as the file has them."""
    with path.open("rb") as file:
        file.seek(weight.start)
        return numpy_helper.to_array(onnx.TensorProto.FromString(file.read(weight.end - weight.start)))


def reshaped(path: Path, *, batch: int | None = None, side: int | None = None) -> bytes:
    """The model for batches of that size, or of any, and for square pictures of that side, or as the file has it; for the
    rest it is the same.

    Exporters write the batch of their example into the file, and ONNX Runtime then refuses any other. Whether the graph
    itself can take several items is for the caller to test. What they noted of shapes between nodes is left out.
    """
    with _opened(path) as data:
        _signature(data, path)
        start, end, head = _graph(data)
        edited: list[bytes] = []
        kept: list[slice] = []
        for number, begin, left, right in _fields(data, start, end):
            if number in (_INPUT, _OUTPUT):
                edited.append(_reshaped(number, data[left:right], batch, side))
            elif number == _INNER:
                continue
            elif kept and kept[-1].stop == begin:
                kept[-1] = slice(kept[-1].start, right)
            else:
                kept.append(slice(begin, right))
        length = sum(map(len, edited)) + sum(part.stop - part.start for part in kept)
        graph = _varint(_GRAPH << 3 | _BYTES) + _varint(length)
        with memoryview(data) as view:  # the weights are copied once
            parts = [view[part] for part in kept]
            result = b"".join([view[:head], graph, *parts, *edited, view[end:]])
            for part in parts:
                part.release()
        return result


def _reshaped(number: int, data: bytes, batch: int | None, side: int | None) -> bytes:
    value = onnx.ValueInfoProto.FromString(data)
    dims = value.type.tensor_type.shape.dim
    if dims:
        dims[0].Clear()
        if number == _OUTPUT:
            dims[0].dim_param = f"rows of {value.name}"
        elif batch is None:
            dims[0].dim_param = "batch"
        else:
            dims[0].dim_value = batch
    if number == _INPUT and side is not None:
        for dim in dims[2:4]:
            dim.dim_value = side
    body: bytes = value.SerializeToString()
    return _varint(number << 3 | _BYTES) + _varint(len(body)) + body


class _opened:
    """A file's bytes, mapped; raises OnnxFileError for what is plainly something else."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> mmap.mmap:
        try:
            with self._path.open("rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise OnnxFileError(f"{self._path.name} is empty") from None
        except OSError as error:
            raise OnnxFileError(f"{self._path.name} cannot be read: {error.strerror}") from None
        if (other := _looks_like(self._data[:256])) is not None:
            self._data.close()
            raise OnnxFileError(f"{self._path.name} is {other}, not a model")
        return self._data

    def __exit__(self, *error: object) -> None:
        self._data.close()


def _looks_like(head: bytes) -> str | None:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        return "a web page (a download that failed)"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer (run git lfs pull)"
    if head.startswith((b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!")):
        return "an archive (unpack it)"
    if start.startswith((b"{", b"[")) and start.isascii():
        return "a JSON text"
    return None


def _signature(data: Bytes, path: Path) -> Signature:
    try:
        return _read(data)
    except _Elsewhere:
        raise OnnxFileError(f"{path.name} keeps weights in another file, which is not supported: save it as one file") from None
    except (DecodeError, _CutShort, IndexError, ValueError) as error:
        what = "is cut short or damaged" if isinstance(error, _CutShort | IndexError) else "is not an ONNX model"
        raise OnnxFileError(f"{path.name} {what} ({len(data):,} bytes): fetch it again") from None


def _read(data: Bytes) -> Signature:
    start, end, _ = _graph(data)
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    nodes: list[str] = []
    read: set[str] = set()
    found: list[tuple[str, tuple[int, ...], int, int]] = []
    for number, _, left, right in _fields(data, start, end):
        if number in (_INPUT, _OUTPUT):
            (inputs if number == _INPUT else outputs).append(_tensor(onnx.ValueInfoProto.FromString(data[left:right])))
        elif number == _NODE:
            node = onnx.NodeProto.FromString(data[left:right])
            nodes.append(node.name)
            read.update(node.input)
        elif number == _INITIALIZER:
            found.append((*_header(data, left, right), left, right))
    if not inputs or not outputs or not nodes:
        raise ValueError("no graph")
    names = {name for name, *_ in found}
    read.update(output.name for output in outputs)
    weights = tuple(Weight(name, shape, name in read, left, right) for name, shape, left, right in found)
    return Signature(tuple(t for t in inputs if t.name not in names), tuple(outputs), weights, tuple(nodes))


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    dims = tuple(d.dim_value if d.WhichOneof("value") == "dim_value" and d.dim_value > 0 else None for d in kind.shape.dim)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name if kind.elem_type else "unknown"
    return Tensor(value.name, dtype, dims)


def _header(data: Bytes, left: int, right: int) -> tuple[str, tuple[int, ...]]:
    """Name and shape of an initializer."""
    name, dims = "", list[int]()
    for number, _, start, end in _fields(data, left, right):
        if number == _NAME:
            name = data[start:end].decode()
        elif number == _DIMS:
            position = start
            while position < end:  # one number, or all of them packed
                value, position = _read_varint(data, position, end)
                dims.append(value)
        elif number == _LOCATION and _read_varint(data, start, end)[0]:
            raise _Elsewhere
    return name, tuple(dims)


class _CutShort(Exception):
    pass


class _Elsewhere(Exception):
    pass


def _graph(data: Bytes) -> tuple[int, int, int]:
    """Where the graph's fields start and end, and where its tag stands."""
    fields = list(_fields(data, 0, len(data)))
    graphs = [(left, right, begin) for number, begin, left, right in fields if number == _GRAPH]
    if len(graphs) != 1:
        raise ValueError("not one graph")
    if all(number != _OPSETS for number, *_ in fields):  # they are written behind the graph
        raise _CutShort
    return graphs[0]


def _fields(data: Bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Of every field of a message: number, where its tag stands, where its value starts and ends."""
    position = start
    while position < end:
        begin = position
        tag, position = _read_varint(data, position, end)
        number, kind = tag >> 3, tag & 7
        if number == 0 or (kind not in _FIXED and kind not in (0, 2)):
            raise ValueError(f"field {number} of kind {kind}")
        if kind == 0:
            left, (_, position) = position, _read_varint(data, position, end)
        elif kind == 2:
            length, left = _read_varint(data, position, end)
            position = left + length
        else:
            left, position = position, position + _FIXED[kind]
        if position > end:
            raise _CutShort
        yield number, begin, left, position


_FIXED: Mapping[int, int] = {1: 8, 5: 4}


def _read_varint(data: Bytes, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= end:
            raise _CutShort
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("no varint")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
