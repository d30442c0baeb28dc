#include <nlohmann/json.hpp>
#include <string>

#include "engine/model/config_parts.h"

namespace latentd {
namespace {

void Expect(KeyReader& keys, const char* key, const char* expected) {
  if (keys.StringOr(key, expected) != expected) {
    keys.Fail(key, absl::StrCat(keys.Text(key), " is not supported (", expected, ")"));
  }
}

// Whether groups of experts compete, by the family's topk_method.
bool HasGroups(KeyReader& keys, const RoutingFamily& family) {
  if (!family.has_greedy_methods) {
    Expect(keys, "topk_method", "noaux_tc");
    return true;
  }
  const std::string method = keys.StringOr("topk_method", "greedy");
  if (method != "greedy" && method != "group_limited_greedy") {
    keys.Fail("topk_method", absl::StrCat(keys.Text("topk_method"),
                                          " is not supported (greedy, group_limited_greedy)"));
  }
  return method == "group_limited_greedy";
}

void CheckGroups(KeyReader& keys, const RouterConfig& router) {
  if (!keys.ok()) return;
  const int64_t per_group = router.num_experts / router.num_groups;
  if (router.num_experts % router.num_groups != 0) {
    keys.Fail("n_group", absl::StrCat(router.num_groups, " does not divide n_routed_experts ",
                                      router.num_experts));
  } else if (router.group_score == GroupScore::kTop2Sum && router.num_groups > 1 && per_group < 2) {
    keys.Fail("n_group",
              absl::StrCat(router.num_groups, " leaves fewer than two of n_routed_experts ",
                           router.num_experts, " in a group"));
  } else if (router.top_groups > router.num_groups) {
    keys.Fail("topk_group",
              absl::StrCat(router.top_groups, " is more than n_group ", router.num_groups));
  } else if (router.top_k > per_group * router.top_groups) {
    keys.Fail("num_experts_per_tok",
              absl::StrCat(router.top_k, " is more than the ", per_group * router.top_groups,
                           " experts of topk_group ", router.top_groups, " groups"));
  }
}

RouterConfig ReadRouter(KeyReader& keys, const RoutingFamily& family, const char* top_k,
                        int64_t num_identity_experts) {
  RouterConfig router;
  router.num_experts = keys.Int("n_routed_experts", 1, kMaxSmall) + num_identity_experts;
  router.top_k = keys.Int(top_k, 1, router.num_experts);
  if (HasGroups(keys, family)) {
    // Absent, the reference means the family's groups; null, no grouping.
    router.num_groups = keys.IntOr("n_group", 1, router.num_experts,
                                   keys.IsNull("n_group") ? 1 : family.num_groups);
    router.top_groups = keys.IntOr("topk_group", 1, router.num_groups,
                                   router.num_groups == 1 ? 1 : family.top_groups);
  }
  router.score = family.score;
  router.group_score = family.group_score;
  router.norm_top_k = keys.BoolOr("norm_topk_prob", family.norm_top_k);
  router.routed_scale =
      static_cast<float>(keys.NumberOr("routed_scaling_factor", 1e-6, 1e6, family.routed_scale));
  if (family.has_greedy_methods && router.norm_top_k && router.top_k > 1) router.routed_scale = 1;
  Expect(keys, "scoring_func", family.score == RouterScore::kSigmoid ? "sigmoid" : "softmax");
  CheckGroups(keys, router);
  return router;
}

// first_k_dense_replace, or the leading words of mlp_layer_types, which newer writers keep instead.
int64_t ReadNumDense(KeyReader& keys, const RoutingFamily& family) {
  constexpr char kKey[] = "first_k_dense_replace";
  if (keys.Has(kKey)) return keys.Int(kKey, 0, kMaxSmall);
  if (!keys.Has("mlp_layer_types")) {
    return family.num_dense_layers < 0 ? keys.Int(kKey, 0, kMaxSmall) : family.num_dense_layers;
  }
  int64_t count = 0;
  for (const nlohmann::json& word : keys.object()["mlp_layer_types"]) {
    if (word != "dense") break;
    ++count;
  }
  return count;
}

int64_t ReadIdentityExperts(KeyReader& keys, const RoutingFamily& family) {
  if (!family.has_identity_experts) return 0;
  Expect(keys, "zero_expert_type", "identity");
  if (keys.BoolOr("router_bias", false)) keys.Fail("router_bias", "is not supported");
  return keys.IntOr("zero_expert_num", 0, kMaxSmall, 0);
}

}  // namespace

std::optional<MoeConfig> ReadMoe(KeyReader& keys, const Family& family, int64_t num_layers) {
  if (!family.routing.has_value()) {
    if (keys.Has("n_routed_experts")) {
      keys.Fail("n_routed_experts",
                absl::StrCat("is not supported by model_type ", View(family.model_type)));
    }
    return std::nullopt;
  }
  if (keys.IntOr("n_routed_experts", 0, kMaxSmall, 0) == 0) return std::nullopt;

  const RoutingFamily& routing = *family.routing;
  MoeConfig moe;
  moe.num_dense_layers = ReadNumDense(keys, routing);
  if (moe.num_dense_layers >= num_layers) return std::nullopt;
  moe.expert_intermediate_size = keys.Int(family.keys.expert_intermediate_size, 1, kMaxUnits);
  const int64_t num_shared = keys.IsNull("n_shared_experts")
                                 ? 0
                                 : keys.IntOr("n_shared_experts", 0, 1024, routing.num_shared);
  moe.shared_intermediate_size = num_shared * moe.expert_intermediate_size;
  moe.has_selection_bias = routing.has_selection_bias;
  moe.num_identity_experts = ReadIdentityExperts(keys, routing);
  moe.router = ReadRouter(keys, routing, family.keys.top_k, moe.num_identity_experts);
  moe.is_shortcut = family.has_double_layers;
  if (keys.IntOr("moe_layer_freq", 0, kMaxSmall, 1) != 1) {
    keys.Fail("moe_layer_freq", "other than 1 is not supported");
  }
  return moe;
}

}  // namespace latentd
