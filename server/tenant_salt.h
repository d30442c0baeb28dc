// Who may reuse whose cached prefixes.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace latentd {

// Keyed with a secret drawn once, so that a caller cannot choose a salt that collides with another
// tenant's. Immutable; any thread.
class TenantSalts {
 public:
  // A random secret from the system.
  TenantSalts();
  explicit TenantSalts(const std::array<uint64_t, 4>& secret) : secret_(secret) {}

  // The salt of one (key id, cache_salt): equal pairs share prefixes, others do not. No two pairs
  // are written the same way: ("ab", "c") differs from ("a", "bc").
  std::array<uint64_t, 2> Salt(std::string_view key_id, std::string_view cache_salt) const;

 private:
  std::array<uint64_t, 4> secret_;
};

// SipHash-2-4 of `bytes` under a 128-bit key.
uint64_t SipHash(uint64_t key0, uint64_t key1, std::string_view bytes);

}  // namespace latentd
