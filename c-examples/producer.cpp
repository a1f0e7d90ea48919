// c++ -std=c++17 -O2 producer.cpp -o producer_cpp $(pkg-config --cflags --libs ipcq)
//
// Pushes ticks into a queue, for ./consumer_cpp or ./consumer. Without a count it pushes ten a
// second until SIGINT (Ctrl-C) or SIGTERM.
//
//     ./producer_cpp [name [count]]

#include <ipcq.hpp>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <thread>

struct tick {
  std::uint64_t time_ns;
  double price;
  std::uint32_t quantity, reserved;
};

static volatile std::sig_atomic_t stopped = 0;

static std::uint64_t now_ns() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::nanoseconds(now).count());
}

int main(int argc, char **argv) {
  std::signal(SIGINT, [](int) { stopped = 1; });
  std::signal(SIGTERM, [](int) { stopped = 1; });
  const std::uint64_t count = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  try {
    ipcq::producer_options options;
    options.capacity = 65536; // messages; a consumer may be that far behind before it loses any
    ipcq::producer<tick> out(argc > 1 ? argv[1] : "ticks", options);

    std::uint64_t pushed = 0;
    for (; !stopped && (count == 0 || pushed < count); pushed++) {
      const double price = 100 + static_cast<double>(pushed % 1000) / 100;
      out.push({now_ns(), price, static_cast<std::uint32_t>(pushed), 0});
      if (count == 0)
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    std::cout << "pushed " << pushed << " ticks\n";
    // The destructor closes the queue. Consumers drain it and then learn that it was closed.
  } catch (const ipcq::error &e) {
    std::cerr << "producer: " << e.what() << '\n';
    return 1;
  }
}
