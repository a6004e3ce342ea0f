# SPDX-License-Identifier: MIT
"""What is measured: Baton, and QEMUs beside it, each as a kind of machine."""

import functools
import glob
import os
import shutil
import socket
import subprocess

import qmp as qmp_module
import vm as harness

FETCHED = os.path.join(harness.ROOT, "build", "bench")
MODES = ("graft", "transfer", "exec", "reboot")

# A set of devices as a small server has it; the disk is read by nobody.
USUAL_DEVICES = (
    "-device", "VGA", "-device", "virtio-rng-pci",
    "-device", "virtio-balloon-pci", "-device", "virtio-serial-pci",
    "-device", "qemu-xhci",
    "-netdev", "user,id=net0,restrict=on",
    "-device", "virtio-net-pci,netdev=net0,romfile=",
    "-blockdev", "null-co,node-name=disk0,size=67108864,read-zeroes=on",
    "-device", "virtio-blk-pci,drive=disk0")
MACHINES = {
    "microvm": ("-M", "microvm,auto-kernel-cmdline=off", "-accel", "kvm"),
    "q35": ("-M", "q35", "-accel", "kvm"),
    "q35-usual": ("-M", "q35", "-accel", "kvm") + USUAL_DEVICES,
}


class QemuVm(harness.Vm):
    """The same guest under QEMU: its program is a list, its machine named."""

    def __init__(self, *args, command, machine, **kwargs):
        super().__init__(*args, program=command[0], **kwargs)
        self.command = list(command)
        self.machine = MACHINES[machine]

    def args(self, generation, extra=()):
        args = super().args(generation, extra)
        args[args.index("-cpu") + 1] = "qemu64"
        return self.command[1:] + list(self.machine) + args


class SmallPageVm(harness.Vm):
    """Baton that does not gather RAM into huge pages."""

    def args(self, generation, extra=()):
        return super().args(generation, extra) + [
            "-machine", "huge-pages=off"]


