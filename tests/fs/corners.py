#!/usr/bin/env python3
"""corners.py FOLDER: what random operations do not reach, as a local disk does it. Says what is wrong."""
import ctypes
import errno
import mmap
import os
import socket
import stat
import subprocess
import sys
import threading

FALLOC_KEEP, FALLOC_PUNCH = 1, 2
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]


def fails(code, call, *args, **kw):
    try:
        call(*args, **kw)
    except OSError as e:
        assert e.errno == code, f"{errno.errorcode[e.errno]}, not {errno.errorcode[code]}"
        return
    raise AssertionError(f"no {errno.errorcode[code]}")


def write(name, data, flags=0):
    fd = os.open(name, os.O_RDWR | os.O_CREAT | flags, 0o644)
    os.write(fd, data)
    return fd


def direct():
    os.close(write("direct", b"x" * 8192))
    fd = os.open("direct", os.O_RDWR | os.O_DIRECT)
    page = mmap.mmap(-1, 4096)
    page.write(b"d" * 4096)
    assert os.pwrite(fd, page, 4096) == 4096
    assert os.preadv(fd, [page], 0) == 4096 and page[:] == b"x" * 4096
    os.close(fd)
    assert open("direct", "rb").read() == b"x" * 4096 + b"d" * 4096


def private_mapping():
    fd = write("private", b"a" * 4096)
    m = mmap.mmap(fd, 4096, mmap.MAP_PRIVATE)
    m[0:1] = b"b"
    assert os.pread(fd, 1, 0) == b"a" and m[0:2] == b"ba"


def shared_mapping_outlives_close():
    fd = write("shared", b"a" * 10000)
    m = mmap.mmap(fd, 10000)
    os.close(fd)
    os.unlink("shared")
    m[9999:10000] = b"z"
    m.flush()
    assert m[9998:10000] == b"az"


def busy_program():
    subprocess.run(["cp", "/bin/sleep", "program"], check=True)
    p = subprocess.Popen(["./program", "60"])
    try:
        fails(errno.ETXTBSY, os.open, "program", os.O_WRONLY)
        fails(errno.ETXTBSY, os.truncate, "program", 0)
    finally:
        p.kill()
        p.wait()
    fd = os.open("program", os.O_RDWR)
    fails(errno.ETXTBSY, subprocess.call, ["./program", "0"])
    os.close(fd)
    assert subprocess.call(["./program", "0"]) == 0


def holes_take_no_room():
    fd = write("holes", b"d" * (1 << 20))
    os.fsync(fd)
    full = os.stat("holes").st_blocks
    assert libc.fallocate(fd, FALLOC_PUNCH | FALLOC_KEEP, 0, 1 << 19) == 0
    os.fsync(fd)
    assert os.stat("holes").st_blocks <= full // 2 + 16, "blocks of a hole"
    assert os.lseek(fd, 0, os.SEEK_DATA) == 1 << 19
    assert os.lseek(fd, 1 << 19, os.SEEK_HOLE) == 1 << 20
    assert libc.fallocate(fd, FALLOC_KEEP, 0, 1 << 20) == 0
    assert os.stat("holes").st_blocks >= full, "blocks that are set aside"


def beyond_4_gib():
    fd = write("large", b"")
    end = 5 << 30
    os.ftruncate(fd, end)
    os.pwrite(fd, b"end", end)
    os.close(write("copy", b""))
    copy = os.open("copy", os.O_RDWR)
    assert os.stat("large").st_size == end + 3 and os.pread(fd, 9, end - 2) == b"\0\0end"
    done = 0
    while done < 5:
        n = os.copy_file_range(fd, copy, 5 - done, end - 2 + done, end + 1 + done)
        assert n > 0, "nothing is copied"
        done += n
    assert os.pread(copy, 9, end) == b"\0\0\0end", os.pread(copy, 9, end)
    m = mmap.mmap(fd, 3, offset=end)
    assert m[0:3] == b"end"


def long_names():
    name = "n" * 255
    os.close(write(name, b""))
    assert name in os.listdir(".")
    fails(errno.ENAMETOOLONG, os.open, name + "n", os.O_WRONLY | os.O_CREAT)
    odd = bytes(b for b in range(1, 256) if b != 47)
    os.close(write(odd, b""))
    assert odd in os.listdir(b".")


