// The memory of the latent cache: pages of blocks (block_layout.h) in one mapping, with reference
// counts.
//
// A page in use holds the blocks of one width class; with one class a page is one block. Outside
// this file a block is known by its granule (32-bit index of 256 bytes), since classes of several
// sizes share the mapping.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/block_layout.h"
#include "cache/slab_pages.h"

namespace latentd {

#ifdef LATENTD_POISON
constexpr bool kPoisonFreedBlocks = true;
#else
constexpr bool kPoisonFreedBlocks = false;
#endif

struct BlockPoolOptions {
  // Fill blocks with 0xFF, NaN in every format, when they are freed and when they are handed out.
  bool poison = kPoisonFreedBlocks;
  // False: the blocks lie on a device, and the pool only says which of them are free. It has no
  // addresses then and poisons nothing.
  bool has_memory = true;
  // Asked before each allocation; false makes it return nothing. Empty: never refuses. For tests.
  std::function<bool()> may_allocate;
};

// Owned by the engine thread after creation. Counts and addresses may be read there only.
class BlockPool {
 public:
  // RESOURCE_EXHAUSTED, with the bytes asked for and available, when memory is short;
  // INVALID_ARGUMENT when num_pages < 1 or beyond 32-bit granules.
  static absl::StatusOr<std::unique_ptr<BlockPool>> Create(PageShape shape, int64_t num_pages,
                                                           BlockPoolOptions options = {});
  // One class, a block a page.
  static absl::StatusOr<std::unique_ptr<BlockPool>> Create(const BlockLayout& layout,
                                                           int64_t num_blocks,
                                                           BlockPoolOptions options = {});
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // A free block of the class with one reference, contents undefined; its granule. Nothing when
  // there is neither a free slot in a page of the class nor a free page: an ordinary result. The
  // order is deterministic: see SlabPages.
  std::optional<uint32_t> Allocate(size_t cls = 0);
  // REQUIRES: granule is that of an allocated block.
  void Ref(uint32_t granule);
  // Drops one reference; with the last one the block is free again. True if it is.
  bool Unref(uint32_t granule);
  uint32_t ref_count(uint32_t granule) const { return ref_counts_[IndexOf(granule)]; }

  const PageShape& shape() const { return shape_; }
  const BlockLayout& layout(size_t cls = 0) const { return shape_.classes[cls]; }
  size_t num_classes() const { return shape_.classes.size(); }
  int64_t num_pages() const { return pages_.num_pages(); }
  int64_t num_free_pages() const { return pages_.num_free_pages(); }
  // The most blocks that there can be, all of the narrowest class: indices are below.
  int64_t num_blocks() const { return static_cast<int64_t>(ref_counts_.size()); }
  // Blocks of the class that Allocate would give, one after the other.
  int64_t num_free(size_t cls = 0) const {
    return pages_.num_free_slots(cls) + num_free_pages() * pages_.slots_per_page(cls);
  }
  int64_t num_allocated() const;  // of all classes
  int64_t num_allocated(size_t cls) const { return pages_.num_used_slots(cls); }
  int64_t capacity_tokens() const { return num_pages() * shape_.page_tokens(); }  // at full width
  uint64_t num_allocations() const { return num_allocations_; }  // successful ones, ever

  // Dense number of a block, 0 … num_blocks − 1. REQUIRES: its page has a class whose blocks begin
  // at such a granule.
  size_t IndexOf(uint32_t granule) const;
  uint32_t GranuleOf(size_t index) const;
  bool IsAllocated(size_t index) const { return ref_counts_[index] > 0; }
  uint32_t PageOf(uint32_t granule) const { return granule / page_granules_; }
  // Indices of a page's blocks follow each other: from page · stride on.
  size_t index_stride() const { return pages_.max_slots(); }
  // Of a page in use, and how many blocks it holds (0: it is free).
  size_t ClassOfPage(uint32_t page) const { return pages_.class_of(page); }
  uint32_t UsedOfPage(uint32_t page) const { return pages_.used(page); }

  std::byte* base() { return base_; }  // null without memory, as what follows
  std::byte* Block(uint32_t granule) {
    return base_ + static_cast<int64_t>(granule) * kGranuleBytes;
  }
  // Row [c | kR] of one token, as its class has it; offset is its slot in the block, 0 … 63.
  std::byte* Row(uint32_t granule, int64_t layer_idx, int64_t offset);
  // Its num_alphas scalars. REQUIRES: the layout has some.
  float* Alphas(uint32_t granule, int64_t layer_idx, int64_t offset);

 private:
  BlockPool(PageShape shape, int64_t num_pages, BlockPoolOptions options, std::byte* base,
            size_t mapped_bytes);

  const BlockLayout& LayoutOf(uint32_t granule) const {
    return shape_.classes[pages_.class_of(PageOf(granule))];
  }
  void Poison(uint32_t granule);  // if asked for

  const PageShape shape_;
  const uint32_t page_granules_;
  const BlockPoolOptions options_;
  std::byte* const base_;  // owned mapping, or null
  const size_t mapped_bytes_;
  SlabPages pages_;
  std::vector<uint32_t> ref_counts_;  // by index; 0: free
  uint64_t num_allocations_ = 0;
};

}  // namespace latentd
