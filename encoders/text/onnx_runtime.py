"""Running a text transformer in ONNX Runtime, without torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from encoders.text.architecture import Architecture
from encoders.text.onnx_graph import BUCKETS, MASK
from encoders.text.packing import Packed, relative_buckets
from retrieval.errors import EncoderFault, IncompatibleModel

_WARNINGS_AND_WORSE = 3


class OnnxRuntime:
    """A transformer in ONNX Runtime. Threads may share it."""

    def __init__(self, file: Path, shape: Architecture, *, threads: int = 0) -> None:
        """Load a graph and the weights beside it.

        Args:
            file: the graph.
            shape: of the transformer.
            threads: that work on one batch; 0 = as many as cores.

        Raises:
            IncompatibleModel: if ONNX Runtime cannot load them.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that wait by spinning take the cores from searches: docs/decisions/051-threads.md.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _WARNINGS_AND_WORSE
        try:
            self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises its own classes, which have no common root
            raise IncompatibleModel(f"{file.name} cannot be loaded by ONNX Runtime") from error
        self._shape = shape
        self._inputs = {given.name for given in self._session.get_inputs()}

    def run(self, texts: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        """Encode token ids of texts: vectors of any length, shape (n, width)."""
        packed = Packed.of(texts)
        longest = packed.spread.shape[1]
        given = {
            "ids": packed.ids,
            "rows": packed.places + self._shape.first_position,
            "slots": packed.slots,
            "spread": packed.spread,
            "lengths": packed.lengths,
        }
        if MASK in self._inputs:
            mask = np.arange(longest)[None, :] < packed.lengths[:, None]
            given[MASK] = mask[:, :, None].astype(np.float32)
        if BUCKETS in self._inputs:
            given[BUCKETS] = relative_buckets(longest)
        try:
            (vectors,) = self._session.run(None, given)
        except Exception as error:
            raise EncoderFault(f"ONNX Runtime failed: {type(error).__name__}") from error
        found: NDArray[np.float32] = vectors
        return found
