"""A net whose beginning computes how a picture differs from a plain one, so that bf16 rounds texture and not colour.

A normalisation takes each channel's mean away and divides by what spread is left. In a crop with little texture that is little
beside the values themselves, and the rounding of bf16, up to 1/256 of a value, comes out of it as strong as the picture. So up to
the first normalisation the net gets each value without what it would be in a plain picture of the same mean colour. What a layer
makes of a plain picture is one number a channel; a net of their own computes these in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino
import openvino.opset13 as ops
from openvino import passes

from serve_app.vision.face import Floats

ENTRY = "given {}"  # the inputs of the second net, by their number
SPATIAL = [2, 3]
KEEPS_PLAIN = ("reflect", "edge", "symmetric")  # borders that leave a plain picture plain


@dataclass(frozen=True, slots=True)
class _Step:
    """A convolution, and the borders that are put around its input before."""

    pads: list[Any]
    convolution: Any


@dataclass(frozen=True, slots=True)
class _Layer:
    """bias: a node, or None. bend: the node behind it. slope: below zero, between 0 and 1, (1, channels or 1, 1, 1)."""

    step: _Step
    bias: Any | None
    bend: Any
    slope: Floats


@dataclass(frozen=True, slots=True)
class _Head:
    """What comes before `first`, the first convolution whose output is normalised. picture: the net's input, or that in the type of the
    other values."""

    picture: Any
    layers: list[_Layer]
    first: _Step


def centred(model: Any) -> tuple[Any, Any] | None:
    """(plain, rest) of an openvino.Model of fixed shapes that takes one picture, or None where it begins in no way that is known here:
    convolutions, each with a bias and bent below zero (ReLU, leaky or not), with borders of zeros or of the picture itself, until one
    whose output is normalised. The model is taken apart for it.

    `plain` takes the picture and is to run in float32. Its outputs in their order are the inputs ENTRY of `rest`, which bf16 may run:
    the picture without its mean colour, as bf16 has it and what that leaves out, then of each layer what it makes of that colour before
    it bends it.
    """
    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())  # biases hang on the shapes of what they are added to
    manager.run_passes(model)
    head = _head(model)
    if head is None:
        return None
    outputs = _given(head)
    entries = [_entry(output, number) for number, output in enumerate(outputs)]
    _put_differences(head, entries)
    results, parameters = model.get_results(), [*model.get_parameters(), *entries]
    rest = openvino.Model(results, _needed([result.input_value(0) for result in results], parameters))
    return openvino.Model(outputs, _needed(outputs, model.get_parameters())), rest


def _head(model: Any) -> _Head | None:
    pictures = [node for node in model.get_parameters() if node.get_output_partial_shape(0).rank.get_length() == 4]
    if len(pictures) != 1:
        return None
    layers: list[_Layer] = []
    readers = _readers(pictures[0].output(0))
    node = picture = readers[0] if [reader.get_type_name() for reader in readers] == ["Convert"] else pictures[0]
    while step := _next_step(node):
        if layers and _is_normalised(step.convolution):
            return _Head(picture, layers, step)
        layer = _layer(step) if len(_readers(node.output(0))) == 1 else None
        if not layer or (not layers and _has_zeros_around(step.convolution)):
            return None
        layers.append(layer)
        node = layer.bend
    return None


def _next_step(node: Any) -> _Step | None:
    """The one convolution that takes a node's values, maybe with borders put around them."""
    pads: list[Any] = []
    while True:
        ways, others = _parted(_readers(node.output(0)), lambda reader: reader.get_type_name() in ("Pad", "Convolution"))
        if len(ways) != 1 or (pads and others):
            return None
        node = ways[0]
        if node.get_type_name() == "Convolution":
            return _Step(pads, node) if _is_known(node) else None
        if not _keeps_plain(node):
            return None
        pads.append(node)


def _is_known(convolution: Any) -> bool:
    """Whether its weights are the file's and its borders are numbers."""
    weight = convolution.input_value(1).get_node()
    stored = weight.input_value(0).get_node() if weight.get_type_name() == "Convert" else weight
    return _is_constant(stored) and convolution.get_attributes()["auto_pad"] in ("explicit", "valid")


