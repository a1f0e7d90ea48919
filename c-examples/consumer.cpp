// c++ -std=c++17 -O2 consumer.cpp -o consumer_cpp $(pkg-config --cflags --libs ipcq)
//
// Prints the ticks of ./producer_cpp or ./producer, and how many were lost on the way. It ends when
// the producer closes the queue, or at SIGINT (Ctrl-C) or SIGTERM. Other signals do not end it.
//
//     ./consumer_cpp [name]

#include <ipcq.hpp>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <iostream>

struct tick {
  std::uint64_t time_ns;
  double price;
  std::uint32_t quantity, reserved;
};

static volatile std::sig_atomic_t stopped = 0;

int main(int argc, char **argv) {
  std::signal(SIGINT, [](int) { stopped = 1; });
  std::signal(SIGTERM, [](int) { stopped = 1; });
  const auto stop = [] { return stopped != 0; };
  try {
    ipcq::consumer_options options;
    options.open_timeout = std::chrono::minutes(1); // wait for the producer to start
    ipcq::consumer<tick> in(argc > 1 ? argv[1] : "ticks", options, stop);

    for (const auto &m : in.until(stop)) {
      if (m.lost > 0)
        std::cout << "lost " << m.lost << '\n';
      std::cout << m.sequence << "  " << m.value.time_ns << " ns  " << m.value.price << "  "
                << m.value.quantity << std::endl;
    }
    const ipcq_stats stats = in.stats();
    std::cout << (stopped ? "stopped: " : "closed: ") << "received " << stats.received << ", lost "
              << stats.lost << '\n';
  } catch (const ipcq::interrupted &) {
    std::cout << "stopped before the producer started\n";
  } catch (const ipcq::error &e) {
    std::cerr << "consumer: " << e.what() << '\n';
    return 1;
  }
}
