// Which tier is in use.
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace mbert {

extern const Kernels AVX512, AVX2, NEON, PORTABLE;

namespace {

std::vector<const Kernels*> tiers() {
  std::vector<const Kernels*> allowed;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const auto has_avx512 = [] {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  };
  const auto has_avx2 = [] {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  };
  if (has_avx512()) allowed.push_back(&AVX512);
  if (has_avx2()) allowed.push_back(&AVX2);
#elif defined(__aarch64__)
#if defined(__linux__)
  constexpr unsigned long DOT_PRODUCTS = 1ul << 20;  // HWCAP_ASIMDDP
  if (getauxval(AT_HWCAP) & DOT_PRODUCTS) allowed.push_back(&NEON);
#elif defined(__APPLE__)
  allowed.push_back(&NEON);  // all of Apple's processors have them
#endif
#endif
  allowed.push_back(&PORTABLE);
  return allowed;
}

const Kernels& chosen() {
  const auto allowed = tiers();
  const char* named = std::getenv("MBERT_TIER");
  if (named == nullptr || *named == '\0') return *allowed.front();
  for (const Kernels* tier : allowed)
    if (std::string(named) == tier->name) return *tier;
  throw std::runtime_error(std::string("MBERT_TIER is '") + named + "': this processor allows " +
                           available_tiers());
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& tier = chosen();
  return tier;
}

const char* available_tiers() {
  static const std::string names = [] {
    std::string joined;
    for (const Kernels* tier : tiers()) joined += (joined.empty() ? "" : " ") + std::string(tier->name);
    return joined;
  }();
  return names.c_str();
}

}  // namespace mbert
