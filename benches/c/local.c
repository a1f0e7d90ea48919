// One process: the cost of a push without active consumers, and of a pop of data in the cache of
// this core.
//
//   local what=push  size=64 attached=0   with this number of idle consumers in other processes
//   local what=pushpop size=64 lossless=1 chunks are pushed, then popped, each timed separately
#include "bench.h"
#include PEER_HEADER

#define CAPACITY 1024
#define CHUNK 256
#define MOST 64

static __attribute__((always_inline)) inline uint64_t push_chunk(sender *out, uint8_t *message,
                                                                 size_t size, uint64_t first) {
  uint64_t begun = ticks();
  for (uint64_t i = 0; i < CHUNK; i++) {
    stamp(message, size, first + i);
    if (!send_one(out, message, size))
      die("full");
  }
  return ticks() - begun;
}

static __attribute__((always_inline)) inline uint64_t pop_chunk(receiver *in, uint8_t *messages,
                                                                size_t size) {
  uint64_t begun = ticks();
  for (uint64_t i = 0; i < CHUNK; i++)
    if (!receive_one(in, messages + i * size, size))
      die("empty");
  return ticks() - begun;
}

static __attribute__((always_inline)) inline void run(sender *out, receiver *in, size_t size,
                                                      uint64_t chunks, uint32_t *pushes,
                                                      uint32_t *pops) {
  uint8_t *message = pattern(size, 1), *like = pattern(size, 1);
  uint8_t *popped = pattern(size, CHUNK);
  account a = {0, 0, 0};
  for (uint64_t i = 0; i < chunks; i++) {
    pushes[i] = (uint32_t)push_chunk(out, message, size, i * CHUNK);
    if (!in)
      continue;
    pops[i] = (uint32_t)pop_chunk(in, popped, size);
    for (uint64_t k = 0; k < CHUNK; k++)
      receive(&a, check(popped + k * size, size, like));
  }
  if (in)
    settle(&a, chunks * CHUNK, in->lost);
}

int main(int argc, char **argv) {
  begin(argc, argv);
  const char *what = text_arg("what", "push");
  bool pops = !strcmp(what, "pushpop"), lossless = arg("lossless", 0);
  size_t size = arg("size", 64);
  uint64_t chunks = arg("count", 1000000) / CHUNK, attached = arg("attached", 0);
  char name[64];
  snprintf(name, sizeof name, "local.%d", (int)getpid());
  pin(arg("cpu0", 0));
  prepare(name, size);
  sender out;
  receiver in;
  open_sender(&out, name, size, CAPACITY, lossless);
  pid_t idle[MOST];
  if (attached > MOST)
    die("at most %d", MOST);
  shared *s = shared_memory(sizeof *s);
  for (uint64_t i = 0; i < attached; i++) {
    idle[i] = fork_peer();
    if (idle[i] == 0) {
      open_receiver(&in, name, size);
      atomic_fetch_add(&s->here[1].word, 1);
      for (;;)
        pause();
    }
  }
  while (atomic_load(&s->here[1].word) < attached)
    sched_yield();
  if (pops)
    open_receiver(&in, name, size);
  uint32_t *push_ticks = calloc(chunks, sizeof *push_ticks), *pop_ticks = calloc(chunks, sizeof *pop_ticks);
  WITH_CONSTANT_SIZE(size, run(&out, pops ? &in : NULL, SIZE, chunks, push_ticks, pop_ticks));
  for (uint64_t i = 0; i < attached; i++) {
    kill(idle[i], SIGKILL);
    waitpid(idle[i], NULL, 0);
  }
  if (pops)
    close_receiver(&in);
  close_sender(&out);
  clean(name);
  double scale = ns_per_tick() / CHUNK;
  printf("{\"peer\":\"%s\",\"measure\":\"%s\",\"size\":%zu,\"lossless\":%s,\"attached\":%llu,"
         "\"pushed\":%llu,\"received\":%llu,\"lost\":0,\"push\":%.3f",
         PEER, what, size, lossless ? "true" : "false", (unsigned long long)attached,
         (unsigned long long)chunks * CHUNK, pops ? (unsigned long long)chunks * CHUNK : 0,
         median(push_ticks, chunks) * scale);
  if (pops)
    printf(",\"pop\":%.3f", median(pop_ticks, chunks) * scale);
  printf("}\n");
}
