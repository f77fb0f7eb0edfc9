"""The kernel that runs notebooks: of this Python, and with nobody's settings.

Clusters and their users have kernels, backends and configurations of their own; none of
them may take a figure from the book or change it.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import matplotlib
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager

SETTINGS = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # Agg shows no figure
    "MATPLOTLIBRC": str(Path(matplotlib.get_data_path(), "matplotlibrc")),
    "PYTHONSTARTUP": "",
    "PYTHONWARNINGS": "",
    "PYTHONUTF8": "1",
    "PYTHONIOENCODING": "utf-8",
    "TQDM_DISABLE": "1",  # each step of a bar would be a line of the page
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


@contextlib.contextmanager
def kernel_here() -> Iterator[dict]:
    """Options for ``nbclient``, and so for papermill, while the notebook is run."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as empty:
        given = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}  # as in mnemonic/__init__
        settings = {**given, **SETTINGS, "IPYTHONDIR": empty}

        class Kernel(AsyncKernelManager):
            def _kernel_spec_manager_default(self):
                return KernelSpecManager(kernel_dirs=[])  # this Python's own is left

            async def start_kernel(self, **how):
                await super().start_kernel(**how, env=settings)

        yield {
            "kernel_name": "python3",
            "kernel_manager_class": Kernel,
            "extra_arguments": ["--IPKernelApp.log_level=CRITICAL"],
        }
