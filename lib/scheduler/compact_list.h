// A vector in 16 bytes, for plain elements: the brain has millions of these, and most hold a few.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <type_traits>
#include <utility>

namespace d7y::scheduler {

template <class T>
class CompactList {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  CompactList() = default;
  CompactList(CompactList&& other) noexcept { swap(other); }
  CompactList& operator=(CompactList&& other) noexcept {
    CompactList taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~CompactList() { std::free(elements_); }

  void push_back(const T& element) {
    if (size_ == capacity_) reserve(std::max<std::uint32_t>(2, capacity_ * 2));
    elements_[size_++] = element;
  }
  void pop_back() { --size_; }
  void clear() { size_ = 0; }
  // Those before `count`.
  void erase_first(std::uint32_t count) {
    std::copy(begin() + count, end(), begin());
    size_ -= count;
  }
  template <class Drop>
  void erase_if(Drop drop) {
    size_ = static_cast<std::uint32_t>(std::remove_if(begin(), end(), drop) - begin());
  }
  void reserve(std::uint32_t count) {
    if (count <= capacity_) return;
    auto* moved = std::realloc(static_cast<void*>(elements_), count * sizeof(T));
    if (moved == nullptr) throw std::bad_alloc();
    elements_ = static_cast<T*>(moved);
    capacity_ = count;
  }

  std::uint32_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T& operator[](std::size_t at) { return elements_[at]; }
  const T& operator[](std::size_t at) const { return elements_[at]; }
  T* begin() { return elements_; }
  T* end() { return elements_ + size_; }
  const T* begin() const { return elements_; }
  const T* end() const { return elements_ + size_; }

 private:
  void swap(CompactList& other) noexcept {
    std::swap(elements_, other.elements_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

  T* elements_ = nullptr;
  std::uint32_t size_ = 0, capacity_ = 0;
};

}  // namespace d7y::scheduler
