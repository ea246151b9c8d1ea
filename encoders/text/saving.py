"""Writing the weights of a transformer under the names of its publisher."""

from collections.abc import Mapping

from safetensors.torch import save
from torch import Tensor

from encoders.text.architecture import Architecture
from encoders.text.weights import tensor_names


def weights_bytes(shape: Architecture, tensors: Mapping[str, Tensor]) -> bytes:
    """Serialise the tensors of a `Transformer`, given by our names, as safetensors that others open, too."""
    own = {theirs: tensors[ours].detach().float().contiguous() for ours, theirs in tensor_names(shape)}
    return save(own, metadata={"format": "pt"})
