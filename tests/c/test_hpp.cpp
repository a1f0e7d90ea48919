// c++ -std=c++17 test_hpp.cpp $(pkg-config --cflags --libs ipcq)
//
// The C++ layer: typed and untyped queues, exceptions, shared memory.

#include <ipcq.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#define CHECK(what)                                                                                \
  do {                                                                                             \
    if (!(what)) {                                                                                 \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                              \
      std::exit(1);                                                                                \
    }                                                                                              \
  } while (0)

struct tick {
  std::uint64_t time;
  double price;
};

namespace app {
enum class side : std::uint8_t { buy, sell };
struct place {
  double x;
  float y;
};
struct order {
  std::uint64_t time;
  char symbol[8];
  bool open;
  side way;
  place from, legs[2];
  std::array<place, 1> one;
  double matrix[2][3];
  std::array<std::array<std::int16_t, 3>, 2> rows;
  char names[2][4];
};
struct other {
  std::uint64_t time;
  float price, size;
};
struct quote {
  std::uint64_t time;
  double price;
};
} // namespace app
IPCQ_RECORD(app::place, x, y)
IPCQ_RECORD(app::order, time, symbol, open, way, from, legs, one, matrix, rows, names)
IPCQ_RECORD(app::quote, time, price)
IPCQ_RECORD(app::other, time, price, size)

#define PLACE "{\"names\":[\"x\",\"y\"],\"formats\":[\"<f8\",\"<f4\"],\"offsets\":[0,8],\"itemsize\":16}"

template <class F> static int code_of(F &&f) {
  try {
    f();
  } catch (const ipcq::error &e) {
    CHECK(std::strlen(e.what()) > 10);
    return e.code();
  }
  return 0;
}

static void test_records() {
  {
    ipcq::producer<app::order> out("orders");
    ipcq::consumer<app::order> in("orders");
    CHECK(out.schema() ==
          "{\"names\":[\"time\",\"symbol\",\"open\",\"way\",\"from\",\"legs\",\"one\",\"matrix\",\"rows\","
          "\"names\"],\"formats\":[\"<u8\",\"|S8\",\"|b1\",\"|u1\"," PLACE ",[" PLACE ",[2]],[" PLACE
          ",[1]],\"(2,3)<f8\",\"(2,3)<i2\",\"(2,)|S4\"],\"offsets\":[0,8,16,17,24,40,72,88,136,148],"
          "\"itemsize\":160}");
    CHECK(in.schema() == out.schema() && ipcq::byte_consumer("orders").schema() == out.schema());
    app::order sent{};
    sent.legs[1].y = 4.5F;
    out.push(sent);
    CHECK(in.pop()->value.legs[1].y == 4.5F);
  }
  {
    ipcq::producer<app::quote> out("quotes");
    CHECK(code_of([] { ipcq::consumer<app::other> in("quotes"); }) == -EPROTOTYPE);
    CHECK(std::strstr(ipcq_errmsg(), "! price <f8 at 8") != nullptr);
    // A type of the same size that says nothing takes anything.
    ipcq::consumer<tick> any("quotes");
    out.push({1, 2.5});
    CHECK(any.pop()->value.price == 2.5);
    // As in C.
    constexpr ipcq_field fields[] = {IPCQ_FIELD(app::quote, time), IPCQ_FIELD(app::quote, price)};
    const ipcq_field as[] = {IPCQ_FIELD_AS(app::quote, time, 'u', std::uint64_t), fields[1]};
    static_assert(fields[1].offset == 8 && fields[1].kind == 'f' && fields[1].count == 1);
    ipcq_options o = ipcq::options();
    o.field_count = 2;
    for (const ipcq_field *list : {fields, as}) {
      o.fields = list;
      ipcq::byte_consumer in("quotes", o);
      CHECK(in.schema() == out.schema());
    }
  }
  {
    ipcq::producer<tick> out("bare");
    CHECK(out.schema().empty());
    CHECK(code_of([] { ipcq::consumer<app::quote> in("bare"); }) == -EPROTOTYPE);
  }
  ipcq::unlink("orders");
  ipcq::unlink("quotes");
  ipcq::unlink("bare");
}

