// The hot loops of the multi-vector engine. Plain C++ that the compiler vectorises for the processor
// it finds at run time (function multiversioning); the one loop that decides a query's latency, the
// scoring of residuals, has a version for AVX-512 VNNI besides.
//
// Shapes and dtypes are checked by the Python callers; what comes out of an index file (codes,
// passage numbers) is bounded, so that a damaged file gives wrong scores and never a wild access.

#include "nearest.h"
#include "residuals.h"
#include "search.h"

namespace {

// What reads codes, for one of the types in which they are stored.
template <typename Code>
void define_for(py::module_& module) {
  const auto strict = [](const char* name) { return py::arg(name).noconvert(); };
  module.def("unpack", &unpack<Code>, strict("codes"), strict("residuals"), strict("centroids"),
             strict("scale"), strict("weights"), py::arg("bits"));
  module.def("invert", &invert<Code>, strict("codes"), strict("offsets"), py::arg("centroids"));
  module.def("search", &search<Code>, strict("queries"), strict("query_offsets"), strict("offsets"),
             strict("codes"), strict("residuals"), strict("centroids"), strict("list_bounds"),
             strict("lists"), strict("scale"), strict("buckets"), py::arg("bucket_step"),
             py::arg("bits"), strict("allowed"), py::arg("k"), py::arg("probes"),
             py::arg("candidates"), py::arg("threads"));
}

}  // namespace

PYBIND11_MODULE(plaid, module) {
  module.doc() = "The hot loops of the multi-vector engine; see plaid.pyi.";
  const auto strict = [](const char* name) { return py::arg(name).noconvert(); };
  module.def("nearest", &nearest, strict("vectors"), strict("leaders"), strict("leader_norms"),
             strict("members"), strict("member_norms"), strict("bounds"), py::arg("probes"),
             py::arg("threads"));
  module.def("accumulate", &accumulate, strict("vectors"), strict("codes"), strict("sums"),
             strict("counts"));
  module.def("pack", &pack, strict("vectors"), strict("codes"), strict("centroids"),
             strict("inverse_scale"), strict("cutoffs"), py::arg("bits"), py::arg("threads"));
  define_for<uint16_t>(module);
  define_for<uint32_t>(module);
  module.def("set_vnni", &set_vnni, py::arg("wanted"));
}
