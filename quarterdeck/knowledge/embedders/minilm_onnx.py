"""Writes a BERT encoder as one ONNX graph: tokens in, one vector of length 1 for each text out.

The weights come as safetensors, which hold numbers and no code, so nothing has to be run to read them and torch is not
needed. The graph is that of the published model: embeddings, layers of attention, the mean over the tokens of a text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import count
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

__all__ = ["convert"]

OPSET, IR = 20, 10  # the first opset with Gelu; what every onnxruntime that knows it can read
HIDES = -1e4  # added to the attention paid to padding

Array: TypeAlias = "npt.NDArray[np.float32] | npt.NDArray[np.int64]"
Weights: TypeAlias = "Mapping[str, npt.NDArray[np.float32]]"


def convert(weights: Weights, *, heads: int, epsilon: float) -> bytes:
    """The graph over these weights, serialised.

    Args:
        weights: As the published model names them, ``embeddings.*`` and ``encoder.layer.N.*``; others are left out.
        heads: Attention heads of each layer.
        epsilon: Of every layer normalisation.

    Returns:
        A model with inputs ``ids`` and ``mask``, int64 [texts, tokens], and output ``vectors``, float32 [texts, size].
    """
    bert = _Bert(weights, heads, epsilon)
    hidden = bert.embedded()
    layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer."))
    for layer in range(layers):
        hidden = bert.layer(f"encoder.layer.{layer}", hidden)
    bert.pooled(hidden)
    integers = [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["b", "s"]) for name in ("ids", "mask")]
    vectors = helper.make_tensor_value_info("vectors", onnx.TensorProto.FLOAT, ["b", bert.size])
    graph = helper.make_graph(bert.nodes, "encoder", integers, [vectors], initializer=bert.constants)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="quarterdeck"
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


class _Bert:
    """The graph as it grows. Every method adds nodes and returns the name of what they give."""

    def __init__(self, weights: Weights, heads: int, epsilon: float) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.size = weights["embeddings.word_embeddings.weight"].shape[1]
        self._weights = weights
        self._heads = heads
        self._epsilon = epsilon
        self._numbers = count()
        mask = self._node("Cast", "mask", to=onnx.TensorProto.FLOAT)
        self._mask = mask
        hidden = self._node("Mul", self._node("Sub", self._number(1.0), mask), self._number(HIDES))
        self._bias = self._node("Unsqueeze", hidden, self._integers(1, 2))

    def embedded(self) -> str:
        """Tokens as what they are and where they stand. All are of the first kind: there is no second sentence."""
        words = self._node("Gather", self._constant(self._weights["embeddings.word_embeddings.weight"]), "ids")
        places = self._constant(
            self._weights["embeddings.position_embeddings.weight"]
            + self._weights["embeddings.token_type_embeddings.weight"][0]
        )
        tokens = self._node("Shape", "ids", start=1, end=2)
        used = self._node("Slice", places, self._integers(0), tokens, self._integers(0))
        return self._normalised(self._node("Add", words, used), "embeddings.LayerNorm")

    def layer(self, name: str, hidden: str) -> str:
        """Attention, then two dense steps, each added to what it was given."""
        attended = self._dense(f"{name}.attention.output.dense", self._attention(f"{name}.attention.self", hidden))
        hidden = self._normalised(self._node("Add", attended, hidden), f"{name}.attention.output.LayerNorm")
        wide = self._node("Gelu", self._dense(f"{name}.intermediate.dense", hidden))
        narrow = self._dense(f"{name}.output.dense", wide)
        return self._normalised(self._node("Add", narrow, hidden), f"{name}.output.LayerNorm")

    def pooled(self, hidden: str) -> None:
        """The mean over the tokens that are no padding, with length 1, under the name ``vectors``."""
        mask = self._node("Unsqueeze", self._mask, self._integers(2))
        total = self._node("ReduceSum", self._node("Mul", hidden, mask), self._integers(1), keepdims=0)
        tokens = self._node("ReduceSum", self._mask, self._integers(1), keepdims=1)
        mean = self._node("Div", total, tokens)
        self.nodes.append(helper.make_node("LpNormalization", [mean], ["vectors"], axis=-1, p=2))

    def _attention(self, name: str, hidden: str) -> str:
        width = self.size // self._heads
        split = self._integers(0, 0, self._heads, width)
        query, key, value = (
            self._node("Reshape", self._dense(f"{name}.{part}", hidden), split) for part in ("query", "key", "value")
        )
        query = self._node("Transpose", query, perm=[0, 2, 1, 3])
        key = self._node("Transpose", key, perm=[0, 2, 3, 1])
        value = self._node("Transpose", value, perm=[0, 2, 1, 3])
        scores = self._node("Div", self._node("MatMul", query, key), self._number(math.sqrt(width)))
        shares = self._node("Softmax", self._node("Add", scores, self._bias), axis=-1)
        mixed = self._node("Transpose", self._node("MatMul", shares, value), perm=[0, 2, 1, 3])
        return self._node("Reshape", mixed, self._integers(0, 0, self.size))

    def _dense(self, name: str, hidden: str) -> str:
        weight = self._constant(np.ascontiguousarray(self._weights[f"{name}.weight"].T))
        return self._node("Add", self._node("MatMul", hidden, weight), self._constant(self._weights[f"{name}.bias"]))

    def _normalised(self, hidden: str, name: str) -> str:
        scale, bias = (self._constant(self._weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self._node("LayerNormalization", hidden, scale, bias, axis=-1, epsilon=self._epsilon)

    def _number(self, value: float) -> str:
        return self._constant(np.array(value, dtype=np.float32))

    def _integers(self, *values: int) -> str:
        return self._constant(np.array(values, dtype=np.int64))

    def _constant(self, value: Array) -> str:
        name = f"c{next(self._numbers)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def _node(self, kind: str, *inputs: str, **attributes: float | list[int]) -> str:
        name = f"n{next(self._numbers)}"
        node = helper.make_node(kind, list(inputs), [name])
        node.attribute.extend(helper.make_attribute(*attribute) for attribute in attributes.items())
        self.nodes.append(node)
        return name
