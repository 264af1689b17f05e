"""Holds some MiB and waits to be ended, like a server beside the program that grows.

    python wait.py MIB
"""
import sys
import time

block = bytearray(b"s") * (int(sys.argv[1]) << 20)
print("waiting", flush=True)
time.sleep(600)
