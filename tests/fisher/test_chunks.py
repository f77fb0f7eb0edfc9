import torch

from mnemonic.fisher.chunks import CPU_BYTES, each_chunk, free_bytes


def test_some_memory_is_free_here(device):
    assert free_bytes(torch.device(device)) > 0
    assert free_bytes(torch.device("cpu")) == CPU_BYTES


def test_chunks_hold_what_fits():
    """Of samples that take half of the room two go together, and none is lost."""
    samples = torch.arange(7)
    chunks = list(each_chunk(lambda x: x, CPU_BYTES // 2, samples))
    assert [len(chunk) for chunk in chunks] == [2, 2, 2, 1]
    assert torch.cat(chunks).equal(samples)
    whole = list(each_chunk(lambda x: x, 1, samples))
    assert [len(chunk) for chunk in whole] == [7]
