// Binding of the compiled kernels: checks arrays, and gives memory for results. Nothing that Python
// passes or a file holds leads outside an array.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <type_traits>

#include "attention.h"
#include "nearest.h"
#include "products.h"
#include "residuals.h"
#include "search.h"

namespace py = pybind11;

namespace mbert {
namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

void check(bool is_right, const char* what) {
  if (!is_right) throw std::invalid_argument(what);
}

template <typename T>
void check_shape(const Array<T>& array, std::initializer_list<int64_t> shape, const std::string& name) {
  bool is_right = array.ndim() == static_cast<py::ssize_t>(shape.size());
  py::ssize_t axis = 0;
  for (const int64_t length : shape) {
    is_right = is_right && (length < 0 || array.shape(axis) == length);
    ++axis;
  }
  if (!is_right) throw std::invalid_argument(name + " has the wrong shape");
}

constexpr int64_t ANY = -1;

// Offsets that begin with 0, never fall and end with `total`, at most `total` where it is a bound.
void check_offsets(const Array<int64_t>& offsets, int64_t total, const std::string& name,
                   bool is_bound = false) {
  check_shape(offsets, {ANY}, name);
  const int64_t count = offsets.shape(0);
  const int64_t* at = offsets.data();
  bool is_right = count >= 1 && at[0] == 0;
  for (int64_t i = 1; i < count; ++i) is_right = is_right && at[i - 1] <= at[i];
  is_right = is_right && (is_bound ? at[count - 1] <= total : at[count - 1] == total);
  if (!is_right) throw std::invalid_argument(name + " must rise from 0 to the number of rows");
}

void check_codes(const Array<int32_t>& codes, int64_t count, int64_t centroids) {
  check_shape(codes, {count}, "codes");
  const int32_t* at = codes.data();
  bool is_right = true;
  for (int64_t i = 0; i < count; ++i) is_right = is_right && at[i] >= 0 && at[i] < centroids;
  check(is_right, "a code is not the number of a centroid");
}

int checked_bits(int bits) {
  check(bits == 1 || bits == 2 || bits == 4 || bits == 8, "bits must be 1, 2, 4 or 8");
  return bits;
}

int at_least_one(int threads) { return std::clamp(threads, 1, 256); }

// -- attention

template <typename Stored>
using NumberOf = std::conditional_t<std::is_same_v<Stored, float>, float, BFloat16>;

template <typename Stored>
const NumberOf<Stored>* numbers(const Array<Stored>& array) {
  return reinterpret_cast<const NumberOf<Stored>*>(array.data());
}

template <typename Stored>
NumberOf<Stored>* writable(Array<Stored>& array) {
  return reinterpret_cast<NumberOf<Stored>*>(array.mutable_data());
}

template <typename Stored>
void attend_into(const Array<Stored>* gradients, const Array<Stored>& qkv, const Array<float>& cosine,
                 const Array<float>& sine, const Array<int64_t>& offsets, int64_t window, int threads,
                 Array<Stored>& result) {
  const int64_t tokens = qkv.shape(0), heads = qkv.shape(2), dimension = qkv.shape(3);
  check(dimension % LANES == 0 && dimension > 0 && dimension <= MOST_HEAD,
        "the head's dimension must be a multiple of 16, and at most 256");
  check_shape(cosine, {tokens, dimension / 2}, "cosine");
  check_shape(sine, {tokens, dimension / 2}, "sine");
  check_offsets(offsets, tokens, "offsets");
  if (gradients) check_shape(*gradients, {tokens, heads, dimension}, "gradients");
  const AttentionBatch<NumberOf<Stored>> batch{numbers(qkv),
                                               cosine.data(),
                                               sine.data(),
                                               writable(result),
                                               gradients ? numbers(*gradients) : nullptr,
                                               heads,
                                               dimension,
                                               window < 0 ? -1 : std::min(window, tokens)};
  const int64_t* at = offsets.data();
  const int64_t sequences = offsets.shape(0) - 1;
  py::gil_scoped_release release;
  attend_all(batch, at, sequences, at_least_one(threads));
}

template <typename Stored>
Array<Stored> attend(Array<Stored> qkv, Array<float> cosine, Array<float> sine, Array<int64_t> offsets,
                     int64_t window, int threads) {
  check_shape(qkv, {ANY, 3, ANY, ANY}, "qkv");
  Array<Stored> result({qkv.shape(0), qkv.shape(2), qkv.shape(3)});
  attend_into<Stored>(nullptr, qkv, cosine, sine, offsets, window, threads, result);
  return result;
}

template <typename Stored>
Array<Stored> attend_backward(Array<Stored> gradients, Array<Stored> qkv, Array<float> cosine,
                              Array<float> sine, Array<int64_t> offsets, int64_t window, int threads) {
  check_shape(qkv, {ANY, 3, ANY, ANY}, "qkv");
  Array<Stored> result({qkv.shape(0), qkv.shape(1), qkv.shape(2), qkv.shape(3)});
  attend_into<Stored>(&gradients, qkv, cosine, sine, offsets, window, threads, result);
  return result;
}

// -- products in int8

py::tuple packed_weights(Array<float> weights) {
  check_shape(weights, {ANY, ANY}, "weights");
  const int64_t outputs = weights.shape(0), inputs = weights.shape(1);
  check(inputs % LANES == 0 && outputs % LANES == 0, "both sides of the weights must be multiples of 16");
  Array<uint8_t> packed(outputs * inputs * kernels().operand_bytes);
  Array<float> scales(outputs);
  Array<int32_t> offsets(outputs);
  pack_weights(weights.data(), outputs, inputs, packed.mutable_data(), scales.mutable_data(),
               offsets.mutable_data());
  return py::make_tuple(packed, scales, offsets);
}

template <typename Stored>
Array<Stored> product(Array<Stored> x, Array<uint8_t> packed, Array<float> scales, Array<int32_t> offsets,
                      bool gated, int threads) {
  check_shape(x, {ANY, ANY}, "x");
  check_shape(scales, {ANY}, "scales");
  const int64_t rows = x.shape(0), outputs = scales.shape(0), inputs = x.shape(1) / (gated ? 2 : 1);
  check_shape(offsets, {outputs}, "offsets");
  check(x.shape(1) == inputs * (gated ? 2 : 1) && inputs % LANES == 0 && outputs % LANES == 0,
        "both sides of the weights must be multiples of 16");
  check_shape(packed, {outputs * inputs * kernels().operand_bytes}, "packed");
  const Int8Weights weights{packed.data(), scales.data(), offsets.data(), inputs, outputs};
  Array<Stored> result({rows, outputs});
  const auto* from = numbers(x);
  auto* to = writable(result);
  py::gil_scoped_release release;
  multiply_all(from, rows, weights, gated, at_least_one(threads), to);
  return result;
}

// -- centroids and residuals

Array<int32_t> nearest(Array<float> vectors, Array<float> leaders, Array<float> leader_norms,
                       Array<float> members, Array<float> member_norms, Array<int64_t> bounds, int probes,
                       int threads) {
  check_shape(vectors, {ANY, ANY}, "vectors");
  const int64_t count = vectors.shape(0), dimension = vectors.shape(1);
  check_shape(leaders, {ANY, dimension}, "leaders");
  const int64_t groups = leaders.shape(0);
  check_shape(leader_norms, {groups}, "leader_norms");
  check_shape(members, {ANY, dimension}, "members");
  check_shape(member_norms, {members.shape(0)}, "member_norms");
  check_shape(bounds, {groups + 1}, "bounds");
  check_offsets(bounds, members.shape(0), "bounds");
  check(probes >= 1 && probes <= 32 && probes <= groups,
        "probes must be 1 to 32, and not above the groups");
  Array<int32_t> result(count);
  const Router router{
      leaders.data(), leader_norms.data(), members.data(), member_norms.data(), bounds.data(),
      groups,         dimension,           probes};
  const float* x = vectors.data();
  int32_t* out = result.mutable_data();
  py::gil_scoped_release release;
  nearest_members(router, x, count, at_least_one(threads), out);
  return result;
}

void accumulate_into(Array<float> vectors, Array<int32_t> codes, Array<float> sums,
                     Array<int64_t> counts) {
  check_shape(vectors, {ANY, ANY}, "vectors");
  const int64_t count = vectors.shape(0), dimension = vectors.shape(1);
  check_shape(sums, {ANY, dimension}, "sums");
  check_shape(counts, {sums.shape(0)}, "counts");
  check_codes(codes, count, sums.shape(0));
  const float* x = vectors.data();
  const int32_t* code = codes.data();
  float* total = sums.mutable_data();
  int64_t* number = counts.mutable_data();
  py::gil_scoped_release release;
  accumulate(x, code, count, dimension, total, number);
}

Array<uint8_t> pack(Array<float> vectors, Array<int32_t> codes, Array<float> centroids,
                    Array<float> inverse_scale, Array<float> cutoffs, int bits, int threads) {
  check_shape(vectors, {ANY, ANY}, "vectors");
  const int64_t count = vectors.shape(0), dimension = vectors.shape(1);
  check(dimension <= 1024, "at most 1024 dimensions");
  check_shape(centroids, {ANY, dimension}, "centroids");
  check_codes(codes, count, centroids.shape(0));
  check_shape(inverse_scale, {dimension}, "inverse_scale");
  check_shape(cutoffs, {(1 << checked_bits(bits)) - 1}, "cutoffs");
  const Codec codec{
      centroids.data(), inverse_scale.data(), cutoffs.data(), centroids.shape(0), dimension, bits};
  Array<uint8_t> result({count, codec.bytes()});
  const float* x = vectors.data();
  const int32_t* code = codes.data();
  uint8_t* out = result.mutable_data();
  py::gil_scoped_release release;
  pack_residuals(codec, x, code, count, at_least_one(threads), out);
  return result;
}

template <typename Code>
Array<float> unpack(Array<Code> codes, Array<uint8_t> residuals, Array<float> centroids,
                    Array<float> scale, Array<float> weights, int bits) {
  check_shape(centroids, {ANY, ANY}, "centroids");
  check(centroids.shape(0) > 0, "there are no centroids");
  check_shape(codes, {ANY}, "codes");
  const int64_t count = codes.shape(0), dimension = centroids.shape(1);
  check_shape(scale, {dimension}, "scale");
  check_shape(weights, {1 << checked_bits(bits)}, "weights");
  const Codec codec{centroids.data(), scale.data(), weights.data(), centroids.shape(0), dimension, bits};
  check_shape(residuals, {count, codec.bytes()}, "residuals");
  Array<float> result({count, dimension});
  const Code* code = codes.data();
  const uint8_t* packed = residuals.data();
  float* out = result.mutable_data();
  py::gil_scoped_release release;
  unpack_residuals(codec, code, packed, count, out);
  return result;
}

template <typename Code>
py::tuple invert_codes(Array<Code> codes, Array<int64_t> offsets, int64_t centroids) {
  check_shape(codes, {ANY}, "codes");
  check_offsets(offsets, codes.shape(0), "offsets");
  check(centroids > 0 && centroids <= int64_t{1} << 24, "centroids must be 1 to 2^24");
  Array<int64_t> bounds(centroids + 1);
  const auto lists =
      invert(codes.data(), offsets.data(), offsets.shape(0) - 1, centroids, bounds.mutable_data());
  Array<uint32_t> copied(static_cast<py::ssize_t>(lists.size()));
  std::copy(lists.begin(), lists.end(), copied.mutable_data());
  return py::make_tuple(bounds, copied);
}

// -- search

// The arrays of a segment. It owns references to them, so that they live as long as it does.
template <typename Code>
struct Segment {
  Array<int64_t> offsets;
  Array<Code> codes;
  Array<uint8_t> residuals;
  Array<int64_t> list_bounds;
  Array<uint32_t> lists;
  Array<float> centroids, scale;
  Array<int8_t> buckets;
  float bucket_step;
  int bits;

