// Who may reuse whose cached prefixes.
#pragma once

#include <string_view>

#include "cache/siphash.h"

namespace latentd {

// Keyed with a secret drawn once, so that a caller cannot choose a salt that collides with another
// tenant's. Immutable; any thread.
class TenantSalts {
 public:
  // A random secret from the system.
  TenantSalts();
  explicit TenantSalts(const Hash128& secret) : secret_(secret) {}

  // The salt of one (key id, cache_salt): equal pairs share prefixes, others do not. No two pairs
  // are written the same way: ("ab", "c") differs from ("a", "bc").
  Hash128 Salt(std::string_view key_id, std::string_view cache_salt) const;

 private:
  Hash128 secret_;
};

}  // namespace latentd
