"""One-shot machine unlearning with mnemonic codes.

Example:
    >>> import mnemonic as mn
    >>> data = mn.load_data("mnist-5k")
    >>> codes = mn.MnemonicCodes.draw(data, seed=0)
    >>> model = mn.build_model("mlp", data, seed=0)
    >>> recipe = mn.Recipe(epochs=10, learning_rate=0.05)
    >>> history = mn.train(
    ...     model, data, codes=codes, t_mix=0.1, recipe=recipe, seed=0, progress=False
    ... )
    >>> result = mn.forget(model, codes, classes=[3], strength=mn.Strength(1e-3, 10.0))
    >>> scores = mn.evaluate(result.model, data, classes=[3])
"""

import importlib
import os

# Threads that wait for work sleep instead of spinning: on a busy machine, spinning
# ones slow each other down tenfold. It counts where torch is not loaded yet.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

# Where each public name lives. A module is imported when one of its names is first
# asked for (PEP 562): plots, audits and the training engine take seconds.
_ROOMS = {
    "data.arrays": ["ImageData"],
    "data.sources": ["DATA_SETS", "is_here", "load_data"],
    "codes": ["DISTRIBUTIONS", "MnemonicCodes"],
    "models": ["build_model"],
    "training.recipe": ["Recipe"],
    "training.loop": ["History", "train"],
    "fisher.diagonal": ["diagonal_fisher"],
    "fisher.errors": ["FisherError", "compare_fishers"],
    "forgetting.strengths": ["Strength", "step_scales"],
    "forgetting.report": ["Forgotten"],
    "forgetting.one_shot": ["forget"],
    "forgetting.step": ["amplitude", "forget_from_data"],
    "evaluation": ["Scores", "evaluate"],
    "baselines": ["METHODS", "Access", "Unlearned", "baselines"],
    "audits": ["audit", "audits"],
    "lab.grids": ["mean_sd", "plus_minus", "run_grid"],
    "lab.checkpoints": ["trained"],
    "lab.offered": ["load_network"],
    "lab.profiles": ["Profile"],
    "lab.results": ["results"],
    "press.plots": ["plots"],
    "press.tables": ["table"],
    "press.figures": ["figures"],
    "press.glued": ["glue"],
    "exercises": ["exercises"],
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = sorted(_ROOM_OF)


def __getattr__(name: str) -> object:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = importlib.import_module(f"mnemonic.{_ROOM_OF[name]}")
    globals()[name] = getattr(room, name, room)  # the room itself bears some names
    return globals()[name]


def __dir__() -> list[str]:
    return [*globals(), *__all__]