int main() {
  test_records();
  {
    ipcq::producer<tick> out("cpp");
    ipcq::consumer<tick> in("cpp");
    CHECK(!in.pop());
    using namespace std::chrono_literals;
    CHECK(!in.wait(0s) && !in.pop_wait(1ms) && !ipcq::wait_any({in.get()}, 1us));
    CHECK(in.fd() >= 0);
    out.push({1, 2.5});
    const tick more[] = {{2, 3.5}, {3, 4.5}};
    out.push(more, 2);
    auto m = in.pop();
    CHECK(m && m->value.time == 1 && m->value.price == 2.5 && m->sequence == 0 && m->lost == 0);
    tick got[4];
    CHECK(in.pop(got, 4) == 2 && got[1].time == 3);
    CHECK(in.pop(got, 4) == 0);
    ipcq::producer<tick> moved = std::move(out);
    CHECK(moved.stats().pushed == 3);
    CHECK(code_of([] { ipcq::producer<tick> second("cpp"); }) == -EBUSY);
    CHECK(code_of([&] { in.seek(4); }) == -EINVAL);
    in.seek(1);
    CHECK(in.pop()->value.time == 2);
    bool refused = false;
    try {
      ipcq::consumer<int> wrong("cpp");
    } catch (const std::length_error &) {
      refused = true;
    }
    CHECK(refused);
  }
  ipcq::unlink("cpp");
  {
    ipcq::byte_consumer *late = nullptr;
    {
      ipcq::byte_producer out("cpp");
      late = new ipcq::byte_consumer("cpp");
      out.push("hello", 5);
      char *slot = static_cast<char *>(out.claim(1000));
      std::memset(slot, 'x', 1000);
      out.commit(999);
      bool seen = false;
      CHECK(late->peek([&](ipcq::bytes_view v, std::uint64_t sequence, std::uint64_t) {
        seen = v.size == 5 && std::memcmp(v.begin(), "hello", 5) == 0 && sequence == 0;
      }));
      CHECK(seen);
      CHECK(late->wait(ipcq::forever) && late->fd() >= 0);
      CHECK(ipcq::wait_any({late->get()}, ipcq::forever) == 0u);
      auto m = late->pop_wait(ipcq::forever);
      CHECK(m && m->data.size() == 999 && m->data[998] == std::byte{'x'});
    }
    bool closed = false;
    try {
      late->pop();
    } catch (const ipcq::closed &e) {
      closed = e.code() == -EPIPE;
    }
    CHECK(closed);
    delete late;
  }
  ipcq::unlink("cpp");
  CHECK(code_of([] { ipcq::byte_consumer none("cpp"); }) == -ENOENT);
  {
    ipcq_options o = ipcq::options();
    o.capacity = 2;
    o.delivery = IPCQ_LOSSLESS;
    ipcq::producer<int> out("cpp", o);
    o = ipcq::options();
    o.consumer_name = "slow";
    ipcq::consumer<int> in("cpp", o);
    const int three[] = {0, 1, 2};
    CHECK(out.push(three, 3) == 2 && out.push(three, 1) == 0 && !out.try_push(2));
    CHECK(!out.push_wait(2, std::chrono::nanoseconds(1)));
    CHECK(code_of([&] { out.push(2); }) == -EAGAIN);
    auto list = out.consumers();
    CHECK(list.size() == 1 && std::strcmp(list[0].name, "slow") == 0 && list[0].lag == 2);
    CHECK(in.pop()->value == 0 && out.push_wait(2, ipcq::forever));
  }
  ipcq::unlink("cpp");
  {
    auto out = ipcq::shared_memory::create("cpp", 100);
    auto in = ipcq::shared_memory::open("cpp");
    out.write(90, "0123456789", 10);
    char back[10];
    in.read(90, back, 10);
    CHECK(std::memcmp(back, "0123456789", 10) == 0 && in.size() == 100 && in.data() == nullptr);
    CHECK(code_of([&] { in.write(0, "x", 1); }) == -EBADF);
    CHECK(code_of([&] { out.write(91, "0123456789", 10); }) == -ERANGE);
  }
  ipcq::shared_memory::unlink("cpp");
  std::puts("test_hpp: passed");
}
