// Where and how operators run. One per engine; passed to every operator.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace latentd {

class ThreadPool;

// Instruction sets of the CPU back end, slowest first; kNeon and kSve are AArch64's, those before
// them x86-64's. Bits are promised per path. kAmx is taken by name alone: it has never run. kSve is
// for vectors of 256 bits, with products of bf16 and of int8: Neoverse V1.
enum class CpuPath { kScalar, kAvx2, kAvx512, kAvx512Bf16, kAmx, kNeon, kSve };

// "scalar", "avx2", "avx512", "avx512-bf16", "amx", "neon", "sve".
std::string_view Name(CpuPath path);
std::optional<CpuPath> ParseCpuPath(std::string_view name);
// What this build and this machine's CPU (and operating system state) can run. To ask for kAmx is
// to ask the system for its registers, on behalf of the whole process.
bool Supported(CpuPath path);
// Never kAmx.
CpuPath BestCpuPath();

// Borrowed by every operator call; immutable after construction. Engine thread only.
struct Context {
  CpuPath cpu_path = CpuPath::kScalar;
  ThreadPool* pool = nullptr;  // not owned; null runs everything on the calling thread
};

}  // namespace latentd
