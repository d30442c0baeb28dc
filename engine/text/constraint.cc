#include "engine/text/constraint.h"

#include "engine/text/c_abi.h"

namespace latentd {
namespace {

constexpr char kWhat[] = "constraint";

}  // namespace

struct ConstraintVocabulary::Handle {
  ~Handle() { latentd_vocabulary_free(ptr); }
  latentd_vocabulary* ptr = nullptr;
};

struct Constraint::Handle {
  ~Handle() { latentd_constraint_free(ptr); }
  latentd_constraint* ptr = nullptr;
};

ConstraintVocabulary::ConstraintVocabulary() : handle_(std::make_unique<Handle>()) {}
ConstraintVocabulary::~ConstraintVocabulary() = default;

absl::StatusOr<std::unique_ptr<ConstraintVocabulary>> ConstraintVocabulary::Create(
    const Tokenizer& tokenizer, std::span<const uint32_t> end_ids) {
  std::unique_ptr<ConstraintVocabulary> result(new ConstraintVocabulary);
  absl::Status status =
      TakeTextError(kWhat, latentd_vocabulary_new(tokenizer.c_handle(), end_ids.data(),
                                                  end_ids.size(), &result->handle_->ptr));
  if (!status.ok()) return status;
  result->num_mask_words_ = (tokenizer.vocab_size() + 31) / 32;
  return result;
}

Constraint::Constraint() : handle_(std::make_unique<Handle>()) {}
Constraint::~Constraint() = default;

absl::StatusOr<std::unique_ptr<Constraint>> Constraint::Compile(
    const ConstraintVocabulary& vocabulary, Kind kind, std::string_view source,
    const Limits& limits) {
  std::unique_ptr<Constraint> result(new Constraint);
  const latentd_constraint_limits c_limits = {.source_bytes = limits.source_bytes,
                                              .memory_bytes = limits.memory_bytes,
                                              .cpu_ms = limits.cpu_ms,
                                              .wall_ms = limits.wall_ms};
  absl::Status status =
      TakeTextError(kWhat, latentd_constraint_new(vocabulary.handle_->ptr,
                                                  static_cast<uint32_t>(kind), TextData(source),
                                                  source.size(), &c_limits, &result->handle_->ptr));
  if (!status.ok()) return status;
  return result;
}

absl::Status Constraint::FillMask(std::span<uint32_t> words) {
  return TakeTextError(kWhat, latentd_constraint_mask(handle_->ptr, words.data(), words.size()));
}

absl::Status Constraint::Commit(uint32_t id) {
  return TakeTextError(kWhat, latentd_constraint_commit(handle_->ptr, id));
}

absl::StatusOr<Constraint::State> Constraint::GetState() {
  State state;
  absl::Status status = TakeTextError(
      kWhat, latentd_constraint_state(handle_->ptr, &state.is_accepting, &state.is_finished));
  if (!status.ok()) return status;
  return state;
}

absl::StatusOr<std::unique_ptr<Constraint>> Constraint::Clone() const {
  std::unique_ptr<Constraint> result(new Constraint);
  absl::Status status =
      TakeTextError(kWhat, latentd_constraint_clone(handle_->ptr, &result->handle_->ptr));
  if (!status.ok()) return status;
  return result;
}

}  // namespace latentd
