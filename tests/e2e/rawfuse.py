#!/usr/bin/env python3
"""rawfuse.py WRITABLE READ_ONLY [PID]: speaks the workspaces' protocol in place of the guest's kernel.

Run by the guest's root, with two workspaces. Takes PID 1's descriptor of the port (that of PID, its
only socket, where fs_mount stands for the guest) and stops the threads that use it, then sends what no kernel sends; every message is to be refused, with the errno
that is expected, and behind each one a decent request answered. With the threads let go, the mount
goes on. Prints "N refused". It must not touch the workspaces otherwise: nobody would answer.
"""
import ctypes
import errno
import glob
import os
import select
import signal
import stat
import struct
import sys

LIMIT_S = 120  # of all

LOOKUP, FORGET, GETATTR, SETATTR, READLINK, SYMLINK = 1, 2, 3, 4, 5, 6
MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK, OPEN, READ, WRITE, STATFS = 8, 9, 10, 11, 12, 13, 14, 15, 16, 17
RELEASE, FSYNC, SETXATTR, GETXATTR, INIT, OPENDIR, READDIR = 18, 20, 21, 22, 26, 27, 28
CREATE, INTERRUPT, DESTROY, BATCH_FORGET, FALLOCATE, READDIRPLUS = 35, 36, 38, 42, 43, 44
RENAME2, LSEEK, COPY, TMPFILE = 45, 46, 47, 51
ROOT = 1
NOWHERE = (0, 12345, 1 << 62, 1 << 63, (1 << 64) - 1)
FAR = (1 << 64) - 1

libc = ctypes.CDLL(None, use_errno=True)


def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class Port:
    """The port, ours alone while this process lives."""

    def __init__(self, pid):
        self.fd = self.take(pid)
        os.set_blocking(self.fd, True)
        self.freeze(pid)
        self.unique = 1 << 60
        self.buf = b""

    @staticmethod
    def take(pid):
        names = {open(p).read().strip(): p.split("/")[-2] for p in glob.glob("/sys/class/virtio-ports/*/name")}
        port = "/dev/" + names["paddock.fs"] if pid == 1 else "socket:"
        number = next(int(f) for f in os.listdir(f"/proc/{pid}/fd")
                      if os.readlink(f"/proc/{pid}/fd/{f}").startswith(port))
        pidfd = check(libc.syscall(434, pid, 0))  # pidfd_open
        return check(libc.syscall(438, pidfd, number, 0))  # pidfd_getfd

    @staticmethod
    def freeze(pid):
        for task in os.listdir(f"/proc/{pid}/task"):
            if open(f"/proc/{pid}/task/{task}/comm").read().startswith("fs-"):
                check(libc.ptrace(0x4206, int(task), None, None))  # PTRACE_SEIZE
                check(libc.ptrace(0x4207, int(task), None, None))  # PTRACE_INTERRUPT
                os.waitpid(int(task), 0x40000000)  # __WALL

    def send(self, op, node, body=b"", length=None, unique=None):
        if unique is None:
            self.unique += 2
            unique = self.unique
        if length is None:
            length = 40 + len(body)
        msg = struct.pack("<IIQQIIIHH", length, op, unique, node, 0, 0, 1, 0, 0) + body
        while msg:
            msg = msg[os.write(self.fd, msg):]
        return unique

    def take_message(self):
        """A message and its seal of 8 bytes (wire/fuse_line.h)."""
        while len(self.buf) < 4 or len(self.buf) < struct.unpack_from("<I", self.buf)[0] + 8:
            if not select.select([self.fd], [], [], 20)[0]:
                raise SystemExit("no answer")
            self.buf += os.read(self.fd, 65536)
        n = struct.unpack_from("<I", self.buf)[0]
        msg, self.buf = self.buf[:n], self.buf[n + 8:]
        return msg

    def ask(self, op, node, body=b"", **kw):
        """(errno or 0, what came); notifications and answers to others are let go."""
        unique = self.send(op, node, body, **kw)
        while True:
            msg = self.take_message()
            _, error, about = struct.unpack_from("<IiQ", msg)
            if about == unique:
                return -error, msg[16:]


