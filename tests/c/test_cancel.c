// cc test_cancel.c -o test_cancel $(pkg-config --cflags --libs ipcq) -pthread
//
// No function is a cancellation point. A pthread_cancel that is pending before a call, or that
// comes while the call waits, takes effect after the call and does not change what the call does.

#include "check.h"

#include <ipcq.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// A lossless queue of two messages, one of which `in` has not popped, and an empty queue.
static ipcq_queue *out, *in, *idle_out, *idle;
static uint64_t n;

static ipcq_queue *producer(const char *name) {
  ipcq_options o = IPCQ_OPTIONS_INIT;
  o.capacity = 2;
  o.message_size = sizeof n;
  o.delivery = IPCQ_LOSSLESS;
  ipcq_queue *q;
  CHECK(ipcq_open(&q, name, IPCQ_PRODUCER, &o) == 0);
  return q;
}

static ipcq_queue *consumer(const char *name) {
  ipcq_queue *q;
  CHECK(ipcq_open(&q, name, IPCQ_CONSUMER, NULL) == 0);
  return q;
}

// Every function that can make a system call.

static int64_t open_and_close(void) {
  ipcq_close(consumer("cancel"));
  return 0;
}
static int64_t open_missing(void) {
  ipcq_options o = IPCQ_OPTIONS_INIT;
  o.open_timeout_ns = 5000000;
  ipcq_queue *q;
  return ipcq_open(&q, "none", IPCQ_CONSUMER, &o) == -ENOENT ? 0 : -1;
}
static int64_t make_and_unlink(void) {
  ipcq_close(producer("made"));
  return ipcq_unlink("made");
}
static int64_t detach(void) {
  ipcq_queue *q = producer("made");
  return ipcq_detach(q) + ipcq_unlink("made");
}
static int64_t push_and_pop(void) { return ipcq_push(out, &n, sizeof n) + ipcq_pop(in, &n, sizeof n, NULL) - 8; }
static int64_t pop_wait(void) { return ipcq_pop_wait(idle, &n, sizeof n, NULL, 5000000) + ETIMEDOUT; }
static int64_t push_wait(void) {
  while (ipcq_push(out, &n, sizeof n) == 0) {}
  return ipcq_push_wait(out, &n, sizeof n, 5000000) + ETIMEDOUT;
}
static int64_t wait_(void) { return ipcq_wait(idle, 5000000) + ETIMEDOUT; }
static int64_t wait_any(void) {
  ipcq_queue *two[] = {idle, idle};
  return ipcq_wait_any(two, 1, 5000000) + ETIMEDOUT + ipcq_wait_any(two, 2, 5000000) + ETIMEDOUT;
}
static int64_t descriptor(void) {
  const int fd = ipcq_fd(idle);
  CHECK(fd >= 0 && ipcq_push(idle_out, &n, sizeof n) == 0);
  while (ipcq_pop(idle, &n, sizeof n, NULL) != -EAGAIN) {}
  return ipcq_fd(idle) - fd;
}
static int64_t stats(void) {
  ipcq_stats s = IPCQ_STATS_INIT;
  return ipcq_get_stats(in, &s) + ipcq_get_stats(out, &s);
}
static int64_t consumers(void) {
  ipcq_consumer list[2];
  return ipcq_get_consumers(out, list, sizeof *list, 2) - 1;
}
static int64_t memory(void) {
  ipcq_shm *a, *b;
  CHECK(ipcq_shm_create(&a, "memory", 100, 0) == 0 && ipcq_shm_open(&b, "memory") == 0);
  ipcq_shm_close(b);
  ipcq_shm_close(a);
  return ipcq_shm_unlink("memory");
}

// The functions that wait. Each waits for an event that occurs after the cancellation.

