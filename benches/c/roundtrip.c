// A message goes to another process, which pops it and pushes it back. Both processes spin.
//
//   cc roundtrip.c -DPEER_HEADER='"peer_ipcq.h"' ... ; roundtrip cpu0=0 cpu1=1 size=64 count=100000
#include "bench.h"
#include PEER_HEADER

// Large enough that blocks are rarely announced, and small enough for the caches.
#define CAPACITY 4096

static __attribute__((always_inline)) inline void echo(sender *out, receiver *in, size_t size,
                                                       uint64_t count) {
  uint8_t *message = pattern(size, 1);
  for (uint64_t i = 0; i < count; i++) {
    while (!receive_one(in, message, size)) {
    }
    while (!send_one(out, message, size)) {
    }
  }
}

static __attribute__((always_inline)) inline void ping(sender *out, receiver *in, size_t size,
                                                       uint32_t *samples, uint64_t warm,
                                                       uint64_t count) {
  uint8_t *message = pattern(size, 1), *reply = pattern(size, 1), *like = pattern(size, 1);
  for (uint64_t i = 0; i < warm + count; i++) {
    stamp(message, size, i);
    uint64_t begun = ticks();
    while (!send_one(out, message, size)) {
    }
    while (!receive_one(in, reply, size)) {
    }
    uint64_t took = ticks() - begun;
    if (check(reply, size, like) != i)
      die("not the reply to message %llu", (unsigned long long)i);
    if (i >= warm)
      samples[i - warm] = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
  }
}

int main(int argc, char **argv) {
  begin(argc, argv);
  size_t size = arg("size", 64);
  uint64_t count = arg("count", 100000), warm = count / 10;
  uint64_t cpu[2] = {arg("cpu0", 0), arg("cpu1", 1)};
  char there[64], back[64];
  snprintf(there, sizeof there, "there.%d", (int)getpid());
  snprintf(back, sizeof back, "back.%d", (int)getpid());
  shared *s = shared_memory(sizeof *s);
  prepare(there, size);
  prepare(back, size);
  sender out;
  receiver in;
  pid_t child = fork_peer();
  if (child == 0) {
    pin(cpu[1]);
    open_sender(&out, back, size, CAPACITY, false);
    meet(s, 1);
    open_receiver(&in, there, size);
    meet(s, 1);
    distance(s, 1);
    WITH_CONSTANT_SIZE(size, echo(&out, &in, SIZE, warm + count));
    distance(s, 1); // do not close while the other process still reads
    close_receiver(&in);
    close_sender(&out);
    _exit(0);
  }
  pin(cpu[0]);
  uint32_t *samples = calloc(count, sizeof *samples);
  memset(samples, 1, count * sizeof *samples);
  open_sender(&out, there, size, CAPACITY, false);
  meet(s, 0);
  open_receiver(&in, back, size);
  meet(s, 0);
  uint32_t before = distance(s, 0);
  WITH_CONSTANT_SIZE(size, ping(&out, &in, SIZE, samples, warm, count));
  uint32_t after = distance(s, 0);
  close_receiver(&in);
  close_sender(&out);
  join_peer(child);
  clean(there);
  clean(back);
  if (in.lost)
    die("%llu messages lost", (unsigned long long)in.lost);
  printf("{\"peer\":\"%s\",\"measure\":\"roundtrip\",\"size\":%zu,\"pushed\":%llu,\"received\":%llu,"
         "\"lost\":0,",
         PEER, size, (unsigned long long)(warm + count), (unsigned long long)(warm + count));
  print_distances(before, after);
  print_percentiles(samples, count);
  printf("}\n");
}
