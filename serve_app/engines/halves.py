"""A net in two parts: what comes before its first normalisation, which bf16 must not compute, and the rest.

A normalisation takes each channel's mean away and divides by what spread is left. In a crop with little texture that is little
beside the values themselves, and the rounding of bf16, up to 1/256 of a value, comes out of it as strong as the picture.
Behind the first one values and texture are of one size, and rounding does no more than its share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import openvino
import openvino.opset13 as ops

SPATIAL = [2, 3]


def halves(model: Any) -> tuple[Any, Any] | None:
    """(head, tail) of an openvino.Model that takes one picture, or None where no convolution is normalised behind it.

    The model is taken apart for it. The tail begins at the first convolution that is normalised; its inputs `half 0`,
    `half 1`, ... are the head's outputs in their order.

    A number added to a whole channel in front of a convolution that adds no border comes out as a number added to every channel,
    and the normalisation takes it away. Where that is so, the convolution gets each channel without its mean: of texture
    alone, a rounding is a share of the texture.
    """
    pictures = [node for node in model.get_parameters() if node.get_output_partial_shape(0).rank.get_length() == 4]
    first = _first_normalised(model, pictures[0]) if len(pictures) == 1 else None
    if first is None:
        return None
    shown, tail = _behind(pictures[0]), _behind(first)
    edges = [
        (output, [reader for reader in output.get_target_inputs() if _id(reader.get_node()) in tail])
        for node in model.get_ordered_ops()
        if _id(node) in shown and _id(node) not in tail
        for output in node.outputs()
    ]
    outputs: list[Any] = []
    for output, readers in edges:
        inside, others = _parted(readers, lambda reader: _id(reader.get_node()) == _id(first))
        if readers and not output.get_element_type().is_real():
            return None  # a shape that is worked out on the way
        if inside and _forgets_means(first):
            outputs.append(_cut(_without_means(output), inside, len(outputs)))
        elif inside:
            others = readers
        if others:
            outputs.append(_cut(output, others, len(outputs)))
    head, rest = [output for output, _ in outputs], [entry for _, entry in outputs]
    results = model.get_results()
    return openvino.Model(head, _needed(head, model.get_parameters())), openvino.Model(
        results, _needed([result.input_value(0) for result in results], [*model.get_parameters(), *rest])
    )


def _first_normalised(model: Any, picture: Any) -> Any | None:
    """The first convolution, of what depends on the picture, whose output's mean is taken."""
    shown = _behind(picture)
    for node in model.get_ordered_ops():
        if node.get_type_name() == "ReduceMean" and _id(node) in shown:
            source = node.input_value(0).get_node()
            biased = source.get_type_name() == "Add"
            for below in source.input_values() if biased else [node.input_value(0)]:
                if below.get_node().get_type_name() == "Convolution":
                    return below.get_node()
    return None


def _forgets_means(convolution: Any) -> bool:
    """Whether it adds no border, and nobody reads its output, or that with its bias, but a mean over the picture and what subtracts it."""
    how = convolution.get_attributes()
    if how["auto_pad"] not in ("explicit", "valid") or any(how["pads_begin"]) or any(how["pads_end"]):
        return False
    output = convolution.output(0)
    adds, others = _parted(_readers(output), lambda node: node.get_type_name() == "Add")
    if len(adds) == 1 and not others:
        output = adds[0].output(0)
    means, others = _parted(_readers(output), _is_mean)
    return bool(means) and all(
        node.get_type_name() == "Subtract" and any(_id(node.input_value(1).get_node()) == _id(mean) for mean in means) for node in others
    )


def _is_mean(node: Any) -> bool:
    if node.get_type_name() != "ReduceMean" or not node.get_attributes()["keep_dims"]:
        return False
    axes = node.input_value(1).get_node()
    return axes.get_type_name() == "Constant" and sorted(int(axis) % 4 for axis in axes.data.ravel()) == SPATIAL


def _without_means(output: Any) -> Any:
    return ops.subtract(output, ops.reduce_mean(output, ops.constant(SPATIAL), keep_dims=True)).output(0)


def _cut(output: Any, readers: Iterable[Any], number: int) -> tuple[Any, Any]:
    """`output`, and the input that its readers get in its place."""
    entry = ops.parameter(output.get_shape(), output.get_element_type().to_dtype(), name=f"half {number}")
    entry.output(0).get_tensor().set_names({f"half {number}"})
    for reader in readers:
        reader.replace_source_output(entry.output(0))
    return output, entry


def _needed(outputs: Iterable[Any], parameters: Iterable[Any]) -> list[Any]:
    """Of the parameters those that the outputs are computed from."""
    found = _reach((output.get_node() for output in outputs), lambda node: [value.get_node() for value in node.input_values()])
    return [parameter for parameter in parameters if _id(parameter) in found]


def _behind(node: Any) -> set[str]:
    """A node and all that is computed from it."""
    return _reach([node], lambda node: [reader.get_node() for output in node.outputs() for reader in output.get_target_inputs()])


def _reach(nodes: Iterable[Any], following: Callable[[Any], Iterable[Any]]) -> set[str]:
    found: set[str] = set()
    open_ = list(nodes)
    while open_:
        node = open_.pop()
        if _id(node) not in found:
            found.add(_id(node))
            open_ += following(node)
    return found


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
