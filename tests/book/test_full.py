"""The chapters with the settings of ``full``, on few images: nothing but claims fails.

So a machine with a GPU only has to start ``make full``.
"""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from mnemonic.press.kernel import kernel_here

ROOT = Path(__file__).parents[2]
FEW = """
from dataclasses import replace
from mnemonic.lab.profiles import PROFILES

for name in ("full", "mnist-mlp"):
    little = {"data_name": "mnist-5k", "per_class": 40}
    PROFILES[name] = replace(PROFILES[name], **little)
profile = "full"
"""


@pytest.mark.soak(why="runs all chapters once more, with the epochs of full")
@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("notebooks/*.ipynb")), ids=lambda p: p.stem
)
def test_chapter_runs_with_the_settings_of_full(path, monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # grids run where FEW was said
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = FEW
    where = {"metadata": {"path": str(ROOT)}}
    with kernel_here() as kernel:
        NotebookClient(notebook, allow_errors=True, resources=where, **kernel).execute()
    failed = [
        f"{output.ename} in {cell.id}: {output.evalue}"
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        # A claim may not hold of so few images.
        if output.output_type == "error" and output.ename != "AssertionError"
    ]
    assert not failed