def name(*names):
    return b"".join(os.fsencode(n) + b"\0" for n in names)


def u32(*v):
    return struct.pack(f"<{len(v)}I", *v)


def u64(*v):
    return struct.pack(f"<{len(v)}Q", *v)


def read_in(fh, offset, size):
    return u64(fh, offset) + u32(size, 0) + u64(0) + u32(0, 0)


def write_in(fh, offset, data, size=None):
    return read_in(fh, offset, len(data) if size is None else size) + data


def setattr_in(valid, fh=0, size=0, mode=0):
    return u32(valid, 0) + u64(fh, size, 0, 0, 0, 0) + u32(0, 0, 0, mode, 0, 0, 0, 0)


def good(port, what, op, node, body=b""):
    error, data = port.ask(op, node, body)
    if error:
        raise SystemExit(f"{what}: {os.strerror(error)}")
    return data


def walk(port, path):
    node = ROOT
    for part in path.strip("/").split("/"):
        node = struct.unpack_from("<Q", good(port, "lookup " + part, LOOKUP, node, name(part)))[0]
    return node


def opened(port, node, flags, op=OPEN):
    return struct.unpack_from("<Q", good(port, "open", op, node, u32(flags, 0)))[0]


class World:
    """What a decent kernel knows: the positive control of all that follows."""

    def __init__(self, port, writable, read_only):
        self.port = port
        self.above = walk(port, os.path.dirname(writable))
        self.dir = walk(port, writable)
        self.ro = walk(port, read_only)
        self.ro_file = walk(port, read_only + "/file")
        data = good(port, "create", CREATE, self.dir, u32(os.O_RDWR | os.O_CREAT, 0o100644, 0o22, 0) + name("raw"))
        self.file = struct.unpack_from("<Q", data)[0]
        self.fh = struct.unpack_from("<Q", data, 128)[0]
        good(port, "write", WRITE, self.file, write_in(self.fh, 0, b"decent"))
        data = good(port, "symlink", SYMLINK, self.dir, name("raw-link", "../other/file"))
        self.link = struct.unpack_from("<Q", data)[0]
        self.dirfh = opened(port, self.dir, os.O_RDONLY, OPENDIR)
        self.rofh = opened(port, self.ro_file, os.O_RDONLY)
        self.decent()

    def decent(self):
        data = good(self.port, "read", READ, self.file, read_in(self.fh, 0, 100))
        if data != b"decent":
            raise SystemExit(f"read {data}")
        good(self.port, "lookup", LOOKUP, self.dir, name("raw"))
        if good(self.port, "read the read-only one", READ, self.ro_file, read_in(self.rofh, 0, 100)) != b"kept\n":
            raise SystemExit("read-only file")


def names(w):
    """Names that are more than a name."""
    bad = [b"..\0", b".\0", b"\0", b"", b"/\0", b"a/b\0", b"/etc/passwd\0", b"../other\0", b"raw", b"raw\0x",
           b"raw\0x\0", b"raw\0/\0"]
    for b in bad:
        yield f"lookup {b}", LOOKUP, w.dir, b, "EINVAL"
        yield f"unlink {b}", UNLINK, w.dir, b, "EINVAL"
        yield f"rmdir {b}", RMDIR, w.dir, b, "EINVAL"
        yield f"mkdir {b}", MKDIR, w.dir, u32(0o755, 0) + b, "EINVAL"
        yield f"mknod {b}", MKNOD, w.dir, u32(0o100644, 0, 0, 0) + b, "EINVAL"
        yield f"create {b}", CREATE, w.dir, u32(os.O_RDWR, 0o100644, 0, 0) + b, "EINVAL"
        yield f"link {b}", LINK, w.dir, u64(w.file) + b, "EINVAL"
        if not b.startswith(b"raw\0"):  # with another name behind it, that is two decent ones
            yield f"symlink {b}", SYMLINK, w.dir, b + b"text\0", "EINVAL"
            yield f"rename from {b}", RENAME2, w.dir, u64(w.dir) + u32(0, 0) + b + b"z\0", "EINVAL"
        yield f"rename to {b}", RENAME2, w.dir, u64(w.dir) + u32(0, 0) + b"raw\0" + b, "EINVAL"
    yield "lookup of 256 bytes", LOOKUP, w.dir, b"x" * 256 + b"\0", "ENAMETOOLONG"
    yield "link text of 1 MiB", SYMLINK, w.dir, name("l") + b"x" * (1 << 20) + b"\0", "ENAMETOOLONG"
    yield "attribute without an end", GETXATTR, w.file, u32(10, 0) + b"user.x", "EINVAL"


