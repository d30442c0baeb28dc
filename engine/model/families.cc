#include "engine/model/families.h"

#include <algorithm>
#include <array>
#include <utility>

namespace latentd {
namespace {

constexpr double kDeepseekLatentEps = 1e-6;

constexpr std::array<Family, 9> kFamilies{{
    {.model_type = "deepseek_v2",
     .latent_norm_eps = kDeepseekLatentEps,
     .routing = RoutingFamily{.score = RouterScore::kSoftmax,
                              .group_score = GroupScore::kMax,
                              .has_selection_bias = false,
                              .has_greedy_methods = true,
                              .norm_top_k = false,
                              .num_shared = 2}},
    {.model_type = "deepseek_v3",
     .latent_norm_eps = kDeepseekLatentEps,
     .routing = RoutingFamily{.routed_scale = 2.5, .num_groups = 8, .top_groups = 4},
     .num_mtp_layers = 1},
    {.model_type = "glm4_moe_lite",
     .latent_norm_eps = kDeepseekLatentEps,
     .routing = RoutingFamily{.routed_scale = 1.8, .num_dense_layers = 1},
     .num_mtp_layers = 1},
    {.model_type = "kimi_k2",
     .latent_norm_eps = kDeepseekLatentEps,
     .routing = RoutingFamily{.routed_scale = 2.827, .num_dense_layers = 1}},
    {.model_type = "latent_mla"},
    {.model_type = "longcat_flash",
     .latent_norm_eps = kDeepseekLatentEps,
     .routing = RoutingFamily{.score = RouterScore::kSoftmax,
                              .has_identity_experts = true,
                              .norm_top_k = false,
                              .routed_scale = 6,
                              .num_shared = 0,
                              .num_dense_layers = 0},
     .rope = {.theta = 1e7},
     .keys = {.num_layers = "num_layers",
              .intermediate_size = "ffn_hidden_size",
              .expert_intermediate_size = "expert_ffn_hidden_size",
              .top_k = "moe_topk"},
     .latent_scales = true,
     .has_double_layers = true,
     .mtp_prefix = "model.mtp."},
    {.model_type = "minicpm3",
     .tie_word_embeddings = true,
     .latent_norm_eps = kDeepseekLatentEps,
     .rope = {.interleaved = false, .has_longrope = true},
     .scales = ScaleFamily{.embedding = 12, .depth = 1.4, .base_size = 256},
     .value_dim_from_hidden = true},
    {.model_type = "mistral4",
     .latent_norm_eps = kDeepseekLatentEps,
     .routing =
         RoutingFamily{
             .score = RouterScore::kSoftmax, .has_selection_bias = false, .num_dense_layers = 0},
     .rope = {.has_query_factor = true, .partial_rotary_of_key = true}},
    {.model_type = "youtu", .tie_word_embeddings = true, .latent_norm_eps = kDeepseekLatentEps},
}};

constexpr std::string_view kSparse = "its DSA indexer (sparse attention) is not supported";
constexpr std::string_view kLinear = "its linear-attention layers are not supported";

constexpr std::array<std::pair<std::string_view, std::string_view>, 14> kNotServed{{
    {"axk1", "its extra norm on expert outputs is not supported"},
    {"bailing_hybrid", kLinear},
    {"deepseek_v32", kSparse},
    {"deepseek_v4", "its attention keeps one shared key and value head, not a latent"},
    {"dots3_note", "its sliding-window layers are not supported"},
    {"glm5_next", "its linear-attention layers and DSA indexer are not supported"},
    {"glm_moe_dsa", kSparse},
    {"hy_v4", kSparse},
    {"kimi_k25", "models that see images are not supported"},
    {"kimi_k3", kLinear},
    {"kimi_linear", kLinear},
    {"kimi_vl", "models that see images are not supported"},
    {"longcat_flash_ngram", "its n-gram embeddings are not supported"},
    {"mistral3", "models that see images are not supported"},
}};

}  // namespace

const Family* FindFamily(std::string_view model_type) {
  const auto family =
      std::find_if(kFamilies.begin(), kFamilies.end(),
                   [model_type](const Family& row) { return row.model_type == model_type; });
  return family == kFamilies.end() ? nullptr : &*family;
}

std::vector<std::string> FamilyNames() {
  std::vector<std::string> names;
  for (const Family& family : kFamilies) names.emplace_back(family.model_type);
  std::sort(names.begin(), names.end());
  return names;
}

std::string_view WhyNotServed(std::string_view model_type) {
  const auto row = std::find_if(kNotServed.begin(), kNotServed.end(),
                                [model_type](const auto& r) { return r.first == model_type; });
  return row == kNotServed.end() ? std::string_view() : row->second;
}

}  // namespace latentd
