// PTX ISA, "Special Registers": those that are constant throughout a warp's life. Clocks are in instructions/move.cc.
#include <string>
#include <unordered_map>

#include "program/routine_builder.h"

namespace vgpu {

std::optional<Special> special_named(std::string_view name) {
  static const std::unordered_map<std::string_view, Special> names{
      {"%tid.x", Special::tid_x},
      {"%tid.y", Special::tid_y},
      {"%tid.z", Special::tid_z},
      {"%ntid.x", Special::ntid_x},
      {"%ntid.y", Special::ntid_y},
      {"%ntid.z", Special::ntid_z},
      {"%ctaid.x", Special::ctaid_x},
      {"%ctaid.y", Special::ctaid_y},
      {"%ctaid.z", Special::ctaid_z},
      {"%nctaid.x", Special::nctaid_x},
      {"%nctaid.y", Special::nctaid_y},
      {"%nctaid.z", Special::nctaid_z},
      {"%laneid", Special::laneid},
      {"%warpid", Special::warpid},
      {"%nwarpid", Special::nwarpid},
      {"%smid", Special::smid},
      {"%nsmid", Special::nsmid},
      {"%gridid", Special::gridid},
      {"%lanemask_eq", Special::lanemask_eq},
      {"%lanemask_le", Special::lanemask_le},
      {"%lanemask_lt", Special::lanemask_lt},
      {"%lanemask_ge", Special::lanemask_ge},
      {"%lanemask_gt", Special::lanemask_gt},
      {"%dynamic_smem_size", Special::dynamic_smem_size},
      {"%total_smem_size", Special::total_smem_size},
      {"%aggr_smem_size", Special::aggr_smem_size},
      {"%reserved_smem_offset_begin", Special::reserved_smem_offset_begin},
      {"%reserved_smem_offset_end", Special::reserved_smem_offset_end},
      {"%reserved_smem_offset_cap", Special::reserved_smem_offset_cap},
      // Cooperative groups keep the scratch memory of tiles wider than a warp here. _0 has no known user.
      {"%reserved_smem_offset_1", Special::reserved_smem_offset_begin},
      {"%cluster_ctaid.x", Special::cluster_ctaid_x},
      {"%cluster_ctaid.y", Special::cluster_ctaid_y},
      {"%cluster_ctaid.z", Special::cluster_ctaid_z},
      {"%cluster_nctaid.x", Special::cluster_nctaid_x},
      {"%cluster_nctaid.y", Special::cluster_nctaid_y},
      {"%cluster_nctaid.z", Special::cluster_nctaid_z},
      {"%clusterid.x", Special::clusterid_x},
      {"%clusterid.y", Special::clusterid_y},
      {"%clusterid.z", Special::clusterid_z},
      {"%nclusterid.x", Special::nclusterid_x},
      {"%nclusterid.y", Special::nclusterid_y},
      {"%nclusterid.z", Special::nclusterid_z},
      {"%cluster_ctarank", Special::cluster_ctarank},
      {"%cluster_nctarank", Special::cluster_nctarank},
      {"%envreg1", Special::grid_workspace_high},
      {"%envreg2", Special::grid_workspace_low}};
  if (const auto found = names.find(name); found != names.end()) return found->second;
  // %envreg0 to %envreg31 belong to the driver; those with no meaning here are 0.
  static constexpr std::string_view stem = "%envreg";
  if (name.substr(0, stem.size()) != stem) return std::nullopt;
  const std::string_view number = name.substr(stem.size());
  for (int i = 0; i < 32; i++)
    if (number == std::to_string(i)) return Special::envreg;
  return std::nullopt;
}

}  // namespace vgpu
