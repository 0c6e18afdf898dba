#include "sim/swarm/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace d7y::sim::swarm {
namespace {

constexpr std::size_t kRows = 30;  // of a plot in text
constexpr std::size_t kBar = 30;
// The engine looks at the uplinks so many times in the time of the bound (Result::use).
constexpr double kSamples = 20;

std::string bytes(double count) {
  const char* unit = "B";
  for (const char* next : {"KiB", "MiB", "GiB", "TiB"}) {
    if (count < 1024) break;
    count /= 1024;
    unit = next;
  }
  return fmt::format("{:.3g} {}", count, unit);
}

// Share of the peers that have everything at `time`.
double finished(const Result& result, const Scenario& scenario, Seconds time) {
  const auto& times = result.finish_times;
  const auto count = std::upper_bound(times.begin(), times.end(), static_cast<float>(time)) - times.begin();
  return static_cast<double>(count) / scenario.peers;
}

Seconds last_of(const Result& result) {
  return result.finish_times.empty() ? 0 : static_cast<double>(result.finish_times.back());
}

double use_at(const Result& result, double time_by_bound) {
  const auto at = static_cast<std::size_t>(time_by_bound * kSamples);
  return at < result.use.size() ? static_cast<double>(result.use[at]) : 0;
}

std::string bar(double share) {
  const auto length = std::min<std::size_t>(static_cast<std::size_t>(std::lround(share * kBar)), kBar);
  return std::string(length, '#') + std::string(kBar - length, ' ');
}

// What did not go as it should.
std::string troubles(const Result& result) {
  std::string text;
  if (!result.broken.empty()) text += "; BROKEN: " + result.broken;
  if (result.unfinished > 0) text += fmt::format("; {} did not finish", result.unfinished);
  if (result.crashed > 0) text += fmt::format("; {} crashed", result.crashed);
  if (result.to_source > 0) text += fmt::format("; {} went to the origin", result.to_source);
  if (result.piece_failures > 0) text += fmt::format("; {} pieces failed", result.piece_failures);
  return text.empty() ? text : text.substr(2);
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else {
      out += c;
    }
  }
  return out;
}

// A frame with axes into which curves of time and share are drawn.
struct Frame {
  double left, top, width, height, most;  // `most`: the time at its right end, by the bound

  std::string point(double time, double share) const {
    return fmt::format("{:.1f},{:.1f} ", left + width * std::min(time / most, 1.0),
                       top + height * (1 - share));
  }
  std::string axes(const std::string& title) const {
    auto out = fmt::format("<text x='{}' y='{}' font-weight='bold'>{}</text>\n", left, top - 10, title);
    for (int i = 0; i <= 4; ++i) {
      const double y = top + height * (1 - i / 4.0);
      out += fmt::format("<line x1='{}' y1='{}' x2='{}' y2='{}' stroke='#ddd'/>\n", left, y, left + width, y);
      out += fmt::format("<text x='{}' y='{}' text-anchor='end'>{} %</text>\n", left - 6, y + 4, i * 25);
    }
    const double step = most <= 3 ? 0.25 : most <= 12 ? 1 : std::ceil(most / 12);
    for (double time = 0; time <= most + 1e-9; time += step) {
      const double x = left + width * time / most;
      out += fmt::format("<text x='{:.1f}' y='{}' text-anchor='middle'>{:g}</text>\n", x, top + height + 16,
                         time);
    }
    return out + fmt::format("<text x='{}' y='{}' text-anchor='end'>time / bound</text>\n", left + width,
                             top + height + 32);
  }
};

}  // namespace

const Result& Case::median() const {
  std::vector<const Result*> sorted;
  for (const auto& result : results) sorted.push_back(&result);
  std::sort(sorted.begin(), sorted.end(),
            [](const Result* a, const Result* b) { return a->makespan < b->makespan; });
  return *sorted[sorted.size() / 2];
}

std::string headline(const Case& one) {
  const auto& s = one.scenario;
  auto text = fmt::format("{} peers, {}, links of {:g} Gbit/s, {} {}; all peers come within {:g} s\n",
                          s.peers, bytes(s.bytes), s.rate * 8 / 1e9, s.seeds,
                          s.warm ? "seed that has everything" : "seed that has nothing", s.arrival);
  if (s.seeds > 1) text.replace(text.find("seed that"), 9, "seeds, of which the first");
  if (s.sites > 1) text += fmt::format("{} sites, {:g} ms apart\n", s.sites, s.site_delay * 1000);
  if (s.slow_share > 0)
    text += fmt::format("{:.0f} % of the peers are {:g} times slower\n", s.slow_share * 100, s.slow_factor);
  if (s.crash_share > 0) text += fmt::format("{:.0f} % of the peers crash on the way\n", s.crash_share * 100);
  if (s.lying_share > 0) text += fmt::format("{:.0f} % of the peers send wrong bytes\n", s.lying_share * 100);
  if (s.rust_share > 0)
    text += fmt::format("{:.0f} % of the peers are unmodified, whatever the client is\n", s.rust_share * 100);
  return text + fmt::format("nobody can end before {:.1f} s: max(F/u_s, F/d_min, NF/(u_s + sum u_i))\n",
                            one.median().bound);
}