static int64_t open_late(void) {
  ipcq_options o = IPCQ_OPTIONS_INIT;
  o.open_timeout_ns = -1;
  ipcq_queue *q;
  return ipcq_open(&q, "late", IPCQ_CONSUMER, &o);
}
static void make_late(void) { producer("late"); }
static int64_t pop_late(void) { return ipcq_pop_wait(idle, &n, sizeof n, NULL, -1) - 8; }
static int64_t wait_late(void) { return ipcq_wait(idle, -1); }
static int64_t any_late(void) {
  ipcq_queue *two[] = {idle, idle};
  return ipcq_wait_any(two, 2, -1);
}
static void push_late(void) { CHECK(ipcq_push(idle_out, &n, sizeof n) == 0); }
static int64_t room_late(void) {
  while (ipcq_push(out, &n, sizeof n) == 0) {}
  return ipcq_push_wait(out, &n, sizeof n, -1);
}
static void pop_one(void) { CHECK(ipcq_pop(in, &n, sizeof n, NULL) == 8); }

static const struct {
  const char *name;
  int64_t (*call)(void);
  void (*come)(void);
} cases[] = {
    {"open and close", open_and_close, NULL},
    {"open a missing queue", open_missing, NULL},
    {"make and unlink", make_and_unlink, NULL},
    {"detach", detach, NULL},
    {"push and pop", push_and_pop, NULL},
    {"pop_wait", pop_wait, NULL},
    {"push_wait", push_wait, NULL},
    {"wait", wait_, NULL},
    {"wait_any", wait_any, NULL},
    {"fd", descriptor, NULL},
    {"stats", stats, NULL},
    {"consumers", consumers, NULL},
    {"shared memory", memory, NULL},
    {"open, while it waits", open_late, make_late},
    {"pop_wait, while it waits", pop_late, push_late},
    {"wait, while it waits", wait_late, push_late},
    {"wait_any, while it waits", any_late, push_late},
    {"push_wait, while it waits", room_late, pop_one},
};

static size_t current;
static volatile pid_t thread_id;
static volatile bool returned;

static void *thread_main(void *unused) {
  (void)unused;
  thread_id = (pid_t)syscall(SYS_gettid);
  if (cases[current].come == NULL)
    pthread_cancel(pthread_self()); // pending from now on
  CHECK(cases[current].call() == 0);
  returned = true;
  pthread_testcancel();
  return NULL;
}

// Waits until the thread sleeps in the kernel. In open, it sleeps for some milliseconds at a time.
static void until_asleep(void) {
  char path[64], text[512];
  for (;;) {
    if (thread_id != 0) {
      snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread_id);
      FILE *f = fopen(path, "r");
      CHECK(f && fgets(text, sizeof text, f));
      fclose(f);
      if (strstr(text, ") S "))
        return;
    }
    sched_yield();
  }
}

// In a separate process, because a failure would abort or hang.
static void one(void) {
  alarm(30);
  out = producer("cancel");
  in = consumer("cancel");
  idle_out = producer("idle");
  idle = consumer("idle");
  CHECK(ipcq_push(out, &n, sizeof n) == 0);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, thread_main, NULL) == 0);
  if (cases[current].come != NULL) {
    until_asleep();
    CHECK(pthread_cancel(thread) == 0);
    cases[current].come();
  }
  void *result;
  CHECK(pthread_join(thread, &result) == 0);
  CHECK(returned && result == PTHREAD_CANCELED);
}

int main(void) {
  CHECK(getenv("IPCQ_DIR")); // an empty directory for this test
  int failed = 0;
  for (current = 0; current < sizeof cases / sizeof cases[0]; current++) {
    const pid_t child = fork();
    if (child == 0) {
      one();
      exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    if (status != 0) {
      fprintf(stderr, "test_cancel: %s: %s\n", cases[current].name,
              WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "failed");
      failed = 1;
    }
    static const char *const names[] = {"cancel", "idle", "late", "made"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
      ipcq_unlink(names[i]);
    ipcq_shm_unlink("memory");
  }
  if (failed)
    return 1;
  puts("test_cancel: passed");
  return 0;
}
