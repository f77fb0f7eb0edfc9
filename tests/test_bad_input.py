"""What is given may be anything: the answer is a result, or an error that helps.

Each public function is called with one or two of its arguments replaced: by things of
another type, shape or dtype, by NaN and infinities, by nothing and by far too much.
Allowed are a result and the exceptions that its docstring names, with a message that
says what to do; networks, codes and data stay as they were.
"""

import builtins
import copy
import inspect
import math
import os
import re
import shutil
import types
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import mnemonic as mn
from mnemonic import audits
from mnemonic.forgetting.on_codes import code_logits
from mnemonic.storage import digest

EXAMPLES = int(os.environ.get("MNEMONIC_EXAMPLES", "15"))  # many in make soak
RESULTS = Path(__file__).parents[1] / "book" / "results"
WAY_OUT = re.compile(
    r"\b(add|ask|build|choose|convert|copy|draw|fetch|find|get|give|install|leave|load|"
    r"lay|make|must|name|needs|number|permute|put|remove|restore|say|set|take|train|"
    r"unpack|wrap|write)\b",
    flags=re.I,
)


def pair(n, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((n, 1, 6, 6), generator=generator), torch.arange(n) % 3


def network(out=3, inputs=36, dtype=torch.float32):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = nn.Sequential(
            nn.Flatten(), nn.Linear(inputs, 5), nn.Tanh(), nn.Linear(5, out)
        )
    return made.to(dtype)


def with_weight(value):
    model = network()
    with torch.no_grad():
        model[1].weight[0, 0] = value
    return model


def frozen():
    return network().requires_grad_(False)


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, x):
        return self.inner(x).detach()


class Failing(nn.Module):
    def forward(self, x):
        raise KeyError("of its own")


GOOD = mn.ImageData.from_arrays(
    train=pair(45, 0), test=pair(15, 1), class_names=["a", "b", "c"]
)
OTHER = mn.ImageData.from_arrays(
    train=(torch.rand(20, 3, 8, 8), torch.arange(20) % 2),
    test=(torch.rand(6, 3, 8, 8), torch.arange(6) % 2),
    class_names=["x", "y"],
)
CODES = mn.MnemonicCodes.draw(GOOD)
HALF = mn.MnemonicCodes(CODES.images.half(), CODES.class_names, 0, "uniform")
STRIDED = mn.MnemonicCodes(
    torch.rand(3, 1, 12, 12)[..., ::2, ::2], CODES.class_names, 0, "uniform"
)
MODEL = network().eval()
NOWHERE = network().to("meta")
ETA = {n: torch.ones_like(p).double() for n, p in MODEL.named_parameters()}
ONE = torch.rand(9, 4, generator=torch.Generator().manual_seed(2))
LOGITS = torch.rand(2, 3, 9, 4, generator=torch.Generator().manual_seed(3))
FRAME = pd.DataFrame({"g": [1, 1, 2], "v": [1.0, 2.0, 3.0], "v_sd": [0.1, 0.2, 0.3]})

