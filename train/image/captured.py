"""A training step recorded once as a CUDA graph: its thousands of small kernels take less time than their launches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Update = Callable[[Tensor, Tensor], Tensor]
"""Crops and levels to the loss []; moves the weights."""
EAGER = 3
"""Updates that run as they are: libraries choose their kernels and optimizers make their buffers in them."""


class Captured:
    """An update that is replayed from the fourth call on.

    All that changes from call to call are its arguments, the state of CUDA's random generator, and tensors that the
    update reads, such as a learning rate: numbers of Python are recorded as they were.
    """

    def __init__(self, update: Update) -> None:
        """Takes an update of weights on a CUDA device that does not wait for the device anywhere."""
        self.update, self.calls = update, 0
        self.graph = torch.cuda.CUDAGraph()
        self.arguments: tuple[Tensor, Tensor] | None = None
        self.loss: Tensor | None = None

    def __call__(self, image: Tensor, level: Tensor) -> Tensor:
        """The loss; shapes must stay the same."""
        self.calls += 1
        if self.calls <= EAGER:
            return self._apart(image, level)
        if self.arguments is None or self.loss is None:
            self.arguments = image.clone(), level.clone()
            with torch.cuda.graph(self.graph):
                self.loss = self.update(*self.arguments)
        for place, value in zip(self.arguments, (image, level), strict=True):
            place.copy_(value)
        self.graph.replay()
        return self.loss

    def _apart(self, image: Tensor, level: Tensor) -> Tensor:
        """The update on a stream of its own, as recording will run it: so torch asks for it."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loss = self.update(image, level)
        torch.cuda.current_stream().wait_stream(stream)
        return loss
