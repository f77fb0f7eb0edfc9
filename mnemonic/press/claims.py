"""What each method claims, and whether our records show it.

``claims.toml`` has the properties, each a bound on one column of a record, and for
every key of ``METHODS`` a claim, the properties that it comes to, and a reason for
where they are not seen. A claim is *seen* where all its properties hold in each network
that is recorded, *in part* where they do in some, else *not seen*; it is *open* where
no record has the rows and columns to judge it by.

Example:
    >>> rows = {"method": ["original", "retrain", "finetune"]}
    >>> rows |= {"before_remaining_accuracy": 90.0, "remaining_accuracy": [90, 91, 92]}
    >>> rows |= {"forgetting_error": [10.0, 100.0, 97.0]}
    >>> rows |= {"forget_images": 0, "remaining_images": 9}
    >>> judged = claims({"MLP": pd.DataFrame(rows)}).loc["finetune"]
    >>> judged["shows"], judged["verdict"]
    (['gone', 'kept', 'no forget image'], 'seen')
"""

import contextlib
import math
import tomllib
from pathlib import Path

import pandas as pd

from mnemonic.baselines import METHODS
from mnemonic.checks import checked_frame
from mnemonic.lab.results import recorded

_TEXT = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
PROPERTIES, CLAIMS = (tomllib.loads(_TEXT)[kind] for kind in ("property", "method"))
NETWORKS = {  # a profile, and the records that may have it
    "MLP": ("quick", ("comparison",)),
    "Small ResNet": ("mnist-5k-resnet", ("comparison", "methods-mnist-5k-resnet")),
}
# Records that do not yet say ``diverged`` have these by rules that have changed since.
OLDER = {"boundary-shrink", "boundary-expand", "delete", "neggrad", "error-min-max"}
_CHANGE = ("remaining_accuracy", "before_remaining_accuracy")
_IMAGES = ("forget_images", "remaining_images")


def claims(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Judge every method by records.

    Args:
        frames: Rows of ``lab.comparison.compare``, by what their network is called.

    Returns:
        By method: ``claim``, ``shows`` (names of properties), ``verdict``, ``reason``;
        and ``found``, for each network that it can be judged in, with the value of
        each property in words, and whether the property holds.

    Raises:
        ValueError: If a frame lacks a column that all have, or the rows of
            ``"original"`` and ``"retrain"``.
    """
    means = {}
    for network, frame in frames.items():
        checked_frame(f"frames[{network!r}]", frame, ("method", *_CHANGE, *_IMAGES))
        of = frame.groupby("method").mean(numeric_only=True)
        if missing := {"original", "retrain"} - {*of.index}:
            raise ValueError(f"frames[{network!r}] lacks {missing}; add their rows")
        of["change"] = of[_CHANGE[0]] - of[_CHANGE[1]]
        of["images"] = of[[*_IMAGES]].sum(axis=1)
        means[network] = of
    rows = {}
    for method, entry in CLAIMS.items():
        judged = {network: _judged(method, of) for network, of in means.items()}
        found = {network: values for network, values in judged.items() if values}
        held = [all(holds for _, holds in values) for values in found.values()]
        verdict = "seen" if all(held) else "in part" if any(held) else "not seen"
        rows[method] = {
            **{name: entry.get(name, "") for name in ("claim", "shows", "reason")},
            "verdict": verdict if held else "open",
            "found": found,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _judged(method: str, of: pd.DataFrame) -> list[tuple[str, bool]]:
    """Values in words, and whether they hold; none where something is not recorded."""
    rules = [PROPERTIES[name] for name in CLAIMS[method]["shows"]]
    if method not in of.index or not {rule["column"] for rule in rules} <= {*of}:
        return []
    judged = []
    for rule in rules:
        value = of.loc[method, rule["column"]]
        start = of.loc[rule["beside"], rule["column"]] if "beside" in rule else 0
        least = start + rule.get("at_least", -math.inf)
        most = start + rule.get("at_most", math.inf)
        said = rule["shown"].format(value).replace("-", "\N{MINUS SIGN}")
        judged.append((said, bool(least <= value <= most)))
    return judged


def recorded_rows() -> dict[str, pd.DataFrame]:
    """Rows of each network's newest record, if there is one; its facts in ``attrs``."""
    found = {}
    for network, (setup, names) in NETWORKS.items():
        for name in reversed(names):
            with contextlib.suppress(FileNotFoundError):
                frame, facts = recorded(name)
                rows = frame[frame["setup"] == setup]
                if "diverged" not in rows:
                    rows = rows[~rows["method"].isin(OLDER)]
                rows.attrs = facts
                if len(rows):
                    found[network] = rows
    return found


def table(judged: pd.DataFrame) -> str:
    """Markdown with a row a method; a value that misses its bound is in bold.

    Args:
        judged: As ``claims`` gives it.

    Returns:
        A table whose titles cite the bibliography.
    """
    lines = [
        "| Method | Claim | Looked for, and found | Verdict |",
        "|---|---|---|---|",
    ]
    for method, row in judged.iterrows():
        title, cites = METHODS[method].title, ",".join(METHODS[method].cites)
        title += f" {{cite:p}}`{cites}`" if cites else ""
        claim = row["claim"] + " *(abstract)*" * CLAIMS[method].get("abstract", False)
        found = f"*{', '.join(row['shows'])}.*"
        for network, values in row["found"].items():
            said = (value if holds else f"**{value}**" for value, holds in values)
            found += f" {network}: {', '.join(said)}."
        why = {"seen": "", "open": " Not yet recorded."}
        verdict = f"*{row['verdict'].capitalize()}.*"
        verdict += why.get(row["verdict"], f" {row['reason']}")
        lines.append(f"| {title} | {claim} | {found} | {verdict} |")
    return "\n".join(lines)


def meanings() -> str:
    """Markdown with a row a property: what its name stands for, margin included."""
    lines = ["| Property | What has to hold |", "|---|---|"]
    for name, rule in PROPERTIES.items():
        margin = abs(rule.get("at_least", rule.get("at_most")))
        lines.append(f"| *{name}* | {rule['meaning'].format(margin)} |")
    return "\n".join(lines)
