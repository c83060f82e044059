"""Find numbers of a step that are not finite, and keep copies to undo it."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor


class BadStepError(ArithmeticError):
    """A loss, a gradient or a running statistic of a step is not finite; `what` names it.

    `undone` tells whether everything is as before the step. It is not if an optimiser that updates during the backward
    pass had updated some weights before it met the bad gradient.
    """

    def __init__(self, what: str, *, undone: bool) -> None:
        super().__init__(what)
        self.what, self.undone = what, undone


def find_bad(suspects: Mapping[str, Tensor], agree: Callable[[int], int] = int) -> str | None:
    """Return the name of the first scalar that is not finite, or None. Waits for the device once.

    `agree` returns the maximum over all ranks of a number, so that all ranks return the same name; they must use the
    same names.
    """
    finite = torch.stack([scalar.detach().float() for scalar in suspects.values()]).isfinite().tolist()
    last_first = [None, *reversed(list(suspects))]
    return last_first[agree(0 if all(finite) else len(finite) - finite.index(False))]


@torch.no_grad()
def keep_tensors(tensors: Sequence[Tensor], copies: list[Tensor]) -> Callable[[], None]:
    """Copy tensors; return a function that puts the copies back.

    `copies` are those of an earlier step, or empty: new memory in every step would take several times as long.
    """
    if [copy.shape for copy in copies] != [tensor.shape for tensor in tensors]:
        copies[:] = [torch.empty_like(tensor) for tensor in tensors]
    for copy, tensor in zip(copies, tensors, strict=True):
        copy.copy_(tensor)

    @torch.no_grad()
    def undo() -> None:
        for tensor, copy in zip(tensors, copies, strict=True):
            tensor.copy_(copy)

    return undo
