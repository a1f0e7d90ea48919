// cc -O2 lossless.c -o lossless $(pkg-config --cflags --libs ipcq)
//
// A producer that waits for its slowest consumer and prints which one that is. It evicts a consumer
// that makes no progress for five seconds.
//
//     ./lossless push            pushes a thousand numbers per second until Ctrl-C
//     ./lossless pop NAME        pops them. Start several, stop one with Ctrl-Z, kill another.

#include <ipcq.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define QUEUE "numbers"

static int failed(void) {
  fprintf(stderr, "lossless: %s\n", ipcq_errmsg());
  return 1;
}

static int push(void) {
  ipcq_options options = IPCQ_OPTIONS_INIT;
  options.capacity = 1024;
  options.message_size = sizeof(uint64_t);
  options.delivery = IPCQ_LOSSLESS;
  options.min_consumers = 1; // overwrite nothing before the first consumer has attached
  options.evict_after_ns = INT64_C(5000000000);
  ipcq_queue *out;
  if (ipcq_open(&out, QUEUE, IPCQ_PRODUCER, &options) < 0)
    return failed();
  for (uint64_t n = 0;; n++) {
    int rc;
    while ((rc = ipcq_push_wait(out, &n, sizeof n, INT64_C(1000000000))) < 0) {
      if (rc == -EINTR)
        continue; // a signal handler has run: if yours sets a flag, check it here
      if (rc != -ETIMEDOUT)
        return failed();
      ipcq_stats stats = IPCQ_STATS_INIT;
      if (ipcq_get_stats(out, &stats) == 0)
        printf("full: %s (process %" PRIu32 ") lags by %" PRIu64 "\n", stats.slowest_name,
               stats.slowest_pid, stats.slowest_lag);
    }
    nanosleep(&(struct timespec){0, 1000000}, NULL);
  }
}

static int pop(const char *name) {
  ipcq_options options = IPCQ_OPTIONS_INIT;
  options.consumer_name = name;
  options.open_timeout_ns = -1;
  ipcq_queue *in;
  int rc;
  while ((rc = ipcq_open(&in, QUEUE, IPCQ_CONSUMER, &options)) == -EINTR)
    continue; // as in push
  if (rc < 0)
    return failed();
  uint64_t n;
  ipcq_info info;
  for (;;) {
    const int64_t length = ipcq_pop_wait(in, &n, sizeof n, &info, -1);
    if (length == -EINTR)
      continue; // as in push
    if (length < 0)
      return failed(); // the producer may have closed the queue
    if (info.lost)
      printf("was evicted: lost %" PRIu64 "\n", info.lost);
    if (n % 1000 == 0) {
      printf("%s: %" PRIu64 "\n", name, n);
      fflush(stdout);
    }
  }
}

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "push") == 0)
    return push();
  if (argc > 2 && strcmp(argv[1], "pop") == 0)
    return pop(argv[2]);
  fprintf(stderr, "usage: lossless push | lossless pop NAME\n");
  return 2;
}
