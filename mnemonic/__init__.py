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

import os

# Threads that wait for work sleep instead of spinning: on a busy machine, spinning
# ones slow each other down tenfold. It counts where torch is not loaded yet.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from mnemonic import exercises, figures, plots, results
from mnemonic.audits import audit
from mnemonic.baselines import METHODS, Access, Unlearned
from mnemonic.checkpoints import trained
from mnemonic.codes import DISTRIBUTIONS, MnemonicCodes
from mnemonic.data import ImageData
from mnemonic.evaluation import Scores, evaluate
from mnemonic.experiments import mean_sd, plus_minus, run_grid
from mnemonic.fisher import FisherError, compare_fishers, diagonal_fisher
from mnemonic.forgetting import Forgotten, amplitude, forget, forget_from_data
from mnemonic.models import build_model
from mnemonic.profiles import Profile
from mnemonic.sources import DATA_SETS, is_here, load_data
from mnemonic.strengths import Strength, step_scales
from mnemonic.tables import table
from mnemonic.training import History, Recipe, train

__version__ = "0.1.0"

__all__ = [
    "DATA_SETS",
    "DISTRIBUTIONS",
    "METHODS",
    "Access",
    "FisherError",
    "Forgotten",
    "History",
    "ImageData",
    "MnemonicCodes",
    "Profile",
    "Recipe",
    "Scores",
    "Strength",
    "Unlearned",
    "amplitude",
    "audit",
    "build_model",
    "compare_fishers",
    "diagonal_fisher",
    "evaluate",
    "exercises",
    "figures",
    "forget",
    "forget_from_data",
    "is_here",
    "load_data",
    "mean_sd",
    "plots",
    "plus_minus",
    "results",
    "run_grid",
    "step_scales",
    "table",
    "train",
    "trained",
]
