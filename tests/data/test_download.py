"""Downloads where there is no way out: each says why, and what to do by hand."""

from http.client import IncompleteRead
from urllib.error import HTTPError, URLError

import pytest
import torchvision.datasets

import mnemonic as mn


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_nobody_answers(name, tmp_path, monkeypatch):
    for scheme in ("http", "https"):
        for variable in (f"{scheme}_proxy", f"{scheme}_proxy".upper()):
            monkeypatch.setenv(variable, "http://127.0.0.1:9")
    with pytest.raises(FileNotFoundError) as caught:
        mn.load_data(name, root=tmp_path, download=True)
    for words in (f"{name} could not be fetched (", "HTTPS_PROXY", str(tmp_path)):
        assert words in str(caught.value)


FAILURES = [
    URLError("certificate verify failed"),
    HTTPError("http://a.b", 407, "Proxy Authentication Required", None, None),
    TimeoutError("timed out"),
    ConnectionResetError("reset by peer"),
    IncompleteRead(b"half"),
    RuntimeError("File not found or corrupted."),  # a page of the proxy instead
    PermissionError(13, "Permission denied"),
    OSError(28, "No space left on device"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda f: str(f)[:20])
@pytest.mark.parametrize(("name", "kind"), [("mnist", "MNIST"), ("cifar10", "CIFAR10")])
def test_whatever_fails_is_said(name, kind, failure, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise failure

    monkeypatch.setattr(torchvision.datasets, kind, fail)
    fail.filename = "cifar-10-python.tar.gz"
    with pytest.raises(FileNotFoundError) as caught:
        mn.load_data(name, root=tmp_path, download=True)
    assert str(failure) in str(caught.value)
    assert "leave out download=True" in str(caught.value)