NOTHING = (None, "", [], (), {}, set())
NUMBERS = (0, 1, 2, 3, -1, 10**30, -(10**30), 2**63, 0.5, -0.0, 1e308, 5e-324)
NOT_FINITE = (math.nan, math.inf, -math.inf, complex(1, 2), np.float32("nan"))
OTHERS = (
    True,
    "3",
    b"3",
    object(),
    print,
    "a" * 5000,
    [[]],
    [None],
    {"a": 1},
    range(9),
)
CLASSES = (
    [3], [-1], [0, 0], [0, 1, 2], [0.0], [0.5], [math.nan], ["a"], [None], [True], {1},
    np.array([1]), torch.tensor([2]), torch.tensor(1), [torch.tensor(1)], range(2),
    [10**20], "1", iter([1]), [[1]],
)  # fmt: skip
MODELS = (
    NOWHERE, network(), network(2), network(4), network(inputs=12), frozen(),
    Detached(), Failing(), with_weight(math.nan), with_weight(math.inf),
    with_weight(1e30), network(dtype=torch.float16), network(dtype=torch.bfloat16),
    network(dtype=torch.float64), nn.Identity(), nn.Flatten(), nn.Sequential(),
    nn.Module, nn.Linear(36, 3), nn.Conv2d(1, 3, 3),
)  # fmt: skip
TENSORS = (
    torch.zeros(0), torch.zeros(0, 1, 6, 6), torch.rand(3), torch.rand(3, 36),
    torch.rand(3, 1, 6, 6), torch.rand(3, 1, 6, 6).half(),
    torch.rand(3, 1, 6, 6).double(), torch.rand(3, 1, 6, 6).bfloat16(),
    torch.rand(3, 1, 12, 12)[..., ::2, ::2],
    torch.full((3, 1, 6, 6), math.nan), torch.full((3, 1, 6, 6), math.inf),
    torch.full((3, 1, 6, 6), 1e38), torch.zeros(3, 1, 6, 6, dtype=torch.uint8),
    torch.zeros(3, 1, 6, 6, dtype=torch.int64), torch.zeros(3, dtype=torch.complex64),
    torch.tensor([0, 1, 2]), torch.tensor([0, 1, 3]), torch.tensor([-1, 0, 1]),
    torch.tensor([0.0, 1.0, 2.0]), torch.tensor([True, False, True]), torch.tensor(1),
    torch.tensor([0, 1, 2], dtype=torch.int32), torch.rand(3, 3, 6, 6),
    np.zeros((3, 36)), torch.rand(9, 4), torch.rand(4, 9).t(),
    torch.rand(9, 4, dtype=torch.float64),
    torch.rand(1, 4), torch.rand(9, 4).half(), torch.full((9, 4), math.nan),
)  # fmt: skip
DATA = (OTHER, GOOD.train, GOOD.without([1]), (GOOD,), mn.ImageData)
FRAMES = (FRAME, FRAME[:0], FRAME[["v"]], FRAME.to_numpy(), FRAME["v"], "frame")
JUNK = (*NOTHING, *NUMBERS, *NOT_FINITE, *OTHERS, *CLASSES[:6], MODEL, CODES, GOOD, ONE)

FITTING = {  # what comes near to each argument
    "model": MODELS, "original": MODELS, "other": MODELS, "network": MODELS,
    "reference": (*MODELS, [], [MODEL, None], [network(2)]),
    "references": ([], [None], [network(2)], [MODEL] * 2, MODEL),
    "data": DATA, "codes": (HALF, STRIDED, CODES.images, mn.MnemonicCodes.draw(OTHER)),
    "classes": CLASSES, "inputs": TENSORS, "labels": TENSORS, "one": TENSORS,
    "two": TENSORS, "images": TENSORS, "code": TENSORS, "logits": TENSORS,
    "random_logits": TENSORS,
    "unlearned": (*TENSORS, *LOGITS, LOGITS[0, :2]), "retrained": (*TENSORS, *LOGITS),
    "train": [(a, b) for a in TENSORS for b in TENSORS[-17:-6]],
    "test": [(a, b) for a in TENSORS for b in TENSORS[-17:-6]],
    "frame": FRAMES, "means": FRAMES, "by": (["g"], "g", ["none"]),
    "values": (["v"], "v"),
    "recipe": (mn.Recipe(epochs=1), mn.Recipe), "strength": (mn.Strength(1.0, 1e5),),
    "eta": ({}, {"w": torch.tensor([math.nan])}, {"w": torch.zeros(0)}, ETA,
            {"w": torch.zeros(2)}),
    "estimate": ({}, {"w": torch.zeros(0)}, {"w": 1}, ETA),
    "access": (mn.Access(GOOD, [0]), mn.Access(OTHER, [0]), GOOD),
    "split": ("train", GOOD.test, OTHER.train, ONE, "tests"),
    "indices": (*CLASSES, *TENSORS, slice(3), slice(9, 2), [44, 45]),
    "device": ("cuda", "meta", "cpu", "tpu", torch.device("meta"), "cuda:9", -1),
    "generator": (torch.Generator(), 0, "0"), "where": (*TENSORS, [True] * 40),
    "class_names": ([str(i) for i in range(5000)], tuple("abcd" * 999), "abc", ["a"]),
    "path": ("no/such", "pictures", "a\0b", Path("codes.safetensors"), "results"),
    "folder": ("no/such", ".", "a\0b", Path("pictures"), "codes.safetensors"),
    "settings": ([], [{}], [{"x": 2}], {}, [None]), "shares": ([2], [None], []),
}  # fmt: skip


