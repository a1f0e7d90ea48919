// A library for LD_PRELOAD that sends the program a harmless signal 500 times a second, as a
// profiler does. Each signal appends a byte to the file that ALARMS names, so tests can count them.
// After a minute it ends the program.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

static int file = -1, left = 30000;

static void on_alarm(int signal) {
  (void)signal;
  const int before = errno;
  if (left-- == 0 || write(file, ".", 1) != 1)
    _exit(99);
  errno = before;
}

__attribute__((constructor)) static void begin(void) {
  const char *name = getenv("ALARMS");
  unsetenv("LD_PRELOAD"); // child processes must not load it
  if (!name || (file = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0)
    _exit(99);
  struct sigaction action = {0};
  action.sa_handler = on_alarm;
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, NULL);
  const struct itimerval often = {{0, 2000}, {0, 2000}};
  setitimer(ITIMER_REAL, &often, NULL);
}
