"""The auditor: as a module, with a fake CUPTI and with the toolkit's own, and in a guarded
program."""
import os
import pathlib
import re
import subprocess
import sys

import fake_driver
import pytest

PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"


@pytest.fixture(scope="module")
def build():
    folder = os.environ.get("OOMGUARD_BUILD")
    if not folder:
        pytest.skip("OOMGUARD_BUILD does not name a build folder")
    build = pathlib.Path(folder).resolve()
    if not (build / "lib" / "liboomguard_cupti.so").exists():
        pytest.skip("CMake found no CUPTI: the auditor was not built")
    return build


def audit(build, cupti, unknown=0, **variables):
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    ended = subprocess.run(
        [build / "tests" / "cupti" / "audit_program", build / "lib" / "liboomguard_cupti.so",
         cupti, str(unknown)], env={**environment, **variables}, capture_output=True, text=True,
        timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines(), ended.stderr.splitlines()


def fake(build):
    return build / "tests" / "cupti" / "libcupti.so.13"


def real(build):
    text = (build / "CMakeCache.txt").read_text()
    match = re.search(r"^CUDA_cupti_LIBRARY:[A-Z]+=(.+)$", text, re.MULTILINE)
    if not match or not pathlib.Path(match[1]).exists():
        pytest.skip("the toolkit has no libcupti")
    return pathlib.Path(match[1])


def test_the_books_agree(build):
    out, err = audit(build, fake(build))
    # Nobody is kept out, and a child reports nothing.
    assert out == ["start 0", "subscribers 0", "child 0"]
    assert err == ["oomguard audit: GPU 0 device: ledger 8, CUPTI 8, difference 0 bytes"]


def test_a_difference_is_reported(build):
    _, err = audit(build, fake(build), unknown=100)
    assert err == ["oomguard audit: GPU 0 device: ledger 8, CUPTI 108, difference -100 bytes",
                   "oomguard audit:   100 bytes that the ledger does not know, by unknown code"]


def test_yields_to_another_subscriber_with_one_line(build):
    out, err = audit(build, fake(build), FAKE_CUPTI_BUSY="1")
    assert out[0] == "start 1"
    assert err == ["oomguard audit: off: another tool uses CUPTI (a profiler?)"]


def test_says_so_where_another_tool_takes_the_records(build):
    _, err = audit(build, fake(build), FAKE_CUPTI_TAKEN="1")
    assert err == ["oomguard audit: no records came: another tool has taken CUPTI over, "
                   "nothing is compared"]


def test_without_cupti_it_is_off(build):
    out, err = audit(build, "-")
    assert out[0] == "start 1"
    assert len(err) == 1 and err[0].startswith("oomguard audit: off: libcupti.so.")


def test_the_real_cupti_is_taken_where_it_is_loaded(build):
    """Without a driver CUPTI does not start: one line says so, and the process ends well."""
    out, err = audit(build, real(build))
    if out[0] == "start 0":
        pytest.skip("there is a driver here: CUPTI did start")
    assert len(err) == 1 and err[0].startswith("oomguard audit: off: CUPTI does not start: ")


def guarded(build, folder, told, **variables):
    path = f"{fake_driver.gpu_build() / 'fake'}:{build / 'tests' / 'cupti'}"
    return fake_driver.run([sys.executable, PROGRAMS / "audited.py", told], True, folder,
                           **{"LD_LIBRARY_PATH": path, **variables})


def test_a_guarded_program_is_audited_on_request_alone(build, tmp_path):
    ended = guarded(build, tmp_path, 64 << 20, OOMGUARD_GPU_AUDIT="1")
    assert ended.status == 0 and ended.err.splitlines() == [
        "oomguard audit: GPU 0 device: ledger 67108864, CUPTI 67108864, difference 0 bytes"]
    ended = guarded(build, tmp_path, 64 << 20)
    assert ended.status == 0 and ended.err == ""


def test_a_guarded_program_lives_where_the_auditor_cannot(build, tmp_path):
    ended = guarded(build, tmp_path, 1, OOMGUARD_GPU_AUDIT="1", FAKE_CUPTI_BUSY="1")
    assert ended.status == 0 and ended.err.splitlines() == [
        "oomguard audit: off: another tool uses CUPTI (a profiler?)"]
