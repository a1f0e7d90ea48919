// cc -O2 poll.c -o poll $(pkg-config --cflags --libs ipcq)
//
// An event loop that prints the messages of a queue and the lines of standard input as they come.
//
//     ./poll [name]

#include <ipcq.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

// Takes all messages. Returns false at the end of the queue. (A program may also stop before
// -EAGAIN: the descriptor stays readable.)
static bool take_messages(ipcq_queue *q) {
  char buffer[4096];
  ipcq_info info;
  int64_t length;
  while ((length = ipcq_pop(q, buffer, sizeof buffer, &info)) >= 0)
    printf("message %" PRIu64 ", %" PRId64 " bytes\n", info.sequence, length);
  if (length == -EAGAIN)
    return true;
  if (length != -EPIPE)
    fprintf(stderr, "poll: %s\n", ipcq_errmsg());
  return false;
}

int main(int argc, char **argv) {
  ipcq_options options = IPCQ_OPTIONS_INIT;
  options.open_timeout_ns = 60 * INT64_C(1000000000);
  ipcq_queue *q;
  int rc;
  while ((rc = ipcq_open(&q, argc > 1 ? argv[1] : "ticks", IPCQ_CONSUMER, &options)) == -EINTR)
    continue; // a signal handler has run: if yours sets a flag, check it here
  if (rc < 0) {
    fprintf(stderr, "poll: %s\n", ipcq_errmsg());
    return 1;
  }
  const int fd = ipcq_fd(q); // belongs to the queue, which closes it
  if (fd < 0) {
    fprintf(stderr, "poll: %s\n", ipcq_errmsg());
    ipcq_close(q);
    return 1;
  }

  struct pollfd fds[] = {{fd, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
  bool more = true;
  while (more) {
    if (poll(fds, 2, -1) < 0) {
      if (errno == EINTR)
        continue; // as above. `fds` still has the results of the previous call.
      perror("poll");
      break;
    }
    if (fds[0].revents != 0)
      more = take_messages(q);
    if (fds[1].revents != 0) {
      char line[4096];
      const ssize_t length = read(STDIN_FILENO, line, sizeof line);
      if (length > 0)
        printf("input, %zd bytes\n", length);
      else
        fds[1].fd = -1; // end of input: only messages from now on
    }
    fflush(stdout);
  }
  ipcq_close(q);
  return 0;
}
