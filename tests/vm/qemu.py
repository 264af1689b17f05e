"""A real Linux kernel with several CPUs, PSI and cgroup v2, in qemu.

qemu translates every instruction, so computing is ten times slower and more, and a core is busy.
The processor's own virtualisation would be faster; it is not used because guests do not start
everywhere where /dev/kvm exists. Needs no root here; inside, everything is root's.
"""
import lzma
import os
import re
import shutil
import stat
import subprocess

import machine
import packages

MIB = 1 << 20
# In the order of loading; what a kernel has built in is in no file.
FIRST_MODULES = ("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev",
                 "virtio_pci", "virtio_blk", "netfs", "fscache", "9pnet", "9pnet_virtio", "9p")
MODULES = ("overlay", "zsmalloc", "zram", "crc16", "mbcache", "jbd2", "crc32c_generic", "ext4")


def _kernel_package():
    """What linux-image-amd64 stands for. The kernel for clouds has no 9p."""
    try:
        shown = subprocess.run(["apt-cache", "depends", "linux-image-amd64"], capture_output=True,
                               text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise packages.Unavailable(f"apt-cache cannot be asked for a kernel: {error}") from None
    found = re.search(r"Depends: (linux-image-\S+)", shown)
    if not found:
        raise packages.Unavailable("the package lists of this machine have no linux-image-amd64")
    return found.group(1)


def _unpacked_modules(tree, folder, names):
    """Files of them below `folder`, named so that their order is that of loading."""
    packed = {path.name.partition(".")[0]: path
              for path in tree.glob("lib/modules/*/kernel/**/*.ko*")}
    folder.mkdir()
    unpacked = []
    for at, name in enumerate(names):
        if name in packed:
            content = packed[name].read_bytes()
            unpacked.append(folder / f"{at:02}-{name}.ko")
            unpacked[-1].write_bytes(lzma.decompress(content) if packed[name].suffix == ".xz"
                                     else content)
    return unpacked


def program():
    """qemu's. Raises packages.Unavailable."""
    path = shutil.which("qemu-system-x86_64")
    if path is None:
        raise packages.Unavailable("qemu-system-x86_64 is missing (Debian: qemu-system-x86)")
    return path


def kernel():
    """(kernel, its package's files). Raises packages.Unavailable."""
    tree = packages.unpacked(_kernel_package())
    image, = (tree / "boot").glob("vmlinuz-*")
    return image, tree


def _entry(number, name, mode, content):
    """One entry of a cpio archive in its "newc" form."""
    name = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    head += b"\0" * (-len(head) % 4)
    return head + content + b"\0" * (-len(content) % 4)


def _initial_files(folder, tree):
    """The archive with the first program and the modules that it loads."""
    first = folder / "first"
    try:
        subprocess.run([os.environ.get("CC", "cc"), "-static", "-O1", "-Wall", "-Werror",
                        "-D_GNU_SOURCE", "-o", first, machine.GUEST / "first.c"], check=True,
                       timeout=60, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise packages.Unavailable(f"first.c cannot be built: {error}") from None
    entries = [("init", stat.S_IFREG | 0o755, first.read_bytes()),
               ("modules", stat.S_IFDIR | 0o755, b"")]
    for module in _unpacked_modules(tree, folder / "first_modules", FIRST_MODULES):
        entries.append((f"modules/{module.name}", stat.S_IFREG | 0o644, module.read_bytes()))
    entries.append(("TRAILER!!!", 0, b""))
    archive = folder / "initial.cpio"
    with open(archive, "wb") as file:
        for number, entry in enumerate(entries, 1):
            file.write(_entry(number, *entry))
    return archive


def run(argv, memory_bytes, timeout_s, environment, cpus=2):
    """As machine.run, in a machine with so many CPUs."""
    qemu = program()
    image, tree = kernel()

    def start(folder, init, results, disk):
        words = [qemu, "-machine", "pc,usb=off", "-accel", "tcg,thread=multi",
                 "-cpu", "max,la57=off", "-smp", cpus, "-m", f"{memory_bytes // MIB}M",
                 "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
                 "-kernel", image, "-initrd", _initial_files(folder, tree), "-append",
                 f"console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off nowatchdog -- {init}"]
        for name, path, more in (("host", "/", ",readonly=on,multidevs=remap"),
                                 ("results", results, "")):
            words += ["-fsdev", f"local,id={name},path={path},security_model=none{more}",
                      "-device", f"virtio-9p-pci,fsdev={name},mount_tag={name}"]
        if disk:
            words += ["-drive", f"file={disk},format=raw,if=virtio"]
        return machine.Start(words, {}, {
            "modules": [str(path)
                        for path in _unpacked_modules(tree, folder / "modules", MODULES)],
            "results": ["9p", "results", "trans=virtio,version=9p2000.L"],
            "disk": "/dev/vda" if disk else ""})

    return machine.run(start, argv, timeout_s, environment)
