"""ONNX graphs, which ONNX Runtime and many other programs run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locreg.errors import LocregError

try:
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    raise LocregError(
        f"onnx cannot be loaded ({error}): reinstall it by pip install --force-reinstall onnx."
    ) from None

OPSET, IR_VERSION = 17, 8  # exported files run in ONNX Runtime from 1.14 on


class Graph:
    """Nodes and constants of an ONNX graph, which methods add to; values go by their names.

    Args:
        prefix: of all names, which the body of a loop must not share with the graph around it.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, array: Any, kind: type = np.float32) -> str:
        """The name of a new constant."""
        name = f"{self.prefix}constant_{len(self.constants)}"
        values: NDArray[Any] = np.ascontiguousarray(np.asarray(array, kind))
        self.constants.append(numpy_helper.from_array(values.reshape(np.shape(array)), name))
        return name

    def add(self, operation: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """The name of the output of a new node."""
        output = name or f"{self.prefix}{operation.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, list(inputs), [output], **attributes))
        return output

    def body(self, inputs: list[Any], outputs: list[Any]) -> Any:
        """The graph as the body of a loop; inputs and outputs as `tensor` describes them."""
        name = f"{self.prefix}body"
        return helper.make_graph(self.nodes, name, inputs, outputs, self.constants)

    def model(
        self, inputs: list[Any], outputs: list[Any], metadata: Mapping[str, str] | None = None
    ) -> bytes:
        """The serialized model; inputs and outputs as `tensor` describes them."""
        graph = helper.make_graph(self.nodes, "locreg", inputs, outputs, self.constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="locreg",
        )
        helper.set_model_props(model, dict(metadata or {}))
        content: bytes = model.SerializeToString()
        return content


def tensor(name: str, *sizes: int | str, kind: int = TensorProto.FLOAT) -> Any:
    """The description of an input or output; a size may be a name, if it varies."""
    return helper.make_tensor_value_info(name, kind, list(sizes))
