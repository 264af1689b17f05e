"""Random programs: what the guard has in its books is what the cards hold, and no card ever holds
more than the budget. OOMGUARD_TEST_GPU_PROGRAMS=1000 runs as many."""
import os

import fake_driver

BUDGET_MIB = 1024


def test_books_are_right_and_the_budget_holds(tmp_path):
    program = fake_driver.gpu_build() / "storm" / "storm"
    wrong = []
    refused = 0
    programs = int(os.environ.get("OOMGUARD_TEST_GPU_PROGRAMS", "10"))
    for seed in range(1, programs + 1):
        ended = fake_driver.run([program, seed, BUDGET_MIB], True, tmp_path,
                                FAKE_CUDA_DEVICES="8G,8G", OOMGUARD_GPU_BUDGET=f"{BUDGET_MIB}M")
        if ended.status != 0:
            wrong.append(f"seed {seed}: status {ended.status} {ended.out} {ended.err}")
        else:
            refused += int(ended.lines[-1].split()[3])
    assert wrong == [], f"{len(wrong)} of {programs}"
    assert refused > programs  # the budget was met at all
