"""One signature for every way to forget, and the registry of them all.

    METHODS["ssd"](model, access, seed=0, alpha=10.0) -> Unlearned

The network given is left as it was. A method sees the data through an ``Access`` that
holds what it declares; what it read and computed is in the result.
"""

import inspect
import time
from collections.abc import Callable, Set
from dataclasses import dataclass, field

import torch
from torch import nn

from mnemonic.baselines.access import Access
from mnemonic.baselines.counting import Counts, counted
from mnemonic.baselines.space import Range
from mnemonic.networks.asked import check_loss, check_outputs, device_of
from mnemonic.networks.running import copied, seeded, synchronise, taken
from mnemonic.storage import generator_for


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
        rule: The function ``(model, access, **settings) -> network``, which may
            change the network that it is given.
        title: For tables and figures.
        cites: Keys of the bibliography.
        reads: Kinds of training data it reads when it forgets; none is data-free.
        space: For each setting that is searched, where.
        economy: Settings below the published, without which a comparison would take
            hours: part of every trial.
        preparation: Training of its own: ``(access, seed) -> network``; else plain
            training by the access's recipe.
        codes: Distribution of the codes it trains with, if it does.
    """

    name: str
    rule: Callable[..., nn.Module]
    title: str
    cites: tuple[str, ...] = ()
    reads: Set[str] = frozenset()
    space: dict[str, Range] = field(default_factory=dict)
    economy: dict[str, object] = field(default_factory=dict)
    preparation: Callable[[Access, int], nn.Module] | None = None
    codes: str | None = None

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
        return access.trained(access.images("forget", "remaining"), seed)

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
        if strange := settings.keys() - self.defaults.keys():
            raise ValueError(
                f"{self.name} has no setting {', '.join(sorted(strange))}; it has "
                f"{', '.join(self.defaults) or 'none'}; leave out what it has not"
            )
        if not isinstance(access, Access):
            raise ValueError(f"access is a {type(access).__name__}; give an Access")
        device = device_of(model)
        probe = torch.zeros(2, *access.data.input_shape, device=device)
        if (dtype := taken(model, probe).dtype) != probe.dtype:
            raise ValueError(
                f"the network is in {dtype}, and methods compute in float32; give "
                "model.float(), and cast what comes back"
            )
        tried = copied(model)  # whoever watches the network sees nothing
        logits = check_outputs(tried, probe, access.n_classes, gradients=True)
        check_loss(tried, logits)
        del tried, logits
        narrowed = access.recounted().only(self.reads)
        narrowed.seed = seed
        narrowed.generator = generator_for(self.name, seed, device)
        working = copied(model).eval()
        synchronise(device)
        started = time.perf_counter()
        with counted(narrowed.counts), seeded(seed):
            changed = self.rule(working, narrowed, **settings)
        synchronise(device)
        seconds = time.perf_counter() - started
        return Unlearned(changed.eval(), access.classes, seconds, narrowed.counts)


METHODS: dict[str, Method] = {}


def method(name: str, **about: object) -> Callable[[Callable[..., nn.Module]], Method]:
    """Enter a rule into ``METHODS``; ``about`` it are the attributes of ``Method``."""

    def enter(rule: Callable[..., nn.Module]) -> Method:
        METHODS[name] = Method(name, rule, **about)
        return METHODS[name]

    return enter