def ids(w):
    """Numbers that were never given out, and those of something else."""
    for n in NOWHERE:
        yield f"lookup below {n}", LOOKUP, n, name("raw"), "ESTALE"
        yield f"attributes of {n}", GETATTR, n, u32(0, 0) + u64(0), "ESTALE"
        yield f"open {n}", OPEN, n, u32(os.O_RDONLY, 0), "ESTALE"
        yield f"read {n}", READ, n, read_in(w.fh, 0, 100), "ESTALE"
        yield f"write {n}", WRITE, n, write_in(w.fh, 0, b"x"), "ESTALE"
        yield f"link of {n}", LINK, w.dir, u64(n) + name("l"), "ESTALE"
        yield f"rename into {n}", RENAME2, w.dir, u64(n) + u32(0, 0) + name("raw", "r"), "ESTALE"
        if n != FAR:  # that is the pump's way to read what it has opened itself
            yield f"handle {n}: read", READ, w.file, read_in(n, 0, 100), "EBADF"
            yield f"handle {n}: folder", READDIRPLUS, w.dir, read_in(n, 0, 4096), "EBADF"
        yield f"handle {n}: write", WRITE, w.file, write_in(n, 0, b"x"), "EBADF"
        yield f"copy to {n}", COPY, w.file, u64(w.fh, 0, n, w.fh, 0, 6, 0), "EBADF"
    yield "a folder's handle: write", WRITE, w.dir, write_in(w.dirfh, 0, b"x"), "EBADF"
    yield "a file's handle as a folder's", READDIR, w.file, read_in(w.fh, 0, 4096), "EBADF ENOTDIR"
    yield "another file's handle", WRITE, w.ro_file, write_in(w.fh, 0, b"x"), "EBADF"
    yield "a handle for reading: write", WRITE, w.ro_file, write_in(w.rofh, 0, b"x"), "EBADF"
    yield "a handle for reading: cut", SETATTR, w.ro_file, setattr_in(1 << 3 | 1 << 6, w.rofh), "EBADF EROFS EINVAL"
    yield "a symlink opened", OPEN, w.link, u32(os.O_RDONLY, 0), "EINVAL ELOOP"
    yield "a symlink as a folder", LOOKUP, w.link, name("file"), "ENOTDIR"
    yield "a file as a folder", LOOKUP, w.file, name("file"), "ENOTDIR"
    yield "made below a symlink", CREATE, w.link, u32(os.O_RDWR, 0o100644, 0, 0) + name("x"), "ENOTDIR"
    yield "rename into a symlink", RENAME2, w.dir, u64(w.link) + u32(0, 0) + name("raw", "x"), "ENOTDIR"
    yield "a mode set through a symlink", SETATTR, w.link, setattr_in(1, mode=0o666), "EOPNOTSUPP EINVAL"
    yield "a symlink cut", SETATTR, w.link, setattr_in(1 << 3), "EINVAL"


