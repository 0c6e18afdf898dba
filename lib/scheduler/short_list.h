// A list of at most `Most` elements that lives inside of its owner: no memory of its own.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace d7y::scheduler {

template <class T, std::size_t Most>
class ShortList {
 public:
  // The caller has made sure that it is not full.
  void push_back(const T& element) { elements_[size_++] = element; }
  template <class Drop>
  void erase_if(Drop drop) {
    size_ = static_cast<std::uint32_t>(std::remove_if(begin(), end(), drop) - begin());
  }
  void clear() { size_ = 0; }

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  bool full() const { return size_ == Most; }
  T& operator[](std::size_t at) { return elements_[at]; }
  const T& operator[](std::size_t at) const { return elements_[at]; }
  const T& front() const { return elements_[0]; }
  T* begin() { return elements_.data(); }
  T* end() { return elements_.data() + size_; }
  const T* begin() const { return elements_.data(); }
  const T* end() const { return elements_.data() + size_; }

 private:
  std::array<T, Most> elements_{};
  std::uint32_t size_ = 0;
};

}  // namespace d7y::scheduler
