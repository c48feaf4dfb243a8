// Binding of the multi-vector engine: k-means, residual compression, and search.
//
// The loops are plain C++ that the compiler vectorises for several instruction sets, one of which is
// chosen at run time (function multiversioning). The loop that decides a query's latency, scoring
// residuals, also has a version for AVX-512 VNNI.
//
// Shapes and dtypes are checked by the Python callers. Values that come from an index file (codes,
// passage numbers) are bounded, so that a damaged file gives wrong scores but never an access outside
// an array.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <stdexcept>

#include "nearest.h"
#include "residuals.h"
#include "search.h"

namespace py = pybind11;

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

Array<int32_t> nearest(Array<float> vectors, Array<float> leaders, Array<float> leader_norms,
                       Array<float> members, Array<float> member_norms, Array<int64_t> bounds,
                       int probes, int threads) {
  if (probes < 1 || probes > 32) throw std::invalid_argument("probes must be 1 to 32");
  const int64_t count = vectors.shape(0);
  Array<int32_t> result(count);
  const Router router{leaders.data(), leader_norms.data(), members.data(),   member_norms.data(),
                      bounds.data(),  leaders.shape(0),    vectors.shape(1), probes};
  const float* x = vectors.data();
  int32_t* out = result.mutable_data();
  py::gil_scoped_release release;
  nearest_members(router, x, count, threads, out);
  return result;
}

void accumulate_into(Array<float> vectors, Array<int32_t> codes, Array<float> sums,
                     Array<int64_t> counts) {
  const int64_t count = vectors.shape(0), dimension = vectors.shape(1);
  const float* x = vectors.data();
  const int32_t* code = codes.data();
  float* total = sums.mutable_data();
  int64_t* number = counts.mutable_data();
  py::gil_scoped_release release;
  accumulate(x, code, count, dimension, total, number);
}

Array<uint8_t> pack(Array<float> vectors, Array<int32_t> codes, Array<float> centroids,
                    Array<float> inverse_scale, Array<float> cutoffs, int bits, int threads) {
  const int64_t count = vectors.shape(0), dimension = vectors.shape(1);
  if (dimension > 1024) throw std::invalid_argument("at most 1024 dimensions");
  if (cutoffs.shape(0) != (1 << bits) - 1) throw std::invalid_argument("2^bits - 1 cutoffs are needed");
  const Codec codec{centroids.data(), inverse_scale.data(), cutoffs.data(), centroids.shape(0),
                    dimension,        bits};
  Array<uint8_t> result({count, codec.bytes()});
  const float* x = vectors.data();
  const int32_t* code = codes.data();
  uint8_t* out = result.mutable_data();
  py::gil_scoped_release release;
  pack_residuals(codec, x, code, count, threads, out);
  return result;
}

template <typename Code>
Array<float> unpack(Array<Code> codes, Array<uint8_t> residuals, Array<float> centroids,
                    Array<float> scale, Array<float> weights, int bits) {
  const int64_t count = codes.shape(0), dimension = centroids.shape(1);
  const Codec codec{centroids.data(), scale.data(), weights.data(), centroids.shape(0), dimension,
                    bits};
  if (residuals.shape(1) != codec.bytes()) throw std::invalid_argument("residuals of another width");
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
  Array<int64_t> bounds(centroids + 1);
  const auto lists = invert(codes.data(), offsets.data(), offsets.shape(0) - 1, centroids,
                            bounds.mutable_data());
  Array<uint32_t> copied(static_cast<py::ssize_t>(lists.size()));
  std::copy(lists.begin(), lists.end(), copied.mutable_data());
  return py::make_tuple(bounds, copied);
}

// The arrays of a segment. It owns references to them, so that they live as long as it does.
template <typename Code>
struct Segment {
  Array<int64_t> offsets;
  Array<Code> codes;
  Array<uint8_t> residuals;
  Array<int64_t> list_bounds;
  Array<uint32_t> lists;
  Array<float> centroids, scale;
  Array<uint8_t> buckets;
  float bucket_step;
  int bits;

  Index<Code> index() const {
    const int64_t bytes = residuals.shape(1);
    // unpacked residuals have 8 / bits * bytes components, and products are taken in fours
    const int64_t padded = (8 / bits * bytes + 3) / 4 * 4;
    return {offsets.data(),     codes.data(),       residuals.data(), list_bounds.data(),
            lists.data(),       centroids.data(),   buckets.data(),   offsets.shape(0) - 1,
            centroids.shape(0), centroids.shape(1), padded,           bytes,
            bits};
  }
};

template <typename Code>
Segment<Code> segment(Array<int64_t> offsets, Array<Code> codes, Array<uint8_t> residuals,
                      Array<int64_t> list_bounds, Array<uint32_t> lists, Array<float> centroids,
                      Array<float> scale, Array<uint8_t> buckets, float bucket_step, int bits) {
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
  const int64_t count = query_offsets.shape(0) - 1;
  const Index<Code> index = segment.index();
  const float *q = queries.data(), *scale = segment.scale.data();
  const int64_t* offsets = query_offsets.data();
  const uint8_t* mask = allowed.data();
  settings.vnni = settings.vnni && HAS_VNNI;
  std::vector<Timings> timings(count);
  std::vector<std::vector<Scored>> results;
  {
    py::gil_scoped_release release;
    results = search_batch(index, scale, segment.bucket_step, q, offsets, count, mask, settings,
                           timings);
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

py::arg strict(const char* name) { return py::arg(name).noconvert(); }

// The functions that read codes, for one of their two dtypes.
template <typename Code>
void define_for(py::module_& module, const char* segment_name) {
  py::class_<Segment<Code>>(module, segment_name);
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

PYBIND11_MODULE(plaid, module) {
  module.doc() = "Compiled loops of the multi-vector engine; see plaid.pyi.";
  module.attr("HAS_VNNI") = HAS_VNNI;
  py::class_<Settings>(module, "SearchSettings")
      .def(py::init([](int64_t k, int64_t probes, int64_t candidates, int threads, bool vnni) {
             return Settings{k, probes, candidates, threads, vnni};
           }),
           py::arg("k"), py::arg("probes"), py::arg("candidates"), py::arg("threads"),
           py::arg("vnni"));
  module.def("nearest", &nearest, strict("vectors"), strict("leaders"), strict("leader_norms"),
             strict("members"), strict("member_norms"), strict("bounds"), py::arg("probes"),
             py::arg("threads"));
  module.def("accumulate", &accumulate_into, strict("vectors"), strict("codes"), strict("sums"),
             strict("counts"));
  module.def("pack", &pack, strict("vectors"), strict("codes"), strict("centroids"),
             strict("inverse_scale"), strict("cutoffs"), py::arg("bits"), py::arg("threads"));
  define_for<uint16_t>(module, "Segment16");
  define_for<uint32_t>(module, "Segment32");
}
