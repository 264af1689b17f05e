"""workers.py COUNT: starts as many children; each fills the card until it is refused and holds what
it has. Prints what each took; then kills the first and says what another may take after that."""
import os
import pathlib
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "device"))

from driver import Driver, OutOfMemory  # noqa: E402

MIB = 1 << 20


def fill():
    driver = Driver()
    taken = 0
    for size in (64 * MIB, 8 * MIB):
        try:
            while True:
                driver.allocate(size)
                taken += size
        except OutOfMemory:
            pass
    print(taken // MIB, flush=True)
    sys.stdin.read()


def start():
    return subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, text=True,
                            stdout=subprocess.PIPE)


def main():
    if len(sys.argv) == 1:
        fill()
        return
    children = [start() for _ in range(int(sys.argv[1]))]
    print("each", *[child.stdout.readline().strip() for child in children])
    first = max(children, key=lambda child: child.pid)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    last = start()
    print("after", last.stdout.readline().strip())
    for child in [*children, last]:
        child.stdin.close()
        child.wait()


main()
