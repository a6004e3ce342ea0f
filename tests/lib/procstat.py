# SPDX-License-Identifier: MIT
"""What /proc says about a process: descriptors, threads, memory."""

import collections
import os

# The last is what QEMU calls a memfd backend.
RAM_NAMES = ("/memfd:ram0", "/memfd:pc.ram", "/memfd:memory-backend-memfd")


def fds(pid):
    """Descriptor number -> what it points to."""
    found = {}
    base = "/proc/%d/fd" % pid
    for name in os.listdir(base):
        try:
            found[int(name)] = os.readlink(os.path.join(base, name))
        except FileNotFoundError:
            pass
    return found


def fd_kinds(pid):
    """Counter of targets; without standard files and numbers of sockets."""
    return collections.Counter(t.split(":[")[0]
                               for n, t in fds(pid).items() if n > 2)


def threads(pid):
    """Names of all but those that come and go: one gathers RAM, the kernel's
    own carry out I/O."""
    return [name for name in thread_names(pid)
            if name != "hugepages" and not name.startswith("iou-")]


def maps(pid):
    """How many mappings there are."""
    with open("/proc/%d/maps" % pid, encoding="utf-8") as f:
        return len(f.readlines())


def named_threads(pid):
    """Names and ids."""
    found = []
    for task in os.listdir("/proc/%d/task" % pid):
        try:
            with open("/proc/%d/task/%s/comm" % (pid, task),
                      encoding="ascii") as f:
                found.append((f.read().strip(), int(task)))
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended meanwhile
    return found


def thread_names(pid):
    return sorted(name for name, _ in named_threads(pid))


def state(pid):
    """One letter, Z for a zombie; None if there is no such process."""
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii") as f:
            return f.read().rsplit(") ", 1)[1][0]
    except FileNotFoundError:
        return None


def children(pid):
    """Process ids."""
    with open("/proc/%d/task/%d/children" % (pid, pid),
              encoding="ascii") as f:
        return [int(word) for word in f.read().split()]


def ram_fd(pid):
    """Path of the descriptor of guest RAM."""
    for fd, target in fds(pid).items():
        if target.split(" ")[0] in RAM_NAMES:
            return "/proc/%d/fd/%d" % (pid, fd)
    raise LookupError("process %d has no descriptor of guest RAM: %s" %
                      (pid, fds(pid)))


def rss_beyond_ram(pid, ram_names=RAM_NAMES):
    """Resident bytes of all mappings that are not guest RAM."""
    return _resident(pid, ram_names, False)


def ram_resident(pid, ram_names=RAM_NAMES):
    """Resident bytes of guest RAM."""
    return _resident(pid, ram_names, True)


def _resident(pid, ram_names, of_ram):
    total = 0
    ram = False
    with open("/proc/%d/smaps" % pid, encoding="utf-8") as f:
        for line in f:
            first = line.split(None, 1)[0]
            if not first.endswith(":"):
                parts = line.split(None, 5)
                name = parts[5] if len(parts) > 5 else ""
                ram = name.startswith(tuple(ram_names))
            elif first == "Rss:" and ram == of_ram:
                total += int(line.split()[1]) * 1024
    return total


def listens(path):
    """True if a UNIX socket of that name is being listened on.

    The name exists a moment earlier, when the socket is bound.
    """
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as f:
        for line in f:
            parts = line.split()
            if len(parts) == 8 and parts[7] == path and \
                    int(parts[3], 16) & 0x10000:
                return True
    return False