class UsualVm(harness.Vm):
    """Baton with disk, network card, console, agent's port and rng."""

    def args(self, generation, extra=()):
        disk = self.path("usual.img")
        if not os.path.exists(disk):
            with open(disk, "wb") as f:
                f.truncate(64 << 20)
        return super().args(generation, extra) + [
            "-drive", "file=%s,format=raw,if=none,id=disk0" % disk,
            "-device", "virtio-blk-pci,drive=disk0",
            "-netdev", "stream,id=net0,server=on,addr.type=unix,addr.path=%s"
            % self.path("net"), "-device", "virtio-net-pci,netdev=net0",
            "-device", "virtio-serial-pci", "-device", "virtio-rng-pci",
            "-chardev", "socket,id=agent,path=%s,server=on,wait=off"
            % self.path("agent"), "-device",
            "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]


class Subject:
    """A program and machine under measurement.

    make(...) creates a virtual machine of it; modes says for each mode None
    if the program knows it, or why it is skipped.
    """

    def __init__(self, name, make, command, modes, version):
        self.name = name
        self.make = make
        self.command = command
        self.modes = modes
        self.version = version

    def knows(self, mode):
        return self.modes[mode] is None


def _ask(command, machine, names):
    """(version, {mode: None or why not}) by asking a program without guest."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with subprocess.Popen(
                list(command) + list(machine) +
                ["-display", "none", "-nodefaults",
                 "-chardev", "socket,id=c,fd=%d" % theirs.fileno(),
                 "-mon", "chardev=c,mode=control"],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            theirs.close()
            try:
                client = qmp_module.Qmp("", timeout=20.0, sock=ours)
                v = client.cmd("query-version")["qemu"]
                modes = {}
                for mode, name in names.items():
                    try:
                        client.cmd("migrate-set-parameters", mode=name)
                        modes[mode] = None
                    except qmp_module.QmpError as e:
                        modes[mode] = e.desc
                return "%(major)d.%(minor)d.%(micro)d" % v, modes
            except (qmp_module.QmpClosed, OSError) as e:
                process.kill()
                text = process.stderr.read().decode(errors="replace")
                raise LookupError("%s does not answer: %s %s" % (
                    program_of(command), e, text.strip())) from e
            finally:
                process.kill()


def _mode_names(modes):
    return {mode: "cpr-" + mode for mode in modes}


def baton(small_pages=False):
    """Baton as a subject, as it is or with RAM in pages of 4 KiB."""
    version, modes = _ask([harness.BATON],
                          ["-S", "-kernel", harness.guest_path("gap")],
                          _mode_names(MODES))
    return Subject("baton-4k" if small_pages else "baton",
                   SmallPageVm if small_pages else harness.Vm,
                   [harness.BATON], modes, version)


def baton_usual():
    """Baton with the devices of a small server."""
    plain = baton()
    return Subject("baton-usual", UsualVm, plain.command, plain.modes,
                   plain.version)


def root_command(root):
    """The command of the QEMU in a root directory, with its own libraries."""
    program = os.path.join(root, "usr/bin/qemu-system-x86_64")
    loaders = [os.path.join(root, p) for p in (
        "usr/lib64/ld-linux-x86-64.so.2", "lib64/ld-linux-x86-64.so.2")]
    loader = next((p for p in loaders if os.path.exists(p)), None)
    if not os.path.exists(program):
        raise LookupError("%s has no usr/bin/qemu-system-x86_64" % root)
    if not loader:
        raise LookupError("%s has no dynamic loader" % root)
    libraries = [os.path.join(root, p) for p in (
        "usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu/systemd")]
    return [os.path.realpath(loader), "--library-path",
            ":".join(p for p in libraries if os.path.isdir(p)), program,
            "-L", os.path.join(root, "usr/share/qemu"),
            "-L", os.path.join(root, "usr/share/seabios")]


def program_of(command):
    """The program itself, which a dynamic loader may stand before."""
    return next((c for c in command
                 if os.path.basename(c).startswith("qemu")), command[0])


def _qemu_commands():
    """Commands of all QEMUs there are, or of those that a user named."""
    if os.environ.get("QEMU_ROOT"):
        yield root_command(os.environ["QEMU_ROOT"])
    if os.environ.get("QEMU"):
        yield [os.environ["QEMU"]]
    if os.environ.get("QEMU_ROOT") or os.environ.get("QEMU"):
        return
    for mark in sorted(glob.glob(os.path.join(FETCHED, "*", ".complete"))):
        yield root_command(os.path.dirname(mark))
    path = shutil.which("qemu-system-x86_64")
    if path:
        yield [path]


def _version_key(version):
    return tuple(int(part) for part in version.split("."))


@functools.lru_cache(maxsize=None)
def qemus():
    """(command, version, modes, note) of QEMU to measure, or (None, ..., why).

    The newest QEMU that knows transfer is taken, of those the user named
    (QEMU_ROOT, QEMU) if there are such.
    """
    found, notes = [], []
    names = _mode_names(("transfer", "exec", "reboot"))
    for command in _qemu_commands():
        try:
            version, modes = _ask(command, ["-machine", "none"], names)
        except (LookupError, OSError) as e:
            notes.append(str(e))
            continue
        if modes["transfer"] is not None:
            notes.append("%s is QEMU %s without cpr-transfer" % (
                program_of(command), version))
            continue
        found.append((command, version, modes))
    if not found:
        return None, None, None, "; ".join(notes) or "no QEMU is installed"
    best = max(found, key=lambda f: _version_key(f[1]))
    return best + (None,)


def qemu(machine):
    """A QEMU machine as a subject; LookupError says why there is none."""
    command, version, modes, why_not = qemus()
    if not command:
        raise LookupError(why_not)
    modes = dict(modes, graft="QEMU has no such mode")
    return Subject("qemu-" + machine,
                   functools.partial(QemuVm, command=command,
                                     machine=machine),
                   command, modes, version)
