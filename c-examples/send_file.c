// cc -O2 send_file.c -o send_file $(pkg-config --cflags --libs ipcq)
//
// Streams a file, repeated up to so many bytes, as messages of up to 64 KiB.
//
//     ./send_file FILE [name [bytes]]
//
// The receiver (bindings/python/examples/receive_file.py) tells by a second queue, NAME.ack, how
// many bytes it has; the sender stays less than half a ring ahead of it, so that nothing is lost.

#include <ipcq.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

enum { CHUNK = 65536, RING = 16 << 20 };

static int failed(const char *what) {
  fprintf(stderr, "send_file: %s: %s\n", what, ipcq_errmsg());
  return 1;
}

int main(int argc, char **argv) {
  struct stat st;
  int fd = argc > 1 ? open(argv[1], O_RDONLY) : -1;
  if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0) {
    fprintf(stderr, "usage: send_file FILE [name [bytes]]\n");
    return 2;
  }
  const uint64_t size = (uint64_t)st.st_size;
  const char *name = argc > 2 ? argv[2] : "file";
  const uint64_t total = argc > 3 ? strtoull(argv[3], NULL, 10) : size;
  const char *file = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (file == MAP_FAILED) {
    perror("send_file: mmap");
    return 1;
  }

  ipcq_options options = IPCQ_OPTIONS_INIT;
  options.capacity = RING; // bytes; message_size 0: variable length
  ipcq_queue *out, *acks;
  if (ipcq_open(&out, name, IPCQ_PRODUCER, &options) < 0)
    return failed("open");
  char ack_name[256];
  snprintf(ack_name, sizeof ack_name, "%s.ack", name);
  ipcq_options wait = IPCQ_OPTIONS_INIT;
  wait.open_timeout_ns = INT64_C(60000000000);
  if (ipcq_open(&acks, ack_name, IPCQ_CONSUMER, &wait) < 0)
    return failed("no receiver");

  uint64_t sent = 0, received = 0;
  while (received < total) {
    uint64_t count;
    int64_t got = ipcq_pop(acks, &count, sizeof count, NULL);
    if (got == sizeof count)
      received = count;
    else if (got != -EAGAIN)
      return failed("the receiver has ended");
    if (sent < total && sent - received < RING / 2) {
      const uint64_t at = sent % size, left = size - at < total - sent ? size - at : total - sent;
      const uint64_t length = left < CHUNK ? left : CHUNK;
      if (ipcq_push(out, file + at, length) < 0)
        return failed("push");
      sent += length;
    } else if (got < 0) { // nothing to send, nothing heard
      nanosleep(&(struct timespec){0, 50000}, NULL);
    }
  }
  ipcq_close(out);
  ipcq_close(acks);
  return 0;
}
