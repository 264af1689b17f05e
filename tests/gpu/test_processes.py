"""Budgets of whole process trees, other processes on the card, and what programs are told of it."""
import pathlib
import sys

import fake_driver
import pytest

PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"
MIB = fake_driver.MIB
GIB = fake_driver.GIB


def run(program, *arguments, folder, guarded=True, **variables):
    ended = fake_driver.run([sys.executable, PROGRAMS / program, *arguments], guarded, folder,
                            FAKE_CUDA_STATE=folder / "cards", **variables)
    assert ended.status == 0, ended.err
    return {line.split()[0]: [int(number) for number in line.split()[1:]] for line in ended.lines}


def test_workers_share_the_budget_and_the_dead_give_theirs_back(tmp_path):
    told = run("workers.py", "4", folder=tmp_path, FAKE_CUDA_DEVICES="8G",
               OOMGUARD_GPU_BUDGET="1G")
    assert 1000 <= sum(told["each"]) <= 1024, told
    # Whatever the killed one had is there again, unless that was nothing.
    assert told["after"][0] <= 1024
    alive = sum(told["each"]) + told["after"][0]
    assert alive >= 1000, told


def test_auto_leaves_a_part_of_what_the_card_has_free(tmp_path):
    told = run("workers.py", "1", folder=tmp_path, FAKE_CUDA_DEVICES="8G",
               FAKE_CUDA_OTHERS="0:4242:5G")
    assert 2048 < told["each"][0] < 3072, told


@pytest.mark.parametrize("visible, budget, number", [
    ("", "1G", 0),
    ("1", "1G", 1),
    ("GPU-fa4e0001", "0=1G", 1),
    ("1,0", "0=1G,1=2G", 1),
])
def test_the_program_is_told_its_budget(tmp_path, visible, budget, number):
    variables = {"CUDA_VISIBLE_DEVICES": visible} if visible else {}
    told = run("sees.py", str(256 * MIB), str(number), folder=tmp_path, FAKE_CUDA_DEVICES="8G,4G",
               OOMGUARD_GPU_BUDGET=budget, **variables)
    assert told["cuda"] == [768 * MIB, GIB]
    assert told["nvml"] == [GIB, 768 * MIB]


def test_with_the_host_s_view_it_is_told_the_card(tmp_path):
    told = run("sees.py", str(256 * MIB), "0", folder=tmp_path, FAKE_CUDA_DEVICES="8G",
               OOMGUARD_GPU_BUDGET="1G", OOMGUARD_VIEW="host")
    assert told["cuda"] == [8 * GIB - 256 * MIB, 8 * GIB]
    assert told["nvml"] == [8 * GIB, 8 * GIB - 256 * MIB]


def test_the_view_never_shows_more_than_the_driver(tmp_path):
    told = run("sees.py", str(256 * MIB), "0", folder=tmp_path, FAKE_CUDA_DEVICES="2G",
               FAKE_CUDA_OTHERS="0:4242:1G", OOMGUARD_GPU_BUDGET="8G")
    assert told["cuda"][1] <= 2 * GIB and told["cuda"][0] <= 768 * MIB
