// One process pushes at full speed and another pops, with one call per message or in batches.
//
//   stream size=64 count=1000000 batch=1 capacity=4096 lossless=1 work=0
//
// `work` is the number of multiplications that the consumer makes for each message in addition to
// the check, so that it is slower than the producer. The time is that of the consumer, from its
// first message on.
#include "bench.h"
#include PEER_HEADER

static __attribute__((always_inline)) inline void produce(sender *out, size_t size, uint64_t count,
                                                          size_t batch) {
  uint8_t *messages = pattern(size, batch);
  if (batch == 1) {
    for (uint64_t i = 0; i < count; i++) {
      stamp(messages, size, i);
      while (!send_one(out, messages, size))
        relax();
    }
    return;
  }
  for (uint64_t i = 0; i < count; i += batch) {
    size_t many = count - i < batch ? (size_t)(count - i) : batch, done = 0;
    for (size_t k = 0; k < many; k++)
      stamp(messages + k * size, size, i + k);
    while (done < many) {
      size_t n = send_many(out, messages + done * size, size, many - done);
      done += n;
      if (!n)
        relax();
    }
  }
}

static inline void do_work(uint64_t work) {
  uint64_t x = work;
  for (uint64_t i = 0; i < work; i++) {
    x = x * 6364136223846793005u + 1;
    __asm__ volatile("" : "+r"(x));
  }
}

// Sets `from` when the first message arrives and `to` when the last one has been read.
static __attribute__((always_inline)) inline void consume(receiver *in, size_t size, uint64_t count,
                                                          size_t batch, uint64_t work, account *a,
                                                          uint64_t *from, uint64_t *to) {
  uint8_t *messages = pattern(size, batch), *like = pattern(size, 1);
  *from = 0;
  while (a->next < count) {
    size_t n = batch == 1 ? receive_one(in, messages, size) : receive_many(in, messages, size, batch);
    if (!n) {
      relax();
      continue;
    }
    if (!*from)
      *from = now_ns();
    for (size_t k = 0; k < n; k++) {
      receive(a, check(messages + k * size, size, like));
      do_work(work);
    }
  }
  *to = now_ns();
}

int main(int argc, char **argv) {
  begin(argc, argv);
  size_t size = arg("size", 64), batch = arg("batch", 1), capacity = arg("capacity", 4096);
  uint64_t count = arg("count", 1000000), work = arg("work", 0);
  bool lossless = arg("lossless", 0);
  char name[64];
  snprintf(name, sizeof name, "stream.%d", (int)getpid());
  shared *s = shared_memory(sizeof *s);
  prepare(name, size);
  pid_t child = fork_peer();
  if (child == 0) {
    sender out;
    pin(arg("cpu1", 1));
    open_sender(&out, name, size, capacity, lossless);
    meet(s, 1);
    meet(s, 1); // the consumer is attached
    distance(s, 1);
    uint64_t begun = now_ns();
    WITH_CONSTANT_SIZE(size, produce(&out, SIZE, count, batch));
    s->figures[0] = now_ns() - begun;
    distance(s, 1);
    close_sender(&out);
    _exit(0);
  }
  receiver in;
  account a = {0, 0, 0};
  uint64_t from, to;
  pin(arg("cpu0", 0));
  meet(s, 0);
  open_receiver(&in, name, size);
  meet(s, 0);
  uint32_t before = distance(s, 0);
  WITH_CONSTANT_SIZE(size, consume(&in, SIZE, count, batch, work, &a, &from, &to));
  uint32_t after = distance(s, 0);
  close_receiver(&in);
  join_peer(child);
  clean(name);
  settle(&a, count, in.lost);
  if (lossless && a.lost)
    die("%llu lost in a lossless queue", (unsigned long long)a.lost);
  printf("{\"peer\":\"%s\",\"measure\":\"stream\",\"size\":%zu,\"batch\":%zu,\"lossless\":%s,",
         PEER, size, batch, lossless ? "true" : "false");
  print_distances(before, after);
  printf("\"ns\":%.3f,\"producer_ns\":%.3f,\"pushed\":%llu,\"received\":%llu,\"lost\":%llu}\n",
         (double)(to - from) / (double)a.received,
         (double)s->figures[0] / (double)count, (unsigned long long)count,
         (unsigned long long)a.received, (unsigned long long)a.lost);
}
