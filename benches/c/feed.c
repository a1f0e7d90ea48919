// Pushes numbered messages for a consumer in another language. Prints "ready" and starts when it
// reads a line. With a lossless queue it waits for the consumer, with a lossy one it does not wait.
//
//   feed name=... size=64 count=1000000 batch=32 capacity=4096 lossless=1 cpu=1
#include "bench.h"
#include PEER_HEADER

int main(int argc, char **argv) {
  begin(argc, argv);
  const char *name = text_arg("name", "feed");
  size_t size = arg("size", 64), batch = arg("batch", 1);
  uint64_t count = arg("count", 1000000);
  bool lossless = arg("lossless", 0);
  pin(arg("cpu", 1));
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  sender out;
  open_sender(&out, name, size, arg("capacity", 4096), lossless);
  puts("ready");
  fflush(stdout);
  char go[8];
  if (!fgets(go, sizeof go, stdin))
    return 1;
  uint8_t *messages = pattern(size, batch);
  for (uint64_t i = 0; i < count; i += batch) {
    size_t many = count - i < batch ? (size_t)(count - i) : batch, done = 0;
    for (size_t k = 0; k < many; k++)
      stamp(messages + k * size, size, i + k);
    while (done < many) {
      size_t n = batch == 1 ? send_one(&out, messages, size)
                            : send_many(&out, messages + done * size, size, many - done);
      done += n;
      if (!n)
        relax();
    }
  }
  // The consumer reports that it has read every message. With some peers, unread messages are lost
  // when the producer ends.
  if (!fgets(go, sizeof go, stdin))
    return 1;
  close_sender(&out);
  clean(name);
  return 0;
}
