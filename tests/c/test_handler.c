// cc test_handler.c -o test_handler $(pkg-config --cflags --libs ipcq)
//
// Code that runs in the middle of a call: a signal handler that forks, as a crash reporter does,
// and a log function that uses the name of the queue that the call opens.

#include "check.h"

#include <ipcq.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static ipcq_queue *producer(const char *name) {
  ipcq_options o = IPCQ_OPTIONS_INIT;
  o.capacity = 64;
  o.message_size = 8;
  o.delivery = IPCQ_LOSSLESS;
  ipcq_queue *q;
  CHECK(ipcq_open(&q, name, IPCQ_PRODUCER, &o) == 0);
  return q;
}

static volatile sig_atomic_t forks;

static void fork_and_wait(int signal) {
  (void)signal;
  pid_t child = fork();
  if (child == 0)
    _exit(0);
  waitpid(child, NULL, 0);
  forks++;
}

// The process has one thread, because the C library allows no other process to fork in a handler.
static void a_handler_forks(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = fork_and_wait;
  action.sa_flags = SA_RESTART;
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  struct itimerval timer = {{0, 500}, {0, 500}}, none = {{0, 0}, {0, 0}};
  CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
  while (forks < 1000)
    ipcq_close(producer("forks"));
  CHECK(setitimer(ITIMER_REAL, &none, NULL) == 0);
  CHECK(ipcq_unlink("forks") == 0);
}

static int logged, removed;

static void unlink_it(int level, const char *text, void *name) {
  (void)level;
  (void)text;
  logged++;
  removed += ipcq_unlink(name) == 0;
}

static void a_log_function_uses_the_name(void) {
  char name[] = "logged";
  ipcq_set_log(unlink_it, name);
  ipcq_queue *q = producer(name);
  ipcq_set_log(NULL, NULL);
  CHECK(logged == 1 && removed == 1);
  ipcq_close(q);
}

int main(void) {
  a_log_function_uses_the_name();
  a_handler_forks();
  puts("test_handler: passed");
}
