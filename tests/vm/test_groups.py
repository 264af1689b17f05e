"""Memory groups of version 2, on a real kernel (tests/vm/guest/groups.py has the cases)."""
import signal

import pytest

from judge import raised, raised_or_ended, was_killed

MIB = 1 << 20
LIMIT_MIB = 160

pytestmark = pytest.mark.timeout(640)  # the first test waits for all cases


@pytest.mark.parametrize("way", ["bytearray", "list", "dict", "numpy_ones", "numpy_empty",
                                 "threads"])
def test_growth_raises_where_a_bare_program_is_killed(groups, way):
    case = groups.case("max_" + way)
    was_killed(case["bare"])
    assert case["bare"]["events"]["oom_kill"] == 1
    raised(case["guarded"])


def test_most_of_the_limit_can_be_used(groups):
    assert groups.case("max_bytearray")["guarded"]["result"]["held_mib"] >= LIMIT_MIB * 0.7


def test_page_cache_at_the_limit_is_not_counted(groups):
    """The cache alone fills the group, and goes away again as the program grows."""
    case = groups.case("cache_is_no_need")["guarded"]
    raised(case)
    assert case["events"]["max"] > 0 and case["result"]["held_mib"] >= LIMIT_MIB * 0.7, case


def test_memory_high_raises_before_the_kernel_throttles(groups):
    case = groups.case("high")
    assert case["bare"]["timed_out"]  # the kernel lets it sleep; a slow host does not even get there
    raised(case["guarded"])
    assert case["guarded"]["events"]["high"] == 0


def test_a_limit_on_the_parent_alone(groups):
    case = groups.case("limit_on_the_parent")
    was_killed(case["bare"])
    assert case["bare"]["parent"]["events"]["oom"] == 1
    raised(case["guarded"])
    assert case["guarded"]["parent"]["events"]["oom_kill"] == 0


def test_of_two_limits_the_one_with_less_room_binds(groups):
    case = groups.case("limits_on_both")["guarded"]
    raised(case)
    assert case["server_alive"] and case["parent"]["events"]["oom"] == 0
    assert case["peak"] < (LIMIT_MIB - 48) * MIB, "its own limit would have allowed more"


def test_a_group_that_dies_together_lives(groups):
    case = groups.case("oom_group")
    was_killed(case["bare"])
    assert not case["bare"]["server_alive"] and case["bare"]["events"]["oom_group_kill"] == 1
    raised(case["guarded"])
    assert case["guarded"]["server_alive"]


def test_a_limit_lowered_meanwhile_is_seen(groups):
    case = groups.case("limit_lowered")["guarded"]
    raised(case)
    assert case["peak"] <= LIMIT_MIB * MIB


def test_a_move_to_a_smaller_group_is_seen(groups):
    raised(groups.case("moved_while_running")["guarded"])


def test_swap_counts_by_its_share(groups):
    case = groups.case("swap")
    was_killed(case["bare_50M"])
    held = {}
    for name in ("swap_max_0", "share_50", "share_100", "swap_max_50M"):
        raised(case[name])
        held[name] = case[name]["result"]["held_mib"]
    assert held["swap_max_0"] < LIMIT_MIB, held
    assert abs(held["share_50"] - held["swap_max_0"] - 80) < 12, held
    assert abs(held["share_100"] - held["swap_max_0"] - 160) < 12, held
    assert abs(held["swap_max_50M"] - held["swap_max_0"] - 50) < 12, held


@pytest.mark.parametrize("name", ["namespace_kept_mount", "namespace_remounted", "namespace_left"])
def test_a_group_seen_through_a_namespace(groups, name):
    raised(groups.case(name)["guarded"])


@pytest.mark.parametrize("name", ["filled_later", "filled_later_without_a_disk"])
def test_memory_granted_earlier_and_filled_later_ends_nobody_by_a_kill(groups, name):
    case = groups.case(name)
    if "skipped" in case:
        pytest.skip(case["skipped"])
    raised_or_ended(case["guarded"])


def test_a_mapped_file_that_does_not_fit_is_named_once_and_nothing_is_refused(groups):
    case = groups.case("thrashing")
    if "skipped" in case:
        pytest.skip(case["skipped"])
    thrashing = case["over_and_over"]
    assert thrashing["status"] == -signal.SIGTERM, thrashing
    assert thrashing["events"]["oom_kill"] == 0 and thrashing["said"].count("\n") == 1, thrashing
    for part in (" reads model.safetensors from disk over and over", "(96 MiB)",
                 "the limit of 64 MiB", "nothing is refused for it"):
        assert part in thrashing["said"], thrashing
    [report] = thrashing["report"]
    assert " ".join(thrashing["said"].split()) in " ".join(report.split()), thrashing  # it is wrapped there
    assert "Nothing was refused." in report, thrashing


@pytest.mark.parametrize("name", ["once", "once_more"])
def test_a_mapped_file_that_is_read_once_is_not_named(groups, name):
    case = groups.case("thrashing")
    if "skipped" in case:
        pytest.skip(case["skipped"])
    assert case[name]["said"] == "1 passes\n" and case[name]["report"] == [], case[name]
    if name == "once_more":  # the kernel remembers what it evicted
        assert case[name]["read_again"] * 4096 > 32 * MIB, case[name]
