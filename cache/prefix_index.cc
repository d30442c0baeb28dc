#include "cache/prefix_index.h"

#include <algorithm>
#include <bit>
#include <random>

#include "kernels/core/check.h"

namespace latentd {
namespace {

Hash128 RandomKey() {
  std::random_device device;  // the operating system's generator
  const auto word = [&device] { return (uint64_t{device()} << 32) | device(); };
  return {word(), word()};
}

}  // namespace

PrefixIndex::PrefixIndex(BlockPool* pool, std::optional<Hash128> hash_key)
    : pool_(pool),
      hash_key_(hash_key ? *hash_key : RandomKey()),
      nodes_(static_cast<size_t>(pool->num_blocks())),
      buckets_(std::bit_ceil(nodes_.size()), kNone),
      lists_(pool->num_classes()),
      reusable_in_page_(static_cast<size_t>(pool->num_pages()), 0) {}

Hash128 PrefixIndex::RootKey(int64_t width_q, int64_t width_kv, const Hash128& fingerprint,
                             const Hash128& tenant_salt) const {
  const uint64_t words[] = {static_cast<uint64_t>(width_q),
                            static_cast<uint64_t>(width_kv),
                            fingerprint[0],
                            fingerprint[1],
                            tenant_salt[0],
                            tenant_salt[1]};
  return SipHash128(hash_key_, words);
}

Hash128 PrefixIndex::BlockKey(const Hash128& parent, std::span<const uint32_t> token_ids) const {
  LATENTD_CHECK(token_ids.size() == kBlockTokens);
  std::array<uint64_t, 2 + kBlockTokens / 2> words;  // longer than a root's: the two never coincide
  words[0] = parent[0];
  words[1] = parent[1];
  for (size_t i = 0; i < kBlockTokens / 2; ++i) {
    words[2 + i] = token_ids[2 * i] | (uint64_t{token_ids[2 * i + 1]} << 32);
  }
  return SipHash128(hash_key_, words);
}

uint32_t PrefixIndex::FindIndex(const Hash128& key) const {
  uint32_t index = buckets_[BucketOf(key)];
  while (index != kNone && nodes_[index].key != key) index = nodes_[index].next_in_bucket;
  return index;
}

std::optional<uint32_t> PrefixIndex::Find(const Hash128& key) const {
  const uint32_t index = FindIndex(key);
  if (index == kNone) return std::nullopt;
  return pool_->GranuleOf(index);
}

void PrefixIndex::Acquire(uint32_t granule) {
  const auto index = static_cast<uint32_t>(pool_->IndexOf(granule));
  LATENTD_CHECK(nodes_[index].known);
  if (nodes_[index].reusable) RemoveReusable(index);
  pool_->Ref(granule);
}

uint32_t PrefixIndex::Publish(const Hash128& key, const Hash128& tenant_salt, uint32_t granule) {
  const auto index = static_cast<uint32_t>(pool_->IndexOf(granule));
  if (const uint32_t other = FindIndex(key); other != kNone) {
    if (other == index) return granule;
    const uint32_t other_granule = pool_->GranuleOf(other);
    Acquire(other_granule);
    Release(granule);
    return other_granule;
  }
  Node& node = nodes_[index];
  LATENTD_CHECK(!node.known);
  pool_->Ref(granule);
  uint32_t& bucket = buckets_[BucketOf(key)];
  node.key = key;
  node.salt = tenant_salt;
  node.known = true;
  node.next_in_bucket = bucket;
  bucket = index;
  ++num_known_;
  return granule;
}

void PrefixIndex::Release(uint32_t granule) {
  const auto index = static_cast<uint32_t>(pool_->IndexOf(granule));
  LATENTD_CHECK(!nodes_[index].reusable);
  pool_->Unref(granule);
  if (nodes_[index].known && pool_->ref_count(granule) == 1) AppendReusable(index);
}

std::optional<uint32_t> PrefixIndex::Allocate(size_t cls) {
  if (auto granule = pool_->Allocate(cls)) return granule;
  if (!Evict(cls)) return std::nullopt;
  return pool_->Allocate(cls);
}

bool PrefixIndex::Evict(size_t cls) {
  const uint32_t own = lists_[cls].oldest;
  const auto is_older = [&](const List& other) {
    return other.oldest != kNone && nodes_[other.oldest].released < nodes_[own].released;
  };
  if (own == kNone || std::any_of(lists_.begin(), lists_.end(), is_older)) {
    if (const uint32_t page = EmptiestReusablePage(cls); page != kNone) {
      ForgetPage(page);
      return true;
    }
  }
  if (own == kNone) return false;
  const bool freed = Forget(own);
  LATENTD_CHECK(freed);
  ++num_evictions_;
  return true;
}

int64_t PrefixIndex::NumAvailable(size_t cls) const {
  int64_t pages = 0;
  if (num_reusable() > num_reusable(cls)) {
    for (uint32_t page = 0; page < pool_->num_pages(); ++page) {
      pages += IsReusablePage(page, cls) ? 1 : 0;
    }
  }
  return pool_->num_free(cls) + num_reusable(cls) + pages * pool_->shape().blocks_per_page(cls);
}

bool PrefixIndex::IsReusablePage(uint32_t page, size_t cls) const {
  const uint32_t used = pool_->UsedOfPage(page);
  return used > 0 && used == reusable_in_page_[page] && pool_->ClassOfPage(page) != cls;
}

uint32_t PrefixIndex::EmptiestReusablePage(size_t cls) const {
  uint32_t best = kNone;
  if (num_reusable() == num_reusable(cls)) return best;
  for (uint32_t page = 0; page < pool_->num_pages(); ++page) {
    if (!IsReusablePage(page, cls)) continue;
    if (best == kNone || pool_->UsedOfPage(page) < pool_->UsedOfPage(best)) best = page;
  }
  return best;
}

void PrefixIndex::ForgetPage(uint32_t page) {
  const size_t first = page * pool_->index_stride();
  for (size_t index = first; index < first + pool_->index_stride(); ++index) {
    if (!nodes_[index].reusable) continue;
    const bool freed = Forget(static_cast<uint32_t>(index));
    LATENTD_CHECK(freed);
    ++num_evictions_;
  }
  LATENTD_CHECK(pool_->UsedOfPage(page) == 0);
}

int64_t PrefixIndex::num_reusable() const {
  int64_t sum = 0;
  for (const List& list : lists_) sum += list.count;
  return sum;
}

uint64_t PrefixIndex::Flush(const Hash128* tenant_salt) {
  uint64_t num_freed = 0;
  for (uint32_t index = 0; index < nodes_.size(); ++index) {
    if (!nodes_[index].known) continue;
    if (tenant_salt != nullptr && nodes_[index].salt != *tenant_salt) continue;
    num_freed += Forget(index) ? 1 : 0;
  }
  return num_freed;
}

void PrefixIndex::AppendReusable(uint32_t index) {
  Node& node = nodes_[index];
  List& list = ListOf(index);
  node.reusable = true;
  node.released = ++num_released_;
  node.older = list.newest;
  node.newer = kNone;
  (list.newest == kNone ? list.oldest : nodes_[list.newest].newer) = index;
  list.newest = index;
  ++list.count;
  ++reusable_in_page_[index / pool_->index_stride()];
}

void PrefixIndex::RemoveReusable(uint32_t index) {
  Node& node = nodes_[index];
  List& list = ListOf(index);
  (node.older == kNone ? list.oldest : nodes_[node.older].newer) = node.newer;
  (node.newer == kNone ? list.newest : nodes_[node.newer].older) = node.older;
  node.reusable = false;
  --list.count;
  --reusable_in_page_[index / pool_->index_stride()];
}

bool PrefixIndex::Forget(uint32_t index) {
  Node& node = nodes_[index];
  if (node.reusable) RemoveReusable(index);
  uint32_t* link = &buckets_[BucketOf(node.key)];
  while (*link != index) link = &nodes_[*link].next_in_bucket;
  *link = node.next_in_bucket;
  node.known = false;
  --num_known_;
  return pool_->Unref(pool_->GranuleOf(index));
}

}  // namespace latentd
