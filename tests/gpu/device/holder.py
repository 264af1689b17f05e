"""holder.py BYTES: another process on the card. Says a line once it holds them, and ends when its
standard input does."""
import sys

from driver import Driver

GIB = 1 << 30


def main():
    driver = Driver()
    left = int(sys.argv[1])
    while left > 0:
        driver.allocate(min(left, GIB))
        left -= GIB
    print("holding", flush=True)
    sys.stdin.read()


main()
