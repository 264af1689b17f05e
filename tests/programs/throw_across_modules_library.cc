// What throw_across_modules opens: frames that exceptions go through, with something to clean up in each.
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

class Block {
 public:
  explicit Block(int number) : bytes_(static_cast<size_t>(100 + number % 50 * 300), 'x') {}
  ~Block() {
    std::vector<char> last(bytes_);
    last.resize(last.size() * 2);
    bytes_.swap(last);
  }

 private:
  std::vector<char> bytes_;
};

}  // namespace

extern "C" {

void call_through(void (*callback)(int), int depth, int value) {
  const Block block(value);
  if (depth > 0) {
    call_through(callback, depth - 1, value);
  } else {
    callback(value);
  }
}

void fail(int depth, int value) {
  const Block block(depth);
  if (depth == 0) throw std::invalid_argument("value " + std::to_string(value));
  try {
    fail(depth - 1, value);
  } catch (const std::invalid_argument&) {
    const Block another(value);
    throw;
  }
}

int length_of_error(void (*callback)(int), int value) {
  const Block block(value);
  try {
    callback(value);
  } catch (const std::exception& error) {
    return static_cast<int>(strlen(error.what()));
  }
  return 1000;
}

}  // extern "C"