def _keeps_plain(pad: Any) -> bool:
    widths = [pad.input_value(place).get_node() for place in (1, 2)]
    return pad.get_attributes()["pad_mode"] in KEEPS_PLAIN and all(_is_constant(width) and not any(width.data[:2]) for width in widths)


def _layer(step: _Step) -> _Layer | None:
    bias = None
    readers = _readers(step.convolution.output(0))
    if len(readers) == 1 and readers[0].get_type_name() == "Add":
        (bias,) = (value.get_node() for value in readers[0].input_values() if _id(value.get_node()) != _id(step.convolution))
        readers = _readers(readers[0].output(0)) if _is_one_a_channel(bias) else []
    if len(readers) != 1 or (slope := _slope(readers[0], step.convolution.get_output_shape(0)[1])) is None:
        return None
    return _Layer(step, bias, readers[0], slope)


def _slope(bend: Any, channels: int) -> Floats | None:
    if bend.get_type_name() == "Relu":
        return np.zeros((1, 1, 1, 1), np.float32)
    if bend.get_type_name() != "PRelu" or not _is_constant(bend.input_value(1).get_node()):
        return None
    slope = np.asarray(bend.input_value(1).get_node().data, np.float32)
    by_channel = [(channels,), (channels, 1, 1), (1, channels, 1, 1)]
    if (slope.size > 1 and slope.shape not in by_channel) or not ((slope >= 0) & (slope <= 1)).all():
        return None
    return slope.reshape(1, -1, 1, 1)


def _is_normalised(convolution: Any) -> bool:
    """Whether its output, or that with its bias, is read by nobody but a mean over the picture and what subtracts that from it: what is
    added to a whole channel is then taken away again."""
    output = convolution.output(0)
    adds, others = _parted(_readers(output), lambda node: node.get_type_name() == "Add")
    if len(adds) == 1 and not others:
        output = adds[0].output(0)
    means, others = _parted(_readers(output), _is_mean)
    inputs = [_id(output.get_node()), *(_id(mean) for mean in means)]
    own = [[_id(value.get_node()) for value in node.input_values()] == inputs and node.get_type_name() == "Subtract" for node in others]
    return len(means) == 1 and len(others) > 0 and all(own) and len(_readers(means[0].output(0))) == len(others)


def _is_mean(node: Any) -> bool:
    if node.get_type_name() != "ReduceMean" or not node.get_attributes()["keep_dims"]:
        return False
    axes = node.input_value(1).get_node()
    return _is_constant(axes) and sorted(int(axis) % 4 for axis in axes.data.ravel()) == SPATIAL


def _is_one_a_channel(node: Any) -> bool:
    shape = list(node.get_output_shape(0))
    return _is_constant(node) and len(shape) == 4 and [shape[0], *shape[2:]] == [1, 1, 1]


def _is_constant(node: Any) -> bool:
    return bool(node.get_type_name() == "Constant")


def _has_zeros_around(convolution: Any) -> bool:
    how = convolution.get_attributes()
    return any(how["pads_begin"]) or any(how["pads_end"])


def _given(head: _Head) -> list[Any]:
    """The picture's differences (n, 6, height, width), and of each layer what it makes of the mean colour, (n, channels, 1, 1)."""
    colour = ops.reduce_mean(head.picture, ops.constant(SPATIAL), keep_dims=True)
    differences = ops.subtract(head.picture, colour)
    coarse = ops.convert(ops.convert(differences, "bf16"), differences.get_element_type().to_dtype())
    outputs = [ops.concat([coarse, ops.subtract(differences, coarse)], 1)]
    value = colour
    for layer in head.layers:
        # Of a plain picture, borders aside, a convolution takes the sum of its weights.
        weight = ops.reduce_sum(layer.step.convolution.input_value(1), ops.constant(SPATIAL), keep_dims=True)
        value = ops.convolution(value, weight, [1, 1], [0, 0], [0, 0], [1, 1])
        value = ops.add(value, layer.bias) if layer.bias is not None else value
        outputs.append(value)
        value = _bent(value, layer.slope)
    return [output.output(0) for output in outputs]


