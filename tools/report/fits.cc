#include "tools/report/fits.h"

#include <algorithm>
#include <map>

#include "collector/record/text_parts.h"

namespace oomguard::tools {
namespace {

// The limit that binds, and what others hold of it: at the newest refusal, else at the newest
// sample.
int64_t room_of(const record::Flight& flight) {
  int64_t limit = INT64_MAX;
  int64_t used = 0;
  int64_t own = 0;
  if (!flight.refusals().empty()) {
    const record::Facts facts = record::facts_of(*flight.refusals().back());
    if (facts.limit != nullptr) {
      limit = facts.limit->limit_bytes;
      used = record::in_use_bytes(*facts.limit);
    }
    own = record::own_bytes(facts.refusal);
  } else if (!flight.samples().empty()) {
    const record::Sample& sample = flight.samples().back();
    limit = sample.limit_bytes;
    used = sample.needed_bytes;
    own = sample.own_anonymous_bytes;
  } else {
    limit = flight.header().limit_bytes;
  }
  if (limit == INT64_MAX || limit < 0) return INT64_MAX;
  const int64_t others = std::clamp<int64_t>(used, 0, limit) - std::clamp<int64_t>(own, 0, limit);
  return limit - std::max<int64_t>(others, 0);
}

int64_t doubled(int64_t bytes) { return bytes > INT64_MAX / 2 ? INT64_MAX : 2 * bytes; }

}  // namespace

std::vector<Fit> what_would_fit(const record::Flight& flight) {
  std::map<std::string, int64_t> folders;
  for (const record::ModelFile& file : flight.model_files()) {
    if (file.path.empty() || file.size_bytes <= 0) continue;
    const size_t slash = file.path.rfind('/');
    int64_t& size = folders[slash == std::string::npos ? "" : file.path.substr(0, slash)];
    if (__builtin_add_overflow(size, file.size_bytes, &size)) size = INT64_MAX;
  }
  const int64_t room = room_of(flight);
  std::vector<Fit> fits;
  for (const auto& [folder, size] : folders) {
    Fit fit{folder, size, room, {}};
    const auto way = [&](const char* how, int64_t bytes) {
      fit.ways.push_back({how, bytes, bytes <= room});
    };
    way("twice the bytes of the file (float32 from a 16-bit file)", doubled(size));
    way("as in the file", size);
    way("half of it (8-bit from a 16-bit file)", size / 2);
    way("a quarter (4-bit from a 16-bit file)", size / 4);
    fits.push_back(std::move(fit));
  }
  std::stable_sort(fits.begin(), fits.end(),
                   [](const Fit& a, const Fit& b) { return a.size_bytes > b.size_bytes; });
  return fits;
}

}  // namespace oomguard::tools
