"""A kernel that is full of small objects stays usable: refused again and again, it answers, shows its
tracebacks, and runs the cell that frees memory."""
GROW = "def grow(into):\n    while True: into.append({'a': len(into)})\n"


SLOWLY = """import oomguard, time
held = []
while True:
    held.append(b'x' * (2 << 20))
    if oomguard.headroom() < 250 << 20: time.sleep(0.05)
"""


def test_a_full_kernel_answers_after_every_refusal(start_kernel):
    kernel = start_kernel()
    kernel.run("a = 42; D = {}; q = []\n" + GROW)
    first = kernel.run("while True: D[len(D)] = str(len(D))")
    assert "MemoryError" in first and "oomguard stopped this cell" in first
    for _ in range(4):
        assert "MemoryError" in kernel.run("grow(q)")
        assert kernel.run("len(q) > 0, a") == "(True, 42)"
    kernel.run("del q")
    kernel.run("del D")
    assert kernel.run("len(bytearray(200 << 20)), a") == "(209715200, 42)"
    assert kernel.group.oom_kills() == 0


def test_a_cell_that_swallows_its_refusals_leaves_the_kernel_alive(start_kernel):
    kernel = start_kernel()
    kernel.run("a = 42; n = 0; M = []")
    said = kernel.run("import time; end = time.monotonic() + 5\n"
                      "while time.monotonic() < end:\n"
                      "    try: M.append([n] * 5)\n"
                      "    except Exception: n += 1\n")
    kernel.run("del M")
    said += kernel.run(SLOWLY)  # a notice in half a minute: perhaps the first cell has had it
    assert said.count("left before this cell is stopped (see %oomguard vars)") == 1, said
    assert said.index("before this cell is stopped (see") < said.index("Error\n"), said
    assert kernel.run("a") == "42"
    assert kernel.group.oom_kills() == 0
