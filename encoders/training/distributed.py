"""Several processes that train one model, as torchrun starts them.

Every process plans the same batches, encodes its own slice of each, and gathers the others' vectors. Each
then computes the loss of the whole batch, and backpropagates into its own slice. Summed over the processes,
the gradient is that of one process with the whole batch.
"""

import atexit
import os
from collections.abc import Collection
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def join() -> None:
    """Join the processes that torchrun started; alone otherwise."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(_part)


def _part() -> None:
    """Part from the others: a process that just ends can abort those that still listen."""
    if dist.is_initialized():
        dist.destroy_process_group()


def world_size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this process's number; 0 writes the files."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def own_slice(count: int) -> range:
    """Return which of `count` rows this process encodes: equal slices, the last may be short or empty."""
    size = -(-count // world_size())
    return range(min(rank() * size, count), min((rank() + 1) * size, count))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(parts, rows)
        ctx.size = len(rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Every process has the gradient of the same whole loss, so nothing has to travel back.
        return gradients[0][rank() * ctx.size : (rank() + 1) * ctx.size]


def gather(own: Tensor, count: int) -> Tensor:
    """Put the slices of all processes together, differentiably.

    Args:
        own: the rows of `own_slice(count)`, shape (own, dims).
        count: the number of rows in all.

    Returns:
        All rows, shape (count, dims).
    """
    if world_size() == 1:
        return own
    size = -(-count // world_size())
    padded = torch.cat([own, own.new_zeros(size - len(own), own.shape[1])])
    gathered: Tensor = _Gather.apply(padded.contiguous())  # type: ignore[no-untyped-call]
    return gathered[:count]


def sum_gradients(model: nn.Module) -> None:
    """Add up the processes' gradients.

    Parameters under `model.whole_batch_parameters` (names) have the whole gradient everywhere already.
    """
    if world_size() == 1:
        return
    complete: Collection[str] = getattr(model, "whole_batch_parameters", ())
    sparse: Collection[str] = getattr(model, "sparse_parameters", ())
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad or name in complete:
            continue
        if parameter.grad is None:  # this process had no rows
            parameter.grad = torch.zeros_like(parameter)
        whole = parameter.grad.to_dense()
        dist.all_reduce(whole)
        parameter.grad = whole.to_sparse(1).coalesce() if name in sparse else whole


def share(value: Any) -> Any:
    """Return the value that process 0 has."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


@torch.no_grad()
def share_weights(model: nn.Module) -> None:
    """Give every process the weights of process 0."""
    if world_size() > 1:
        for tensor in model.state_dict().values():
            dist.broadcast(tensor, 0)
