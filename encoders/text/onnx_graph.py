"""The transformer of `transformer.py` as an ONNX graph over its own safetensors file."""

from pathlib import Path

import numpy as np

from encoders.text.architecture import Architecture
from encoders.text.onnx_file import BFLOAT16, CONTRIB, FLOAT, FLOAT16, INT32, INT64, Graph
from encoders.text.weight_file import Entry, find_tensors

MASK, BUCKETS = "mask", "buckets"
_KINDS = {"F32": FLOAT, "F16": FLOAT16, "BF16": BFLOAT16}


def build_graph(weights: Path, shape: Architecture) -> bytes:
    """Build the graph; t = tokens, n = texts, l = the longest, as in `packing`.

    Args:
        weights: a safetensors file; the graph has to lie beside it, under whatever name.
        shape: of the transformer.

    Returns:
        The ONNX file.

    Raises:
        IncompatibleModel: if the file does not hold what the architecture needs.
    """
    return _Builder(weights, shape).build()


class _Builder:
    def __init__(self, weights: Path, shape: Architecture) -> None:
        self.shape = shape
        self.file = weights.name
        self.entries = find_tensors(weights, shape)
        self.graph = Graph("transformer")
        self.by_columns = self.graph.constant(np.array([-1, shape.width]))

    def build(self) -> bytes:
        graph, shape = self.graph, self.shape
        graph.input("ids", INT64, ["t"])
        graph.input("rows", INT64, ["t"])
        graph.input("slots", INT64, ["t"])
        graph.input("spread", INT64, ["n", "l"])
        graph.input("lengths", INT32, ["n"])
        x = self._embed()
        bias = self._distance_bias() if shape.is_relative else ""
        for number in range(shape.layers):
            x = self._layer(x, f"layers.{number}", bias)
        graph.output(self._pool(x), ["n", shape.width])
        return graph.to_bytes()

    def _tensor(self, name: str) -> str:
        """Return a tensor in float32; ONNX Runtime converts others once, when it loads the graph."""
        entry: Entry = self.entries[name]
        kind = _KINDS[entry.dtype]
        self.graph.external(name, kind, entry.shape, self.file, entry.offset, entry.length)
        return name if kind == FLOAT else self.graph.node("Cast", name, to=FLOAT)

    def _embed(self) -> str:
        graph = self.graph
        x = graph.node(
            "Add",
            graph.node("Gather", self._tensor("words"), "ids", axis=0),
            graph.node("Gather", self._tensor("positions"), "rows", axis=0),
        )
        if self.shape.has_token_types:
            first = graph.constant(np.array(0))
            x = graph.node("Add", x, graph.node("Gather", self._tensor("token_types"), first, axis=0))
        scale, shift = self._tensor("norm.weight"), self._tensor("norm.bias")
        return graph.node("LayerNormalization", x, scale, shift, axis=-1, epsilon=self.shape.norm_epsilon)

    def _distance_bias(self) -> str:
        """Return what is added to the attention of two tokens: (1, heads, l, l)."""
        graph = self.graph
        graph.input(BUCKETS, INT64, ["l", "l"])
        bias = graph.node("Gather", self._tensor("relative"), BUCKETS, axis=0)
        return graph.node(
            "Unsqueeze", graph.node("Transpose", bias, perm=[2, 0, 1]), graph.constant(np.array([0]))
        )

    def _layer(self, x: str, name: str, bias: str) -> str:
        attended = self._dense(self._attend(x, name, bias), f"{name}.attended")
        x = self._add_and_norm(attended, x, f"{name}.attended.bias", f"{name}.attention_norm")
        inner = self._dense(x, f"{name}.inner")
        inner_bias = self._tensor(f"{name}.inner.bias")
        if self.shape.activation == "gelu":
            inner = self.graph.node("BiasGelu", inner, inner_bias, domain=CONTRIB)
        else:
            inner = self.graph.node("Relu", self.graph.node("Add", inner, inner_bias))
        outer = self._dense(inner, f"{name}.outer")
        return self._add_and_norm(outer, x, f"{name}.outer.bias", f"{name}.norm")

    def _dense(self, x: str, name: str) -> str:
        """Multiply by a matrix, without its bias."""
        return self.graph.node("Gemm", x, self._tensor(f"{name}.weight"), transB=1)

    def _add_and_norm(self, x: str, skip: str, bias: str, norm: str) -> str:
        scale, shift = self._tensor(f"{norm}.weight"), self._tensor(f"{norm}.bias")
        epsilon = self.shape.norm_epsilon
        return self.graph.node(
            "SkipLayerNormalization",
            *(x, skip, scale, shift, self._tensor(bias)),
            domain=CONTRIB,
            epsilon=epsilon,
        )

    def _attend(self, x: str, name: str, bias: str) -> str:
        graph = self.graph
        weights, biases = (
            graph.node(
                "Concat",
                *(self._tensor(f"{name}.{part}.{kind}") for part in ("query", "key", "value")),
                axis=0,
            )
            for kind in ("weight", "bias")
        )
        all_three = graph.node("Gemm", x, weights, biases, transB=1)  # (t, 3 w)
        spread = graph.node("Gather", all_three, "spread", axis=0)  # (n, l, 3 w)
        split = graph.node("Split", spread, outputs=3, axis=2)
        given = [split, f"{split}:1", f"{split}:2", "", "lengths", *([bias] if bias else [])]
        mixed = graph.node("MultiHeadAttention", *given, domain=CONTRIB, num_heads=self.shape.heads)
        return graph.node("Gather", graph.node("Reshape", mixed, self.by_columns), "slots", axis=0)

    def _pool(self, x: str) -> str:
        graph = self.graph
        if self.shape.pooling == "cls":
            first = graph.node("Gather", "spread", graph.constant(np.array(0)), axis=1)
            return graph.node("Gather", x, first, axis=0)
        graph.input(MASK, FLOAT, ["n", "l", 1])
        real = graph.node("Mul", graph.node("Gather", x, "spread", axis=0), MASK)
        return graph.node("ReduceSum", real, graph.constant(np.array([1])), keepdims=0)