def _put_differences(head: _Head, entries: Sequence[Any]) -> None:
    """The layers and `first` anew, so that they compute differences from what the entries say."""
    value, *plain = entries
    colour = None
    for layer, own in zip(head.layers, plain, strict=True):
        value = _bent_difference(_convolved(layer.step, value, colour), own, layer.slope)
        colour = _bent(own, layer.slope)
    normalised, whole = _convolved(head.first, value, colour), ops.add(value, colour)
    way = (*head.first.pads, head.first.convolution)[0]
    for reader in head.layers[-1].bend.output(0).get_target_inputs():
        if _id(reader.get_node()) != _id(way):
            reader.replace_source_output(whole.output(0))
    for reader in head.first.convolution.output(0).get_target_inputs():
        reader.replace_source_output(normalised.output(0))


def _convolved(step: _Step, value: Any, colour: Any | None) -> Any:
    """The convolution of differences. colour: the plain picture's values, by which a border of zeros differs from it; None for the
    net's own picture, which comes in two parts."""
    for pad in step.pads:
        value = ops.pad(value, pad.input_value(1), pad.input_value(2), pad.get_attributes()["pad_mode"])
    how, weight = step.convolution.get_attributes(), step.convolution.input_value(1)
    if colour is None:
        weight = ops.concat([weight, weight], 1)
    elif _has_zeros_around(step.convolution):
        begin, end = ([0, 0, *how[name]] for name in ("pads_begin", "pads_end"))
        inside = np.zeros((1, 1, *list(value.get_output_shape(0))[2:]), np.float32)
        border = np.pad(inside, list(zip(begin, end, strict=True)), constant_values=1)
        value = ops.pad(value, ops.constant(begin), ops.constant(end), "constant", _number(0, value))
        value = ops.subtract(value, ops.multiply(colour, _number(border, value)))
    return ops.convolution(value, weight, how["strides"], [0, 0], [0, 0], how["dilations"])


def _bent(value: Any, slope: Floats) -> Any:
    """value, and slope x value where that is below zero."""
    above = ops.maximum(value, _number(0, value))
    return ops.add(ops.multiply(value, _number(slope, value)), ops.multiply(above, _number(1 - slope, value)))


def _bent_difference(value: Any, plain: Any, slope: Floats) -> Any:
    """bent(plain + value) - bent(plain), written so that no term that has an effect is larger than value, however large plain is."""
    zero, rest = _number(0, value), _number(1 - slope, value)
    from_below = ops.multiply(ops.minimum(plain, zero), rest)
    from_above = ops.multiply(ops.maximum(plain, zero), rest)
    above = ops.maximum(ops.add(ops.multiply(value, rest), from_below), ops.negative(from_above))
    return ops.add(ops.multiply(value, _number(slope, value)), above)


def _number(values: Any, like: Any) -> Any:
    return ops.constant(np.asarray(values, like.get_element_type().to_dtype()))


def _entry(output: Any, number: int) -> Any:
    entry = ops.parameter(output.get_shape(), output.get_element_type().to_dtype(), name=ENTRY.format(number))
    entry.output(0).get_tensor().set_names({ENTRY.format(number)})
    return entry


def _needed(outputs: Iterable[Any], parameters: Iterable[Any]) -> list[Any]:
    """Of the parameters those that the outputs are computed from."""
    found: set[str] = set()
    open_ = [output.get_node() for output in outputs]
    while open_:
        node = open_.pop()
        if _id(node) not in found:
            found.add(_id(node))
            open_ += [value.get_node() for value in node.input_values()]
    return [parameter for parameter in parameters if _id(parameter) in found]


def _readers(output: Any) -> list[Any]:
    """Who takes its values, not only its shape."""
    nodes = [reader.get_node() for reader in output.get_target_inputs()]
    return [node for node in nodes if node.get_type_name() != "ShapeOf"]


def _parted(values: Iterable[Any], test: Callable[[Any], bool]) -> tuple[list[Any], list[Any]]:
    yes: list[Any] = []
    no: list[Any] = []
    for value in values:
        (yes if test(value) else no).append(value)
    return yes, no


def _id(node: Any) -> str:
    return str(node.get_name())  # unlike the friendly name, nobody else's
