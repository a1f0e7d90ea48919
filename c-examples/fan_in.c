// cc -O2 fan_in.c -o fan_in $(pkg-config --cflags --libs ipcq)
//
// Merges several queues fairly, until all producers have closed them. Run a ./producer for each.
//
//     ./fan_in name name ...

#include <ipcq.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define MOST 128 // the limit of ipcq_wait_any
#define TURN 32  // messages of one queue before the next queue gets its turn

static ipcq_queue *queues[MOST];
static char **names;

// Takes up to TURN messages of one queue. Returns -EPIPE at the end of the queue.
static int64_t take_turn(size_t i) {
  static char buffer[65536];
  int64_t length = 0;
  for (int n = 0; n < TURN && length >= 0; n++) {
    ipcq_info info;
    length = ipcq_pop(queues[i], buffer, sizeof buffer, &info);
    if (length >= 0)
      printf("%s %" PRIu64 ", %" PRId64 " bytes\n", names[i], info.sequence, length);
  }
  return length;
}

int main(int argc, char **argv) {
  size_t count = 0;
  names = argv + 1;
  for (; count < MOST && count + 1 < (size_t)argc; count++) {
    ipcq_options options = IPCQ_OPTIONS_INIT;
    options.open_timeout_ns = 60 * INT64_C(1000000000);
    int rc;
    while ((rc = ipcq_open(&queues[count], names[count], IPCQ_CONSUMER, &options)) == -EINTR)
      continue; // a signal handler has run: if yours sets a flag, check it here
    if (rc < 0) {
      fprintf(stderr, "fan_in: %s\n", ipcq_errmsg());
      return 1;
    }
  }

  uint64_t received = 0, lost = 0;
  int failed = 0;
  while (count > 0) {
    // Sleeps until a queue has a message. Then each queue gets a turn.
    const int rc = ipcq_wait_any(queues, count, -1);
    if (rc == -EINTR)
      continue; // as above
    if (rc < 0) {
      fprintf(stderr, "fan_in: %s\n", ipcq_errmsg());
      return 1;
    }
    for (size_t i = 0; i < count;) {
      const int64_t end = take_turn(i);
      if (end >= 0 || end == -EAGAIN) {
        i++;
        continue;
      }
      if (end != -EPIPE) {
        fprintf(stderr, "fan_in: %s\n", ipcq_errmsg());
        failed = 1;
      }
      ipcq_stats stats = IPCQ_STATS_INIT;
      if (ipcq_get_stats(queues[i], &stats) == 0) {
        received += stats.received;
        lost += stats.lost;
      }
      ipcq_close(queues[i]);
      queues[i] = queues[--count]; // the last queue takes its place
      names[i] = names[count];
    }
    fflush(stdout);
  }
  printf("received %" PRIu64 ", lost %" PRIu64 "\n", received, lost);
  return failed;
}
