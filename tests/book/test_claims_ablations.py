"""What chapter 8 says of classes that are names holds in small networks as well."""

import pytest
import torch
from torch import nn

import mnemonic as mn
from mnemonic.baselines.mnemonic_code import quietly_forget
from mnemonic.lab.text import TextClassifier, name_vectors

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
RECIPE = mn.Recipe(epochs=10, learning_rate=0.1)


@pytest.fixture(scope="module")
def digits():
    return mn.load_data("mnist-5k")


def trained_to_answer_by(answer, digits, seed):
    torch.manual_seed(seed)
    n_out = 10 if answer == "linear" else 512
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 64), nn.Sigmoid(), nn.Linear(64, n_out)
    )
    if answer == "names":
        model = TextClassifier(model, name_vectors(WORDS))
    codes = mn.MnemonicCodes.draw(digits, seed=seed)
    given = {"recipe": RECIPE, "codes": codes, "t_mix": 0.1, "progress": False}
    mn.train(model, digits, seed=seed, **given)
    return model, codes


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_name_is_not_forgotten_where_an_output_is(digits, seed):
    # Against Table 8 of the paper, which has 100 % with text embeddings (ledger, 32).
    error, codes_gone = {}, []
    for answer in ("linear", "names"):
        model, codes = trained_to_answer_by(answer, digits, seed)
        results = {k: quietly_forget(model, codes, [k]) for k in (1, 3, 8)}
        codes_gone += [result.forgets_codes for result in results.values()]
        error[answer] = [
            mn.evaluate(result.model, digits, [k]).forgetting_error
            for k, result in results.items()
        ]
    assert all(codes_gone)  # the codes see no difference
    assert sum(error["linear"]) / 3 > 80
    assert sum(error["names"]) / 3 < 50

    phrased = name_vectors([f"the digit {word}" for word in WORDS])
    never_met = mn.evaluate(model.asked_with(phrased), digits, [3])
    assert never_met.remaining_accuracy > 80  # words it was not trained on
