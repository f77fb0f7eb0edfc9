"""Squared gradients of every sample out of one batched forward and backward.

Where a weight is used once, its gradient for sample n is a product of what went into
the layer, a_n, and of the loss's gradient by what came out, g_n. A *tap* behind the
layer catches g during an ordinary backward pass that skips the weights themselves:

    linear, one position     Σ_n (g_n a_nᵀ)² = (g²)ᵀ a², one product for all samples
    linear, L positions      Σ_n (Σ_l g_nl a_nlᵀ)², one product a sample
    convolution              the same, with the patches of the image as positions
    normalisation            scale and shift copied once a sample: backward tells apart

Taps catch the functions of torch that layers call, not the layers, so that it does not
matter who calls them. They are exact under four conditions. Each is checked, and
``Untapped`` is raised where one fails: every trainable weight goes into one such
function, once, and into nothing else; samples lie one after another along the first
axis; no sample changes what another one sees (batch statistics would).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mnemonic.fisher.rules import RULES, Untapped
from mnemonic.fisher.squares import Squares, trainable


class Taps(TorchFunctionMode):
    """While active, the functions that hold a trainable weight are tapped.

    Args:
        model: In evaluation mode.
        n: Number of samples N that go through it.
        single: Taps of a run on the first sample alone, to compare with.
    """

    def __init__(self, model: nn.Module, n: int, single: Taps | None = None):
        super().__init__()
        if single and single.why_not:
            raise Untapped(single.why_not)
        self.n, self.single = n, single
        weights = trainable(model)
        self.parameters = weights
        self._names = {id(p): name for name, p in weights.items()}
        self.why_not = ""  # exact
        self.confirmed = False  # by a batch that begins with the single sample
        self.anchor = torch.zeros((), device="cpu", requires_grad=True)
        self._used: set[str] = set()
        self._inputs: list[Tensor] = []  # of each function, in the run of one sample
        self._n_compared = 0
        self._alike: list[Tensor] = []
        self._copies: dict[str, Tensor] = {}  # scale and shift, once a sample
        self.sums = Squares(weights)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Tap ``func`` if it has a rule and a trainable weight, else just call it."""
        kwargs = kwargs or {}
        rule = RULES.get(func)
        if self.why_not or not rule:
            return func(*args, **kwargs)
        if not any(id(a) in self._names for a in (*args, *kwargs.values())):
            return func(*args, **kwargs)
        try:
            return rule(self, *args, **kwargs)
        except Untapped as error:
            if self.single:
                raise
            self.why_not = str(error)  # the run of one sample goes on without taps
            return func(*args, **kwargs)

    def finish(self, logits: Tensor) -> None:
        """Raise ``Untapped`` if the taps are not exact, as the logits [N, K] show."""
        # The run of one sample keeps it for those that are compared with it.
        if self.single is None:
            self.logits = logits.detach()  # with its graph, which holds us, for ever
            below = {id(weight) for weight in weights_below(logits)}
            if others := below & self._names.keys():
                name = self._names[others.pop()]
                self.why_not = self.why_not or f"{name} is used in other ways as well"
            return
        if self.single.confirmed:
            return  # by the chunk that began with the same sample
        self._compare(logits, self.single.logits)
        if not torch.stack(self._alike).all():
            raise Untapped("a sample gives something else alone than in a batch")
        self.single.confirmed = True

    def squares(self, loss: Tensor) -> dict[str, Tensor]:
        """Σ_n (∂L_n/∂w)² for every trainable weight, by name; ``loss`` is Σ_n L_n."""
        copies = list(self._copies.values())
        _, *gradients = torch.autograd.grad(
            loss, [self.anchor, *copies], allow_unused=True
        )
        for name, g in zip(self._copies, gradients, strict=True):
            if g is not None:
                self.sums.add_each(name, g.view(self.n, *self.parameters[name].shape))
        if missed := self._used - self.sums.names():
            raise Untapped(f"backward did not come by {missed.pop()}")
        return {name: self.sums.of(name) for name in self.parameters}

    # What goes in

    def take(self, weight: Tensor | None) -> tuple[Tensor | None, str | None]:
        """The weight without a gradient, and its name; others as they are."""
        name = self._names.get(id(weight))
        if name is None:
            return weight, None
        if name in self._used:
            raise Untapped(f"{name} is used twice")
        self._used.add(name)
        return weight.detach(), name

    def rows(self, x: Tensor) -> int:
        """Rows of ``x`` a sample; they must be the same in the run of one sample."""
        if self.single is None:
            self._inputs.append(x.detach())
            return len(x)
        if self._n_compared == len(self.single._inputs):
            raise Untapped("a sample takes another path alone than in a batch")
        one = self.single._inputs[self._n_compared]
        self._n_compared += 1
        if x.shape != (self.n * len(one), *one.shape[1:]):
            raise Untapped("samples do not lie along the first axis")
        if not self.single.confirmed:
            self._compare(x, one)
        return len(one)

    def _compare(self, batch: Tensor, one: Tensor) -> None:
        """Note whether the batch begins with the sample, up to rounding."""
        with torch.no_grad():
            apart = torch.linalg.vector_norm(batch[: len(one)] - one)
            rounding = torch.finfo(one.dtype).eps ** 0.5
            self._alike.append(apart <= rounding * torch.linalg.vector_norm(one))

    def once(self, x: Tensor) -> None:
        """A sample must be one image to the function."""
        if self.rows(x) != 1:
            raise Untapped("a sample is more than one image to this layer")

    def copy(self, weight: Tensor | None) -> Tensor | None:
        """The weight [C] once a sample: [N · C]."""
        weight, name = self.take(weight)
        if weight is None:
            return None
        copies = weight.repeat(self.n, *[1] * (weight.ndim - 1))
        if name:
            self._copies[name] = copies.requires_grad_()
        return copies


def weights_below(output: Tensor) -> list[Tensor]:
    """The leaves of the graph that ``output`` came from."""
    found, seen, todo = [], set(), [output.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        todo += [below for below, _ in node.next_functions]
    return found
