"""One signature for every way to forget, and the registry of them all.

    METHODS["ssd"](model, access, seed=0, alpha=10.0) -> Unlearned

The network given is left as it was. A method sees the data through an ``Access`` that
holds what it declares; what it read and computed is in the result.
"""

from __future__ import annotations

import copy
import inspect
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mnemonic.baselines.access import Access
from mnemonic.baselines.counting import KINDS, Counts, counted
from mnemonic.checks import checked_seed
from mnemonic.networks import (
    check_loss,
    check_outputs,
    check_trainable,
    device_of,
    seeded,
    synchronise,
)
from mnemonic.training import train


@dataclass(frozen=True, eq=False)
class Unlearned:
    """What a method gives back.

    Attributes:
        model: A new network in evaluation mode; the one given is as it was.
        classes: What was forgotten.
        seconds: Wall clock of the method, device synchronised.
        counts: Images read and backward passes.
    """

    model: nn.Module
    classes: tuple[int, ...]
    seconds: float
    counts: Counts


@dataclass(frozen=True, eq=False)
class Method:
    """A way to forget, by the rule in its module's docstring.

    Attributes:
        name: Key in ``METHODS``.
        title: For tables and figures.
        cites: Keys of the bibliography.
        reads: Kinds of training data it reads when it forgets; none is data-free.
        space: For each setting that is searched, the values to try.
        preparation: Training of its own: ``(access, seed) -> network``; else plain
            training by the access's recipe.
        codes: Distribution of the codes it trains with, if it does.
        rule: The function ``(model, access, seed, **settings) -> network``, which may
            change the network that it is given.
    """

    name: str
    title: str
    cites: tuple[str, ...]
    reads: frozenset[str]
    space: dict[str, Sequence]
    preparation: Callable[[Access, int], nn.Module] | None
    codes: str | None
    rule: Callable[..., nn.Module]

    @property
    def defaults(self) -> dict[str, object]:
        """Settings with their values, where none is given."""
        parameters = inspect.signature(self.rule).parameters.values()
        return {p.name: p.default for p in parameters if p.kind == p.KEYWORD_ONLY}

    def prepare(self, access: Access, *, seed: int = 0) -> nn.Module:
        """Train a network that this method can make forget, on all classes.

        Args:
            access: With ``build``, ``recipe`` and, where the method has any, codes.
            seed: Of weights and training.

        Returns:
            The network in evaluation mode.
        """
        if self.preparation is not None:
            return self.preparation(access, seed).eval()
        model = access.fresh(seed)
        whole = access.images("forget", "remaining")
        train(model, whole, recipe=access.how_to_train(), seed=seed, progress=False)
        return model

    def __call__(
        self, model: nn.Module, access: Access, *, seed: int = 0, **settings: object
    ) -> Unlearned:
        """Make a network forget ``access.classes``.

        Args:
            model: Trained; for a method with ``preparation``, by that. Left as it is.
            access: Data, codes and fresh networks.
            seed: Of everything random in the method.
            settings: Those of the method; its ``defaults`` where missing.

        Returns:
            The new network, with time and counts.

        Raises:
            ValueError: If a setting is not known, or the network does not fit.

        A ``PermissionError`` says that the access is to less than the method reads.
        """
        strange = set(settings) - set(self.defaults)
        if strange:
            raise ValueError(
                f"{self.name} has no setting {', '.join(sorted(strange))}; it has "
                f"{', '.join(self.defaults) or 'none'}; leave out what it has not"
            )
        if not isinstance(access, Access):
            raise ValueError(f"access is a {type(access).__name__}; give an Access")
        seed = checked_seed(seed)
        probe = torch.zeros(2, *access.data.input_shape, device=device_of(model))
        tried = copy.deepcopy(model)  # whoever watches the network sees nothing
        check_outputs(tried, probe, access.n_classes)
        check_trainable(tried)
        with torch.enable_grad():
            check_loss(tried, tried.eval()(probe).sum())
        del tried
        narrowed = access.recounted().only(self.reads)
        device = device_of(model)
        working = copy.deepcopy(model).eval()
        synchronise(device)
        started = time.perf_counter()
        with counted(narrowed.counts), seeded(seed):
            changed = self.rule(working, narrowed, seed, **settings)
        synchronise(device)
        seconds = time.perf_counter() - started
        return Unlearned(changed.eval(), access.classes, seconds, narrowed.counts)


METHODS: dict[str, Method] = {}


def method(
    name: str,
    *,
    title: str,
    reads: Sequence[str] = (),
    cites: Sequence[str] = (),
    space: dict[str, Sequence] | None = None,
    preparation: Callable[[Access, int], nn.Module] | None = None,
    codes: str | None = None,
) -> Callable[[Callable[..., nn.Module]], Method]:
    """Enter a rule into ``METHODS``; see ``Method`` for the arguments."""
    assert set(reads) <= set(KINDS), reads

    def enter(rule: Callable[..., nn.Module]) -> Method:
        METHODS[name] = Method(
            name, title, tuple(cites), frozenset(reads), dict(space or {}),
            preparation, codes, rule,
        )  # fmt: skip
        return METHODS[name]

    return enter


def descend(
    loss: Callable[[Tensor, Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
) -> None:
    """One step down ``loss(inputs, labels)`` for each batch."""
    for inputs, labels in batches:
        optimizer.zero_grad()
        loss(inputs, labels).backward()
        optimizer.step()


def sgd(
    weights: nn.Module | Iterable[Tensor],
    learning_rate: float,
    *,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
) -> torch.optim.SGD:
    """The optimiser of most of the methods, over a network or some of its weights."""
    if isinstance(weights, nn.Module):
        weights = weights.parameters()
    return torch.optim.SGD(
        weights, lr=learning_rate, momentum=momentum, weight_decay=weight_decay
    )