  Index<Code> index() const {
    const int64_t bytes = residuals.shape(1);
    // unpacked residuals have 8 / bits * bytes components, and products are taken in fours
    const int64_t padded = (8 / bits * bytes + 3) / 4 * 4;
    return {offsets.data(),
            codes.data(),
            residuals.data(),
            list_bounds.data(),
            lists.data(),
            centroids.data(),
            buckets.data(),
            offsets.shape(0) - 1,
            centroids.shape(0),
            centroids.shape(1),
            padded,
            bytes,
            bits};
  }
};

template <typename Code>
Segment<Code> segment(Array<int64_t> offsets, Array<Code> codes, Array<uint8_t> residuals,
                      Array<int64_t> list_bounds, Array<uint32_t> lists, Array<float> centroids,
                      Array<float> scale, Array<int8_t> buckets, float bucket_step, int bits) {
  check_shape(codes, {ANY}, "codes");
  check_offsets(offsets, codes.shape(0), "offsets");
  check(offsets.shape(0) - 1 <= int64_t{1} << 32, "a segment has at most 2^32 passages");
  check_shape(centroids, {ANY, ANY}, "centroids");
  check(centroids.shape(0) > 0, "there are no centroids");
  check_shape(scale, {centroids.shape(1)}, "scale");
  const int64_t planes = 8 / checked_bits(bits);
  check_shape(residuals, {codes.shape(0), (centroids.shape(1) + planes - 1) / planes}, "residuals");
  check_shape(lists, {ANY}, "lists");
  check_shape(list_bounds, {centroids.shape(0) + 1}, "list_bounds");
  check_offsets(list_bounds, lists.shape(0), "list_bounds", true);
  check_shape(buckets, {std::max(16, 1 << bits)}, "buckets");
  return {offsets, codes, residuals, list_bounds, lists, centroids, scale, buckets, bucket_step, bits};
}

py::dict work_of(const std::vector<Timings>& timings) {
  constexpr const char* names[] = {"table", "levels", "probe", "centroids", "selection", "residuals"};
  Timings sum;
  for (const auto& each : timings) {
    for (int stage = 0; stage < 6; ++stage) sum.stages[stage] += each.stages[stage];
    sum.probed += each.probed;
    sum.reached += each.reached;
    sum.scored += each.scored;
    sum.centroid_vectors += each.centroid_vectors;
    sum.residual_vectors += each.residual_vectors;
  }
  py::dict seconds;
  for (int stage = 0; stage < 6; ++stage) seconds[names[stage]] = sum.stages[stage];
  py::dict work;
  work["seconds"] = seconds;
  work["centroids_probed"] = sum.probed;
  work["passages_reached"] = sum.reached;
  work["passages_scored"] = sum.scored;
  work["vectors_by_centroid"] = sum.centroid_vectors;
  work["vectors_by_residual"] = sum.residual_vectors;
  return work;
}

template <typename Code>
py::tuple search(Array<float> queries, Array<int64_t> query_offsets, const Segment<Code>& segment,
                 Array<uint8_t> allowed, Settings settings) {
  const Index<Code> index = segment.index();
  check_shape(queries, {ANY, index.dimension}, "queries");
  check_offsets(query_offsets, queries.shape(0), "query_offsets");
  check_shape(allowed, {index.passages}, "allowed");
  for (py::ssize_t i = 1; i < query_offsets.shape(0); ++i)
    check(query_offsets.data()[i - 1] < query_offsets.data()[i], "a query has no vectors");
  check(settings.k >= 1 && settings.probes >= 1 && settings.candidates >= 1,
        "k, probes and candidates must be at least 1");
  settings.threads = at_least_one(settings.threads);
  const int64_t count = query_offsets.shape(0) - 1;
  const float *q = queries.data(), *scale = segment.scale.data();
  const int64_t* offsets = query_offsets.data();
  const uint8_t* mask = allowed.data();
  std::vector<Timings> timings(count);
  std::vector<std::vector<Scored>> results;
  {
    py::gil_scoped_release release;
    results = search_batch(index, scale, segment.bucket_step, q, offsets, count, mask, settings, timings);
  }
  py::list rankings;
  for (const auto& result : results) {
    Array<int64_t> passages(static_cast<py::ssize_t>(result.size()));
    Array<float> scores(static_cast<py::ssize_t>(result.size()));
    for (size_t i = 0; i < result.size(); ++i) {
      passages.mutable_data()[i] = result[i].passage;
      scores.mutable_data()[i] = result[i].score;
    }
    rankings.append(py::make_tuple(passages, scores));
  }
  return py::make_tuple(rankings, work_of(timings));
}

// -- the module

py::arg strict(const char* name) { return py::arg(name).noconvert(); }

template <typename Stored>
void define_for_numbers(py::module_& module) {
  module.def("attend", &attend<Stored>, strict("qkv"), strict("cosine"), strict("sine"),
             strict("offsets"), py::arg("window"), py::arg("threads"));
  module.def("attend_backward", &attend_backward<Stored>, strict("gradients"), strict("qkv"),
             strict("cosine"), strict("sine"), strict("offsets"), py::arg("window"), py::arg("threads"));
  module.def("product", &product<Stored>, strict("x"), strict("packed"), strict("scales"),
             strict("offsets"), py::arg("gated"), py::arg("threads"));
}

template <typename Code>
void define_for_codes(py::module_& module, const char* segment_name) {
  py::class_<Segment<Code>>(module, segment_name, py::module_local());
  module.def("segment", &segment<Code>, py::kw_only(), strict("offsets"), strict("codes"),
             strict("residuals"), strict("list_bounds"), strict("lists"), strict("centroids"),
             strict("scale"), strict("buckets"), py::arg("bucket_step"), py::arg("bits"));
  module.def("unpack", &unpack<Code>, strict("codes"), strict("residuals"), strict("centroids"),
             strict("scale"), strict("weights"), py::arg("bits"));
  module.def("invert", &invert_codes<Code>, strict("codes"), strict("offsets"), py::arg("centroids"));
  module.def("search", &search<Code>, strict("queries"), strict("query_offsets"), py::arg("segment"),
             strict("allowed"), py::arg("settings"));
}

}  // namespace
}  // namespace mbert