def cell(seed, x=1):
    return {"y": x}


def method(name):
    def call(model, access, seed):
        return mn.METHODS[name](model, access, seed=seed)

    call.__doc__ = mn.METHODS[name].__call__.__doc__
    return call


def batches(**how):
    return list(GOOD.batches(**how))


batches.__doc__ = mn.ImageData.batches.__doc__


def images(**how):
    return mn.Access(GOOD, [1]).images("forget", "remaining", **how)


images.__doc__ = mn.Access.images.__doc__


RECIPE = mn.Recipe(epochs=1, batch_size=64)
TINY = mn.Profile("tiny", "mnist-5k", "mlp", RECIPE, 0.5)
MC = {"model": MODEL, "codes": CODES, "classes": [1]}
MD = {"model": MODEL, "data": GOOD, "classes": [1]}
IN = {"model": MODEL, "inputs": CODES.images, "labels": CODES.labels}
SOME = {"samples": 2, "draws": 1, "seed": 0}
TRAIN = {
    "model": MODEL, "data": GOOD, "recipe": RECIPE, "codes": CODES, "t_mix": 0.5,
    "seed": 0,
}  # fmt: skip


def trains(how):
    def call(model, data, recipe, codes, t_mix, seed):
        if isinstance(model, nn.Module):
            model = copy.deepcopy(model)  # the one thing that training changes
        settings = {"recipe": recipe, "codes": codes, "t_mix": t_mix, "seed": seed}
        return how(model, data, **settings, progress=False)

    call.__doc__ = how.__doc__
    return call


