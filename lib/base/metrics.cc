#include "base/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace d7y {
namespace {

std::string escaped(std::string_view text, bool quotes) {
  std::string out;
  for (char c : text) {
    if (c == '\\')
      out += "\\\\";
    else if (c == '\n')
      out += "\\n";
    else if (c == '"' && quotes)
      out += "\\\"";
    else
      out += c;
  }
  return out;
}

std::string printed(const Labels& labels) {
  std::string out;
  for (const auto& [name, value] : labels) {
    if (!out.empty()) out += ',';
    out += fmt::format("{}=\"{}\"", name, escaped(value, true));
  }
  return out;
}

std::string braced(const std::string& labels) { return labels.empty() ? "" : "{" + labels + "}"; }

}  // namespace

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), buckets_(new std::atomic<std::uint64_t>[bounds_.size() + 1] {}) {}

void Histogram::observe(double value) {
  auto index =
      static_cast<std::size_t>(std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin());
  buckets_[index].fetch_add(1, std::memory_order_relaxed);
  count_.fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

void Histogram::reset() {
  for (std::size_t i = 0; i <= bounds_.size(); ++i) buckets_[i].store(0, std::memory_order_relaxed);
  count_.store(0, std::memory_order_relaxed);
  sum_.store(0, std::memory_order_relaxed);
}

Metrics::Family& Metrics::family(std::string_view name, std::string_view help, Family::Kind kind) {
  auto found = families_.find(name);
  if (found == families_.end()) {
    found = families_.emplace(std::string(name), Family{kind, std::string(help), {}, {}, {}}).first;
  }
  if (found->second.kind != kind) {
    std::fprintf(stderr, "d7y: metric %s is registered with two kinds\n", found->first.c_str());
    std::abort();
  }
  return found->second;
}

Counter& Metrics::counter(std::string_view name, std::string_view help, const Labels& labels) {
  std::lock_guard guard(mutex_);
  auto& slot = family(name, help, Family::Kind::kCounter).counters[printed(labels)];
  if (!slot) slot = std::make_unique<Counter>();
  return *slot;
}

Gauge& Metrics::gauge(std::string_view name, std::string_view help, const Labels& labels) {
  std::lock_guard guard(mutex_);
  auto& slot = family(name, help, Family::Kind::kGauge).gauges[printed(labels)];
  if (!slot) slot = std::make_unique<Gauge>();
  return *slot;
}

Histogram& Metrics::histogram(std::string_view name, std::string_view help, const std::vector<double>& bounds,
                              const Labels& labels) {
  std::lock_guard guard(mutex_);
  auto& histograms = family(name, help, Family::Kind::kHistogram).histograms;
  auto& slot = histograms[printed(labels)];
  if (!slot) {
    const auto* first = histograms.begin()->second.get();
    slot = std::make_unique<Histogram>(first != nullptr ? first->bounds() : bounds);
  }
  return *slot;
}

void Metrics::forget_counter(std::string_view name, const Labels& labels) {
  std::lock_guard guard(mutex_);
  const auto found = families_.find(name);
  if (found != families_.end()) found->second.counters.erase(printed(labels));
}

std::string Metrics::expose() const {
  static constexpr const char* kKinds[] = {"counter", "gauge", "histogram"};
  std::lock_guard guard(mutex_);
  std::string out;
  for (const auto& [name, family] : families_) {
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, escaped(family.help, false), name,
                       kKinds[static_cast<int>(family.kind)]);
    for (const auto& [labels, counter] : family.counters) {
      out += fmt::format("{}{} {}\n", name, braced(labels), counter->value());
    }
    for (const auto& [labels, gauge] : family.gauges) {
      out += fmt::format("{}{} {}\n", name, braced(labels), gauge->value());
    }
    for (const auto& [labels, histogram] : family.histograms) {
      auto prefix = labels.empty() ? "" : labels + ",";
      std::uint64_t below = 0;
      for (std::size_t i = 0; i < histogram->bounds().size(); ++i) {
        below += histogram->in_bucket(i);
        out += fmt::format("{}_bucket{{{}le=\"{}\"}} {}\n", name, prefix, histogram->bounds()[i], below);
      }
      below += histogram->in_bucket(histogram->bounds().size());
      out += fmt::format("{}_bucket{{{}le=\"+Inf\"}} {}\n", name, prefix, below);
      out += fmt::format("{}_sum{} {}\n{}_count{} {}\n", name, braced(labels), histogram->sum(), name,
                         braced(labels), below);
    }
  }
  return out;
}

void Metrics::reset() {
  std::lock_guard guard(mutex_);
  for (auto& [name, family] : families_) {
    for (auto& [labels, counter] : family.counters) counter->reset();
    for (auto& [labels, histogram] : family.histograms) histogram->reset();
  }
}

}  // namespace d7y
