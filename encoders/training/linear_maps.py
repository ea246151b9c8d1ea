"""Linear maps between two spaces in closed form: where projections start, and what they are beside."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.projection.heads import KernelMap

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LinearMap:
    """`x @ weight.T + bias`."""

    weight: Floats  # (dims, width)
    bias: Floats  # (dims,)

    def __call__(self, vectors: Floats) -> Floats:
        """Map rows, shape (n, width), to unit rows, shape (n, dims)."""
        mapped = vectors @ self.weight.T + self.bias
        return np.asarray(mapped / np.maximum(np.linalg.norm(mapped, axis=1, keepdims=True), 1e-12))


def correlated(
    left: Floats, right: Floats, *, dims: int, regularisation: float
) -> tuple[LinearMap, LinearMap]:
    """Map two spaces to where paired rows are most alike: regularised canonical correlation analysis.

    Each direction counts as much as the pairs correlate along it.

    Args:
        left: shape (n, left width).
        right: of the same pairs, shape (n, right width).
        dims: of the common space; at most the smaller width.
        regularisation: added to the variance of every direction, in units of the mean variance.

    Returns:
        The maps of both sides.

    Source: Vinod 1976, "Canonical ridge and econometrics of joint production"; weighting as in Gong et al.
    2014, arXiv:1212.4522.
    """
    dims = min(dims, left.shape[1], right.shape[1])
    centred = [side.astype(np.float64) - side.mean(axis=0, dtype=np.float64) for side in (left, right)]
    whitening = [_whitening(side, regularisation) for side in centred]
    cross = whitening[0] @ (centred[0].T @ centred[1] / len(left)) @ whitening[1]
    turned_left, correlations, turned_right = np.linalg.svd(cross, full_matrices=False)
    turned = (turned_left[:, :dims], turned_right[:dims].T)
    made = []
    for side, whiten, turn in zip((left, right), whitening, turned, strict=True):
        weight = (whiten @ (turn * correlations[:dims])).T
        scale = 1 / np.sqrt(np.mean(np.square((side - side.mean(axis=0)) @ weight.T).sum(axis=1)))
        bias = -weight @ side.mean(axis=0, dtype=np.float64)
        made.append(LinearMap((scale * weight).astype(np.float32), (scale * bias).astype(np.float32)))
    return made[0], made[1]


def _whitening(centred: Doubles, regularisation: float) -> Doubles:
    covariance = centred.T @ centred / len(centred)
    covariance[np.diag_indices_from(covariance)] += regularisation * np.trace(covariance) / len(covariance)
    values, directions = np.linalg.eigh(covariance)
    return np.asarray(directions / np.sqrt(np.maximum(values, 1e-12)) @ directions.T)


def gaussian_kernel(vectors: Floats, *, gamma: float, landmarks: int, rank: int, seed: int) -> KernelMap:
    """Make a kernel's features of which a linear map can be learned that is none of the vectors themselves.

    Args:
        vectors: unit rows to draw landmarks from, shape (n, width).
        gamma: how fast likeness falls with distance.
        landmarks: how many are drawn, at most.
        rank: how many directions of their likenesses are kept, at most.
        seed: of the draw.
    """
    drawn = np.random.default_rng(seed).permutation(len(vectors))[:landmarks]
    chosen = vectors[np.sort(drawn)]
    likeness = np.exp(2 * gamma * (chosen @ chosen.T - 1)).astype(np.float64)
    values, directions = np.linalg.eigh(likeness)
    kept = min(rank, int((values > 1e-5 * values[-1]).sum()))
    whitening = (directions[:, ::-1][:, :kept] / np.sqrt(values[::-1][:kept])).T
    return KernelMap(chosen, np.ascontiguousarray(whitening, np.float32), gamma)


def ridge(inputs: Floats, outputs: Floats, penalty: float) -> tuple[LinearMap, LinearMap]:
    """Predict one space from another by ridge regression.

    Args:
        inputs: shape (n, width).
        outputs: of the same pairs, shape (n, dims).
        penalty: on the squared weights.

    Returns:
        The map of the inputs to centred outputs, and the one that centres outputs.
    """
    mean_in, mean_out = inputs.mean(axis=0, dtype=np.float64), outputs.mean(axis=0, dtype=np.float64)
    centred, targets = inputs - mean_in, outputs - mean_out
    if len(inputs) < inputs.shape[1]:
        kernel = centred @ centred.T
        kernel[np.diag_indices_from(kernel)] += penalty
        weight = (centred.T @ np.linalg.solve(kernel, targets)).T
    else:
        gram = centred.T @ centred
        gram[np.diag_indices_from(gram)] += penalty
        weight = np.linalg.solve(gram, centred.T @ targets).T
    identity = np.eye(outputs.shape[1], dtype=np.float32)
    return (
        LinearMap(weight.astype(np.float32), (-weight @ mean_in).astype(np.float32)),
        LinearMap(identity, -mean_out.astype(np.float32)),
    )
