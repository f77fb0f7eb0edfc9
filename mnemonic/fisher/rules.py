"""How the functions that layers call are tapped, one rule a function.

Each rule has the signature of the function, after the taps that it works for.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from mnemonic.fisher.squares import wide

# Positions up to which a CPU is faster with patches than with convolutions.
SMALL = 64


class Untapped(Exception):
    """The network does what taps cannot follow."""


class _Tap(torch.autograd.Function):
    """The identity on ``outputs``; its backward shows their gradient to ``see``.

    The anchor requires a gradient, so that backward comes by where nothing else does.
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


def _linear(taps, x, weight, bias=None):
    taps.rows(x)
    (weight, w), (bias, b) = taps.take(weight), taps.take(bias)

    def see(a: Tensor, g: Tensor) -> None:
        a = a.reshape(taps.n, -1, a.shape[-1])  # [N, L, in]
        g = g.reshape(taps.n, -1, g.shape[-1])  # [N, L, out]
        if w and a.shape[1] == 1:
            taps.sums.add(w, wide(g[:, 0]).square().T @ wide(a[:, 0]) ** 2)
        elif w:
            taps.sums.add_products(w, g.mT[:, None], a[:, None])
        if b:
            taps.sums.add_each(b, g.sum(1))

    return _tapped(taps, functional.linear(x, weight, bias), x, see)


def _conv2d(taps, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    if isinstance(padding, str):
        raise Untapped(f"padding {padding!r} of a convolution")
    taps.once(x)
    (weight, w), (bias, b) = taps.take(weight), taps.take(bias)
    how = {"stride": stride, "padding": padding, "dilation": dilation}

    def see(a: Tensor, g: Tensor) -> None:
        # A CPU's convolutions beat products of patches, except on small images.
        if w and a.is_cpu and g[0, 0].numel() > SMALL:
            for a_n, g_n in zip(a.split(1), g.split(1), strict=True):
                each = conv2d_weight(a_n, weight.shape, g_n, **how, groups=groups)
                taps.sums.add_each(w, each[None])
        elif w:
            patches = functional.unfold(a, weight.shape[2:], **how)
            patches = patches.unflatten(1, (groups, -1)).mT  # [N, G, L, in · k²]
            g_by_group = g.flatten(2).unflatten(1, (groups, -1))  # [N, G, out, L]
            taps.sums.add_products(w, g_by_group, patches)
        if b:
            taps.sums.add_each(b, g.sum((2, 3)))

    y = functional.conv2d(x, weight, bias, groups=groups, **how)
    return _tapped(taps, y, x, see)


def _batch_norm(
    taps, x, running_mean, running_var, weight=None, bias=None, training=False,
    momentum=0.1, eps=1e-5,
):  # fmt: skip
    if training or running_mean is None:
        raise Untapped("normalisation by the statistics of the batch")
    taps.once(x)  # N samples of C channels are one sample of N · C channels
    y = functional.batch_norm(
        _in_one(x), running_mean.repeat(taps.n),
        running_var.repeat(taps.n), taps.copy(weight), taps.copy(bias), eps=eps,
    )  # fmt: skip
    return _reshaped(y, x.shape)


def _group_norm(taps, x, num_groups, weight=None, bias=None, eps=1e-5):
    taps.once(x)
    weight, bias = taps.copy(weight), taps.copy(bias)
    y = functional.group_norm(_in_one(x), taps.n * num_groups, weight, bias, eps)
    return _reshaped(y, x.shape)


def _layer_norm(taps, x, normalized_shape, weight=None, bias=None, eps=1e-5):
    taps.rows(x)
    y = functional.layer_norm(x, normalized_shape, eps=eps)
    y = y.reshape(taps.n, -1, *normalized_shape)
    for copies, combine in ((weight, torch.mul), (bias, torch.add)):
        if copies is not None:
            copies = taps.copy(copies).view(taps.n, 1, *normalized_shape)
            y = combine(y, copies)
    return y.reshape(x.shape)


def _in_one(x: Tensor) -> Tensor:
    """All samples as channels of one."""
    # One already: a view of it with other strides makes torch's backward wrong.
    return x if len(x) == 1 else x.reshape(1, -1, *x.shape[2:])


def _tapped(taps, y: Tensor, x: Tensor, see: Callable) -> Tensor:
    return _Tap.apply(y, x.detach(), taps.anchor, see)


def _reshaped(fresh: Tensor, shape: torch.Size) -> Tensor:
    """A view that autograd takes for new: in-place ReLUs on others copy gradients."""
    return torch.ops.aten._unsafe_view(fresh, shape)


RULES = {
    functional.linear: _linear,
    functional.conv2d: _conv2d,
    functional.batch_norm: _batch_norm,
    functional.group_norm: _group_norm,
    functional.layer_norm: _layer_norm,
}
