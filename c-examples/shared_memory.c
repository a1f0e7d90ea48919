// cc -O2 shared_memory.c -o shared_memory $(pkg-config --cflags --libs ipcq)
//
// Shared memory without a queue: one process writes, any number of processes read. They must agree
// on what the bytes mean and on when they are complete.

#include <ipcq.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int failed(const char *what) {
  fprintf(stderr, "shared_memory: %s: %s\n", what, ipcq_errmsg());
  return 1;
}

int main(int argc, char **argv) {
  const char *name = argc > 1 ? argv[1] : "shared_memory";

  // This reserves the space: a full file system is an error now, not a signal later.
  ipcq_shm *writer, *reader;
  if (ipcq_shm_create(&writer, name, 4096, 0) < 0)
    return failed("create");
  if (ipcq_shm_open(&reader, name) < 0)
    return failed("open");

  const char text[] = "hello from the writer";
  if (ipcq_shm_write(writer, 100, text, sizeof text) < 0)
    return failed("write");
  char copy[sizeof text];
  if (ipcq_shm_read(reader, 100, copy, sizeof copy) < 0)
    return failed("read");
  printf("%zu bytes; at 100: %s\n", ipcq_shm_size(reader), copy);

  // In place, through pointers.
  strcpy((char *)ipcq_shm_data(writer) + 200, "in place");
  printf("at 200: %s\n", (const char *)ipcq_shm_cdata(reader) + 200);

  // A reader cannot write, and no access goes beyond the end.
  int rc = ipcq_shm_write(reader, 0, "x", 1);
  printf("writing through a reader: %s\n", ipcq_errmsg());
  int beyond = ipcq_shm_read(reader, 4090, copy, sizeof copy);
  printf("reading beyond the end: %s\n", ipcq_errmsg());

  ipcq_shm_close(reader);
  ipcq_shm_close(writer);
  ipcq_shm_unlink(name);
  return rc != -EBADF || beyond != -ERANGE || strcmp(copy, text) != 0;
}