def numbers(w):
    """Offsets, sizes and lengths."""
    for offset in (1 << 63, FAR, (1 << 63) - 50):
        yield f"read at {offset}", READ, w.file, read_in(w.fh, offset, 100), "EINVAL"
        yield f"write at {offset}", WRITE, w.file, write_in(w.fh, offset, b"x" * 100), "EFBIG"
        yield f"allocate at {offset}", FALLOCATE, w.file, u64(w.fh, offset, 100) + u32(0, 0), "EFBIG"
        yield f"copy from {offset}", COPY, w.file, u64(w.fh, offset, w.file, w.fh, 0, 100, 0), "EINVAL"
    yield "folder at 2^63", READDIR, w.dir, read_in(w.dirfh, 1 << 63, 4096), "EINVAL"
    yield "a hole at 2^63", LSEEK, w.file, u64(w.fh, 1 << 63) + u32(3, 0), "ENXIO"
    yield "seek by what?", LSEEK, w.file, u64(w.fh, 0) + u32(77, 0), "EINVAL"
    yield "size of 2^63", SETATTR, w.file, setattr_in(1 << 3, size=1 << 63), "EFBIG"
    yield "read 4 GiB", READ, w.file, read_in(w.fh, 0, (1 << 32) - 1), "EINVAL"
    yield "list 4 GiB", READDIRPLUS, w.dir, read_in(w.dirfh, 0, (1 << 32) - 1), "EINVAL"
    yield "an attribute of 4 GiB", GETXATTR, w.file, u32((1 << 32) - 1, 0) + name("user.x"), "E2BIG"
    yield "more than came", WRITE, w.file, write_in(w.fh, 0, b"x" * 10, 11), "EINVAL"
    yield "more by far", WRITE, w.file, write_in(w.fh, 0, b"x" * 10, (1 << 32) - 1), "EINVAL"
    yield "less than came", WRITE, w.file, write_in(w.fh, 0, b"x" * 10, 9), "EINVAL"
    yield "an attribute longer than came", SETXATTR, w.file, u32(9, 0) + name("user.x") + b"x", "EINVAL"
    yield "half a request", READ, w.file, read_in(w.fh, 0, 100)[:20], "EINVAL"
    yield "a request and a half", READ, w.file, read_in(w.fh, 0, 100) + b"more", "EINVAL"
    yield "both flags of a rename", RENAME2, w.dir, u64(w.dir) + u32(3, 0) + name("raw", "x"), "EINVAL"
    yield "whiteout", RENAME2, w.dir, u64(w.dir) + u32(4, 0) + name("raw", "x"), "EINVAL"
    yield "open for nothing", OPEN, w.file, u32(3, 0), "EINVAL"
    for op in (0, 7, 19, 37, 41, 48, 49, 52, 4096, (1 << 32) - 1):
        yield f"operation {op}", op, w.file, b"", "ENOSYS"


