"""Losses that pull a query towards its item and push it from the others."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

LossKind: TypeAlias = Literal["contrastive", "margin_contrastive", "triplet"]


def contrastive(scores: Tensor, targets: Tensor, forbidden: Tensor, scale: Tensor) -> Tensor:
    """Softmax over all candidates, of which one is right.

    Args:
        scores: cosines, shape (queries, candidates).
        targets: the right candidate of each query, shape (queries,).
        forbidden: candidates that are right too, so no negatives, bool, shape (queries, candidates).
        scale: 1 / temperature.

    Source: InfoNCE (van den Oord et al. 2018, arXiv:1807.03748), in-batch as in DPR (arXiv:2004.04906).
    """
    return cross_entropy((scale * scores).masked_fill(forbidden, float("-inf")), targets)


def margin_contrastive(scores: Tensor, targets: Tensor, forbidden: Tensor, margin: float) -> Tensor:
    """Pull the right candidate to cosine 1, push those above the margin down to it.

    Shapes as in `contrastive`. Negatives below the margin count neither in the sum nor in the mean: among
    hundreds in a batch, the few that matter would vanish.

    Source: Hadsell, Chopra, LeCun 2006, for cosines.
    """
    positive = scores.gather(1, targets[:, None])
    excess = (scores - margin).clamp_min(0)
    return (1 - positive).mean() + _mean_of_positive(_only_negatives(excess, targets, forbidden))


def triplet(scores: Tensor, targets: Tensor, forbidden: Tensor, margin: float) -> Tensor:
    """Ask that the right candidate beats every negative by the margin; mean over the violations.

    Shapes as in `contrastive`.

    Source: "batch all" of Hermans, Beyer, Leibe 2017, arXiv:1703.07737.
    """
    positive = scores.gather(1, targets[:, None])
    violation = (margin - positive + scores).clamp_min(0)
    return _mean_of_positive(_only_negatives(violation, targets, forbidden))


def _only_negatives(values: Tensor, targets: Tensor, forbidden: Tensor) -> Tensor:
    not_negative = forbidden.clone()
    not_negative[torch.arange(len(targets)), targets] = True
    return values.masked_fill(not_negative, 0)


def _mean_of_positive(values: Tensor) -> Tensor:
    return values.sum() / (values > 0).sum().clamp_min(1)
