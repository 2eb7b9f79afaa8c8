"""Writes graphs for ONNX Runtime, without the library `onnx`.

This is the small subset of the format (protocol buffers, https://onnx.ai/onnx/repo-docs/IR.html)
that these graphs need. Weights are not written: they are declared as external data and given
to the session as arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bitstream.arrays import Array

IR_VERSION, OPSET = 9, 17
CONTRIBUTED = "com.microsoft"

# The format's numbers of the element types.
_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int32": 6, "int64": 7}
_INT, _STRING, _INTS = 2, 3, 7  # types of attributes
_EXTERNAL = 1

Attribute = int | str | Sequence[int]


def _varint(number: int) -> bytes:
    number &= 2**64 - 1  # negative numbers become two's complement
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _number(tag: int, value: int) -> bytes:
    return _varint(tag << 3) + _varint(value)


def _bytes(tag: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(tag << 3 | 2) + _varint(len(data)) + data


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, int):
        return _bytes(1, name) + _number(3, value) + _number(20, _INT)
    if isinstance(value, str):
        return _bytes(1, name) + _bytes(4, value) + _number(20, _STRING)
    numbers = b"".join(_number(8, number) for number in value)
    return _bytes(1, name) + numbers + _number(20, _INTS)


def _value(name: str, dtype: str, shape: Iterable[int | str]) -> bytes:
    """A ValueInfoProto: an input or output; a dimension may be a name."""
    dimensions = b"".join(
        _bytes(1, _bytes(2, side) if isinstance(side, str) else _number(1, side)) for side in shape
    )
    tensor = _number(1, _TYPES[dtype]) + _bytes(2, dimensions)
    return _bytes(1, name) + _bytes(2, _bytes(1, tensor))


@dataclass
class Graph:
    """A graph that is built node by node."""

    _nodes: list[bytes] = field(default_factory=list)
    _inputs: list[bytes] = field(default_factory=list)
    _outputs: list[bytes] = field(default_factory=list)
    _constants: list[bytes] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    """Arrays by name, which must be given to the session as external initialisers."""

    def input(self, name: str, dtype: str, shape: Iterable[int | str]) -> str:
        """Declare an input, and return its name."""
        self._inputs.append(_value(name, dtype, shape))
        return name

    def output(self, name: str, dtype: str, shape: Iterable[int | str]) -> None:
        """Declare the value of this name as an output."""
        self._outputs.append(_value(name, dtype, shape))

    def constant(self, array: Array) -> str:
        """Write a small array into the graph; return its name."""
        name = f"constant_{len(self._constants)}"
        tensor = b"".join(_number(1, side) for side in array.shape)
        tensor += _number(2, _TYPES[array.dtype.name]) + _bytes(8, name)
        self._constants.append(tensor + _bytes(9, np.ascontiguousarray(array).tobytes()))
        return name

    def weight(self, array: Array) -> str:
        """Declare an array that is given to the session separately; return its name."""
        name = f"weight_{len(self.weights)}"
        self.weights[name] = np.ascontiguousarray(array)
        where = {"location": name, "offset": "0", "length": str(array.nbytes)}
        tensor = b"".join(_number(1, side) for side in array.shape)
        tensor += _number(2, _TYPES[array.dtype.name]) + _bytes(8, name)
        tensor += b"".join(_bytes(13, _bytes(1, k) + _bytes(2, v)) for k, v in where.items())
        self._constants.append(tensor + _number(14, _EXTERNAL))
        return name

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        *,
        domain: str = "",
        attributes: Mapping[str, Attribute] | None = None,
    ) -> str:
        """Add a node with one output; return the output's name."""
        name = f"value_{len(self._nodes)}"
        node = b"".join(_bytes(1, each) for each in inputs) + _bytes(2, name)
        node += _bytes(4, operator) + _bytes(7, domain)
        node += b"".join(_bytes(5, _attribute(k, v)) for k, v in (attributes or {}).items())
        self._nodes.append(node)
        return name

    def reshaped(self, values: str, shape: Sequence[int]) -> str:
        """Reshape values: 0 keeps the length of that axis, and −1 is inferred."""
        return self.node("Reshape", [values, self.constant(np.array(shape, np.int64))])

    def model(self) -> bytes:
        """Return the graph as a serialised ModelProto."""
        graph = b"".join(_bytes(1, node) for node in self._nodes) + _bytes(2, "graph")
        graph += b"".join(_bytes(5, constant) for constant in self._constants)
        graph += b"".join(_bytes(11, each) for each in self._inputs)
        graph += b"".join(_bytes(12, each) for each in self._outputs)
        opsets = ((OPSET, ""), (1, CONTRIBUTED))
        imports = b"".join(_bytes(8, _bytes(1, name) + _number(2, v)) for v, name in opsets)
        return _number(1, IR_VERSION) + _bytes(7, graph) + imports
