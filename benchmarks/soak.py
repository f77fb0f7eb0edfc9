"""What happens when things go wrong, at a length that no test suite has time for.

    python benchmarks/soak.py
    python benchmarks/soak.py together "kills of a grid" long

Each part named (all by default) does its worst and adds its counts to the recorded
run ``soak`` in book/results, in place of what it found before. The page book/tested.md
shows them. A part that finds something wrong stops with an error and records nothing.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
import xml.etree.ElementTree as ElementTree
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pandas as pd
import torch
from filelock import FileLock

import mnemonic as mn
from mnemonic.lab import results

ROOT = Path(__file__).parents[1]
# It imports once, then forks for each start: what is killed is the work.
GRID = """
import os, signal, sys
import lightning.fabric, torch  # training imports it late, and the work is killed
import mnemonic as mn
from mnemonic.lab.keys import code_digest, numerical
from mnemonic.storage import digest

mn.run_grid, mn.trained  # imported when they are named
code_digest(numerical())  # it keeps what it has parsed

def cell(seed, log):
    torch.manual_seed(0)
    x, y = torch.rand(60, 1, 12, 12), torch.arange(60) % 3
    data = mn.ImageData.from_arrays(train=(x, y), test=(x, y), class_names="abc")
    codes = mn.MnemonicCodes.draw(data, seed=seed)
    model = mn.build_model("mlp", data, seed=seed)
    recipe = mn.Recipe(epochs=60)
    mn.trained(model, data, recipe=recipe, codes=codes, t_mix=0.3, progress=False)
    with open(log, "a") as file:
        file.write(f"{seed}\\n")
    return {"weights": digest(dict(model.state_dict()))}

def work():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["MNEMONIC_CACHE"] = "cache"
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), number)
    frame = mn.run_grid(cell, [{"log": "log"}], seeds=range(8), jobs=1)
    print(frame.drop(columns="log").to_csv())

if __name__ == "__main__":
    for folder in sys.stdin:
        pid = os.fork()
        if not pid:
            os.chdir(folder.strip())
            break
        os.setpgid(pid, pid)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    else:
        sys.exit()
    work()
"""
BUILD = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("mnemonic.publish", run_name="__main__")
"""


def require(holds, what):
    if not holds:
        raise SystemExit(f"soak: {what}")


def same(found, expected):
    """Bit for bit, or the first that differs is shown."""
    if found != expected:
        pairs = zip(found, expected, strict=False)
        first = next((p for p in pairs if p[0] != p[1]), (len(found), len(expected)))
        if isinstance(first[0], list):  # of a notebook: to the cell
            return same(*first)
        raise SystemExit(f"soak: another result than undisturbed: {first}"[:2000])


class Job:
    """Something that can be killed and started again in one folder."""

    started: ClassVar[list] = []  # its processes, each with a group of its own

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.env = {**os.environ, "MNEMONIC_CACHE": str(folder / "cache")}
        self.env |= {"PYTHONPATH": str(ROOT)}

    def start(self):
        process = subprocess.Popen(
            [sys.executable, *self.call], cwd=self.folder, env=self.env,
            start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            encoding="utf-8",
        )  # fmt: skip
        self.started.append(process)
        return process

    @classmethod
    def stop(cls):
        """Kill what still runs, so that a soak that is stopped leaves nothing."""
        for process in cls.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)

    def finished(self):
        """Content of each result that is there, by name."""
        return {p.name: p.read_bytes() for p in self.results()}


