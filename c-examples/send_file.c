// cc -O2 send_file.c -o send_file $(pkg-config --cflags --libs ipcq)
//
// Streams a file as messages of up to 64 KiB. With `bytes`, it repeats the file up to that length.
//
//     ./send_file FILE [name [bytes]]
//
// The queue is lossless, so the sender sleeps while the ring is full and is as fast as the
// receiver. With min_consumers, it overwrites nothing before the receiver has attached, so the
// receiver gets the file from its first byte. The receiver is
// bindings/python/examples/receive_file.py.

#include <ipcq.h>

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

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
  options.capacity = RING; // bytes: message_size is 0, so each message has its own length
  options.delivery = IPCQ_LOSSLESS;
  options.min_consumers = 1;
  ipcq_queue *out;
  if (ipcq_open(&out, name, IPCQ_PRODUCER, &options) < 0)
    return failed("open");
  for (uint64_t sent = 0, length; sent < total; sent += length) {
    const uint64_t at = sent % size, left = size - at < total - sent ? size - at : total - sent;
    length = left < CHUNK ? left : CHUNK;
    int rc;
    while ((rc = ipcq_push_wait(out, file + at, length, INT64_C(60000000000))) == -EINTR)
      continue; // a signal handler has run: if yours sets a flag, check it here
    if (rc < 0)
      return failed("the receiver makes no progress");
  }
  ipcq_close(out);
  return 0;
}
