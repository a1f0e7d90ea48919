// Shared by all C benchmarks: arguments, pinning, a clock, messages that can be checked, and one
// line of JSON at the end. Each program includes it once, so that all of it is inlined.
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <signal.h>

#define UNUSED __attribute__((unused))

static UNUSED void die(const char *format, ...) {
  va_list list;
  va_start(list, format);
  vfprintf(stderr, format, list);
  va_end(list);
  fputc('\n', stderr);
  exit(1);
}

// --- arguments: name=value -----------------------------------------------------------------------

static int arg_count;
static char **arg_list;

static UNUSED const char *text_arg(const char *name, const char *otherwise) {
  size_t length = strlen(name);
  for (int i = 1; i < arg_count; i++)
    if (!strncmp(arg_list[i], name, length) && arg_list[i][length] == '=')
      return arg_list[i] + length + 1;
  return otherwise;
}

static UNUSED uint64_t arg(const char *name, uint64_t otherwise) {
  const char *text = text_arg(name, NULL);
  return text ? strtoull(text, NULL, 10) : otherwise;
}

// --- processes -----------------------------------------------------------------------------------

// Two processes synchronise here, and the forked one stores its figures. Each word has its own pair
// of cache lines.
typedef struct {
  _Alignas(128) _Atomic uint64_t word;
} line;

typedef struct {
  line here[2], lines[2];
  uint64_t figures[8];
} shared;

static UNUSED void *shared_memory(size_t size) {
  void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED)
    die("mmap: %s", strerror(errno));
  memset(at, 0, size); // touch every page before anything is timed
  return at;
}

static UNUSED void pin(uint64_t cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set))
    die("cpu %llu: %s", (unsigned long long)cpu, strerror(errno));
}

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");
#endif
}

// Waits for the other process. It yields the processor, because the wait may be long.
static UNUSED void meet(shared *s, int self) {
  atomic_fetch_add(&s->here[self].word, 1);
  while (atomic_load(&s->here[!self].word) < atomic_load(&s->here[self].word))
    sched_yield();
}

// The forked process spins, so it must not outlive this one.
static UNUSED pid_t fork_peer(void) {
  pid_t parent = getpid(), child = fork();
  if (child < 0)
    die("fork: %s", strerror(errno));
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
      _exit(1);
  }
  return child;
}

static UNUSED void join_peer(pid_t child) {
  int status;
  if (waitpid(child, &status, 0) != child || status != 0)
    die("the other process failed");
}

// --- time ----------------------------------------------------------------------------------------

static inline uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// A clock that costs a few nanoseconds. ns_per_tick() calibrates it against the real clock over the
// time since start_clock().
static inline uint64_t ticks(void) {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  return now_ns();
#endif
}

static uint64_t clock_ticks, clock_ns;

static UNUSED void start_clock(void) {
  clock_ns = now_ns();
  clock_ticks = ticks();
}

static UNUSED double ns_per_tick(void) {
  while (now_ns() - clock_ns < 10000000)
    relax();
  uint64_t ns = now_ns(), t = ticks();
  return (double)(ns - clock_ns) / (double)(t - clock_ticks);
}

static UNUSED void begin(int argc, char **argv) {
  arg_count = argc;
  arg_list = argv;
  start_clock();
}