class Forked:
    """A start of the grid, by a process that has imported what it needs."""

    idle: ClassVar[list] = []  # such processes

    def __init__(self, folder):
        self.folder, self.returncode = folder, None
        self.parent = self.idle.pop() if self.idle else self.new_parent()
        self.parent.stdin.write(f"{folder}\n".encode())
        self.pid = int(self.parent.stdout.readline())

    def new_parent(self):
        script = self.folder.parent / "grid.py"
        script.write_text(GRID, encoding="utf-8")
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [sys.executable, str(script)], env=env, bufsize=0,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def communicate(self, timeout=None):
        if self.returncode is None:
            if not select.select([self.parent.stdout], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("grid.py", timeout)
            self.returncode = int(self.parent.stdout.readline())
            self.idle.append(self.parent)
        files = (self.folder / name for name in ("out", "err"))
        return tuple(f.read_text(encoding="utf-8") if f.exists() else "" for f in files)

    @classmethod
    def close(cls):
        while cls.idle:
            parent = cls.idle.pop()
            parent.kill()
            parent.communicate()


class Grid(Job):
    """Eight cells that each train a network."""

    n = 8

    def start(self):
        return Forked(self.folder)

    def results(self):
        return sorted((self.folder / "cache" / "cells").glob("*.json"))

    def made(self, said):
        """How many cells were run, by their own log."""
        return len((self.folder / "log").read_text(encoding="utf-8").splitlines())

    def outcome(self):
        cells = [
            json.loads(p.read_text(encoding="utf-8"))["cell"] for p in self.results()
        ]
        return sorted((c["seed"], c["rows"][0]["weights"]) for c in cells)


class Build(Job):
    """Two chapters of the book in the smoke profile, built by the press."""

    n = 2

    def __init__(self, folder):
        super().__init__(folder)
        self.call = ["-c", BUILD, "--profile", "smoke", "--root", str(ROOT)]
        self.call += ["--build", "build", "--no-render", "--only", "01", "02"]

    def results(self):
        return sorted(self.folder.glob("build/executed/smoke/[!.]*.ipynb"))

    def made(self, said):
        """How many notebooks were run, by what the builds said."""
        return sum(out.count("running ") for out, _ in said)

    def outcome(self):
        return [shown(path) for path in self.results()]


class Render(Build):
    """The pages of the whole book, in place of old ones."""

    n, built = None, None  # number of pages, and the folder of a first build
    mark = b"<!-- old -->"

    def __init__(self, folder):
        super().__init__(folder)
        self.call = ["-c", BUILD, "--profile", "smoke", "--root", str(ROOT)]
        self.call += ["--build", "build"]
        if self.built:
            for name in ("executed", "html"):
                shutil.copytree(self.built / name, folder / "build" / name)
            (folder / "build" / "html" / ".key").unlink()
            for page in self.results():
                page.write_bytes(page.read_bytes() + self.mark)

    def results(self):
        return sorted(self.folder.glob("build/html/**/*.html"))

    def finished(self):
        pages = {
            str(p.relative_to(self.folder)): p.read_bytes() for p in self.results()
        }
        require(len(pages) == self.n, f"{len(pages)} pages of {self.n}")
        old = [page.endswith(self.mark) for page in pages.values()]
        require(all(old) or not any(old), "some pages are old, and some are new")
        return {} if all(old) else pages

    def outcome(self):
        return sorted(self.finished().items())


def shown(path):
    """What the code cells of an executed notebook show, pictures too, bit for bit."""
    found = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if "injected-parameters" not in cell["metadata"].get("tags", []):
            for output in cell.get("outputs", []):
                if output.get("name") != "stderr":  # bars, where they are shown
                    output.pop("execution_count", None)
                    found.append((cell["id"], output))
    require(found, f"{path.name} shows nothing")
    return found


def undisturbed(job):
    process = job.start()
    started = time.monotonic()  # what a grid imports is done by now
    out, err = process.communicate()
    require(process.returncode == 0, f"the undisturbed run failed: {out}{err}")
    require(len(job.results()) == job.n, "the undisturbed run is not complete")
    return job.outcome(), time.monotonic() - started


def interrupted(kind, folder, kills, seed=0):
    """Kill a job so many times, at random moments, and compare the end results."""
    rng = random.Random(seed)
    hows = [(signal.SIGKILL, signal.SIGINT)[i % 2] for i in range(kills)]
    rng.shuffle(hows)
    expected, seconds = undisturbed(kind(folder / "undisturbed"))
    done, survived, counts = 0, 0, Counter(rounds=0, kept=0)
    while done < kills:
        job = kind(folder / f"round-{counts['rounds']}")
        counts["rounds"] += 1
        before = {}
        while True:
            process = job.start()
            started, killed = time.monotonic(), False
            if done < kills:
                try:
                    process.communicate(timeout=rng.uniform(0, 1.1 * seconds))
                except subprocess.TimeoutExpired:
                    with contextlib.suppress(ProcessLookupError):  # just ended
                        os.killpg(process.pid, hows[done])
                        counts[hows[done].name] += 1
                        done, killed = done + 1, True
            out, err = process.communicate()
            after = job.finished()
            for name, content in before.items():
                require(after.get(name) == content, f"{name} was made again")
            counts["kept"] += len(before)
            require("is damaged" not in err, err)
            before = after
            if not killed:  # on a machine that is less busy now, moments are earlier
                seconds = min(seconds, time.monotonic() - started)
                require(process.returncode == 0, f"it does not go on: {out}{err}")
                break
        same(job.outcome(), expected)
        survived += 1
    return {"kills": done, **counts, "ends_alike": survived}


def two_at_once(kind, folder):
    """Start a job twice in one folder: both end right, and the work is done once."""
    expected, _ = undisturbed(kind(folder / "alone"))
    job = kind(folder / "both")
    processes = [job.start() for _ in range(2)]
    with ThreadPoolExecutor() as pool:  # both are read, so that neither waits
        said = list(pool.map(lambda p: p.communicate(), processes))
    require(all(p.returncode == 0 for p in processes), f"one failed: {said}")
    same(job.outcome(), expected)
    return {"pieces": job.n, "runs": job.made(said)}


def kills_of_grid(options, folder):
    return interrupted(Grid, folder / "grid", options.kills - options.kills // 6)


def kills_of_build(options, folder):
    return interrupted(Build, folder / "build", options.kills // 6)


def kills_of_render(options, folder):
    whole = Render(folder / "whole")
    out, err = whole.start().communicate()
    require(whole.results(), f"the book was not made: {out}{err}")
    Render.n, Render.built = len(whole.results()), whole.folder / "build"
    (folder / "render").mkdir()
    kills = interrupted(Render, folder / "render", options.kills // 6)
    return {"pages": Render.n, **kills}


def together(options, folder):
    found = {}
    for name, kind in (("grid", Grid), ("build", Build)):
        at_once = two_at_once(kind, folder / name)
        require(at_once["runs"] == at_once["pieces"], f"{name}: work was done twice")
        found |= {f"{name}/{k}": v for k, v in at_once.items()}
    return found


SAME = """
import sys, torch
torch.set_num_threads(int(sys.argv[1]))
import mnemonic as mn
from mnemonic.storage import digest
P = mn.Profile.named("smoke")
model, codes = P.trained(P.load(), 0)
result = mn.forget(model, codes, [3])
torch.save([p.detach() for p in model.parameters()], sys.argv[2])
print(digest(dict(model.state_dict())), digest(dict(result.model.state_dict())))
"""


def trained_anew(folder, name, threads=1):
    """Train in a new process with a cache of its own: digests, and the weights."""
    env = {**os.environ, "MNEMONIC_CACHE": str(folder / name)}
    env |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
    file = folder / f"{name}.pt"
    said = subprocess.run(
        [sys.executable, "-c", SAME, str(threads), str(file)], env=env, check=True,
        capture_output=True, encoding="utf-8",
    ).stdout.split()  # fmt: skip
    return said, torch.load(file, weights_only=True)


def sameness(options, folder):
    """Train mnist-5k and forget, in new processes with caches of their own."""
    said, weights = {}, {}
    for name, threads in (("first", 1), ("again", 1), ("two", 2), ("two again", 2)):
        said[name], weights[name] = trained_anew(folder, name, threads)
    require(said["first"] == said["again"], "one thread: two runs differ")
    require(said["two"] == said["two again"], "two threads: two runs differ")
    pairs = zip(weights["first"], weights["two"], strict=True)
    apart = max(float((a - b).abs().max()) for a, b in pairs)
    found = {"same": 1, "threads_same": int(said["first"] == said["two"])}
    plain = plain_jupyter(folder)
    return {**found, "threads_apart": apart, **operations(), "plain/outputs": plain}


def plain_jupyter(folder):
    """Run a chapter by papermill and by plain Jupyter; count the outputs, all alike."""
    job = Build(folder / "papermill")
    undisturbed(job)
    copy = job.results()[-1]
    source = (ROOT / "notebooks" / copy.name).read_text(encoding="utf-8")
    require('profile = \\"quick\\"' in source, "the parameters cell has changed")
    plain = folder / copy.name
    plain.write_text(
        source.replace('profile = \\"quick\\"', 'profile = \\"smoke\\"'),
        encoding="utf-8",
    )
    env = {**job.env, "MNEMONIC_CACHE": str(folder / "plain")}
    call = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute"]
    call += ["--inplace", str(plain)]
    subprocess.run(call, cwd=folder, env=env, check=True, capture_output=True)
    require(shown(plain) == shown(copy), "papermill and plain Jupyter differ")
    return len(shown(copy))


def operations():
    """Which operations give the same bits with two threads as with one."""
    generator = torch.Generator().manual_seed(0)
    x, w, g = (
        torch.randn(shape, generator=generator)
        for shape in ((128, 784), (1000, 784), (128, 1000))
    )
    calls = {
        "matmul": lambda: x @ w.t(),
        "weight_gradient": lambda: g.t() @ x,
        "bias_gradient": lambda: g.sum(0),
        "sigmoid": lambda: g.sigmoid(),
        "log_softmax": lambda: g.log_softmax(1),
        "mean": lambda: g.mean(),
    }
    threads, found = torch.get_num_threads(), {}
    for name, call in calls.items():
        answers = []
        for n in (1, 2):
            torch.set_num_threads(n)
            answers.append(call())
        found[f"op/{name}"] = int(torch.equal(*answers))
    torch.set_num_threads(threads)
    return found


def tested(folder, *words, **env):
    """Outcomes of the tests that pytest runs for the words, as they noted them."""
    report = folder / "report.xml"
    call = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--soak"]
    call += [*words, "-o", "junit_family=xunit1", f"--junitxml={report}"]
    done = subprocess.run(call, cwd=ROOT, env={**os.environ, **env})
    require(done.returncode == 0, f"tests failed: {' '.join(words)}")
    return list(ElementTree.parse(report).iter("testcase"))


def damage(options, folder):
    cases = tested(folder, "tests/test_damage.py")
    outcomes, places, kinds = Counter(), set(), set()
    for case in cases:
        for note in case.iter("property"):
            if note.get("name") == "outcome":
                outcomes[note.get("value").replace(" ", "_")] += 1
            elif note.get("name") == "place":
                places.add(note.get("value"))
            else:
                kinds.add(note.get("value"))
    return {"places": len(places), "kinds": len(kinds), **outcomes, "tests": len(cases)}


def left_out(options, folder):
    """What the tests of every day leave out: formats, signals, kinds of damage."""
    return {"tests": len(tested(folder, "tests", "-m", "soak"))}


def intervals(options, folder):
    """How often each kind of interval holds the truth, in percent."""
    cases = tested(folder, "tests/audits/test_coverage.py", "-m", "soak")
    notes = [note for case in cases for note in case.iter("property")]
    return {note.get("name"): float(note.get("value")) for note in notes}


def bad_input(options, folder):
    n = str(options.examples)
    cases = tested(folder, "tests/test_bad_input.py", MNEMONIC_EXAMPLES=n)
    notes = [{p.get("name"): p.get("value") for p in c.iter("property")} for c in cases]
    notes = [n for n in notes if n]  # one test is that no function is left out
    found = {name: sum(int(n[name]) for n in notes) for name in ("tried", "refused")}
    return {"functions": len(notes), **found}


def folders(options, folder):
    """Folders of pictures made at random, each read and compared with its making."""
    n = str(options.folders)
    cases = tested(folder, "tests/data/test_folders.py", MNEMONIC_FOLDERS=n)
    notes = [(p.get("name"), p.get("value")) for c in cases for p in c.iter("property")]
    return {name.replace(" ", "_"): int(value) for name, value in notes}


def networks(options, folder):
    """Random networks forget as by hand; those that differ have keys of their own."""
    cases = tested(folder, "tests/test_kinds.py", "-m", "soak")
    notes = [note for case in cases for note in case.iter("property")]
    return {note.get("name"): int(note.get("value")) for note in notes}


def long_run(options, folder):
    """Train, forget and audit again and again: memory and open files do not grow."""
    os.environ["MNEMONIC_CACHE"] = str(folder / "cache")
    profile = mn.Profile.named("smoke")
    data = profile.load()
    retrained = mn.build_model("mlp", data, seed=99)
    kept = data.without([3])
    mn.train(retrained, kept, recipe=profile.recipe, seed=99, progress=False)
    started, samples = time.monotonic(), []
    while time.monotonic() - started < 60 * options.minutes:
        seed = len(samples)
        model, codes = profile.trained(data, seed)  # to the cache, under a lock
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            result = mn.forget(model, codes, [3])
        mn.audit(result.model, data, [3], reference=retrained, codes=codes)
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        files = len(os.listdir("/proc/self/fd"))
        samples.append((pages * resource.getpagesize() / 2**20, files))
    require(len(samples) >= 4, "too short for one round; give more --minutes")
    frame = pd.DataFrame(samples, columns=["megabytes", "files"])
    # The first quarter fills the caches of torch: the second is compared with the last.
    quarter = len(frame) // 4
    early = frame[quarter : 2 * quarter].median()
    late = frame[-quarter:].median()
    growth = 100 * (late["megabytes"] / early["megabytes"] - 1)
    each = frame["megabytes"].round(1).tolist()
    require(abs(growth) <= 2, f"memory changed by {growth:.1f} %: {each}")
    require(late["files"] <= early["files"], "files were left open")
    return {
        "minutes": (time.monotonic() - started) / 60, "rounds": len(frame),
        "megabytes": late["megabytes"], "growth": growth, "files": late["files"],
        "files_growth": late["files"] - early["files"],
    }  # fmt: skip


PATH = f"/usr/sbin:{os.defpath}"
# A network of its own, with nothing but the loopback that Jupyter's kernels talk over.
ALONE = ["unshare", "--map-root-user", "--net", "sh", "-c"]
ALONE += ['ip link set lo up && "$@"', "-"]


def clean(options, folder):
    """Build a fresh clone, with an empty home, no cache, and no network."""
    clone, home = folder / "clone", folder / "home"
    home.mkdir()
    git = ["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)]
    subprocess.run(git, check=True)
    (clone / ".venv").symlink_to(Path(sys.prefix))  # what is set up before the cut
    # The environment is that of another checkout, whose package must not be found.
    env = {"HOME": str(home), "PATH": PATH, "PYTHONPATH": str(clone)}
    env |= {n: v for n, v in os.environ.items() if n.startswith("OMP_")}
    alone = subprocess.run([*ALONE, "ip", "route"], env=env, capture_output=True)
    require(alone.returncode == 0 and not alone.stdout, "the network cannot be cut")
    publish = ".venv/bin/python -m mnemonic.publish --profile smoke"
    make = ["make", "-o", ".venv/.ready", "book", f"PUBLISH={publish}"]
    done = subprocess.run(
        [*ALONE, *make], cwd=clone, env=env, capture_output=True, encoding="utf-8"
    )
    require(done.returncode == 0, f"the build failed: {done.stdout}{done.stderr}")
    require(not done.stderr, done.stderr)
    pages = list((clone / "_build" / "html").rglob("*.html"))
    status = ["git", "-C", str(clone), "status", "--porcelain"]
    changed = subprocess.run(
        status, check=True, capture_output=True, encoding="utf-8"
    ).stdout
    require(changed in ("", "?? .venv\n"), f"files of the clone changed: {changed}")
    return {"chapters": done.stdout.count("  done in "), "pages": len(pages)}


PARTS = {
    "kills of a grid": kills_of_grid,
    "kills of a build": kills_of_build,
    "kills of a render": kills_of_render,
    "together": together,
    "sameness": sameness,
    "clean": clean,
    "damage": damage,
    "input": bad_input,
    "folders": folders,
    "networks": networks,
    "intervals": intervals,
    "left out": left_out,
    "long": long_run,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", default=list(PARTS), metavar="part")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--examples", type=int, default=1000, help="a function")
    parser.add_argument("--folders", type=int, default=5000)
    parser.add_argument("--minutes", type=float, default=30, help="of the long run")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run(options)
    finally:
        Forked.close()
        Job.stop()


def run(options):
    for name in options.parts:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            for sub in ("grid", "build"):
                (Path(folder) / sub).mkdir()
            found = PARTS[name](options, Path(folder))
        keep(name, found, time.monotonic() - started)
        print(name, found, flush=True)


def keep(name, found, seconds):
    """Put the counts of a part in place of the older ones, with their provenance."""
    facts = results.provenance()
    rows = pd.DataFrame({"part": name, "measure": list(found), "value": found.values()})
    rows = rows.assign(
        seconds=round(seconds, 1), date=facts["date"], commit=facts["commit"],
        device=facts["device"], torch=facts["torch"],
    )  # fmt: skip
    about = "kills, damage, wrong input and long runs that book and package were put to"
    with FileLock(Path(tempfile.gettempdir()) / "mnemonic-soak.lock"):
        try:
            before, _ = results.recorded("soak")
        except FileNotFoundError:
            before = rows[:0]
        others = [part for part in PARTS if part != name]
        before = before[before["part"].isin(others)]
        frame = pd.concat([before, rows], ignore_index=True)
        total = frame.drop_duplicates("part")["seconds"].sum()
        results.record("soak", frame, about=about, seconds=float(total))


if __name__ == "__main__":
    main()
