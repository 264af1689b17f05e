"""The real runtime library holds the guard's functions, and what is above it sees the refusals that
a full card gives."""
import driver_list
import fake_driver
import pytest


@pytest.mark.parametrize("kind", ["cudart", "cudart_static"])
def test_the_runtime_holds_the_guard_s_functions(kind, tmp_path):
    program = fake_driver.gpu_build() / "routes" / kind
    if not program.exists():
        pytest.skip(f"CMake found no {kind} in the CUDA toolkit")
    held = {}
    for guarded in (False, True):
        ended = fake_driver.run([program], guarded, tmp_path)
        assert ended.status == 0, ended.err
        held[guarded] = {line.split()[1]: line.split()[2:]
                         for line in ended.lines if line.startswith("holds ")}
    hooked = {hook.symbol for hook in driver_list.hooks()}
    # Its tables lie at the same places in both runs.
    symbols = {place: symbol for place, (symbol, _) in held[False].items()}
    assert len(set(symbols.values()) & hooked) >= 15  # all that the runtime asks for
    wrong = [(symbol, held[True].get(place)) for place, symbol in symbols.items()
             if held[True].get(place) != (["-", "liboomguard.so"] if symbol in hooked
                                          else [symbol, "libcuda.so.1"])]
    assert wrong == []


def test_a_caching_allocator_is_refused_as_by_a_full_card(tmp_path):
    program = fake_driver.gpu_build() / "routes" / "framework"
    full = fake_driver.run([program], False, tmp_path, FAKE_CUDA_DEVICES="1G")
    guarded = fake_driver.run([program], True, tmp_path, FAKE_CUDA_DEVICES="80G",
                              OOMGUARD_GPU_BUDGET="1G")
    assert guarded.lines == full.lines
    assert full.lines == ["refused 2 last 2", "uncache 0", "uncache 0", "uncache 0",
                          "again 0 last 0", "large there", "refused 2 last 2", "again 2 last 2",
                          "more out of memory", "free 0", "later there", "host 0"]
