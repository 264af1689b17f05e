"""Each fuzzer is built and runs for some seconds, from the texts in corpus/.

Always the same inputs (-seed): what fails here fails again. New ones are looked for by hand
(docs/testing.md), and what they find joins corpus/.
"""
import concurrent.futures
import os
import pathlib
import shutil
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
NAMES = {"kernel": 60000, "flight": 1500, "options": 60000, "children": 60000, "fit": 60000}  # runs


# The search for leaks follows thread-local pointers, and crashes now and then while it does.
ENVIRONMENT = {**os.environ, "LSAN_OPTIONS": "use_tls=0"}


def done(*command, timeout):
    return subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", timeout=timeout, env=ENVIRONMENT)


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Folder of the built fuzzers."""
    if not os.environ.get("OOMGUARD_BUILD"):
        pytest.skip("OOMGUARD_BUILD does not name a build folder")
    if shutil.which("clang++") is None:
        pytest.skip("not installed: apt-get install clang")
    probe = tmp_path_factory.mktemp("probe") / "probe.cc"
    probe.write_text('extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) '
                     '{ return 0; }')
    if done("clang++", "-fsanitize=address,fuzzer", probe, "-o", probe.with_suffix(""),
            timeout=60).returncode != 0:
        pytest.skip("clang++ comes without libFuzzer (Debian: libclang-rt-dev)")
    folder = pathlib.Path(os.environ["OOMGUARD_BUILD"], "fuzz")
    launchers = [f"-DCMAKE_{language}_COMPILER_LAUNCHER=ccache" for language in ("C", "CXX")
                 if shutil.which("ccache")]
    made = done("cmake", "-S", HERE.parent.parent, "-B", folder, "-G", "Ninja",
                "-DCMAKE_CXX_COMPILER=clang++", "-DCMAKE_C_COMPILER=clang", "-DOOMGUARD_FUZZ=ON",
                "-DOOMGUARD_BUILD_TOOLS=OFF", *launchers, timeout=60)
    assert made.returncode == 0, made.stdout[-3000:]
    made = done("cmake", "--build", folder, "--parallel", os.cpu_count(), "--target",
                *(f"oomguard_fuzz_{name}" for name in NAMES), timeout=500)
    assert made.returncode == 0, made.stdout[-3000:]
    return folder / "tests" / "fuzz"


def run_one(programs, name, found):
    return done(programs / f"oomguard_fuzz_{name}", "-seed=1", f"-runs={NAMES[name]}",
                "-max_total_time=30", "-timeout=60", "-rss_limit_mb=2048",
                f"-artifact_prefix={found}/", found, HERE / "corpus" / name, timeout=120)


@pytest.fixture(scope="module")
def runs(programs, tmp_path_factory):
    """A future of each fuzzer's run; two run at once, as each keeps one core busy."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(run_one, programs, name, tmp_path_factory.mktemp(name))
               for name in NAMES}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_no_bytes_of_the_first_thousands_is_a_fault(name, runs):
    run = runs[name].result()
    if run.returncode != 0 or "Done " not in run.stdout:
        lines = [line for line in run.stdout.splitlines() if not line.startswith("#")]  # progress
        pytest.fail(f"exit status {run.returncode}\n" + "\n".join(lines[-60:]), pytrace=False)
