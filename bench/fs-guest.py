"""What bench/fs runs inside the machine: the same work in each of the named folders, in turn.

argv[1]: JSON {"targets": {name: folder}, "tests": [...], "runs": N, "sizes": {...},
"given": folder}.
Prints one JSON line per measurement. The first round is the warm-up; its requests are counted.
"""
import glob
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time

spec = json.loads(sys.argv[1])
size = spec["sizes"]
ENV = dict(os.environ, HOME="/root", GIT_CONFIG_NOSYSTEM="0", LC_ALL="C")
TRACE = "/sys/kernel/tracing/events/fuse/fuse_request_send"


def run(*argv, cwd=None, ok=(0,)):
    r = subprocess.run(argv, cwd=cwd, env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE, text=True)
    if r.returncode not in ok:
        raise RuntimeError(f"{argv}: {r.returncode}: {r.stderr[-500:]}")


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")


class Counter:
    """Requests of the kernel's FUSE clients (a tracepoint), and the replies that the host gave:
    what the pump's thread for them has written."""

    def __init__(self):
        self.traced = False
        try:
            if not os.path.exists(TRACE):
                run("mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing")
            with open(TRACE + "/trigger", "w") as f:
                f.write("hist:keys=opcode:size=256")
            self.traced = True
        except (OSError, RuntimeError):
            pass
        self.down = None
        for comm in glob.glob(f"/proc/{spec.get('pump', 1)}/task/*/comm"):
            with open(comm) as f:
                if f.read().strip() == "fs-down":
                    self.down = os.path.dirname(comm) + "/io"

    def kernel(self):
        if not self.traced:
            return None
        ops = {}
        with open(TRACE + "/hist") as f:
            for line in f:
                if "hitcount:" in line and line[0] == "{":
                    key = line.split("opcode:")[1].split("}")[0].strip()
                    ops[key] = ops.get(key, 0) + int(line.split("hitcount:")[1])
        return ops

    def replies(self):
        if self.down is None:
            return None
        with open(self.down) as f:
            return int(f.read().split("syscw:")[1].split()[0])

    def stop(self):
        if self.traced:
            with open(TRACE + "/trigger", "w") as f:
                f.write("!hist:keys=opcode:size=256")


# Each test: prepare(folder) once, then measures(folder): (row, before or None, work).

class Tree:
    """A git repository of small files, 25 in a folder; given has it ready."""

    def prepare(self, d):
        self.d = d
        repo = d + "/repo"
        if not os.path.isdir(repo):
            run("cp", "-a", spec["given"] + "/repo", repo)
            run("git", "status", cwd=repo)

    def files(self):
        return [f"{self.d}/repo/d{i // 25 % 20}/e{i // 25}/f{i}.c" for i in range(size["files"])]


class Stat(Tree):
    def measures(self, d):
        files = self.files()

        def work():
            for p in files:
                os.lstat(p)
        yield "stat, cold", drop_caches, work
        yield "stat, warm", None, work


class Find(Tree):
    def measures(self, d):
        yield "find, cold", drop_caches, lambda: run("find", d + "/repo")
        yield "find, warm", None, lambda: run("find", d + "/repo")


class Grep(Tree):
    def measures(self, d):
        yield "grep -r, cold", drop_caches, lambda: run("grep", "-r", "nowhere", d + "/repo", ok=(0, 1))
        yield "grep -r, warm", None, lambda: run("grep", "-r", "nowhere", d + "/repo", ok=(0, 1))


class Status(Tree):
    def measures(self, d):
        yield "git status, cold", drop_caches, lambda: run("git", "status", cwd=d + "/repo")
        yield "git status, warm", None, lambda: run("git", "status", cwd=d + "/repo")


class Checkout(Tree):
    def measures(self, d):
        repo = d + "/repo"
        yield "git checkout", None, lambda: run("git", "checkout", "-q", "two", cwd=repo)
        run("git", "checkout", "-q", "one", cwd=repo)


class Tar:
    def prepare(self, d):
        pass

    def measures(self, d):
        yield "tar x", None, lambda: run("tar", "xf", spec["given"] + "/small.tar", "-C", d)
        yield "rm -rf", None, lambda: run("rm", "-rf", d + "/small")


class Npm:
    def prepare(self, d):
        if not os.path.isdir("/root/npm-cache"):
            run("cp", "-a", spec["given"] + "/npm/cache", "/root/npm-cache")
        os.makedirs(d + "/app", exist_ok=True)
        for n in ("package.json", "package-lock.json"):
            shutil.copy(f"{spec['given']}/npm/{n}", d + "/app")

    def measures(self, d):
        app = d + "/app"
        yield "npm ci, from its cache", lambda: run("rm", "-rf", app + "/node_modules"), lambda: run(
            "npm", "ci", "--offline", "--no-audit", "--no-fund", "--ignore-scripts", "--cache",
            "/root/npm-cache", cwd=app)


