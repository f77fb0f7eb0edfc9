import pytest
import torch

from mnemonic.fisher.chunks import CPU_BYTES, free_bytes

CPU, MIB = torch.device("cpu"), 2**20


def written(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


HOST = {
    "proc/meminfo": "MemTotal: 9000000 kB\nMemAvailable:    2048000 kB\nCached: 7 kB",
    "proc/self/cgroup": "4:memory:/old\n0::/jobs/one",
}


STAT = f"anon 5\ninactive_file {500 * MIB}\nactive_file 9"


def group(name, limit, used, **others):
    files = {"max": limit, "current": used, **others}
    return {f"sys/fs/cgroup/{name}memory.{k}": v for k, v in files.items()}


@pytest.mark.parametrize(
    ("files", "mib"),
    [
        ({}, 2000),
        (group("jobs/one/", 800 * MIB, 300 * MIB), 500),
        (group("jobs/one/", 8000 * MIB, 300 * MIB), 2000),  # more than the host has
        (group("jobs/one/", "max", 300 * MIB), 2000),
        (group("jobs/", 700 * MIB, 300 * MIB), 400),  # of a parent
        (group("", 600 * MIB, 300 * MIB), 300),  # of a container, seen from within
        (group("jobs/two/", 8 * MIB, 0), 2000),  # of another
        (group("jobs/one/", "max", 0) | group("jobs/", 90 * MIB, 30 * MIB), 60),
        (group("jobs/one/", 800 * MIB, 0) | group("jobs/", 90 * MIB, 0), 90),
        ({"sys/fs/cgroup/jobs/one/memory.max": 8 * MIB}, 2000),  # usage not shown
        (group("jobs/one/", 8 * MIB, 9 * MIB), 0),  # a limit just lowered
        # files that were read fill the memory, and give way
        (group("jobs/one/", 800 * MIB, 800 * MIB, stat=STAT), 500),
        ({"proc/self/cgroup": "4:memory:/old"}, 2000),
    ],
)
def test_the_limit_of_a_control_group_counts(files, mib, tmp_path):
    system = written(tmp_path, HOST | files)
    assert free_bytes(CPU, system) == mib * MIB // 4


def test_nothing_shown_is_no_limit(tmp_path):
    assert free_bytes(CPU, tmp_path) == CPU_BYTES
    written(tmp_path, group("", 100 * MIB, 0))
    assert free_bytes(CPU, tmp_path) == 25 * MIB


def test_some_memory_is_free_here(device):
    assert free_bytes(torch.device(device)) > 0
    assert free_bytes(CPU) <= CPU_BYTES