std::string table(const std::vector<Case>& cases) {
  std::size_t wide = 0;
  for (const auto& one : cases) wide = std::max(wide, one.name.size());
  auto out = fmt::format("{:{}}  {:>8}  {:>18}  {:>7}  {:>5}  {:>7}  {:>8}  {:>10}\n", "", wide, "last end",
                         "/ bound", "median", "99 %", "origin", "by seeds", "btw. sites");
  for (const auto& one : cases) {
    const auto& result = one.median();
    const auto& s = one.scenario;
    auto ratio = fmt::format("{:.3f}", result.makespan / result.bound);
    if (one.results.size() > 1) {
      const auto [least, most] =
          std::minmax_element(one.results.begin(), one.results.end(),
                              [](const Result& a, const Result& b) { return a.makespan < b.makespan; });
      ratio += fmt::format(" ({:.2f}-{:.2f})", least->makespan / least->bound, most->makespan / most->bound);
    }
    out += fmt::format("{:{}}  {:>6.1f} s  {:>18}  {:>7.3f}  {:>5.2f}  {:>5.2f} x  {:>6.2f} x  ", one.name,
                       wide, result.makespan, ratio, result.median / result.bound, result.p99 / result.bound,
                       result.origin_bytes / s.bytes, result.seed_bytes / s.bytes);
    out += s.sites > 1 ? fmt::format("{:>8.2f} x", result.cross_site_bytes / s.bytes / s.sites)
                       : fmt::format("{:>10}", "-");
    if (s.slow_share > 0) out += fmt::format("  fast ones {:.1f} s", result.fast_makespan);
    if (s.rust_share > 0) out += fmt::format("  unmodified ones {:.3f}", result.rust_makespan / result.bound);
    const auto wrong = troubles(result);
    out += wrong.empty() ? "\n" : "  (" + wrong + ")\n";
  }
  return out;
}

std::string plot(const Case& one) {
  const auto& result = one.median();
  const double most = last_of(result) / result.bound;
  const double step = std::max(std::ceil(most * kSamples / kRows), 1.0) / kSamples;
  auto out = fmt::format("{}\n{:>12}  {:{}}        {:{}}\n", one.name, "time / bound", "have everything",
                         kBar, "uplinks in use", kBar);
  for (double time = step; time < most + step; time += step) {
    const double done = finished(result, one.scenario, time * result.bound), use = use_at(result, time);
    out += fmt::format("{:>12.2f}  {} {:3.0f} %  {} {:3.0f} %\n", time, bar(done), done * 100, bar(use),
                       use * 100);
  }
  return out;
}

std::string svg(const std::vector<Case>& cases) {
  static constexpr const char* kColours[] = {"#1b6ca8", "#c1440e", "#2a9d5c",
                                             "#8e5ea2", "#d4a017", "#555555"};
  double most = 1;
  for (const auto& one : cases) most = std::max(most, last_of(one.median()) / one.median().bound);
  const Frame done{60, 40, 620, 220, most * 1.02}, use{60, 340, 620, 220, most * 1.02};
  std::string out =
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 980 620' font-family='sans-serif' "
      "font-size='12'>\n"
      "<rect width='980' height='620' fill='white'/>\n";
  out += done.axes("peers that have everything") + use.axes("uplinks in use");
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto& result = cases[i].median();
    const auto* colour = kColours[i % std::size(kColours)];
    std::string curve, load;
    for (double time = 0; time <= done.most; time += done.most / 400)
      curve += done.point(time, finished(result, cases[i].scenario, time * result.bound));
    for (std::size_t at = 0; at < result.use.size(); ++at)
      load += use.point(static_cast<double>(at) / kSamples, static_cast<double>(result.use[at]));
    for (const auto& points : {curve, load})
      out +=
          fmt::format("<polyline points='{}' fill='none' stroke='{}' stroke-width='2'/>\n", points, colour);
    const double y = 44 + 18 * static_cast<double>(i);
    out +=
        fmt::format("<line x1='700' y1='{0}' x2='724' y2='{0}' stroke='{1}' stroke-width='3'/>\n", y, colour);
    out += fmt::format("<text x='730' y='{}'>{} ({:.2f})</text>\n", y + 4, escaped(cases[i].name),
                       result.makespan / result.bound);
  }
  return out + "</svg>\n";
}

}  // namespace d7y::sim::swarm
