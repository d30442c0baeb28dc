// Full blocks that may be reused by a sequence with the same leading tokens.
//
// A block is keyed by a keyed 128-bit hash of (its parent's key, its 64 token ids); the key of the
// empty prefix hashes (width, model fingerprint, tenant salt). The hash key is random per process,
// so that no caller can forge or aim at a key.
//
// The index holds one reference to each block it knows. A known block that nobody else references
// is reusable: it can be evicted. Sequences release from the last block to the first, so that of
// one chain the far end goes first.
//
// For a block of a class the least recently used block of that class gives way. If some block of
// another class was used even longer ago, the emptiest page of another class that holds reusable
// blocks only gives way instead, as a whole, where there is one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "cache/block_pool.h"
#include "cache/siphash.h"

namespace latentd {

// Engine thread only. Borrows the pool. Allocates memory only when built.
class PrefixIndex {
 public:
  // Borrows pool. hash_key: random unless a test or a spill store brings its own.
  explicit PrefixIndex(BlockPool* pool, std::optional<Hash128> hash_key = std::nullopt);

  // Key of the empty prefix.
  Hash128 RootKey(int64_t width_q, int64_t width_kv, const Hash128& fingerprint,
                  const Hash128& tenant_salt) const;
  // Key of a full block. REQUIRES: token_ids.size() == kBlockTokens.
  Hash128 BlockKey(const Hash128& parent, std::span<const uint32_t> token_ids) const;

  // The block with this key, if known. Changes nothing.
  std::optional<uint32_t> Find(const Hash128& key) const;
  // A known block is used by one more sequence. REQUIRES: Contains(granule).
  void Acquire(uint32_t granule);
  // Makes a block that the caller references and that is fully computed known under key; its
  // granule. If another block already has the key, the caller's reference moves to that one, which
  // is returned.
  uint32_t Publish(const Hash128& key, const Hash128& tenant_salt, uint32_t granule);
  // Drops one sequence's reference to any block, known or not.
  void Release(uint32_t granule);

  // A block of the class for a new owner, evicting reusable ones if none is free.
  std::optional<uint32_t> Allocate(size_t cls = 0);
  // How often in a row Allocate(cls) gives a block, if nobody else calls and the pool refuses none.
  int64_t NumAvailable(size_t cls) const;
  // Forgets blocks of one salt, or all when null; returns how many of them became free.
  uint64_t Flush(const Hash128* tenant_salt);

  bool Contains(uint32_t granule) const { return nodes_[pool_->IndexOf(granule)].known; }
  int64_t num_known() const { return num_known_; }
  int64_t num_reusable() const;  // of all classes
  int64_t num_reusable(size_t cls) const { return lists_[cls].count; }
  // Of the blocks of a page.
  uint32_t NumReusableIn(uint32_t page) const { return reusable_in_page_[page]; }
  uint64_t num_evictions() const { return num_evictions_; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  // What is known of the block with this index. Chained twice: in its hash bucket, and, while
  // reusable, in its class's list from least to most recently used.
  struct Node {
    Hash128 key, salt;
    uint32_t next_in_bucket = kNone;
    uint32_t older = kNone, newer = kNone;
    uint64_t released = 0;  // counts up with every release that made a block reusable
    bool known = false, reusable = false;
  };
  struct List {
    uint32_t oldest = kNone, newest = kNone;
    int64_t count = 0;
  };

  size_t BucketOf(const Hash128& key) const { return key[0] & (buckets_.size() - 1); }
  uint32_t FindIndex(const Hash128& key) const;
  void AppendReusable(uint32_t index);
  void RemoveReusable(uint32_t index);
  // Takes the node out of the map and drops the index's reference; true if the block is free now.
  bool Forget(uint32_t index);
  // Makes a slot of the class, or a whole page, free; false if nothing can be evicted.
  bool Evict(size_t cls);
  void ForgetPage(uint32_t page);
  // In use by another class, with reusable blocks only.
  bool IsReusablePage(uint32_t page, size_t cls) const;
  // Of those the one with the fewest blocks, or kNone.
  uint32_t EmptiestReusablePage(size_t cls) const;
  List& ListOf(uint32_t index) {
    return lists_[pool_->ClassOfPage(static_cast<uint32_t>(index / pool_->index_stride()))];
  }

  BlockPool* const pool_;
  const Hash128 hash_key_;
  std::vector<Node> nodes_;        // by block index
  std::vector<uint32_t> buckets_;  // first node of each; size is a power of two
  std::vector<List> lists_;        // by class
  std::vector<uint32_t> reusable_in_page_;
  int64_t num_known_ = 0;
  uint64_t num_evictions_ = 0, num_released_ = 0;
};

}  // namespace latentd