def bounds(w):
    """Out of a workspace, or into one that is read-only."""
    yield "beside the workspaces", LOOKUP, w.above, name("other"), "ENOENT"
    yield "made beside them", CREATE, w.above, u32(os.O_RDWR, 0o100644, 0, 0) + name("x"), "EROFS"
    yield "folder beside them", MKDIR, w.above, u32(0o755, 0) + name("x"), "EROFS"
    yield "at the top", MKDIR, ROOT, u32(0o755, 0) + name("x"), "EROFS"
    yield "a workspace moved", RENAME2, w.above, u64(w.dir) + u32(0, 0) + name("app", "x"), "EXDEV EROFS EBUSY"
    yield "moved out", RENAME2, w.dir, u64(w.above) + u32(0, 0) + name("raw", "x"), "EXDEV EROFS"
    yield "exchanged with a workspace", RENAME2, w.dir, u64(w.above) + u32(2, 0) + name("raw", "app"), "EXDEV EROFS EBUSY"
    for flags in (0, 2):
        yield "moved to read-only", RENAME2, w.dir, u64(w.ro) + u32(flags, 0) + name("raw", "file"), "EXDEV EROFS"
        yield "moved from read-only", RENAME2, w.ro, u64(w.dir) + u32(flags, 0) + name("file", "raw"), "EXDEV EROFS"
    yield "linked from read-only", LINK, w.dir, u64(w.ro_file) + name("x"), "EXDEV EROFS"
    yield "linked to read-only", LINK, w.ro, u64(w.file) + name("x"), "EXDEV EROFS"
    yield "read-only, to write", OPEN, w.ro_file, u32(os.O_RDWR, 0), "EROFS"
    yield "read-only, cut", OPEN, w.ro_file, u32(os.O_RDONLY | os.O_TRUNC, 0), "EROFS"
    yield "read-only, its mode", SETATTR, w.ro_file, setattr_in(1, mode=0o777), "EROFS"
    yield "read-only, its size", SETATTR, w.ro_file, setattr_in(1 << 3), "EROFS"
    yield "read-only, removed", UNLINK, w.ro, name("file"), "EROFS"
    yield "read-only, made", CREATE, w.ro, u32(os.O_RDWR, 0o100644, 0, 0) + name("x"), "EROFS"
    yield "read-only, nameless", TMPFILE, w.ro, u32(os.O_RDWR, 0o100644, 0, 0) + name("x"), "EROFS"
    yield "read-only, an attribute", SETXATTR, w.ro_file, u32(1, 0) + name("user.x") + b"x", "EROFS"
    yield "a disk", MKNOD, w.dir, u32(stat.S_IFBLK | 0o666, 0x800, 0, 0) + name("disk"), "EPERM"
    yield "a terminal", MKNOD, w.dir, u32(stat.S_IFCHR | 0o666, 0x500, 0, 0) + name("tty"), "EPERM"
    yield "a capability", SETXATTR, w.file, u32(20, 0) + name("security.capability") + b"\2" + bytes(19), "EOPNOTSUPP EPERM"
    yield "trusted", SETXATTR, w.file, u32(1, 0) + name("trusted.x") + b"x", "EOPNOTSUPP EPERM"


def refused(w):
    """How many were; ends with those that were not."""
    n, wrong = 0, []
    for group in (names, ids, numbers, bounds):
        for what, op, node, body, expected in group(w):
            error, data = w.port.ask(op, node, body)
            if op == LOOKUP and error == 0 and data[:8] == bytes(8):
                error = errno.ENOENT  # that there is none may be kept
            if error not in [getattr(errno, e) for e in expected.split()]:
                wrong.append(f"{what}: {os.strerror(error)}, not {expected}")
            w.decent()
            n += 1
    if wrong:
        raise SystemExit("\n".join(wrong))
    return n


def unanswered(w):
    """What has no reply: nothing comes of it."""
    for n in NOWHERE:
        w.port.send(FORGET, n, u64(1))
        w.port.send(INTERRUPT, n, u64(n))
        w.port.send(RELEASE, w.file, u64(n) + u32(0, 0) + u64(0), unique=0)
        w.port.send(RELEASE, n, u64(w.fh) + u32(0, 0) + u64(0), unique=0)
    w.port.send(FORGET, ROOT, u64(FAR))
    w.port.send(FORGET, w.above, b"")
    w.port.send(BATCH_FORGET, 0, u32(2, 0) + u64(w.dir, 1))
    w.port.send(BATCH_FORGET, 0, u32((1 << 32) - 1, 0))
    w.port.send(BATCH_FORGET, 0, u32(0, 0) + u64(w.dir, FAR))
    w.decent()


def main():
    signal.alarm(LIMIT_S)
    port = Port(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    w = World(port, *sys.argv[1:3])
    unanswered(w)
    print(refused(w), "refused")
    unanswered(w)
    # All that is known of it is forgotten, down to nothing: its number is nobody's then.
    port.send(RELEASE, w.file, u64(w.fh) + u32(0, 0) + u64(0), unique=0)
    port.send(FORGET, w.file, u64(FAR))
    if port.ask(GETATTR, w.file, u32(0, 0) + u64(0))[0] != errno.ESTALE:
        raise SystemExit("it is still there")
    good(port, "lookup anew", LOOKUP, w.dir, name("raw"))


main()
