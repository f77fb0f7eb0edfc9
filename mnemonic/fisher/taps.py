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

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight
from torch.overrides import TorchFunctionMode

from mnemonic.fisher.squares import Squares, wide

# Positions up to which a CPU is faster with patches than with convolutions.
SMALL = 64


class Untapped(Exception):
    """The network does what taps cannot follow."""


class _Tap(torch.autograd.Function):
    """The identity on ``outputs``; its backward shows their gradient to ``see``.

    The anchor is a number that requires a gradient, so that backward comes by even
    where neither inputs nor weights require one.
    """

    @staticmethod
    def forward(ctx, outputs, inputs, anchor, see):
        ctx.save_for_backward(inputs)
        ctx.see = see
        ctx.mark_dirty(outputs)
        return outputs

    @staticmethod
    def backward(ctx, gradient):
        ctx.see(*ctx.saved_tensors, gradient)
        return gradient, None, None, None


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
        weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.parameters = weights
        self._names = {id(p): name for name, p in weights.items()}
        self._rules = {
            functional.linear: self._linear,
            functional.conv2d: self._conv2d,
            functional.batch_norm: self._batch_norm,
            functional.group_norm: self._group_norm,
            functional.layer_norm: self._layer_norm,
        }
        self.why_not = ""  # exact
        self.confirmed = False  # by a batch that begins with the single sample
        self._anchor = torch.zeros((), requires_grad=True)
        self._used: set[str] = set()
        self._inputs: list[Tensor] = []  # of each function, in the run of one sample
        self._n_compared = 0
        self._alike: list[Tensor] = []
        self._copies: dict[str, Tensor] = {}  # scale and shift, once a sample
        self._squares = Squares(weights)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Tap ``func`` if it has a rule and a trainable weight, else just call it."""
        kwargs = kwargs or {}
        rule = self._rules.get(func)
        if self.why_not or not rule:
            return func(*args, **kwargs)
        if not any(id(a) in self._names for a in (*args, *kwargs.values())):
            return func(*args, **kwargs)
        try:
            return rule(*args, **kwargs)
        except Untapped as error:
            if self.single:
                raise
            self.why_not = str(error)  # the run of one sample goes on without taps
            return func(*args, **kwargs)

    def finish(self, logits: Tensor) -> None:
        """Find out whether the taps are exact.

        Args:
            logits: What the network gave while they were active, ``[N, K]``.

        Raises:
            Untapped: If they are not. The run of one sample keeps it for those that
                are compared with it.
        """
        if self.single is None:
            self.logits = logits.detach()  # with its graph, which holds us, for ever
            if others := _weights_below(logits) & self._names.keys():
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
        """Σ_n (∂L_n/∂w)² for every trainable weight, by name.

        Args:
            loss: Sum of the samples' losses.

        Returns:
            Tensors of the parameters' shapes, in at least float32.

        Raises:
            Untapped: If backward did not come by a tap.
        """
        copies = list(self._copies.values())
        _, *gradients = torch.autograd.grad(
            loss, [self._anchor, *copies], allow_unused=True
        )
        for name, g in zip(self._copies, gradients, strict=True):
            if g is not None:
                self._squares.add_each(
                    name, g.view(self.n, *self.parameters[name].shape)
                )
        if missed := self._used - self._squares.names():
            raise Untapped(f"backward did not come by {missed.pop()}")
        return {name: self._squares.of(name) for name in self.parameters}

    # What goes in

    def _take(self, weight: Tensor | None) -> tuple[Tensor | None, str | None]:
        """The weight without a gradient, and its name; others as they are."""
        name = self._names.get(id(weight))
        if name is None:
            return weight, None
        if name in self._used:
            raise Untapped(f"{name} is used twice")
        self._used.add(name)
        return weight.detach(), name

    def _rows(self, x: Tensor) -> int:
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

    def _once(self, x: Tensor) -> None:
        if self._rows(x) != 1:
            raise Untapped("a sample is more than one image to this layer")

    def _copy(self, weight: Tensor | None) -> Tensor | None:
        """The weight [C] once a sample: [N · C]."""
        weight, name = self._take(weight)
        if weight is None:
            return None
        copies = weight.repeat(self.n, *[1] * (weight.ndim - 1))
        if name:
            self._copies[name] = copies.requires_grad_()
        return copies

    # The rules, with the signatures of the functions

    def _linear(self, x, weight, bias=None):
        self._rows(x)
        (weight, w), (bias, b) = self._take(weight), self._take(bias)

        def see(a: Tensor, g: Tensor) -> None:
            a = a.reshape(self.n, -1, a.shape[-1])  # [N, L, in]
            g = g.reshape(self.n, -1, g.shape[-1])  # [N, L, out]
            if w and a.shape[1] == 1:
                self._squares.add(w, wide(g[:, 0]).square().T @ wide(a[:, 0]) ** 2)
            elif w:
                self._squares.add_products(w, g.mT[:, None], a[:, None])
            if b:
                self._squares.add_each(b, g.sum(1))

        return self._tapped(functional.linear(x, weight, bias), x, see)

    def _conv2d(self, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        if isinstance(padding, str):
            raise Untapped(f"padding {padding!r} of a convolution")
        self._once(x)
        (weight, w), (bias, b) = self._take(weight), self._take(bias)
        how = {"stride": stride, "padding": padding, "dilation": dilation}

        def see(a: Tensor, g: Tensor) -> None:
            # A CPU's convolutions beat products of patches, except on small images.
            if w and a.is_cpu and g[0, 0].numel() > SMALL:
                for a_n, g_n in zip(a.split(1), g.split(1), strict=True):
                    each = conv2d_weight(a_n, weight.shape, g_n, **how, groups=groups)
                    self._squares.add_each(w, each[None])
            elif w:
                patches = functional.unfold(a, weight.shape[2:], **how)
                patches = patches.unflatten(1, (groups, -1)).mT  # [N, G, L, in · k²]
                g_by_group = g.flatten(2).unflatten(1, (groups, -1))  # [N, G, out, L]
                self._squares.add_products(w, g_by_group, patches)
            if b:
                self._squares.add_each(b, g.sum((2, 3)))

        y = functional.conv2d(x, weight, bias, groups=groups, **how)
        return self._tapped(y, x, see)

    def _batch_norm(
        self, x, running_mean, running_var, weight=None, bias=None, training=False,
        momentum=0.1, eps=1e-5,
    ):  # fmt: skip
        if training or running_mean is None:
            raise Untapped("normalisation by the statistics of the batch")
        self._once(x)  # N samples of C channels are one sample of N · C channels
        y = functional.batch_norm(
            x.reshape(1, -1, *x.shape[2:]), running_mean.repeat(self.n),
            running_var.repeat(self.n), self._copy(weight), self._copy(bias), eps=eps,
        )  # fmt: skip
        return _reshaped(y, x.shape)

    def _group_norm(self, x, num_groups, weight=None, bias=None, eps=1e-5):
        self._once(x)
        weight, bias = self._copy(weight), self._copy(bias)
        one = x.reshape(1, -1, *x.shape[2:])
        y = functional.group_norm(one, self.n * num_groups, weight, bias, eps)
        return _reshaped(y, x.shape)

    def _layer_norm(self, x, normalized_shape, weight=None, bias=None, eps=1e-5):
        self._rows(x)
        y = functional.layer_norm(x, normalized_shape, eps=eps)
        y = y.reshape(self.n, -1, *normalized_shape)
        for copies, combine in ((weight, torch.mul), (bias, torch.add)):
            if copies is not None:
                copies = self._copy(copies).view(self.n, 1, *normalized_shape)
                y = combine(y, copies)
        return y.reshape(x.shape)

    # What comes back

    def _tapped(self, y: Tensor, x: Tensor, see: Callable) -> Tensor:
        return _Tap.apply(y, x.detach(), self._anchor, see)


def _reshaped(fresh: Tensor, shape: torch.Size) -> Tensor:
    """A view that autograd takes for new: in-place ReLUs on others copy gradients."""
    return torch.ops.aten._unsafe_view(fresh, shape)


def _weights_below(output: Tensor) -> set[int]:
    """Ids of the leaves of the graph that ``output`` came from."""
    found, seen, todo = set(), set(), [output.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        todo += [below for below, _ in node.next_functions]
    return found
