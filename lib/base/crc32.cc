#include "base/crc32.h"

#include <isa-l/crc.h>

namespace d7y {

std::uint32_t crc32(Bytes bytes, std::uint32_t before) {
  return crc32_gzip_refl(before, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
}

namespace {

constexpr std::uint32_t kPolynomial = 0xedb88320;  // reflected: bit 31 is x^0

// a * b modulo the polynomial.
std::uint32_t multiply(std::uint32_t a, std::uint32_t b) {
  std::uint32_t product = 0;
  for (std::uint32_t bit = 0x80000000; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = (b & 1) != 0 ? (b >> 1) ^ kPolynomial : b >> 1;
  }
  return product;
}

}  // namespace

std::uint32_t crc32_combine(std::uint32_t first, std::uint32_t second, std::uint64_t second_length) {
  // Appending n bytes multiplies the first CRC by x^(8n).
  std::uint32_t power = 0x00800000;  // x^8
  std::uint32_t shift = 0x80000000;  // x^0
  for (auto n = second_length; n != 0; n >>= 1) {
    if ((n & 1) != 0) shift = multiply(shift, power);
    power = multiply(power, power);
  }
  return multiply(first, shift) ^ second;
}

}  // namespace d7y
