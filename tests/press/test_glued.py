"""What a chapter glues is what the book's reader of outputs looks for."""

import myst_nb
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

import mnemonic as mn


@pytest.fixture
def shell(tmp_path):
    config = Config({"HistoryManager": {"enabled": False}})
    yield InteractiveShell.instance(config=config, ipython_dir=str(tmp_path))
    InteractiveShell.clear_instance()


def test_a_chapter_that_is_run_as_a_script(capsys):
    mn.glue("answer", 42)
    mn.glue("other", 43, display=False)
    assert capsys.readouterr().out == "42\n"


@pytest.mark.parametrize("display", [True, False])
def test_glued_as_the_book_reads_it(display, shell):
    things = [1.5, "a text", pd.DataFrame({"a": [1, 2]})]
    with capture_output() as ours:
        for i, thing in enumerate(things):
            mn.glue(f"name-{i}", thing, display=display)
    with capture_output() as theirs:
        for i, thing in enumerate(things):
            myst_nb.glue(f"name-{i}", thing, display=display)
    assert len(ours.outputs) == 3
    for one, other in zip(ours.outputs, theirs.outputs, strict=True):
        assert one.data == other.data
        assert one.metadata == other.metadata
        prefix = one.metadata["scrapbook"]["mime_prefix"]
        assert all(kind.startswith(prefix) for kind in one.data)
        assert bool(prefix) != display
