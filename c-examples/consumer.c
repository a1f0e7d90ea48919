// cc -O2 consumer.c -o consumer $(pkg-config --cflags --libs ipcq)
//
// Prints the ticks of ./producer until it closes the queue, then how many were lost.
//
//     ./consumer [name]

#include <ipcq.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

struct tick {
  uint64_t time_ns;
  double price;
  uint32_t quantity;
  uint32_t reserved;
};

int main(int argc, char **argv) {
  const char *name = argc > 1 ? argv[1] : "ticks";

  ipcq_options options = IPCQ_OPTIONS_INIT;
  options.open_timeout_ns = 60 * INT64_C(1000000000); // wait for the producer to start
  ipcq_queue *q;
  int rc;
  while ((rc = ipcq_open(&q, name, IPCQ_CONSUMER, &options)) == -EINTR)
    continue; // a signal handler has run: if yours sets a flag, check it here
  if (rc < 0) {
    fprintf(stderr, "consumer: %s\n", ipcq_errmsg());
    return 1;
  }

  struct tick tick;
  ipcq_info info;
  int64_t length;
  for (;;) {
    length = ipcq_pop_wait(q, &tick, sizeof tick, &info, -1); // -1: no time limit
    if (length == -EINTR)
      continue; // as above
    if (length < 0)
      break;
    if (length != (int64_t)sizeof tick) {
      fprintf(stderr, "consumer: %s holds no ticks\n", name);
      ipcq_close(q);
      return 1;
    }
    if (info.lost > 0)
      printf("lost %" PRIu64 "\n", info.lost);
    printf("%" PRIu64 "  %" PRIu64 " ns  %.2f  %" PRIu32 "\n", info.sequence, tick.time_ns,
           tick.price, tick.quantity);
    fflush(stdout);
  }
  if (length != -EPIPE) // -EPIPE: the producer has closed the queue, and everything was read
    fprintf(stderr, "consumer: %s\n", ipcq_errmsg());

  ipcq_stats stats = IPCQ_STATS_INIT;
  if (ipcq_get_stats(q, &stats) == 0)
    printf("received %" PRIu64 ", lost %" PRIu64 "\n", stats.received, stats.lost);
  ipcq_close(q);
  return length != -EPIPE;
}
