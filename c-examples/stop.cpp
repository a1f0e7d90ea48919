// c++ -std=c++17 -O2 stop.cpp -o stop $(pkg-config --cflags --libs ipcq)
//
// Prints the ticks of ./producer, and ends when the producer closes the queue, or at Ctrl-C. Any other
// signal does not end the wait.
//
//     ./stop [name]

#include <ipcq.hpp>

#include <csignal>
#include <cstdio>

struct tick {
  std::uint64_t time_ns;
  double price;
  std::uint32_t quantity, reserved;
};

static volatile std::sig_atomic_t stopped = 0;

int main(int argc, char **argv) {
  std::signal(SIGINT, [](int) { stopped = 1; });
  const auto stop = [] { return stopped != 0; };
  try {
    ipcq_options options = ipcq::options();
    options.open_timeout_ns = 60000000000; // wait for the producer to start
    ipcq::consumer<tick> in(argc > 1 ? argv[1] : "ticks", options);
    while (auto m = in.pop_wait(ipcq::forever, stop))
      std::printf("%.2f x %u, %llu lost before\n", m->value.price, m->value.quantity,
                  static_cast<unsigned long long>(m->lost));
    std::puts("stopped");
  } catch (const ipcq::closed &) {
    std::puts("closed");
  } catch (const ipcq::error &e) {
    std::fprintf(stderr, "stop: %s\n", e.what());
    return 1;
  }
}
