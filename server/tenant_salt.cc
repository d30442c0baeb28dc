#include "server/tenant_salt.h"

#include <random>
#include <span>

#include "engine/sampling/logits_hash.h"

namespace latentd {
namespace {

uint64_t Random64(std::random_device& device) {
  return uint64_t{device()} << 32 | uint64_t{device()};
}

}  // namespace

TenantSalts::TenantSalts() {
  std::random_device device;
  for (uint64_t& word : secret_) word = Random64(device);
}

Hash128 TenantSalts::Salt(std::string_view key_id, std::string_view cache_salt) const {
  RunningSipHash hash(secret_[0], secret_[1]);
  const uint64_t key_bytes = key_id.size();
  hash.Update(std::as_bytes(std::span(&key_bytes, 1)));
  hash.Update(std::as_bytes(std::span(key_id)));
  hash.Update(std::as_bytes(std::span(cache_salt)));
  return hash.Hash();
}

}  // namespace latentd
