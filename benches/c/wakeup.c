// The time until a consumer that sleeps in ipcq_pop_wait has a message: from just before the push
// until after the pop. The measurement alternates with its lower limit, a bare futex between the
// same two processes.
#include "bench.h"
#include "peer_ipcq.h"
#include <linux/futex.h>
#include <sys/syscall.h>

static long futex(_Atomic uint32_t *word, int what, uint32_t value) {
  return syscall(SYS_futex, word, what, value, NULL, NULL, 0);
}

typedef struct {
  _Alignas(128) _Atomic uint32_t word;
  _Alignas(128) uint64_t sent;
  _Alignas(128) _Atomic uint64_t done;
} meeting;

// Every second turn is the bare futex. The waker pauses, so that the other process is asleep. Only
// the figures depend on this.
static void wake(meeting *b, sender *out, uint64_t turns, uint64_t pause) {
  struct timespec t = {0, (long)pause * 1000};
  for (uint64_t i = 1; i <= turns; i++) {
    while (atomic_load_explicit(&b->done, memory_order_acquire) != i - 1)
      sched_yield();
    nanosleep(&t, NULL);
    uint64_t now = now_ns();
    if (i % 2) {
      b->sent = now;
      atomic_fetch_add_explicit(&b->word, 1, memory_order_release);
      futex(&b->word, FUTEX_WAKE, INT32_MAX);
    } else {
      ok(ipcq_push(out->q, &now, sizeof now));
    }
  }
}

static void sleep_and_wake(meeting *b, receiver *in, uint64_t turns, uint32_t *bare,
                           uint32_t *ours) {
  for (uint64_t i = 1; i <= turns; i++) {
    if (i % 2) {
      uint32_t seen = (uint32_t)(i / 2);
      while (atomic_load_explicit(&b->word, memory_order_acquire) == seen)
        futex(&b->word, FUTEX_WAIT, seen);
      *bare++ = (uint32_t)(now_ns() - b->sent);
    } else {
      uint64_t sent;
      ipcq_info info;
      ok(ipcq_pop_wait(in->q, &sent, sizeof sent, &info, -1));
      *ours++ = (uint32_t)(now_ns() - sent);
      if (info.sequence != i / 2 - 1 || info.lost)
        die("message %llu, %llu lost", (unsigned long long)info.sequence,
            (unsigned long long)info.lost);
    }
    atomic_store_explicit(&b->done, i, memory_order_release);
  }
}

int main(int argc, char **argv) {
  begin(argc, argv);
  uint64_t count = arg("count", 1000), pause = arg("pause", 200);
  char name[64];
  snprintf(name, sizeof name, "wakeup.%d", (int)getpid());
  shared *s = shared_memory(sizeof *s);
  meeting *b = shared_memory(sizeof *b);
  sender out;
  receiver in;
  pid_t child = fork_peer();
  if (child == 0) {
    pin(arg("cpu1", 1));
    open_sender(&out, name, 8, 64, false);
    meet(s, 1);
    meet(s, 1);
    distance(s, 1);
    wake(b, &out, 2 * count, pause);
    distance(s, 1);
    close_sender(&out);
    _exit(0);
  }
  pin(arg("cpu0", 0));
  meet(s, 0);
  open_receiver(&in, name, 8);
  meet(s, 0);
  uint32_t *bare = calloc(count, sizeof *bare), *ours = calloc(count, sizeof *ours);
  uint32_t before = distance(s, 0);
  sleep_and_wake(b, &in, 2 * count, bare, ours);
  uint32_t after = distance(s, 0);
  close_receiver(&in);
  join_peer(child);
  clean(name);
  printf("{\"peer\":\"ipcq\",\"measure\":\"wakeup\",\"size\":8,\"pushed\":%llu,\"received\":%llu,"
         "\"lost\":0,",
         (unsigned long long)count, (unsigned long long)count);
  print_distances(before, after);
  printf("\"futex\":%.0f,", median(bare, count));
  double scale = ns_per_tick();
  for (uint64_t i = 0; i < count; i++)
    ours[i] = (uint32_t)(ours[i] / scale); // print_percentiles takes ticks
  print_percentiles(ours, count);
  printf("}\n");
}
