"""A machine of 512 MiB that runs full without any memory group (guest/whole_machine.py)."""
import signal

import pytest

from judge import raised, was_killed

pytestmark = pytest.mark.timeout(640)  # the first test waits for all cases


def test_the_kernel_takes_a_bare_program_and_not_its_guarded_neighbour(whole_machine):
    case = whole_machine.case("bare_neighbour")
    was_killed(case["bare"])
    assert case["bare"]["machine_kills"] == 1
    assert case["holder_alive"]


def test_a_guarded_program_raises_before_the_machine_is_full(whole_machine):
    raised(whole_machine.case("grow_bytes")["guarded"])


@pytest.mark.parametrize("name", ["earlyoom_default", "earlyoom_early"])
def test_a_guarded_program_raises_before_earlyoom_acts(whole_machine, name):
    case = whole_machine.case(name)
    if "skipped" in case:
        pytest.skip(case["skipped"])
    if "bare" in case:
        assert case["bare"]["status"] == -signal.SIGTERM, case["bare"]
    raised(case["guarded"])
    assert "sending" not in case["guarded"]["earlyoom_said"] and case["earlyoom_alive"]
