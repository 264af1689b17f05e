// What one reading costs here: run it inside the group whose cost you want to know.
#include <cstdio>

#include "collector/probe/probe.h"
#include "collector/probe/residency.h"

namespace oomguard::probe {
namespace {

constinit Probe g_probe;
constinit Residency g_residency;

template <typename Body>
void measure(const char* name, int rounds, Body body) {
  const int64_t start = sys::monotonic_ns();
  for (int i = 0; i < rounds; ++i) body();
  const double each = static_cast<double>(sys::monotonic_ns() - start) / rounds / 1000;
  printf("%-34s %9.2f us\n", name, each);
}

int run() {
  if (!g_probe.open(Config{}) || !g_residency.open()) {
    printf("nothing can be read here\n");
    return 1;
  }
  Reading reading;
  bool good = true;
  measure("read(kCheap)", 20000, [&] { good &= g_probe.read(Depth::kCheap, &reading); });
  measure("read(kFull)", 20000, [&] { good &= g_probe.read(Depth::kFull, &reading); });
  measure("refresh", 2000, [] { g_probe.refresh(); });
  measure("open (in fork's child)", 200, [&] { good &= g_probe.open(Config{}); });
  static char block[8 << 20];
  for (size_t i = 0; i < sizeof(block) / 2; i += 4096) block[i] = 1;
  measure("touched_bytes, 32 samples", 2000, [&] {
    good &= g_residency.touched_bytes(reinterpret_cast<uintptr_t>(block), sizeof(block)) > 0;
  });
  measure("resident_text", 200, [&] { good &= g_residency.resident_text() > 0; });
  printf("levels: %u, readings that failed: %s\n", reading.level_count, good ? "none" : "some");
  return good ? 0 : 1;
}

}  // namespace
}  // namespace oomguard::probe

int main() { return oomguard::probe::run(); }
