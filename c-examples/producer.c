// cc -O2 producer.c -o producer $(pkg-config --cflags --libs ipcq)
//
// Pushes ten ticks per second until Ctrl-C, or `count` ticks at full speed.
//
//     ./producer [name [count]]
//
// Run ./consumer in other terminals, before or after this program.

#include <ipcq.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

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
  const char *name = argc > 1 ? argv[1] : "ticks";
  const uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;

  ipcq_options options = IPCQ_OPTIONS_INIT;
  options.capacity = 65536; // messages: a consumer that is further behind loses the oldest
  options.message_size = sizeof(struct tick);
  ipcq_queue *q;
  int rc = ipcq_open(&q, name, IPCQ_PRODUCER, &options);
  if (rc < 0) {
    fprintf(stderr, "producer: %s\n", ipcq_errmsg());
    return 1;
  }
  signal(SIGINT, stop);
  signal(SIGTERM, stop);

  uint64_t pushed = 0;
  for (; !stopped && (count == 0 || pushed < count); pushed++) {
    struct tick tick = {now_ns(), 100 + (double)(pushed % 1000) / 100, (uint32_t)pushed, 0};
    rc = ipcq_push(q, &tick, sizeof tick);
    if (rc < 0) {
      fprintf(stderr, "producer: %s\n", ipcq_errmsg());
      break;
    }
    if (count == 0)
      nanosleep(&(struct timespec){0, 100000000}, NULL);
  }
  printf("pushed %" PRIu64 " ticks\n", pushed);
  ipcq_close(q); // consumers drain the queue, then get -EPIPE
  return rc < 0;
}
