// Numbers that a node shows about itself, in Prometheus's terms. A room registers what it counts
// and keeps the reference; updating is a relaxed atomic, so any thread may scrape or update.
//
//   auto& traffic = metrics.counter("dragonfly_client_download_traffic",
//                                   "Bytes received by downloads.", {{"type", "REMOTE_PEER"}});
//   traffic.add(bytes);
//
// A name with the same labels gives the same number again. References live as long as the registry.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace d7y {

// Label names and values, in the order in which they are printed.
using Labels = std::vector<std::pair<std::string, std::string>>;

class Counter {
 public:
  void add(std::uint64_t by = 1) { value_.fetch_add(by, std::memory_order_relaxed); }
  std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }
  void reset() { value_.store(0, std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

class Gauge {
 public:
  void set(std::int64_t value) { value_.store(value, std::memory_order_relaxed); }
  void add(std::int64_t by) { value_.fetch_add(by, std::memory_order_relaxed); }
  std::int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::int64_t> value_{0};
};

class Histogram {
 public:
  // `bounds`: upper bounds, rising; a last bucket without bound is added.
  explicit Histogram(std::vector<double> bounds);
  void observe(double value);
  void reset();

  const std::vector<double>& bounds() const { return bounds_; }
  std::uint64_t count() const { return count_.load(std::memory_order_relaxed); }
  double sum() const { return sum_.load(std::memory_order_relaxed); }
  std::uint64_t in_bucket(std::size_t index) const { return buckets_[index].load(std::memory_order_relaxed); }

 private:
  std::vector<double> bounds_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> buckets_;
  std::atomic<std::uint64_t> count_{0};
  std::atomic<double> sum_{0};
};

class Metrics {
 public:
  Metrics() = default;
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  Counter& counter(std::string_view name, std::string_view help, const Labels& labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, const Labels& labels = {});
  // All histograms of one name share the bounds of the first.
  Histogram& histogram(std::string_view name, std::string_view help, const std::vector<double>& bounds,
                       const Labels& labels = {});
  // For labels that come and go with what they name. Its reference ends here.
  void forget_counter(std::string_view name, const Labels& labels);

  // Text exposition format 0.0.4, families sorted by name. Counters are printed under their
  // registered name, without a "_total" of our own.
  std::string expose() const;

  // Sets counters and histograms to zero; gauges keep what they show. Dragonfly's benchmark tools
  // do this by DELETE before a run.
  void reset();

 private:
  struct Family {
    enum class Kind : std::uint8_t { kCounter, kGauge, kHistogram } kind;
    std::string help;
    std::map<std::string, std::unique_ptr<Counter>> counters;  // by printed labels
    std::map<std::string, std::unique_ptr<Gauge>> gauges;
    std::map<std::string, std::unique_ptr<Histogram>> histograms;
  };
  Family& family(std::string_view name, std::string_view help, Family::Kind kind);

  mutable std::mutex mutex_;  // guards the maps, never the numbers
  std::map<std::string, Family, std::less<>> families_;
};

}  // namespace d7y
