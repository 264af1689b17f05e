"""Prints what one capture costs, in nanoseconds, for stacks of 10, 30 and 100 frames: the stack
alone and with the identity of each code object; with the GIL, without it, and without it at the
interpreter's end, through the kernel. Then one description, each way. STACK_PROBE names the
build's tests/liboomguard_python_stack_probe.so."""

import sys

from stack_probe import held, released

LEAST_DEPTH = 3  # this module, cost() and the innermost one


def at_depth(depth, function):
    return function() if depth == 0 else at_depth(depth - 1, function)


def cost(depth, library, captures):
    def measure():
        return [library.probe_cost(depth, captures, identities) for identities in (0, 1)]

    return "%8.0f %8.0f" % tuple(at_depth(depth - LEAST_DEPTH, measure))


print("Python %d.%d.%d" % sys.version_info[:3])
print("frames   with the GIL       without it")
for depth in (10, 30, 100):
    print("%6d  %s  %s" % (depth, cost(depth, held, 1000), cost(depth, released, 1000)))
print("description %.0f %.0f" % (held.probe_describe_cost(), released.probe_describe_cost()))
held.probe_ending()
print("    30  through the kernel %s" % cost(30, released, 20))
print("description %.0f" % released.probe_describe_cost())
