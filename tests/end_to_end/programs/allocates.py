"""Allocates, fills and frees blocks of some MiB until it is ended."""
import random

kept = [None] * 16
print("ready", flush=True)
while True:
    kept[random.randrange(len(kept))] = bytearray(random.randrange(1, 8 << 20))
