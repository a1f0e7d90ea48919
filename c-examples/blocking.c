// cc -O2 blocking.c -o blocking $(pkg-config --cflags --libs ipcq)
//
// Sleeps until a message comes and prints its latency. Start ./producer to feed it. It ends at
// Ctrl-C, or after ten seconds without a message.
//
//     ./blocking [name]

#include <ipcq.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#define SECOND INT64_C(1000000000)

struct tick {
  uint64_t time_ns;
  double price;
  uint32_t quantity;
  uint32_t reserved;
};

static volatile sig_atomic_t stopped;

static void stop(int signal_number) {
  (void)signal_number;
  stopped = 1;
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv) {
  struct sigaction action = {0};
  action.sa_handler = stop;
  sigaction(SIGINT, &action, NULL);

  ipcq_options options = IPCQ_OPTIONS_INIT;
  options.open_timeout_ns = 60 * SECOND;
  options.start = IPCQ_NEXT; // only messages pushed from now on
  ipcq_queue *q;
  int rc;
  while ((rc = ipcq_open(&q, argc > 1 ? argv[1] : "ticks", IPCQ_CONSUMER, &options)) == -EINTR)
    if (stopped)
      return 0;
  if (rc < 0) {
    fprintf(stderr, "blocking: %s\n", ipcq_errmsg());
    return 1;
  }

  struct tick tick;
  ipcq_info info;
  int64_t length = 0;
  while (!stopped) {
    length = ipcq_pop_wait(q, &tick, sizeof tick, &info, 10 * SECOND);
    if (length == -EINTR) // a signal handler has run, perhaps another one: check `stopped`
      continue;
    if (length < 0)
      break;
    printf("%" PRIu64 " after %.1f us\n", info.sequence,
           (double)(int64_t)(now_ns() - tick.time_ns) / 1e3);
    fflush(stdout);
  }
  rc = !stopped && length != -EPIPE;
  if (rc) // -ETIMEDOUT or another error; -EPIPE only means that the queue was closed
    fprintf(stderr, "blocking: %s\n", ipcq_errmsg());
  ipcq_close(q);
  return rc;
}
