// Which slots of which pages are free: a slab allocator's bookkeeping, without memory or
// references.
//
// A page in use holds slots of one class, as many as that class fits; a page whose last slot is
// given back is free again, for any class (latent-attention.md section 3).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace latentd {

// Not thread-safe. Allocates memory only when built.
class SlabPages {
 public:
  struct Slot {
    uint32_t page, slot;
  };

  // slots_per_page: by class, each >= 1. REQUIRES: num_pages >= 1.
  SlabPages(std::vector<uint32_t> slots_per_page, uint32_t num_pages);

  // A slot of the fullest page of the class that has one, so that others can empty; else of the
  // page freed last. Nothing when there is neither.
  std::optional<Slot> Take(size_t cls);
  // REQUIRES: taken.
  void Give(Slot slot);

  uint32_t num_pages() const { return static_cast<uint32_t>(pages_.size()); }
  uint32_t num_free_pages() const { return static_cast<uint32_t>(free_pages_.size()); }
  uint32_t slots_per_page(size_t cls) const { return slots_per_page_[cls]; }
  uint32_t max_slots() const { return max_slots_; }
  // Slots in use of a page; 0: it is free.
  uint32_t used(uint32_t page) const { return pages_[page].used; }
  // Of a page in use; of a free one, what it was.
  size_t class_of(uint32_t page) const { return pages_[page].cls; }
  // Free slots in the pages that the class has.
  int64_t num_free_slots(size_t cls) const { return classes_[cls].free_slots; }
  int64_t num_used_slots(size_t cls) const { return classes_[cls].used_slots; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  // Chained with the pages of its class that have as many slots in use, unless free or full.
  struct Page {
    uint32_t cls = 0, used = 0;
    uint32_t first_free = kNone;  // slot; the chain goes on in next_free_
    uint32_t previous = kNone, next = kNone;
  };
  struct Class {
    std::vector<uint32_t> first_page;  // by slots in use
    int64_t free_slots = 0, used_slots = 0;
  };

  void Carve(uint32_t page, size_t cls);
  void Link(uint32_t page);
  void Unlink(uint32_t page);
  uint32_t& NextFree(uint32_t page, uint32_t slot) {
    return next_free_[static_cast<size_t>(page) * max_slots_ + slot];
  }

  const std::vector<uint32_t> slots_per_page_;
  const uint32_t max_slots_;
  std::vector<Page> pages_;
  std::vector<Class> classes_;
  std::vector<uint32_t> free_pages_;  // the back is used next
  std::vector<uint32_t> next_free_;   // by page · max_slots + slot
};

}  // namespace latentd