PYBIND11_MODULE(kernels, module) {
  using namespace mbert;
  module.doc() = "Compiled kernels; see kernels.pyi.";
  module.attr("TIER") = kernels().name;
  module.attr("TIERS") = available_tiers();
  module.attr("INT8_IS_FAST") = kernels().int8_is_fast;
  module.attr("ATTENTION_IS_FAST") = kernels().attention_is_fast;
  module.def("pack_weights", &packed_weights, strict("weights"));
  define_for_numbers<float>(module);
  define_for_numbers<uint16_t>(module);
  py::class_<Settings>(module, "SearchSettings", py::module_local())
      .def(py::init([](int64_t k, int64_t probes, int64_t candidates, int threads) {
             return Settings{k, probes, candidates, threads};
           }),
           py::arg("k"), py::arg("probes"), py::arg("candidates"), py::arg("threads"));
  module.def("nearest", &nearest, strict("vectors"), strict("leaders"), strict("leader_norms"),
             strict("members"), strict("member_norms"), strict("bounds"), py::arg("probes"),
             py::arg("threads"));
  module.def("accumulate", &accumulate_into, strict("vectors"), strict("codes"), strict("sums"),
             strict("counts"));
  module.def("pack", &pack, strict("vectors"), strict("codes"), strict("centroids"),
             strict("inverse_scale"), strict("cutoffs"), py::arg("bits"), py::arg("threads"));
  define_for_codes<uint16_t>(module, "Segment16");
  define_for_codes<uint32_t>(module, "Segment32");
}