static int by_value(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

// The current distance of the two processors: the median round trip of a word, in ticks. A
// hypervisor moves virtual processors, so the distance is measured before and after each run, and
// figures are compared only if it is similar. It is also the minimum for any round trip.
static UNUSED uint32_t distance(shared *s, int self) {
  enum { TRIPS = 1000 };
  static uint32_t samples[TRIPS];
  _Atomic uint64_t *mine = &s->lines[self].word, *other = &s->lines[!self].word;
  atomic_store(mine, 0);
  meet(s, self);
  for (uint64_t i = 1; i <= TRIPS; i++) {
    uint64_t begun = ticks();
    if (self == 0)
      atomic_store_explicit(mine, i, memory_order_release);
    while (atomic_load_explicit(other, memory_order_acquire) != i) {
    }
    if (self == 1)
      atomic_store_explicit(mine, i, memory_order_release);
    samples[i - 1] = (uint32_t)(ticks() - begun);
  }
  meet(s, self);
  qsort(samples, TRIPS, sizeof *samples, by_value);
  return samples[TRIPS / 2];
}

static UNUSED void print_distances(uint32_t before, uint32_t after) {
  double scale = ns_per_tick();
  printf("\"lines\":[%.1f,%.1f],", before * scale, after * scale);
}

static UNUSED double median(uint32_t *samples, size_t count) {
  qsort(samples, count, sizeof *samples, by_value);
  return samples[count / 2];
}

// Prints the percentiles of samples, which are in ticks, as members of a JSON object.
static UNUSED void print_percentiles(uint32_t *samples, size_t count) {
  static const double at[] = {0,  0.1, 1,  5,  10, 20, 30, 40,   50,   60,
                              70, 80,  90, 95, 98, 99, 99.5, 99.9, 99.99, 100};
  double scale = ns_per_tick();
  qsort(samples, count, sizeof *samples, by_value);
  printf("\"p50\":%.1f,\"p99\":%.1f,\"samples\":%zu,\"percentiles\":[", samples[count / 2] * scale,
         samples[(size_t)((double)(count - 1) * 0.99)] * scale, count);
  for (size_t i = 0; i < sizeof at / sizeof *at; i++)
    printf("%s[%g,%.1f]", i ? "," : "", at[i],
           samples[(size_t)((double)(count - 1) * at[i] / 100)] * scale);
  printf("]");
}

// --- messages that can be checked ----------------------------------------------------------------

// A message carries its sequence in its first word, in its last word, and in up to 16 places
// between. The rest is a pattern. A torn message is therefore detected, and making and checking a
// message costs little compared with moving it. Every 64th message is compared byte by byte.
#define COMPARE_EVERY 64

static inline size_t stamp_step(size_t size) { return size / 16 > 64 ? size / 16 & ~(size_t)7 : 64; }

static inline __attribute__((always_inline)) void stamp(uint8_t *message, size_t size, uint64_t s) {
  for (size_t i = 0, step = stamp_step(size); i < size; i += step)
    memcpy(message + i, &s, 8);
  memcpy(message + size - 8, &s, 8);
}

static UNUSED uint8_t *pattern(size_t size, size_t count) {
  uint8_t *at = aligned_alloc(64, (size * count + 63) / 64 * 64);
  if (!at)
    die("out of memory");
  for (size_t i = 0; i < size * count; i++)
    at[i] = (uint8_t)(i % size * 31 + 7);
  return at;
}

// Returns the sequence that a message carries, or ends the program if it is torn. `like` is the
// pattern of a message.
static inline __attribute__((always_inline)) uint64_t check(const uint8_t *message, size_t size,
                                                            uint8_t *like) {
  uint64_t s, w, bad;
  memcpy(&s, message, 8);
  memcpy(&w, message + size - 8, 8);
  bad = w ^ s;
  for (size_t i = 0, step = stamp_step(size); i < size; i += step) {
    memcpy(&w, message + i, 8);
    bad |= w ^ s;
  }
  if (bad)
    die("torn: message %llu", (unsigned long long)s);
  if (s % COMPARE_EVERY == 0) {
    stamp(like, size, s);
    if (memcmp(message, like, size))
      die("the content of message %llu is wrong", (unsigned long long)s);
  }
  return s;
}

// The messages that a consumer has received and lost, according to their sequences.
typedef struct {
  uint64_t next, received, lost;
} account;

static inline void receive(account *a, uint64_t sequence) {
  if (sequence < a->next)
    die("message %llu after %llu", (unsigned long long)sequence, (unsigned long long)a->next - 1);
  a->lost += sequence - a->next;
  a->received++;
  a->next = sequence + 1;
}

// Ends the program unless received + lost = pushed and the peer has counted the same losses.
static UNUSED void settle(const account *a, uint64_t pushed, uint64_t lost) {
  if (a->received + a->lost != pushed)
    die("%llu received + %llu lost, but %llu pushed", (unsigned long long)a->received,
        (unsigned long long)a->lost, (unsigned long long)pushed);
  if (a->lost != lost)
    die("%llu lost, but the peer counted %llu", (unsigned long long)a->lost,
        (unsigned long long)lost);
}

// The most common sizes as constants, as in a program that sends a struct.
#define WITH_CONSTANT_SIZE(size, call)                                                            \
  do {                                                                                             \
    switch (size) {                                                                                \
    case 8: { enum { SIZE = 8 }; call; break; }                                                    \
    case 48: { enum { SIZE = 48 }; call; break; }                                                  \
    case 64: { enum { SIZE = 64 }; call; break; }                                                  \
    case 1024: { enum { SIZE = 1024 }; call; break; }                                              \
    default: { const size_t SIZE = size; call; break; }                                            \
    }                                                                                              \
  } while (0)

#endif
