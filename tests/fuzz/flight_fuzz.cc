// A flight file that anybody may have written: the reader's guarantees, and every renderer on it.
// The input is a list of patches to a good file: two bytes where, one how many, then the bytes.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "collector/record/mask.h"
#include "collector/record/reader.h"
#include "collector/record/text.h"
#include "tests/collector/record/fixture.h"
#include "tests/fuzz/system_calls.h"

using namespace oomguard;

static void render_all(const record::Flight& flight) {
  char text[3000];
  for (const record::RefusalRecord* refusal : flight.refusals()) {
    for (const auto audience :
         {record::Audience::kCell, record::Audience::kScript, record::Audience::kFull}) {
      for (const size_t capacity : {sizeof text, size_t{100}, size_t{1}}) {
        if (record::render(flight.header(), *refusal, audience, text, capacity) > capacity) abort();
      }
    }
    if (record::render_note(flight.header(), *refusal, text, sizeof text) > sizeof text) abort();
  }
}

static void mask(const uint8_t* data, size_t size) {
  const auto* arguments = reinterpret_cast<const char*>(data);
  char masked[200];
  for (const size_t capacity : {sizeof masked, size_t{7}, size_t{1}}) {
    const size_t length = record::mask_command(arguments, size, masked, capacity);
    if (length >= capacity || masked[length] != '\0') abort();
  }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mask(data, size);
  record::FlightBytes file = record::make_flight();
  auto* bytes = reinterpret_cast<uint8_t*>(file.bytes());
  constexpr size_t kPatched = sizeof(record::FlightHeader) + 2 * sizeof(record::RefusalRecord);
  while (size > 3) {
    const size_t where = (data[0] + size_t{256} * data[1]) % (kPatched - 256);
    const size_t count = std::min<size_t>(data[2], size - 3);
    memcpy(bytes + where, data + 3, count);
    data += 3 + count;
    size -= 3 + count;
  }
  const int fd = fuzz::make_file(bytes, file.size() - size % 2);  // now and then one byte short
  const auto flight = record::read_flight("/proc/self/fd/" + std::to_string(fd));
  if (flight) render_all(*flight);
  close(fd);
  return 0;
}
