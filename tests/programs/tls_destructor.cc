// Allocates and frees while a thread is being taken apart: C++ thread_local destructors, pthread
// keys that put themselves back, and blocks that one thread made and another's destructor frees.
#include <pthread.h>

#include <cstddef>
#include <thread>
#include <vector>

#include "program.h"

namespace {

pthread_key_t g_key;
int g_rounds[4];  // one thread at a time writes its own

struct Late {
  std::vector<char> block = std::vector<char>(1000);
  ~Late() {
    std::vector<char> another(300000, 'x');
    another.resize(block.size());
    free(malloc(2 << 20));
  }
};
thread_local Late t_late;

void in_key_destructor(void* value) {
  char* block = static_cast<char*>(value);
  const int index = block[0];
  EXPECT(holds(block + 1, 999, static_cast<unsigned>(index)));
  free(block);
  if (++g_rounds[index] >= PTHREAD_DESTRUCTOR_ITERATIONS) return;
  block = static_cast<char*>(malloc(1000));
  block[0] = static_cast<char>(index);
  fill(block + 1, 999, static_cast<unsigned>(index));
  pthread_setspecific(g_key, block);
}

void run(int index) {
  t_late.block.push_back('y');
  auto* block = static_cast<char*>(malloc(1000));
  block[0] = static_cast<char>(index);
  fill(block + 1, 999, static_cast<unsigned>(index));
  pthread_setspecific(g_key, block);
}

}  // namespace

int main() {
  EXPECT(pthread_key_create(&g_key, in_key_destructor) == 0);
  for (int round = 0; round < 50; ++round) {
    for (int& rounds : g_rounds) rounds = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back(run, i);
    for (std::thread& thread : threads) thread.join();
    for (int rounds : g_rounds) EXPECT(rounds == PTHREAD_DESTRUCTOR_ITERATIONS);
  }
  say("destructors allocated in %d rounds", PTHREAD_DESTRUCTOR_ITERATIONS);
  return 0;
}
