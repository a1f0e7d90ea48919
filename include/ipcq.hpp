// ipcq.hpp: the C++17 layer over ipcq.h. Header only; link as for C.
// SPDX-License-Identifier: MIT OR Apache-2.0
//
//   ipcq::producer<tick> out("ticks");          ipcq::consumer<tick> in("ticks");
//   out.push({now, 9.5, 3});                    while (auto m = in.pop()) use(m->value, m->lost);
//
// Errors are exceptions: ipcq::error, whose code() is the negated errno of ipcq.h and whose what()
// says which file, what failed and what to do. Handles close themselves, can be moved, and are used
// by one thread at a time. A pop that finds nothing gives std::nullopt; one that finds the queue
// closed and drained throws ipcq::closed.

#ifndef IPCQ_HPP
#define IPCQ_HPP

#include "ipcq.h"

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace ipcq {

/// What any function here fails with.
class error : public std::runtime_error {
public:
  explicit error(int code) : std::runtime_error(ipcq_errmsg()), code_(code) {}
  /// A negated errno, as in ipcq.h.
  int code() const noexcept { return code_; }

private:
  int code_;
};

/// The producer has closed the queue, and everything was consumed.
class closed : public error {
public:
  using error::error;
};

namespace detail {
inline std::int64_t check(std::int64_t rc) {
  if (rc == -EPIPE)
    throw closed(static_cast<int>(rc));
  if (rc < 0)
    throw error(static_cast<int>(rc));
  return rc;
}
struct close_queue {
  void operator()(ipcq_queue *q) const noexcept { ipcq_close(q); }
};
struct close_shm {
  void operator()(ipcq_shm *shm) const noexcept { ipcq_shm_close(shm); }
};
using queue = std::unique_ptr<ipcq_queue, close_queue>;
inline queue open(const std::string &name, std::uint32_t flags, const ipcq_options &options) {
  ipcq_queue *q = nullptr;
  check(ipcq_open(&q, name.c_str(), flags, &options));
  return queue(q);
}
/// For what may find no room, or no room in time.
inline bool has_room(int rc) {
  if (rc == -EAGAIN || rc == -ETIMEDOUT)
    return false;
  check(rc);
  return true;
}
inline std::vector<ipcq_consumer> consumers(const queue &q) {
  std::vector<ipcq_consumer> list(8);
  for (;;) {
    std::int64_t n = ipcq_get_consumers(q.get(), list.data(), sizeof list[0], list.size());
    check(n);
    bool all = static_cast<std::size_t>(n) <= list.size();
    list.resize(static_cast<std::size_t>(n));
    if (all)
      return list;
  }
}
inline ipcq_stats stats(const queue &q) {
  ipcq_stats s = IPCQ_STATS_INIT;
  check(ipcq_get_stats(q.get(), &s));
  return s;
}
} // namespace detail

/// Bytes in place, as std::span.
struct bytes_view {
  const std::byte *data;
  std::size_t size;
  const std::byte *begin() const noexcept { return data; }
  const std::byte *end() const noexcept { return data + size; }
};

/// How long to wait; see `forever`.
using timeout = std::chrono::nanoseconds;
inline constexpr timeout forever{-1};

/// All defaults; see ipcq_options.
inline ipcq_options options() { return IPCQ_OPTIONS_INIT; }

/// Removes a queue's files.
inline void unlink(const std::string &name) { detail::check(ipcq_unlink(name.c_str())); }

/// Messages of any bytes. With message_size 0, the default, each has its own length.
class byte_producer {
public:
  explicit byte_producer(const std::string &name, const ipcq_options &o = ipcq::options(),
                         std::uint32_t flags = 0)
      : q_(detail::open(name, IPCQ_PRODUCER | flags, o)) {}

  /// Throws if a lossless queue is full; try_push and push_wait do not.
  void push(const void *data, std::size_t length) {
    detail::check(ipcq_push(q_.get(), data, length));
  }
  /// Whether there was room.
  bool try_push(const void *data, std::size_t length) {
    return detail::has_room(ipcq_push(q_.get(), data, length));
  }
  /// Waits for room; whether there was any in time.
  bool push_wait(const void *data, std::size_t length, timeout time) {
    return detail::has_room(ipcq_push_wait(q_.get(), data, length, time.count()));
  }
  /// Room for a message of up to `length` bytes, to be written in place; then commit or abort.
  void *claim(std::size_t length) {
    void *slot = nullptr;
    detail::check(ipcq_claim(q_.get(), length, &slot));
    return slot;
  }
  void commit(std::size_t length) { detail::check(ipcq_commit(q_.get(), length)); }
  void abort() { detail::check(ipcq_abort(q_.get())); }
  ipcq_stats stats() const { return detail::stats(q_); }
  /// The consumers attached and known, the slowest first.
  std::vector<ipcq_consumer> consumers() const { return detail::consumers(q_); }
  ipcq_queue *get() const noexcept { return q_.get(); }

private:
  detail::queue q_;
};

/// Receives messages of any bytes.
class byte_consumer {
public:
  struct message {
    std::vector<std::byte> data;
    ipcq_info info;
  };

  explicit byte_consumer(const std::string &name, const ipcq_options &o = ipcq::options(),
                         std::uint32_t flags = 0)
      : q_(detail::open(name, IPCQ_CONSUMER | flags, o)) {}

  /// The next message, or nothing if there is none yet.
  std::optional<message> pop() {
    return take([this](message &m) {
      return ipcq_pop(q_.get(), m.data.data(), m.data.size(), &m.info);
    });
  }
  /// The next message, asleep until there is one; nothing when the time is over. Throws an error
  /// with the code -EINTR when a signal arrives.
  std::optional<message> pop_wait(timeout time) {
    return take([this, time](message &m) {
      return ipcq_pop_wait(q_.get(), m.data.data(), m.data.size(), &m.info, time.count());
    });
  }
  /// Waits for a message, asleep: whether there is one.
  bool wait(timeout time) {
    int rc = ipcq_wait(q_.get(), time.count());
    if (rc == -ETIMEDOUT)
      return false;
    detail::check(rc);
    return true;
  }
  /// A descriptor for poll and its like; see ipcq_fd.
  int fd() { return static_cast<int>(detail::check(ipcq_fd(q_.get()))); }
  /// Calls `look(bytes_view, sequence, lost)` on the next message in place and consumes it. What
  /// `look` computed counts only if this returns true: false means that there was no message, or
  /// that it was overwritten meanwhile.
  template <class Look> bool peek(Look &&look) {
    ipcq_view v;
    int rc = ipcq_peek(q_.get(), &v);
    if (rc == -EAGAIN)
      return false;
    detail::check(rc);
    look(bytes_view{static_cast<const std::byte *>(v.data), v.length}, v.sequence, v.lost);
    rc = ipcq_release(q_.get(), &v);
    if (rc == -ESTALE)
      return false;
    detail::check(rc);
    return true;
  }
  void seek(std::uint64_t sequence) { detail::check(ipcq_seek(q_.get(), sequence)); }
  ipcq_stats stats() const { return detail::stats(q_); }
  /// The consumers attached and known, the slowest first.
  std::vector<ipcq_consumer> consumers() const { return detail::consumers(q_); }
  ipcq_queue *get() const noexcept { return q_.get(); }

private:
  template <class Pop> std::optional<message> take(Pop &&pop) {
    message m{std::vector<std::byte>(256), {}};
    for (;;) {
      std::int64_t rc = pop(m);
      if (rc == -EAGAIN || rc == -ETIMEDOUT)
        return std::nullopt;
      if (rc == -EMSGSIZE) {
        m.data.resize(m.info.length);
        continue;
      }
      m.data.resize(static_cast<std::size_t>(detail::check(rc)));
      return m;
    }
  }

  detail::queue q_;
};

/// Messages that are values of one type.
template <class T> class producer {
  static_assert(std::is_trivially_copyable_v<T>, "a message is copied as bytes");

public:
  explicit producer(const std::string &name, ipcq_options o = ipcq::options(),
                    std::uint32_t flags = 0)
      : raw_(name, sized(o), flags) {}

  void push(const T &value) { raw_.push(&value, sizeof value); }
  bool try_push(const T &value) { return raw_.try_push(&value, sizeof value); }
  bool push_wait(const T &value, timeout time) {
    return raw_.push_wait(&value, sizeof value, time);
  }
  /// How many were pushed: all, or fewer when a lossless queue is full.
  std::size_t push(const T *values, std::size_t count) {
    std::int64_t pushed = ipcq_push_many(raw_.get(), values, sizeof(T), count);
    if (pushed == -EAGAIN)
      return 0;
    detail::check(pushed);
    return static_cast<std::size_t>(pushed);
  }
  ipcq_stats stats() const { return raw_.stats(); }
  std::vector<ipcq_consumer> consumers() const { return raw_.consumers(); }
  ipcq_queue *get() const noexcept { return raw_.get(); }

private:
  static ipcq_options sized(ipcq_options o) {
    o.message_size = sizeof(T);
    return o;
  }
  byte_producer raw_;
};

/// Receives values of one type.
template <class T> class consumer {
  static_assert(std::is_trivially_copyable_v<T> && std::is_default_constructible_v<T>,
                "a message is copied as bytes");

public:
  struct message {
    T value;
    std::uint64_t sequence, lost;
  };

  /// Throws std::length_error if the messages of the queue have another size.
  explicit consumer(const std::string &name, const ipcq_options &o = ipcq::options(),
                    std::uint32_t flags = 0)
      : raw_(name, o, flags) {
    if (raw_.stats().message_size != sizeof(T))
      throw std::length_error(name + ": its messages have another size than the type");
  }

  /// The next value, or nothing if there is none yet.
  std::optional<message> pop() {
    return take([this](T &value, ipcq_info &info) {
      return ipcq_pop(raw_.get(), &value, sizeof value, &info);
    });
  }
  /// The next value, asleep until there is one; nothing when the time is over. Throws an error with
  /// the code -EINTR when a signal arrives.
  std::optional<message> pop_wait(timeout time) {
    return take([this, time](T &value, ipcq_info &info) {
      return ipcq_pop_wait(raw_.get(), &value, sizeof value, &info, time.count());
    });
  }
  bool wait(timeout time) { return raw_.wait(time); }
  int fd() { return raw_.fd(); }
  /// Up to `count` values that follow each other; how many, and what was lost before the first.
  std::size_t pop(T *values, std::size_t count, ipcq_info *info = nullptr) {
    std::int64_t rc = ipcq_pop_many(raw_.get(), values, sizeof(T), count, info);
    return rc == -EAGAIN ? 0 : static_cast<std::size_t>(detail::check(rc));
  }
  void seek(std::uint64_t sequence) { raw_.seek(sequence); }
  ipcq_stats stats() const { return raw_.stats(); }
  ipcq_queue *get() const noexcept { return raw_.get(); }

private:
  template <class Pop> std::optional<message> take(Pop &&pop) {
    message m;
    ipcq_info info;
    std::int64_t rc = pop(m.value, info);
    if (rc == -EAGAIN || rc == -ETIMEDOUT)
      return std::nullopt;
    detail::check(rc);
    m.sequence = info.sequence;
    m.lost = info.lost;
    return m;
  }

  byte_consumer raw_;
};

/// Waits until one of 1 to 128 consumers (`get()` of each) has a message or is at its end: which one,
/// or nothing when the time is over. To be fair, pop from each before waiting again.
inline std::optional<std::size_t> wait_any(const std::vector<ipcq_queue *> &queues, timeout time) {
  int rc = ipcq_wait_any(queues.data(), queues.size(), time.count());
  if (rc == -ETIMEDOUT)
    return std::nullopt;
  return static_cast<std::size_t>(detail::check(rc));
}

/// Shared memory by itself: who creates it writes, who opens it reads.
class shared_memory {
public:
  static shared_memory create(const std::string &name, std::size_t size,
                              std::uint32_t permissions = 0) {
    ipcq_shm *shm = nullptr;
    detail::check(ipcq_shm_create(&shm, name.c_str(), size, permissions));
    return shared_memory(shm);
  }
  static shared_memory open(const std::string &name) {
    ipcq_shm *shm = nullptr;
    detail::check(ipcq_shm_open(&shm, name.c_str()));
    return shared_memory(shm);
  }
  static void unlink(const std::string &name) { detail::check(ipcq_shm_unlink(name.c_str())); }

  void write(std::size_t offset, const void *data, std::size_t length) {
    detail::check(ipcq_shm_write(shm_.get(), offset, data, length));
  }
  void read(std::size_t offset, void *buffer, std::size_t length) const {
    detail::check(ipcq_shm_read(shm_.get(), offset, buffer, length));
  }
  /// NULL for a reader.
  void *data() noexcept { return ipcq_shm_data(shm_.get()); }
  const void *cdata() const noexcept { return ipcq_shm_cdata(shm_.get()); }
  std::size_t size() const noexcept { return ipcq_shm_size(shm_.get()); }

private:
  explicit shared_memory(ipcq_shm *shm) : shm_(shm) {}
  std::unique_ptr<ipcq_shm, detail::close_shm> shm_;
};

} // namespace ipcq

#endif // IPCQ_HPP
