"""Adam for a word table, of which a batch touches a few rows."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class RowAdam(Optimizer):
    """Adam that touches only the rows with a gradient, so that a step costs what its batch costs.

    A table of 60,000 words is 60 MB; plain Adam moves seven times that at every step. Rows without a
    gradient keep their moments, so a rare word does not drift on after its batch.

    Source: "lazy" Adam, as in torch.optim.SparseAdam, which goes the long way through sparse tensors.
    """

    def __init__(
        self, params: list[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float = 1e-8
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the rows that the coalesced sparse gradients name."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._update(table, table.grad, group)

    def _update(self, table: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[table]
        if not state:
            state["step"] = torch.tensor(0.0)
            if group["betas"][0]:
                state["first"] = torch.zeros_like(table)
            state["second"] = torch.zeros_like(table)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        step = float(state["step"])
        rows, values = gradient.indices()[0], gradient.values()
        first = values
        if beta1:
            first = state["first"].index_select(0, rows).lerp_(values, 1 - beta1)
            state["first"].index_copy_(0, rows, first)
        second = state["second"].index_select(0, rows).mul_(beta2).addcmul_(values, values, value=1 - beta2)
        state["second"].index_copy_(0, rows, second)
        spread = second.div_(1 - beta2**step).sqrt_().add_(group["eps"])
        table.index_add_(0, rows, first / spread, alpha=-group["lr"] / (1 - beta1**step))
