// cc -O2 machine.c -o machine $(pkg-config --cflags --libs ipcq)
//
// Pushes samples of this machine's counters to a queue, 200 per second by default.
//
//     ./machine [name [seconds [samples per second]]]

#include <ipcq.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct sample { // 48 bytes; bindings/python/examples/watch_machine.py has the same layout
  uint64_t time_ns;
  uint64_t cpu_busy, cpu_total;       // ticks of all processors, /proc/stat
  uint64_t context_switches;          // /proc/stat
  uint64_t memory_available_kb;       // /proc/meminfo
  float load;                         // /proc/loadavg
  uint32_t running;                   // runnable processes, /proc/stat
};

// The queue stores the fields. bindings/python/examples/live_plot.py reads them from there.
static const ipcq_field fields[] = {
    IPCQ_FIELD(struct sample, time_ns),
    IPCQ_FIELD(struct sample, cpu_busy),
    IPCQ_FIELD(struct sample, cpu_total),
    IPCQ_FIELD(struct sample, context_switches),
    IPCQ_FIELD(struct sample, memory_available_kb),
    IPCQ_FIELD(struct sample, load),
    IPCQ_FIELD(struct sample, running),
};

static uint64_t now_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void take(struct sample *s) {
  char line[512];
  *s = (struct sample){.time_ns = now_ns(CLOCK_REALTIME)};
  FILE *f = fopen("/proc/stat", "r");
  while (f && fgets(line, sizeof line, f)) {
    uint64_t v[8] = {0};
    if (sscanf(line, "cpu  %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
               " %" SCNu64 " %" SCNu64, v, v + 1, v + 2, v + 3, v + 4, v + 5, v + 6, v + 7) > 3) {
      for (int i = 0; i < 8; i++)
        s->cpu_total += v[i];
      s->cpu_busy = s->cpu_total - v[3] - v[4]; // idle, and waiting for disks
    }
    sscanf(line, "ctxt %" SCNu64, &s->context_switches);
    sscanf(line, "procs_running %" SCNu32, &s->running);
  }
  if (f)
    fclose(f);
  if ((f = fopen("/proc/meminfo", "r"))) {
    while (fgets(line, sizeof line, f) &&
           sscanf(line, "MemAvailable: %" SCNu64, &s->memory_available_kb) != 1) {}
    fclose(f);
  }
  if ((f = fopen("/proc/loadavg", "r"))) {
    if (fscanf(f, "%f", &s->load) != 1) s->load = 0;
    fclose(f);
  }
}

int main(int argc, char **argv) {
  const char *name = argc > 1 ? argv[1] : "machine";
  const double seconds = argc > 2 ? atof(argv[2]) : 5, rate = argc > 3 ? atof(argv[3]) : 200;
  ipcq_options options = IPCQ_OPTIONS_INIT;
  options.capacity = 4096;
  options.message_size = sizeof(struct sample);
  options.fields = fields;
  options.field_count = sizeof fields / sizeof fields[0];
  ipcq_queue *q;
  if (rate <= 0 || ipcq_open(&q, name, IPCQ_PRODUCER, &options) < 0) {
    fprintf(stderr, "machine: %s\n", rate <= 0 ? "the rate must be greater than 0" : ipcq_errmsg());
    return 1;
  }
  int rc = 0;
  const uint64_t begin = now_ns(CLOCK_MONOTONIC), total = (uint64_t)(seconds * rate);
  for (uint64_t n = 0; n < total && rc == 0; n++) {
    const uint64_t due = begin + (uint64_t)((double)n / rate * 1e9);
    struct timespec until = {(time_t)(due / 1000000000), (long)(due % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
      continue;
    struct sample sample;
    take(&sample);
    if ((rc = ipcq_push(q, &sample, sizeof sample)) < 0)
      fprintf(stderr, "machine: %s\n", ipcq_errmsg());
  }
  ipcq_close(q);
  return rc < 0;
}