def long_paths():
    here = os.open(".", os.O_RDONLY)
    part = "p" * 200
    path = "/".join([part] * 20)  # 4019 bytes
    os.makedirs(path)
    os.close(write(path + "/f", b"deep"))
    assert open(path + "/f").read() == "deep"
    os.chdir(path)
    os.mkdir(part)
    assert len(os.getcwd()) > 4000
    os.fchdir(here)
    fails(errno.ENAMETOOLONG, os.stat, path + "/" + part)


def folder_is_synced():
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.fdatasync(fd)


def fifo():
    os.mkfifo("fifo")
    got = []
    t = threading.Thread(target=lambda: got.append(open("fifo").read()))
    t.start()
    with open("fifo", "w") as f:
        f.write("through")
    t.join(20)
    assert got == ["through"]


def socket_file():
    s = socket.socket(socket.AF_UNIX)
    s.bind("socket")
    s.listen()
    c = socket.socket(socket.AF_UNIX)
    c.connect("socket")
    a, _ = s.accept()
    c.sendall(b"hello")
    assert a.recv(9) == b"hello" and stat.S_ISSOCK(os.stat("socket").st_mode)


def times():
    os.close(write("times", b""))
    for t in (1, -1, 1234567890123456789, 2**31 * 10**9 + 5):
        os.utime("times", ns=(t, t + 1))
        st = os.stat("times")
        assert (st.st_atime_ns, st.st_mtime_ns) == (t, t + 1), (st.st_atime_ns, st.st_mtime_ns)


def attributes():
    os.close(write("xattr", b""))
    os.setxattr("xattr", "user.a", b"1" * 1000)
    assert os.getxattr("xattr", "user.a") == b"1" * 1000 and "user.a" in os.listxattr("xattr")
    fails(errno.EEXIST, os.setxattr, "xattr", "user.a", b"", os.XATTR_CREATE)
    os.removexattr("xattr", "user.a")
    fails(errno.ENODATA, os.getxattr, "xattr", "user.a")


def room():
    st = os.statvfs(".")
    assert st.f_namemax == 255 and st.f_blocks > 0 and 0 < st.f_bavail <= st.f_blocks


def mask():
    old = os.umask(0o027)
    os.close(os.open("masked", os.O_CREAT | os.O_WRONLY, 0o666))
    os.mkdir("masked.d")
    os.umask(old)
    assert stat.S_IMODE(os.stat("masked").st_mode) == 0o640
    assert stat.S_IMODE(os.stat("masked.d").st_mode) == 0o750


def give_name(fd, name):
    at_fdcwd, symlink_follow = -100, 0x400
    path = f"/proc/self/fd/{fd}".encode()
    if libc.linkat(at_fdcwd, path, at_fdcwd, name.encode(), symlink_follow) < 0:
        raise OSError(ctypes.get_errno(), name)


def nameless_gets_a_name():
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b"nameless")
    give_name(fd, "named")
    assert open("named").read() == "nameless"
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
    fails(errno.ENOENT, give_name, fd, "never")


def unlinked_stays():
    fd = write("gone", b"1")
    other = os.open("gone", os.O_RDONLY)
    os.unlink("gone")
    os.write(fd, b"2")
    assert os.read(other, 9) == b"12" and os.fstat(fd).st_nlink == 0
    os.ftruncate(fd, 1)
    os.fchmod(fd, 0o600)
    assert os.fstat(other).st_size == 1
    fails(errno.ENOENT, os.stat, "gone")


def folder_in_use():
    os.makedirs("in/use")
    fd = os.open("in/use", os.O_RDONLY)
    fails(errno.ENOTEMPTY, os.rmdir, "in")
    fails(errno.EINVAL, os.rename, "in", "in/use/in")
    os.rename("in", "moved")
    assert os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=fd) >= 0 and os.path.exists("moved/use/x")


def main():
    os.chdir(sys.argv[1])
    wrong = 0
    for check in (
        direct, private_mapping, shared_mapping_outlives_close, busy_program, holes_take_no_room,
        beyond_4_gib, long_names, long_paths, folder_is_synced, fifo, socket_file, times, attributes,
        room, mask, nameless_gets_a_name, unlinked_stays, folder_in_use,
    ):
        try:
            check()
        except (OSError, AssertionError) as e:
            print(f"{check.__name__}: {type(e).__name__} {e}, line {e.__traceback__.tb_lineno}")
            wrong += 1
    sys.exit(wrong)


main()
