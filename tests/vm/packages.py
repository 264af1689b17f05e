"""Debian packages that the guests need: downloaded and unpacked below the cache, never installed.

A folder is named by package and version, so an update of the distribution makes a new one. Works as
an ordinary user; the machine's package lists have to be there.
"""
import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess
import tempfile

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "oomguard"


class Unavailable(Exception):
    """What is missing on this machine, in words, for a skip's reason."""


def _archive_name(package):
    """"user-mode-linux_6.1um4_amd64.deb", or None where the package lists do not know it."""
    try:
        shown = subprocess.run(["apt-get", "download", "--print-uris", package],
                               capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"apt-get cannot be asked for {package}: {error}") from None
    words = shown.stdout.split()
    return words[1] if shown.returncode == 0 and len(words) > 1 else None


@contextlib.contextmanager
def _locked(path):
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(package, folder):
    work = tempfile.mkdtemp(prefix=package + "-", dir=folder.parent)
    try:
        subprocess.run(["apt-get", "download", package], cwd=work, capture_output=True, timeout=300,
                       check=True)
        archive, = pathlib.Path(work).glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, work + "/tree"], capture_output=True, timeout=120,
                       check=True)
        os.rename(work + "/tree", folder)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise Unavailable(f"the Debian package {package} cannot be downloaded: {error}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def unpacked(package):
    """The folder with the package's files. Raises Unavailable."""
    guests = CACHE / "guests"
    guests.mkdir(parents=True, exist_ok=True)
    with _locked(guests / f"{package}.lock"):
        name = _archive_name(package)
        if name is None and os.geteuid() == 0:
            subprocess.run(["apt-get", "update", "-q"], capture_output=True, timeout=300)
            name = _archive_name(package)
        if name is None:
            old = sorted(guests.glob(package + "_*"), key=os.path.getmtime)
            if old:
                return old[-1]
            raise Unavailable(f"the package lists of this machine have no {package}")
        folder = guests / name.removesuffix(".deb").replace("%3a", ".")
        if not folder.is_dir():
            _download(package, folder)
        return folder
