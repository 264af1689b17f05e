"""Every route to the driver's functions, bare and guarded: the same results, and every function
that takes memory is the guard's on each of them."""
import driver_list
import fake_driver
import pytest

ROUTES = ["dlsym", "dlvsym", "dlmopen", "lookup1", "lookup2", "lookup1-by-lookup2",
          "lookup2-by-lookup2", "deepbind-linked", "deepbind-dlsym", "linked", "next", "default"]


def probe(route, what, guarded, folder, **variables):
    program = "probe_linked" if route in ("linked", "next", "default") else "probe"
    ended = fake_driver.run([fake_driver.gpu_build() / "routes" / program, route, what], guarded,
                            folder, versioned=route == "dlvsym",
                            **{"FAKE_CUDA_DEVICES": "4G,4G", **variables})
    assert ended.status == 0, ended.err
    return ended


@pytest.mark.parametrize("route", ROUTES)
def test_results_are_the_driver_s(route, tmp_path):
    bare = probe(route, "cases", False, tmp_path)
    guarded = probe(route, "cases", True, tmp_path)
    assert len(bare.lines) > 250
    assert guarded.lines == bare.lines
    assert bare.lines[-1] == "reset 0 held 0"


@pytest.mark.parametrize("route", ROUTES)
def test_functions_are_the_guard_s_where_they_are_hooked(route, tmp_path):
    hooked = {hook.symbol for hook in driver_list.hooks()}
    lines = [line.split() for line in probe(route, "addresses", True, tmp_path).lines]
    assert len(lines) > 100
    wrong = [(symbol, whose) for symbol, whose in lines
             if whose != ("liboomguard.so" if symbol in hooked else "own")]
    assert wrong == []


@pytest.mark.parametrize("route", ROUTES)
def test_the_budget_holds(route, tmp_path):
    lines = probe(route, "budget", True, tmp_path, OOMGUARD_GPU_BUDGET="1G").lines[2:]
    steps = [line.split()[1:3] for line in lines]
    assert len(steps) > 40
    expected = [["first", "0"], ["second", "2"], ["drop", "0"], ["again", "0"]]
    assert steps == expected * (len(steps) // 4)


@pytest.mark.parametrize("route", ["dlsym", "lookup2", "linked"])
@pytest.mark.parametrize("what", ["threads", "fork"])
def test_threads_and_forks_are_as_without_the_guard(route, what, tmp_path):
    bare = probe(route, what, False, tmp_path)
    assert probe(route, what, True, tmp_path).lines == bare.lines
    assert bare.lines[-1].endswith(" held 0")


@pytest.mark.parametrize("version", [11030, 12020])
def test_an_older_driver_answers_as_it_does(version, tmp_path):
    """A form that a driver does not have yet is not made up for it."""
    bare = probe("lookup2", "addresses", False, tmp_path, FAKE_CUDA_VERSION=version).lines
    guarded = probe("lookup2", "addresses", True, tmp_path, FAKE_CUDA_VERSION=version).lines
    missing = [line for line in bare if line.endswith(" nowhere")]
    assert missing == [line for line in guarded if line.endswith(" nowhere")]
    assert len(missing) > 5
