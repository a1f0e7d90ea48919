// One side of a pair of processes, for tests/pairs. The content of each message follows from its
// sequence, so the other side can check every byte.
//
//     peer push NAME fixed|variable COUNT [CAPACITY HOLD]
//     peer pop NAME fixed|variable [HOLD]       prints: received lost pushed
//
// After HOLD messages it prints "held" and waits for the end of its input.

#include <ipcq.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FIXED = 24, LONGEST = 300 };

// The same as in tests/pairs/peer.py. Sequences that differ by 256 also differ in content.
static size_t fill(unsigned char *message, uint64_t n, int variable) {
  const size_t length = variable ? n * 7919 % (LONGEST + 1) : FIXED;
  for (size_t i = 0; i < length; i++)
    message[i] = (unsigned char)(n * 31 + n / 256 + i * 7);
  return length;
}

static void hold(uint64_t count, const char *limit) {
  if (limit && count == strtoull(limit, NULL, 10)) {
    puts("held");
    fflush(stdout);
    while (getchar() != EOF) {}
  }
}

static int failed(const char *what) {
  fprintf(stderr, "peer: %s: %s\n", what, ipcq_errmsg());
  return 1;
}

int main(int argc, char **argv) {
  if (argc < 4)
    return 2;
  const int variable = strcmp(argv[3], "variable") == 0;
  unsigned char message[LONGEST], expected[LONGEST];
  ipcq_options o = IPCQ_OPTIONS_INIT;
  ipcq_queue *q;
  if (strcmp(argv[1], "push") == 0 && argc > 4) {
    const uint64_t count = strtoull(argv[4], NULL, 10);
    o.message_size = variable ? 0 : FIXED;
    o.capacity = argc > 5 ? strtoull(argv[5], NULL, 10) : variable ? 4 << 20 : 1 << 16;
    if (ipcq_open(&q, argv[2], IPCQ_PRODUCER, &o) < 0)
      return failed("open");
    for (uint64_t n = 0; n < count; n++) {
      hold(n, argc > 6 ? argv[6] : NULL);
      if (ipcq_push(q, message, fill(message, n, variable)) < 0)
        return failed("push");
    }
    ipcq_close(q);
    return 0;
  }
  o.open_timeout_ns = INT64_C(30000000000);
  if (ipcq_open(&q, argv[2], IPCQ_CONSUMER, &o) < 0)
    return failed("open");
  int64_t length;
  uint64_t next = 0, received = 0;
  ipcq_info info;
  while ((length = ipcq_pop(q, message, sizeof message, &info)) != -EPIPE) {
    if (length == -EAGAIN) {
      nanosleep(&(struct timespec){0, 100000}, NULL);
      continue;
    }
    if (length < 0)
      return failed("pop");
    next += info.lost; // the sequences skip what was lost
    if (info.sequence != next++ || (size_t)length != fill(expected, info.sequence, variable) ||
        memcmp(message, expected, (size_t)length) != 0) {
      fprintf(stderr, "peer: message %" PRIu64 " is wrong\n", info.sequence);
      return 1;
    }
    hold(++received, argc > 4 ? argv[4] : NULL);
  }
  ipcq_stats s = IPCQ_STATS_INIT;
  if (ipcq_get_stats(q, &s) < 0)
    return failed("stats");
  printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", s.received, s.lost, s.pushed);
  ipcq_close(q);
  return 0;
}
