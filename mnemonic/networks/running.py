"""How a network is run: as it says, with other weights, or as a copy.

Example:
    >>> network = nn.Linear(2, 2)
    >>> network.seen = network(torch.ones(1, 2))  # of a graph: deepcopy refuses it
    >>> copied(network).seen.requires_grad
    False
"""

import contextlib
import copy
import sys
from collections.abc import Iterator
from types import CellType, FunctionType

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mnemonic.checks import checked_seed

HALF = (torch.float16, torch.bfloat16)


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode and give each its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with undisturbed(), _eager():
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Compute with gradients and in the type of the weights, whatever the caller is in.

    Autocast would keep its casts of weights that move, inference mode knows no graph.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                off = torch.autocast(kind, enabled=False, cache_enabled=False)
                stack.enter_context(off)
        yield


def _eager() -> contextlib.AbstractContextManager:
    """Without compiled code, which neither hooks nor taps see."""
    if "torch._dynamo" not in sys.modules:  # a second to import; nothing is compiled
        return contextlib.nullcontext()
    return torch.compiler.set_stance("force_eager")


def taken(model: nn.Module, inputs: Tensor) -> Tensor:
    """A copy of inputs, which the network may change, in the type of its weights."""
    kinds = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    own = (p.dtype for p in model.parameters() if p.dtype in kinds)
    wanted = next(own, inputs.dtype) if inputs.dtype in kinds else inputs.dtype
    return inputs.to(wanted, copy=True)


def copied(model: nn.Module) -> nn.Module:
    """A copy that shares no weight with the network.

    Args:
        model: May keep tensors of a graph, which are copied as plain values; locks and
            the like, which are shared; and a forward or hooks that hold it.

    Returns:
        The copy, in the same mode.

    Raises:
        ValueError: If it is none, or has what can neither be copied nor shared.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"the network is {model!r}; give a torch.nn.Module")
    memo, closures = {}, []
    for layer in model.modules():
        hooks = layer._forward_pre_hooks | layer._forward_hooks
        for function in (*vars(layer).values(), *hooks.values()):
            if isinstance(function, FunctionType) and _holds_network(function):
                cells = tuple(CellType() for _ in function.__closure__)
                memo[id(function)] = _with_cells(function, cells)
                closures += zip(function.__closure__, cells, strict=True)
    try:
        made = copy.deepcopy(model, known := dict(memo))
    except Exception:
        _prepare(model, memo, set())
        try:
            made = copy.deepcopy(model, known := dict(memo))
        except Exception as error:
            raise ValueError(
                f"{type(model).__name__} cannot be copied ({error}); do not keep that "
                "on it, or define __deepcopy__"
            ) from error
    for old, new in closures:
        held = _held(old)
        new.cell_contents = copy.deepcopy(held, known) if _is_of(held) else held
    for weight in made.parameters():
        if not weight.is_leaf:  # torch.jit copies within the graph
            weight.detach_().requires_grad_()
    return made


def in_float32(model: nn.Module) -> nn.Module:
    """The network itself, or a copy in float32 where a weight is in half precision."""
    if all(p.dtype not in HALF for p in model.parameters()):
        return model
    return copied(model).float()


def run_with(model: nn.Module, weights: dict[str, Tensor], inputs: Tensor) -> Tensor:
    """Logits of a network with other weights, given by parameter name."""
    names, placed = {id(p): name for name, p in model.named_parameters()}, {}
    for module, layer in model.named_modules():  # each layer once, under one name
        for name, p in layer.named_parameters(module, recurse=False):
            if names[id(p)] in weights:
                placed[name] = weights[names[id(p)]]
    # tie_weights would spoil the weights of a layer that stands there twice.
    return functional_call(model, placed, (inputs,), tie_weights=False)


def _is_of(content: object) -> bool:
    """Whether it is a layer, or a method of one."""
    return isinstance(getattr(content, "__self__", content), nn.Module)


def _holds_network(function: FunctionType) -> bool:
    """Whether a function would call layers of the old network from the copy."""
    return any(_is_of(_held(cell)) for cell in function.__closure__ or ())


def _held(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _with_cells(function: FunctionType, cells: tuple[CellType, ...]) -> FunctionType:
    code, space, name = function.__code__, function.__globals__, function.__name__
    made = FunctionType(code, space, name, function.__defaults__, cells)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _prepare(thing: object, memo: dict[int, object], seen: set[int]) -> None:
    """Enter plain values of tensors of a graph, and what is to be shared."""
    thing = getattr(thing, "__self__", thing)  # of a method
    if id(thing) in seen or isinstance(thing, (str, FunctionType, type)):
        return
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        if not thing.is_leaf:
            memo[id(thing)] = thing.detach().clone()
        return
    inside = thing.values() if isinstance(thing, dict) else ()
    inside = thing if isinstance(thing, (list, tuple, set)) else inside
    inside = [*inside, *getattr(thing, "__dict__", {}).values()]
    for value in inside:
        _prepare(value, memo, seen)
    if not inside:
        try:
            copy.deepcopy(thing)
        except Exception:  # a lock
            memo[id(thing)] = thing


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator, for code that knows no other, and restore it."""
    with torch.random.fork_rng():
        torch.manual_seed(checked_seed(seed))
        yield


def double(values: Tensor) -> Tensor:
    """The values in float64; on the CPU where they are on an Apple GPU, without it."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given, so that a clock tells truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