class Make:
    def prepare(self, d):
        p = d + "/project"
        os.makedirs(p, exist_ok=True)
        n = size["sources"]
        with open(p + "/all.h", "w") as f:
            f.write("#include <stdio.h>\n" + "".join(f"int f{i}(int);\n" for i in range(n)))
        for i in range(n):
            with open(f"{p}/f{i}.c", "w") as f:
                f.write(f'#include "all.h"\nint f{i}(int x) {{ return x > 0 ? f{(i + 1) % n}(x - 1) : {i}; }}\n')
        with open(p + "/main.c", "w") as f:
            f.write('#include "all.h"\nint main(void) { printf("%d\\n", f0(9)); return 0; }\n')
        with open(p + "/Makefile", "w") as f:
            f.write("prog: $(patsubst %.c,%.o,$(wildcard *.c))\n\t$(CC) -o $@ $^\n%.o: %.c all.h\n"
                    "\t$(CC) -c -o $@ $<\nclean:\n\trm -f *.o prog\n")

    def measures(self, d):
        p = d + "/project"
        yield "make -j", lambda: run("make", "-s", "clean", cwd=p), lambda: run(
            "make", "-s", f"-j{os.cpu_count()}", cwd=p)
        yield "make, nothing to do", None, lambda: run("make", "-s", cwd=p)


class Sqlite:
    def prepare(self, d):
        pass

    def measures(self, d):
        path = d + "/t.db"

        def fresh():
            for p in glob.glob(path + "*"):
                os.unlink(p)

        def work():
            db = sqlite3.connect(path, isolation_level=None)
            db.execute("create table t(a integer primary key, b text)")
            for i in range(size["transactions"]):
                db.execute("insert into t values(?, ?)", (i, "x" * 200))
            db.close()
        yield "sqlite, transactions", fresh, work


class Big:
    def prepare(self, d):
        self.block = os.urandom(1 << 20)

    def measures(self, d):
        path, mib = d + "/big", size["mib"]
        places = [random.Random(k).randrange(mib << 8) << 12 for k in range(size["random"])]

        def gone():
            if os.path.exists(path):
                os.unlink(path)

        def write():
            with open(path, "wb", buffering=0) as f:
                for _ in range(mib):
                    f.write(self.block)
                os.fsync(f.fileno())

        def read():
            with open(path, "rb", buffering=0) as f:
                while f.read(1 << 20):
                    pass

        def read_random():
            fd = os.open(path, os.O_RDONLY)
            for at in places:
                os.pread(fd, 4096, at)
            os.close(fd)

        def write_random():
            fd = os.open(path, os.O_WRONLY)
            for at in places:
                os.pwrite(fd, self.block[:4096], at)
            os.fsync(fd)
            os.close(fd)

        def write_small():
            with open(path, "r+b", buffering=0) as f:
                for _ in range(size["random"]):
                    f.write(self.block[:4096])
                os.fsync(f.fileno())
        yield "write, 1 MiB at a time, fsync", gone, write
        yield "read, 1 MiB at a time, cold", drop_caches, read
        yield "read, 1 MiB at a time, warm", None, read
        yield "read, random 4 KiB, cold", drop_caches, read_random
        yield "write, random 4 KiB, fsync", None, write_random
        yield "write, 4 KiB in order, fsync", None, write_small


TESTS = {"stat": Stat, "status": Status, "checkout": Checkout, "find": Find, "grep": Grep, "tar": Tar,
         "npm": Npm, "make": Make, "sqlite": Sqlite, "big": Big}


def measure(name, target, folder, test, n, counter):
    for row, before, work in test.measures(folder):
        if before:
            before()
        ops, replies = (counter.kernel(), counter.replies()) if n == 0 else (None, None)
        start = time.monotonic()
        work()
        out = {"test": name, "row": row, "target": target, "s": time.monotonic() - start, "run": n}
        if n == 0 and target != "a":
            now = counter.kernel()
            if ops is not None:
                out["ops"] = {k: v - ops.get(k, 0) for k, v in now.items() if v != ops.get(k, 0)}
            if replies is not None and target == "b":
                out["replies"] = counter.replies() - replies
        print(json.dumps(out), flush=True)


def main():
    for name in spec["tests"]:
        tests = {t: TESTS[name]() for t in spec["targets"]}
        for target, folder in spec["targets"].items():
            os.makedirs(folder, exist_ok=True)
            tests[target].prepare(folder)
        counter = Counter()
        for n in range(spec["runs"] + 1):
            for target, folder in spec["targets"].items():
                measure(name, target, folder, tests[target], n, counter)
            if n == 0:
                counter.stop()


main()
