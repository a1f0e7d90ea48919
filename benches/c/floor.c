// The lower limits of the machine itself, measured in the same way as the queues.
//
//     floor what=lines     a word goes to another process and back, on two cache lines
//     floor what=line      the same on one cache line
//     floor what=stream    one cache line per message, nothing lost, minimal work
//     floor what=memcpy    a copy of `size` bytes into a ring that fits in the L2 cache
#include "bench.h"

static void round_trips(bool one_line) {
  uint64_t count = arg("count", 100000), warm = count / 10;
  shared *s = shared_memory(sizeof *s);
  line *lines = shared_memory(2 * sizeof *lines);
  _Atomic uint64_t *there = &lines[0].word, *back = one_line ? there : &lines[1].word;
  pid_t child = fork_peer();
  pin(arg(child ? "cpu0" : "cpu1", child ? 0 : 1));
  uint32_t before = distance(s, child == 0);
  if (child == 0) {
    for (uint64_t i = 1; i <= warm + count; i++) {
      while (atomic_load_explicit(there, memory_order_acquire) != 2 * i - 1) {
      }
      atomic_store_explicit(back, 2 * i, memory_order_release);
    }
    distance(s, 1);
    _exit(0);
  }
  uint32_t *samples = calloc(count, sizeof *samples);
  memset(samples, 1, count * sizeof *samples);
  for (uint64_t i = 1; i <= warm + count; i++) {
    uint64_t begun = ticks();
    atomic_store_explicit(there, 2 * i - 1, memory_order_release);
    while (atomic_load_explicit(back, memory_order_acquire) != 2 * i) {
    }
    uint64_t took = ticks() - begun;
    if (i > warm)
      samples[i - warm - 1] = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
  }
  uint32_t after = distance(s, 0);
  join_peer(child);
  print_distances(before, after);
  print_percentiles(samples, count);
}

// Slots of one cache line: {stamp, 56 bytes}. The consumer publishes its position every eighth of
// the ring.
#define SLOTS 4096
typedef struct { _Alignas(64) _Atomic uint64_t stamp; uint64_t payload[7]; } slot;

static void stream(void) {
  uint64_t count = arg("count", 1000000);
  shared *s = shared_memory(sizeof *s);
  line *cursor = shared_memory(sizeof *cursor);
  slot *ring = shared_memory(SLOTS * sizeof *ring);
  pid_t child = fork_peer();
  pin(arg(child ? "cpu0" : "cpu1", child ? 0 : 1));
  meet(s, child == 0);
  if (child == 0) {
    uint64_t consumed = 0;
    distance(s, 1);
    for (uint64_t i = 0; i < count; i++) {
      while (i - consumed >= SLOTS)
        if (i - (consumed = atomic_load_explicit(&cursor->word, memory_order_acquire)) >= SLOTS)
          relax();
      slot *at = &ring[i % SLOTS];
      for (int k = 0; k < 7; k++)
        at->payload[k] = i;
      atomic_store_explicit(&at->stamp, i + 1, memory_order_release);
    }
    distance(s, 1);
    _exit(0);
  }
  uint32_t before = distance(s, 0);
  uint64_t from = 0, bad = 0;
  for (uint64_t i = 0; i < count; i++) {
    slot *at = &ring[i % SLOTS];
    while (atomic_load_explicit(&at->stamp, memory_order_acquire) != i + 1)
      relax();
    if (!from)
      from = now_ns();
    uint64_t copy[7];
    memcpy(copy, at->payload, sizeof copy);
    __asm__ volatile("" : : "r"(copy) : "memory");
    bad |= (copy[0] ^ i) | (copy[6] ^ i);
    if ((i + 1) % (SLOTS / 8) == 0)
      atomic_store_explicit(&cursor->word, i + 1, memory_order_release);
  }
  uint64_t to = now_ns();
  uint32_t after = distance(s, 0);
  join_peer(child);
  if (bad)
    die("torn");
  print_distances(before, after);
  printf("\"ns\":%.3f,\"pushed\":%llu,\"received\":%llu,\"lost\":0", (double)(to - from) / (double)count,
         (unsigned long long)count, (unsigned long long)count);
}

static void copies(void) {
  pin(arg("cpu0", 0));
  size_t size = arg("size", 1024), ring = size > 131072 ? 2 * size : 262144;
  uint64_t count = arg("count", 100000);
  uint8_t *from = pattern(size, 1), *to = pattern(ring, 1);
  enum { ROUNDS = 15 };
  uint32_t samples[ROUNDS];
  for (int round = 0; round < ROUNDS; round++) {
    uint64_t begun = ticks();
    for (uint64_t i = 0; i < count / ROUNDS; i++) {
      memcpy(to + i * size % ring, from, size);
      __asm__ volatile("" : : : "memory");
    }
    samples[round] = (uint32_t)((ticks() - begun) * 1000 / (count / ROUNDS));
  }
  if (memcmp(to, from, size))
    die("the copy is wrong");
  double middle = median(samples, ROUNDS);
  printf("\"size\":%zu,\"ns\":%.3f", size, middle * ns_per_tick() / 1000);
}

int main(int argc, char **argv) {
  begin(argc, argv);
  const char *what = text_arg("what", "lines");
  printf("{\"peer\":\"floor\",\"measure\":\"%s\",", what);
  if (!strcmp(what, "lines"))
    round_trips(false);
  else if (!strcmp(what, "line"))
    round_trips(true);
  else if (!strcmp(what, "stream"))
    stream();
  else if (!strcmp(what, "memcpy"))
    copies();
  else
    die("what=%s?", what);
  printf("}\n");
}
