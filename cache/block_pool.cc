#include "cache/block_pool.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/core/check.h"
#include "kernels/core/large_memory.h"
#include "kernels/core/memory.h"

namespace latentd {
namespace {

std::string MiB(uint64_t bytes) { return absl::StrCat((bytes + (1 << 20) - 1) >> 20, " MiB"); }

absl::Status TooLittle(int64_t num_tokens, uint64_t bytes, const std::string& reason) {
  return absl::ResourceExhaustedError(
      absl::StrCat("the cache of ", num_tokens, " tokens needs ", MiB(bytes), ", but ", reason,
                   "; ask for fewer tokens (--cache-tokens) or bytes (--cache-memory)"));
}

std::vector<uint32_t> SlotsPerPage(const PageShape& shape) {
  std::vector<uint32_t> slots;
  for (size_t cls = 0; cls < shape.classes.size(); ++cls) {
    slots.push_back(static_cast<uint32_t>(shape.blocks_per_page(cls)));
  }
  return slots;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BlockPool>> BlockPool::Create(const BlockLayout& layout,
                                                             int64_t num_blocks,
                                                             BlockPoolOptions options) {
  return Create(PageShape{{layout}, 1}, num_blocks, std::move(options));
}

absl::StatusOr<std::unique_ptr<BlockPool>> BlockPool::Create(PageShape shape, int64_t num_pages,
                                                             BlockPoolOptions options) {
  if (num_pages < 1) return absl::InvalidArgumentError("a cache has one page at least");
  const uint64_t bytes = static_cast<uint64_t>(num_pages) * shape.page_bytes();
  const int64_t num_tokens = num_pages * shape.page_tokens();
  if (constexpr uint64_t kMost = (uint64_t{1} << 32) * kGranuleBytes; bytes > kMost) {
    return TooLittle(num_tokens, bytes, absl::StrCat("no cache has more than ", MiB(kMost)));
  }
  if (!options.has_memory) {
    return std::unique_ptr<BlockPool>(
        new BlockPool(std::move(shape), num_pages, std::move(options), nullptr, 0));
  }
  if (const auto available = static_cast<uint64_t>(AvailableMemoryBytes()); bytes > available) {
    return TooLittle(num_tokens, bytes, absl::StrCat("only ", MiB(available), " are available"));
  }
  void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return TooLittle(num_tokens, bytes, std::strerror(errno));
  AdviseLargeMemory(base, bytes);
  return std::unique_ptr<BlockPool>(new BlockPool(std::move(shape), num_pages, std::move(options),
                                                  static_cast<std::byte*>(base), bytes));
}

BlockPool::BlockPool(PageShape shape, int64_t num_pages, BlockPoolOptions options, std::byte* base,
                     size_t mapped_bytes)
    : shape_(std::move(shape)),
      page_granules_(static_cast<uint32_t>(shape_.page_bytes() / kGranuleBytes)),
      options_(std::move(options)),
      base_(base),
      mapped_bytes_(mapped_bytes),
      pages_(SlotsPerPage(shape_), static_cast<uint32_t>(num_pages)),
      ref_counts_(static_cast<size_t>(num_pages) * pages_.max_slots(), 0) {}

BlockPool::~BlockPool() {
  if (base_ != nullptr) munmap(base_, mapped_bytes_);
}

std::optional<uint32_t> BlockPool::Allocate(size_t cls) {
  if (options_.may_allocate && !options_.may_allocate()) return std::nullopt;
  const std::optional<SlabPages::Slot> slot = pages_.Take(cls);
  if (!slot) return std::nullopt;
  const size_t index = slot->page * index_stride() + slot->slot;
  LATENTD_CHECK(ref_counts_[index] == 0);
  ref_counts_[index] = 1;
  ++num_allocations_;
  // A fresh block would read as zeros; poisoning the whole mapping at start would touch all its
  // pages.
  Poison(GranuleOf(index));
  return GranuleOf(index);
}

int64_t BlockPool::num_allocated() const {
  int64_t sum = 0;
  for (size_t cls = 0; cls < num_classes(); ++cls) sum += num_allocated(cls);
  return sum;
}

void BlockPool::Ref(uint32_t granule) {
  uint32_t& count = ref_counts_[IndexOf(granule)];
  LATENTD_CHECK(count > 0);
  ++count;
}

bool BlockPool::Unref(uint32_t granule) {
  const size_t index = IndexOf(granule);
  LATENTD_CHECK(ref_counts_[index] > 0);
  if (--ref_counts_[index] > 0) return false;
  Poison(granule);
  pages_.Give({PageOf(granule), static_cast<uint32_t>(index % index_stride())});
  return true;
}

void BlockPool::Poison(uint32_t granule) {
  if (!options_.poison || base_ == nullptr) return;
  std::memset(Block(granule), 0xFF, static_cast<size_t>(LayoutOf(granule).block_bytes));
}

size_t BlockPool::IndexOf(uint32_t granule) const {
  const uint32_t page = PageOf(granule);
  LATENTD_CHECK(page < pages_.num_pages());
  const uint32_t slot = (granule - page * page_granules_) / LayoutOf(granule).granules();
  const size_t index = page * index_stride() + slot;
  LATENTD_CHECK(slot < pages_.slots_per_page(pages_.class_of(page)) && GranuleOf(index) == granule);
  return index;
}

uint32_t BlockPool::GranuleOf(size_t index) const {
  const auto page = static_cast<uint32_t>(index / index_stride());
  const auto slot = static_cast<uint32_t>(index % index_stride());
  return page * page_granules_ + slot * layout(pages_.class_of(page)).granules();
}

std::byte* BlockPool::Row(uint32_t granule, int64_t layer_idx, int64_t offset) {
  LATENTD_CHECK(offset >= 0 && offset < kBlockTokens);
  const BlockLayout& layout = LayoutOf(granule);
  return Block(granule) + layout.layer(layer_idx).rows + offset * layout.row_bytes;
}

float* BlockPool::Alphas(uint32_t granule, int64_t layer_idx, int64_t offset) {
  const BlockLayout& layout = LayoutOf(granule);
  LATENTD_CHECK(offset >= 0 && offset < kBlockTokens && layout.num_alphas > 0);
  return reinterpret_cast<float*>(Block(granule) + layout.layer(layer_idx).alphas) +
         offset * layout.num_alphas;
}

}  // namespace latentd
