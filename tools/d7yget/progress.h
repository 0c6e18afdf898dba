// Shows how downloads get on: a bar per download on a terminal, plain lines elsewhere.
#pragma once

#include <d7y/download.h>

#include <chrono>
#include <string>
#include <vector>

namespace d7yget {

class Progress {
 public:
  // `wanted`: false shows nothing.
  explicit Progress(bool wanted);
  ~Progress();

  struct Row {
    std::string name;
    d7y_progress progress{};
  };
  // Whether it is time to show the running downloads.
  bool is_due();
  void show(const std::vector<Row>& rows, std::size_t ended, std::size_t total);
  // Says that one has ended; stays on the screen.
  void ended(const std::string& name, const d7y_progress& progress);
  // Takes the bars off the screen, so that something else can be printed.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  std::string bar(const Row& row, std::size_t width) const;

  bool wanted_, terminal_;
  std::size_t drawn_ = 0;  // lines on the screen that will be redrawn
  Clock::time_point shown_at_{};
};

}  // namespace d7yget
