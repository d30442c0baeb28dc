#include "cache/slab_pages.h"

#include <algorithm>
#include <utility>

#include "kernels/core/check.h"

namespace latentd {

SlabPages::SlabPages(std::vector<uint32_t> slots_per_page, uint32_t num_pages)
    : slots_per_page_(std::move(slots_per_page)),
      max_slots_(*std::max_element(slots_per_page_.begin(), slots_per_page_.end())),
      pages_(num_pages),
      next_free_(static_cast<size_t>(num_pages) * max_slots_, kNone) {
  for (const uint32_t slots : slots_per_page_) {
    LATENTD_CHECK(slots >= 1);
    classes_.push_back({std::vector<uint32_t>(slots, kNone), 0, 0});
  }
  free_pages_.reserve(num_pages);
  for (uint32_t page = num_pages; page-- > 0;) free_pages_.push_back(page);
}

std::optional<SlabPages::Slot> SlabPages::Take(size_t cls) {
  Class& own = classes_[cls];
  uint32_t page = kNone;
  for (size_t used = own.first_page.size(); page == kNone && used-- > 1;) {
    page = own.first_page[used];
  }
  if (page != kNone) {
    Unlink(page);
  } else {
    if (free_pages_.empty()) return std::nullopt;
    page = free_pages_.back();
    free_pages_.pop_back();
    Carve(page, cls);
  }
  Page& chosen = pages_[page];
  const uint32_t slot = std::exchange(chosen.first_free, NextFree(page, chosen.first_free));
  ++chosen.used;
  --own.free_slots;
  ++own.used_slots;
  Link(page);
  return Slot{page, slot};
}

void SlabPages::Give(Slot slot) {
  Page& page = pages_[slot.page];
  Class& own = classes_[page.cls];
  LATENTD_CHECK(page.used > 0 && slot.slot < slots_per_page_[page.cls]);
  Unlink(slot.page);
  NextFree(slot.page, slot.slot) = std::exchange(page.first_free, slot.slot);
  --page.used;
  ++own.free_slots;
  --own.used_slots;
  if (page.used > 0) {
    Link(slot.page);
  } else {
    own.free_slots -= slots_per_page_[page.cls];
    free_pages_.push_back(slot.page);
  }
}

void SlabPages::Carve(uint32_t page, size_t cls) {
  const uint32_t slots = slots_per_page_[cls];
  pages_[page].cls = static_cast<uint32_t>(cls);
  pages_[page].first_free = 0;
  for (uint32_t slot = 0; slot < slots; ++slot) {
    NextFree(page, slot) = slot + 1 < slots ? slot + 1 : kNone;
  }
  classes_[cls].free_slots += slots;
}

// Only pages with both used and free slots are in a list.
void SlabPages::Link(uint32_t page) {
  Page& own = pages_[page];
  if (own.used == slots_per_page_[own.cls]) return;
  uint32_t& first = classes_[own.cls].first_page[own.used];
  own.previous = kNone;
  own.next = first;
  if (first != kNone) pages_[first].previous = page;
  first = page;
}

void SlabPages::Unlink(uint32_t page) {
  const Page& own = pages_[page];
  if (own.used == slots_per_page_[own.cls]) return;
  uint32_t& first = classes_[own.cls].first_page[own.used];
  (own.previous == kNone ? first : pages_[own.previous].next) = own.next;
  if (own.next != kNone) pages_[own.next].previous = own.previous;
}

}  // namespace latentd