FUNCTIONS = {
    "Recipe": (mn.Recipe, vars(mn.Recipe())),
    "Strength": (mn.Strength, {"lambda1": 1.0, "lambda2": 1.0}),
    "Profile.trained": (
        TINY.trained,
        {"data": GOOD, "seed": 0, "t_mix": 0.5, "distribution": "normal"},
    ),
    "Profile.named": (mn.Profile.named, {"name": "smoke"}),
    "load_data": (mn.load_data, {"name": "mnist-5k"}),
    "is_here": (mn.is_here, {"name": "mnist-5k"}),
    "results.paper": (mn.results.paper, {"artefact": "table-5"}),
    "results.record": (
        mn.results.record, {"name": "a", "frame": FRAME, "about": "b", "seconds": 1.0}
    ),
    "results.recorded": (mn.results.recorded, {"name": "costs-networks"}),
    "ImageData.from_folder": (
        mn.ImageData.from_folder,
        {"folder": "pictures", "image_size": 8, "augmentation": "none", "mean": 0.5,
         "std": 0.5},
    ),
    "ImageData.without": (GOOD.without, {"classes": [1]}),
    "ImageData.inputs": (GOOD.inputs, {"split": GOOD.train, "indices": [0, 1]}),
    "ImageData.images": (GOOD.images, {"split": GOOD.train, "indices": [0, 1]}),
    "ImageData.batches": (
        batches,
        {"split": GOOD.train, "batch_size": 8, "device": "cpu", "generator": None},
    ),
    "ImageData.to": (GOOD.to, {"device": "cpu"}),
    "ImageData.from_arrays": (
        mn.ImageData.from_arrays,
        {"train": pair(45, 0), "test": pair(15, 1), "class_names": ["a", "b", "c"],
         "augmentation": "none", "mean": 0.5, "std": 0.5},
    ),
    "MnemonicCodes": (
        mn.MnemonicCodes,
        {"images": CODES.images, "class_names": ("a", "b", "c"), "seed": 0,
         "distribution": "uniform"},
    ),
    "MnemonicCodes.draw": (
        mn.MnemonicCodes.draw, {"data": GOOD, "seed": 0, "distribution": "normal"}
    ),
    "code_logits": (code_logits, {"codes": CODES, "model": MODEL}),
    "MnemonicCodes.check": (CODES.check, {"data": GOOD}),
    "MnemonicCodes.substitute": (
        CODES.substitute,
        {"inputs": CODES.images, "labels": CODES.labels, "t_mix": 0.5,
         "generator": torch.Generator()},
    ),
    "MnemonicCodes.save": (CODES.save, {"path": "saved.safetensors"}),
    "MnemonicCodes.load": (mn.MnemonicCodes.load, {"path": "codes.safetensors"}),
    "load_network": (mn.load_network, {"path": "codes.safetensors"}),
    "MnemonicCodes.to": (CODES.to, {"device": "cpu"}),
    "build_model": (mn.build_model, {"name": "mlp", "data": GOOD, "seed": 0}),
    "train": (trains(mn.train), TRAIN),
    "trained": (trains(mn.trained), TRAIN),
    "evaluate": (mn.evaluate, {**MD, "split": "test", "batch_size": 8}),
    "diagonal_fisher": (mn.diagonal_fisher, IN),
    "compare_fishers": (mn.compare_fishers, {"estimate": ETA, "reference": ETA}),
    "amplitude": (mn.amplitude, MC),
    "forget": (mn.forget, {**MC, "strength": mn.Strength(0.1, 1.0), "sign": 1}),
    "forget, chosen": (mn.forget, MC),
    "forget_from_data": (
        mn.forget_from_data, {**IN, "classes": [1], "strength": mn.Strength(0.1, 1.0)}
    ),
    "step_scales": (mn.step_scales, {"eta": ETA, "strength": mn.Strength(1.0, 1.0)}),
    "mean_sd": (mn.mean_sd, {"frame": FRAME, "by": ["g"], "values": ["v"]}),
    "plus_minus": (mn.plus_minus, {"means": FRAME, "digits": 1}),
    "table": (mn.table, {"frame": FRAME, "formats": None, "digits": 1}),
    "run_grid": (mn.run_grid, {"function": cell, "settings": [{}], "seeds": [0],
                               "jobs": 1}),
    "Access": (mn.Access, {"data": GOOD, "classes": [1], "codes": CODES}),
    "Access.images": (
        images,
        {"per_class": 2, "share": 0.5, "where": torch.ones(len(GOOD.train)) > 0,
         "seed": 0},
    ),
    "audit": (mn.audit, {**MD, "reference": network(), "codes": CODES, "seed": 0}),
    **{
        f"audits.{f.__name__}": (f, arguments)
        for f, arguments in (
            (audits.js, {"one": ONE.softmax(1), "two": ONE.softmax(1)}),
            (audits.activation_distance, {"one": ONE, "two": ONE}),
            (audits.zrf, {"logits": ONE, "random_logits": ONE}),
            (audits.cka, {"one": ONE, "two": ONE}),
            (audits.distances,
             {"model": MODEL, "references": [network()], "data": GOOD, "classes": [1]}),
            (audits.over_unlearning, {**MD, "original": network(), "seed": 0}),
            (audits.loss_attack, {"members": ONE[:, 0], "others": ONE[:, 1], "seed": 0}),  # noqa: E501
            (audits.diagnoses, {**MD, "original": network()}),
            (audits.entropy_attack, MD),
            (audits.prototype_attack, {**MD, **SOME}),
            (audits.relearn, {**MD, **SOME}),
            (audits.relearn_remaining, {**MD, **SOME}),
            (audits.class_losses, {**MD, "split": "test"}),
            (audits.matched_losses, {**MD, "seed": 0}),
            (audits.lira, {"unlearned": LOGITS[0], "retrained": LOGITS[1],
                           "labels": torch.arange(9) % 4, "sd_floor": 0.1}),
            (audits.linear_probes, MD),
            (audits.feature_similarity, {**MD, "other": network(), "seed": 0}),
            (audits.neighbour_attack,
             {"model": MODEL, "references": [network()], "data": GOOD, "classes": [1],
              "neighbours": 2}),
            (audits.quantised, {**MD, "bits": 4}),
            (audits.pruned, {**MD, "share": 0.5}),
            (audits.nearest_neighbours, {**MD, "neighbours": 2}),
            (audits.transfer, {"model": MODEL, "data": GOOD, "neighbours": 2}),
            (audits.residual_knowledge, {**MD, "bound": 0.1, "draws": 1, "seed": 0}),
            (audits.read_codes, {"model": MODEL, "codes": CODES}),
            (audits.reading, {**MC, "original": network()}),
            (audits.replay, {**MD, "codes": CODES, "steps": 2}),
            (audits.trigger, {**MD, "codes": CODES, "shares": [0.5]}),
            (audits.blend, {"inputs": CODES.images, "code": CODES.images[0],
                            "share": 0.5}),
        )
    },
    **{
        f"METHODS[{name!r}]": (
            method(name), {"model": MODEL, "access": mn.Access(GOOD, [1], CODES),
                           "seed": 0},
        )
        for name in mn.METHODS
    },
}  # fmt: skip
LEFT_OUT = {
    "audits": "a room; its functions are tried",
    "baselines": "a room; its methods are tried",
    "Access.fresh": "hands its seed to the caller's own function",
    "Access.first_weights": "takes nothing",
    "Access.forgets": "asked by METHODS",
    "Access.how_to_train": "takes nothing",
    "Access.only": "asked by METHODS",
    "Access.recounted": "takes nothing",
    "Access.the_codes": "takes nothing",
    "Access.trained": "asked by METHODS",
    "FisherError": "a result",
    "Forgotten": "a result",
    "History": "a result",
    "ImageData": "made by from_arrays, from_folder and load_data",
    "ImageData.from_splits": "takes splits that these have checked",
    "Profile": "one of ours, found by its name",
    "Profile.load": "takes nothing",
    "Profile.never_saw": "as Profile.trained, on the profile's own images",
    "Recipe.rate_at": "asked by train",
    "Scores": "a result",
    "Unlearned": "a result",
    "audits.Estimate": "a result",
    "audits.audit": "tried as audit",
    "exercises": "checks of a student's answer: they fail by AssertionError",
    "figures": "only draw",
    "glue": "takes what Jupyter can display",
    "plots": "only draw",
    "results": "its functions are tried one by one",
    "results.device_name": "takes nothing",
    "results.provenance": "takes nothing",
    "results.provenance_line": "takes one of our profiles",
    "results.recorded_tensors": "reads the record as results.recorded does",
    "results.results_folder": "takes nothing",
}


