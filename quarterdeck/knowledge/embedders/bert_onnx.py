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

from quarterdeck.knowledge.embedders.blocks import BLOCK, Blocks, Floats

__all__ = ["convert"]

OPSET, IR = 20, 10  # the first opset with Gelu; what every onnxruntime that knows it can read
HIDES = -1e4  # added to the attention paid to padding

RUNTIME = "com.microsoft"  # names what onnxruntime knows beyond the standard: a product with weights of 4 bits
BY_WHOLE_NUMBERS = 4  # how exact that product is: what is multiplied is rounded to 8 bits, block by block

Array: TypeAlias = "npt.NDArray[np.float32] | npt.NDArray[np.float16] | npt.NDArray[np.int64] | npt.NDArray[np.uint8]"
Weights: TypeAlias = "Mapping[str, Floats] | Mapping[str, Floats | Blocks]"


def convert(weights: Weights, *, heads: int, epsilon: float) -> bytes:
    """The graph over these weights, serialised.

    Args:
        weights: As the published model names them, ``embeddings.*`` and ``encoder.layer.N.*``; others are left out. Those of
            4 bits stay as they are: a token's row is unpacked when it is asked for.
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
    imports = [helper.make_opsetid("", OPSET)]
    if any(node.domain for node in bert.nodes):
        imports.append(helper.make_opsetid(RUNTIME, 1))
    model = helper.make_model(graph, opset_imports=imports, ir_version=IR, producer_name="quarterdeck")
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
        table = self._weights["embeddings.word_embeddings.weight"]
        words = self._unpacked(table) if isinstance(table, Blocks) else self._node("Gather", self._constant(table), "ids")
        places = self._constant(
            self._floats("embeddings.position_embeddings.weight")
            + self._floats("embeddings.token_type_embeddings.weight")[0]
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

    def _unpacked(self, table: Blocks) -> str:
        """The rows of the tokens. Sixteen bytes of a block hold its first half below, its second above."""
        codes = self._node("Gather", self._constant(table.codes), "ids")
        lower = self._node("BitwiseAnd", codes, self._constant(np.array(0x0F, dtype=np.uint8)))
        upper = self._node("BitShift", codes, self._constant(np.array(4, dtype=np.uint8)), direction="RIGHT")
        numbers = self._node("Cast", self._node("Concat", lower, upper, axis=-1), to=onnx.TensorProto.FLOAT)
        scales = self._node("Gather", self._constant(table.scales), "ids")
        scales = self._node("Unsqueeze", self._node("Cast", scales, to=onnx.TensorProto.FLOAT), self._integers(3))
        rows = self._node("Mul", self._node("Sub", numbers, self._number(8.0)), scales)
        return self._node("Reshape", rows, self._integers(0, 0, self.size))

    def _dense(self, name: str, hidden: str) -> str:
        bias = self._constant(self._floats(f"{name}.bias"))
        return self._node("Add", self._product(self._weights[f"{name}.weight"], hidden), bias)

    def _product(self, weight: Floats | Blocks, hidden: str) -> str:
        if not isinstance(weight, Blocks):
            return self._node("MatMul", hidden, self._constant(np.ascontiguousarray(weight.T)))
        wanted, given = weight.shape
        packed = self._constant(weight.paired())
        scales = self._constant(weight.scales.astype(np.float32))
        form = {"K": given, "N": wanted, "bits": 4, "block_size": BLOCK, "accuracy_level": BY_WHOLE_NUMBERS}
        return self._node("MatMulNBits", hidden, packed, scales, domain=RUNTIME, **form)

    def _normalised(self, hidden: str, name: str) -> str:
        scale, bias = (self._constant(self._floats(f"{name}.{part}")) for part in ("weight", "bias"))
        return self._node("LayerNormalization", hidden, scale, bias, axis=-1, epsilon=self._epsilon)

    def _number(self, value: float) -> str:
        return self._constant(np.array(value, dtype=np.float32))

    def _integers(self, *values: int) -> str:
        return self._constant(np.array(values, dtype=np.int64))

    def _floats(self, name: str) -> Floats:
        weights = self._weights[name]
        return weights.dense() if isinstance(weights, Blocks) else weights

    def _constant(self, value: Array) -> str:
        name = f"c{next(self._numbers)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name))
        return name

    def _node(self, kind: str, *inputs: str, domain: str = "", **attributes: float | str | list[int]) -> str:
        name = f"n{next(self._numbers)}"
        node = helper.make_node(kind, list(inputs), [name], domain=domain)
        node.attribute.extend(helper.make_attribute(*attribute) for attribute in attributes.items())
        self.nodes.append(node)
        return name