def public():
    """Names of all that may be called, as FUNCTIONS has them."""
    own = [n for n, f in vars(mn.results).items() if inspect.isfunction(f)]
    own = [
        n for n in own if getattr(mn.results, n).__module__ == "mnemonic.lab.results"
    ]
    audits_own = [n for n, f in vars(audits).items() if not inspect.ismodule(f)]
    for module, prefix, names in (
        (mn, "", mn.__all__), (audits, "audits.", audits_own),
        (mn.results, "results.", own),
    ):  # fmt: skip
        for name in (n for n in names if not n.startswith("_")):
            value = getattr(module, name)
            if callable(value) or inspect.ismodule(value):
                yield prefix + name
            for key, member in vars(value).items() if inspect.isclass(value) else ():
                kinds = (types.FunctionType, classmethod, staticmethod)
                if isinstance(member, kinds) and not key.startswith("_"):
                    yield f"{prefix}{name}.{key}"


def test_all_that_is_public_is_tried():
    tried = {name.partition(",")[0] for name in FUNCTIONS}
    assert set(public()) - tried == set(LEFT_OUT)
    assert {f"METHODS[{name!r}]" for name in mn.METHODS} <= tried


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """A folder of its own to work in, with what may be read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MNEMONIC_RESULTS", "results")
    for place in ("train/a", "train/b", "test/a", "test/b"):
        folder = tmp_path / "pictures" / place
        folder.mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (8, 8)).save(folder / f"{i}.png")
    CODES.save("codes.safetensors")
    (tmp_path / "results").mkdir()
    for kind in ("csv", "json"):
        shutil.copy(RESULTS / f"costs-networks.{kind}", "results")


def documented(function):
    """The exceptions that a docstring names."""
    names = re.findall(r"\b\w+Error\b", inspect.getdoc(function))
    return {getattr(builtins, name) for name in names if hasattr(builtins, name)}


def state():
    networks = [m for m in (*MODELS, MODEL) if isinstance(m, nn.Module)]
    return digest(
        [
            [m.training, [p.requires_grad for p in m.parameters()]]
            + ([] if m is NOWHERE else [dict(m.state_dict())])
            for m in networks
        ],
        [c.images for c in (CODES, HALF, STRIDED)],
        [
            [d.mean, d.std]
            + [[s.pixels, s.labels] for s in (d.train, d.validation, d.test)]
            for d in (GOOD, OTHER)
        ],
        [ETA, ONE, LOGITS],
        [t for t in TENSORS if isinstance(t, torch.Tensor)],
        repr(FRAME),
    )


def raised(function, arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            function(**arguments)
        except Exception as error:
            return error


@pytest.mark.parametrize("name", FUNCTIONS)
def test_anything_may_be_given(name, record_property):
    function, good = FUNCTIONS[name]
    allowed = documented(function)
    assert ValueError in allowed
    before, counts = state(), Counter()

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=EXAMPLES < 100,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.data())
    def one_case(data):
        some = st.lists(st.sampled_from(sorted(good)), min_size=1, max_size=2)
        changes = {}
        for argument in data.draw(some):
            near = FITTING.get(argument, ())
            pools = [p for p in (near, near, JUNK) if p]
            changes[argument] = data.draw(
                st.sampled_from(pools).flatmap(st.sampled_from), label=argument
            )
        error = raised(function, {**good, **changes})
        counts["tried"] += 1
        counts["refused"] += error is not None
        if error is None:
            return
        if not isinstance(error, tuple(allowed)):
            raise error
        assert WAY_OUT.search(str(error)), f"an error that does not help: {error}"

    one_case()
    for outcome in ("tried", "refused"):
        record_property(outcome, counts[outcome])
    assert state() == before


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("forget_from_data", {"labels": torch.tensor(1)}),
        ("forget_from_data", {"labels": torch.tensor([True, False, True])}),
        ("forget_from_data", {"inputs": torch.tensor(1)}),
        ("forget_from_data", {"inputs": torch.zeros(0, 1, 6, 6)}),
        ("audits.distances", {"references": []}),
        ("audits.distances", {"references": None}),
        ("audits.prototype_attack", {"draws": 10**30}),
        ("audits.relearn", {"draws": 2**63}),
        ("audits.relearn_remaining", {"data": OTHER}),
        ("audits.replay", {"steps": 10**30}),
        ("forget", {"model": NOWHERE}),
        ("step_scales", {"eta": {"w": torch.zeros(2)}}),
        ("compare_fishers", {"estimate": ONE}),
        ("table", {"formats": ONE}),
    ],
)
def test_what_once_went_wrong(name, changes):
    function, good = FUNCTIONS[name]
    with pytest.raises(ValueError, match="give "):
        function(**{**good, **changes})
