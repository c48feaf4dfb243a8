// The hot loops of the multi-vector engine. Plain C++ that the compiler vectorises for the processor
// it finds at run time (function multiversioning); the one loop that decides a query's latency, the
// scoring of residuals, has a version for AVX-512 VNNI besides.
//
// Shapes and dtypes are checked by the Python callers; what comes out of an index file (codes,
// passage numbers) is bounded here, so that a damaged file gives wrong scores and never a wild read.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define X86 1
#endif
#if defined(X86) && !defined(__clang__)
#define VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VECTORISED
#endif

namespace py = pybind11;
template <typename T>
using Array = py::array_t<T, py::array::c_style>;

namespace {

constexpr int LANES = 16;  // query vectors, or passage vectors, that one register holds
typedef float Floats __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint8_t Bytes16 __attribute__((vector_size(16), aligned(1)));
typedef uint8_t Bytes32 __attribute__((vector_size(32), aligned(1)));

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Work in stages, each of so many blocks, which threads take as they come. The next stage begins
// when all blocks of one are done, not when all threads are there: a thread that is late (or has no
// processor for a while) holds nobody up, since the others take its blocks.
struct Stage {
  std::atomic<int64_t> blocks;                    // a block of the stage before may still set it
  std::function<void(int64_t block, int rank)> work;
  std::atomic<int64_t> taken{0}, done{0};
  std::atomic<double> finished{0};  // when its last block was

  Stage(int64_t blocks, std::function<void(int64_t, int)> work)
      : blocks(blocks), work(std::move(work)) {}
};

struct Job {
  std::deque<Stage> stages;
  std::atomic<int> members{0};

  void add(int64_t blocks, std::function<void(int64_t, int)> work) {
    stages.emplace_back(blocks, std::move(work));
  }

  void take_part() {
    const int rank = members.fetch_add(1);
    for (Stage& stage : stages) {
      for (int64_t block; (block = stage.taken.fetch_add(1)) < stage.blocks;) {
        stage.work(block, rank);
        stage.finished.store(now(), std::memory_order_relaxed);
        ++stage.done;
      }
      // stages take fractions of a millisecond: to sleep and to be woken can take longer
      for (int spins = 0; stage.done < stage.blocks; ++spins)
        if (spins > 4096) std::this_thread::yield();
    }
  }
};

// Threads that wait for jobs. Never destroyed: at the end of the process they just end with it.
class Pool {
 public:
  // Do the job in the calling thread and, as far as they come in time, in `threads` - 1 others.
  static void run(const std::shared_ptr<Job>& job, int threads) {
    if (threads > 1) ours().offer(job, threads - 1);
    job->take_part();
  }

 private:
  static Pool& ours() {
    static std::mutex guard;
    static Pool* pool = nullptr;
    static pid_t owner = 0;
    const std::lock_guard lock(guard);
    if (pool == nullptr || owner != getpid()) {  // a forked process has none of these threads
      pool = new Pool;
      owner = getpid();
    }
    return *pool;
  }

  void offer(const std::shared_ptr<Job>& job, int wanted) {
    {
      const std::lock_guard lock(mutex_);
      for (; started_ < wanted; ++started_) std::thread([this] { serve(); }).detach();
      for (int i = 0; i < wanted; ++i) jobs_.push_back(job);
    }
    wake_.notify_all();
  }

  void serve() {
    for (;;) {
      std::shared_ptr<Job> job;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return !jobs_.empty(); });
        job = std::move(jobs_.front());
        jobs_.pop_front();
      }
      job->take_part();  // if it is over already, there is no block left to take
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Job>> jobs_;
  int started_ = 0;
};

// One stage: work(block, rank) for all blocks. There are at most `threads` ranks.
template <typename Work>
void in_threads(int threads, int64_t blocks, Work work) {
  const auto job = std::make_shared<Job>();
  job->add(blocks, work);
  Pool::run(job, threads);
}

// ------------------------------------------------------------------------------ nearest centroids

// For 16 vectors, transposed to tile[d][lane]: the best of `count` centroids by x.c - |c|^2 / 2.
// found holds the number of the best one so far; numbers of this block begin at `first`.
VECTORISED void best_of_block(const float* tile, const float* centroids, const float* half_norms,
                              int64_t count, int64_t dimension, int32_t first, float* best_score,
                              int32_t* best_number) {
  Floats best = *reinterpret_cast<Floats*>(best_score);
  Ints number = *reinterpret_cast<Ints*>(best_number);
  int64_t c = 0;
  for (; c + 8 <= count; c += 8) {
    const float* row = centroids + c * dimension;
    Floats sum[8];
    for (int i = 0; i < 8; ++i) sum[i] = Floats{} - half_norms[c + i];
    for (int64_t d = 0; d < dimension; ++d) {
      const Floats x = *reinterpret_cast<const Floats*>(tile + d * LANES);
      for (int i = 0; i < 8; ++i) sum[i] += x * row[i * dimension + d];
    }
    for (int i = 0; i < 8; ++i) {
      const Ints better = sum[i] > best;
      best = better ? sum[i] : best;
      number = better ? Ints{} + static_cast<int32_t>(first + c + i) : number;
    }
  }
  for (; c < count; ++c) {
    Floats sum = Floats{} - half_norms[c];
    for (int64_t d = 0; d < dimension; ++d)
      sum += *reinterpret_cast<const Floats*>(tile + d * LANES) * centroids[c * dimension + d];
    const Ints better = sum > best;
    best = better ? sum : best;
    number = better ? Ints{} + static_cast<int32_t>(first + c) : number;
  }
  *reinterpret_cast<Floats*>(best_score) = best;
  *reinterpret_cast<Ints*>(best_number) = number;
}

// scores[c * stride + lane] of `count` centroids: x.c - half_norms[c], or x.c where there are none.
VECTORISED void scores_of_block(const float* tile, const float* centroids, const float* half_norms,
                                int64_t count, int64_t dimension, float* scores, int64_t stride) {
  int64_t c = 0;
  for (; c + 8 <= count; c += 8) {
    const float* row = centroids + c * dimension;
    Floats sum[8];
    for (int i = 0; i < 8; ++i) sum[i] = Floats{} - (half_norms ? half_norms[c + i] : 0);
    for (int64_t d = 0; d < dimension; ++d) {
      const Floats x = *reinterpret_cast<const Floats*>(tile + d * LANES);
      for (int i = 0; i < 8; ++i) sum[i] += x * row[i * dimension + d];
    }
    for (int i = 0; i < 8; ++i) *reinterpret_cast<Floats*>(scores + (c + i) * stride) = sum[i];
  }
  for (; c < count; ++c) {
    Floats sum = Floats{} - (half_norms ? half_norms[c] : 0);
    for (int64_t d = 0; d < dimension; ++d)
      sum += *reinterpret_cast<const Floats*>(tile + d * LANES) * centroids[c * dimension + d];
    *reinterpret_cast<Floats*>(scores + c * stride) = sum;
  }
}

// The p best of count scores in each lane: groups[lane][p].
VECTORISED void best_groups(const float* scores, int64_t count, int p, int32_t* groups) {
  constexpr float lowest = -std::numeric_limits<float>::infinity();
  float top[LANES][32];
  Floats last = Floats{} + lowest;
  for (auto& lane : top) std::fill(lane, lane + p, lowest);
  for (int64_t c = 0; c < count; ++c) {
    const Floats score = *reinterpret_cast<const Floats*>(scores + c * LANES);
    const Ints better = score > last;
    for (int lane = 0; lane < LANES; ++lane) {
      if (!better[lane]) continue;
      int place = p - 1;
      for (; place > 0 && top[lane][place - 1] < score[lane]; --place) {
        top[lane][place] = top[lane][place - 1];
        groups[lane * p + place] = groups[lane * p + place - 1];
      }
      top[lane][place] = score[lane];
      groups[lane * p + place] = static_cast<int32_t>(c);
      last[lane] = top[lane][p - 1];
    }
  }
}

void fill_tile(const float* vectors, const int64_t* rows, int filled, int64_t dimension, float* tile) {
  for (int lane = 0; lane < LANES; ++lane) {
    const float* x = vectors + rows[lane < filled ? lane : 0] * dimension;
    for (int64_t d = 0; d < dimension; ++d) tile[d * LANES + lane] = x[d];
  }
}

// Centroids stand in groups, each of which has a leader: a vector is compared with the leaders, and
// then with the members of its `probes` best groups. One group: an exact search.
struct Router {
  const float *leaders, *leader_norms, *members, *member_norms;
  const int64_t* bounds;  // (groups + 1): where each group's members begin
  int64_t groups, dimension;
  int probes;
};

void nearest_in_chunk(const Router& router, const float* vectors, int64_t count, int32_t* nearest) {
  const int64_t dimension = router.dimension;
  const int probes = router.probes;
  std::vector<float> tile(dimension * LANES), scores(router.groups * LANES);
  std::vector<int32_t> groups((count + LANES) * probes);
  int64_t rows[LANES];
  for (int64_t first = 0; first < count && router.groups > 1; first += LANES) {
    const int filled = static_cast<int>(std::min<int64_t>(LANES, count - first));
    for (int lane = 0; lane < filled; ++lane) rows[lane] = first + lane;
    fill_tile(vectors, rows, filled, dimension, tile.data());
    scores_of_block(tile.data(), router.leaders, router.leader_norms, router.groups, dimension,
                    scores.data(), LANES);
    best_groups(scores.data(), router.groups, probes, groups.data() + first * probes);
  }
  // the vectors that visit each group, by a counting sort
  std::vector<int64_t> begin(router.groups + 1, 0);
  for (int64_t i = 0; i < count * probes; ++i) ++begin[groups[i] + 1];
  for (int64_t g = 0; g < router.groups; ++g) begin[g + 1] += begin[g];
  std::vector<int64_t> visitors(count * probes), place(begin.begin(), begin.end() - 1);
  for (int64_t i = 0; i < count * probes; ++i) visitors[place[groups[i]]++] = i / probes;

  std::vector<float> best(count, -std::numeric_limits<float>::infinity());
  std::fill(nearest, nearest + count, 0);
  float best_score[LANES];
  int32_t best_number[LANES];
  for (int64_t g = 0; g < router.groups; ++g) {
    const int64_t start = router.bounds[g], members = router.bounds[g + 1] - start;
    for (int64_t v = begin[g]; v < begin[g + 1]; v += LANES) {
      const int filled = static_cast<int>(std::min<int64_t>(LANES, begin[g + 1] - v));
      const int64_t* visiting = visitors.data() + v;
      for (int lane = 0; lane < LANES; ++lane) {
        const int64_t row = visiting[lane < filled ? lane : 0];
        best_score[lane] = best[row];
        best_number[lane] = nearest[row];
      }
      fill_tile(vectors, visiting, filled, dimension, tile.data());
      best_of_block(tile.data(), router.members + start * dimension, router.member_norms + start,
                    members, dimension, static_cast<int32_t>(start), best_score, best_number);
      for (int lane = 0; lane < filled; ++lane) {
        best[visiting[lane]] = best_score[lane];
        nearest[visiting[lane]] = best_number[lane];
      }
    }
  }
}

Array<int32_t> nearest(Array<float> vectors, Array<float> leaders, Array<float> leader_norms,
                       Array<float> members, Array<float> member_norms, Array<int64_t> bounds,
                       int probes, int threads) {
  const int64_t count = vectors.shape(0), dimension = vectors.shape(1);
  if (probes < 1 || probes > 32) throw std::invalid_argument("probes must be 1 to 32");
  Array<int32_t> result(count);
  const Router router{leaders.data(), leader_norms.data(), members.data(), member_norms.data(),
                      bounds.data(),  leaders.shape(0),    dimension,      probes};
  const float* x = vectors.data();
  int32_t* out = result.mutable_data();
  const int64_t chunk = std::clamp<int64_t>(count / (4 * threads), 256, 8192);
  py::gil_scoped_release release;
  in_threads(threads, (count + chunk - 1) / chunk, [&](int64_t block, int) {
    const int64_t first = block * chunk;
    nearest_in_chunk(router, x + first * dimension, std::min(chunk, count - first), out + first);
  });
  return result;
}

// sums[code] += vector, counts[code] += 1
void accumulate(Array<float> vectors, Array<int32_t> codes, Array<float> sums,
                Array<int64_t> counts) {
  const int64_t count = vectors.shape(0), dimension = vectors.shape(1);
  const float* x = vectors.data();
  const int32_t* code = codes.data();
  float* total = sums.mutable_data();
  int64_t* number = counts.mutable_data();
  py::gil_scoped_release release;
  for (int64_t i = 0; i < count; ++i) {
    float* row = total + code[i] * dimension;
    for (int64_t d = 0; d < dimension; ++d) row[d] += x[i * dimension + d];
    ++number[code[i]];
  }
}

// ------------------------------------------------------------------------------------- residuals
//
// A residual's D codes of `bits` bits stand in ceil(D / (8 / bits)) bytes, in planes: code p of byte
// j belongs to dimension p * bytes + j. Unpacking a plane is a shift and a mask of whole registers.

VECTORISED void bucket_numbers(const float* x, const float* centroid, const float* inverse_scale,
                               int64_t dimension, const float* cutoffs, int64_t cuts,
                               uint8_t* numbers) {
  float residual[1024];
  for (int64_t d = 0; d < dimension; ++d) residual[d] = (x[d] - centroid[d]) * inverse_scale[d];
  for (int64_t d = 0; d < dimension; ++d) numbers[d] = 0;
  for (int64_t cut = 0; cut < cuts; ++cut)
    for (int64_t d = 0; d < dimension; ++d) numbers[d] += residual[d] > cutoffs[cut];
}

Array<uint8_t> pack(Array<float> vectors, Array<int32_t> codes, Array<float> centroids,
                    Array<float> inverse_scale, Array<float> cutoffs, int bits, int threads) {
  const int64_t count = vectors.shape(0), dimension = vectors.shape(1), cuts = cutoffs.shape(0);
  if (dimension > 1024) throw std::invalid_argument("at most 1024 dimensions");
  const int64_t planes = 8 / bits, bytes = (dimension + planes - 1) / planes;
  Array<uint8_t> result({count, bytes});
  const float *x = vectors.data(), *c = centroids.data();
  const int32_t* code = codes.data();
  uint8_t* out = result.mutable_data();
  const float *scale = inverse_scale.data(), *cut = cutoffs.data();
  py::gil_scoped_release release;
  constexpr int64_t chunk = 1024;
  in_threads(threads, (count + chunk - 1) / chunk, [&](int64_t block, int) {
    uint8_t numbers[1024 + 8] = {};
    for (int64_t i = block * chunk; i < std::min((block + 1) * chunk, count); ++i) {
      bucket_numbers(x + i * dimension, c + code[i] * dimension, scale, dimension, cut, cuts, numbers);
      uint8_t* row = out + i * bytes;
      std::fill(row, row + bytes, 0);
      for (int64_t p = 0; p < planes; ++p)
        for (int64_t j = 0; j < bytes && p * bytes + j < dimension; ++j)
          row[j] |= static_cast<uint8_t>(numbers[p * bytes + j] << (p * bits));
    }
  });
  return result;
}

template <typename Code>
Array<float> unpack(Array<Code> codes, Array<uint8_t> residuals, Array<float> centroids,
                    Array<float> scale, Array<float> weights, int bits) {
  const int64_t count = codes.shape(0), dimension = centroids.shape(1), last = centroids.shape(0) - 1;
  const int64_t bytes = residuals.shape(1), mask = (1 << bits) - 1;
  Array<float> result({count, dimension});
  const Code* code = codes.data();
  const uint8_t* packed = residuals.data();
  const float *c = centroids.data(), *s = scale.data(), *w = weights.data();
  float* out = result.mutable_data();
  py::gil_scoped_release release;
  for (int64_t i = 0; i < count; ++i) {
    const float* centroid = c + std::min<int64_t>(code[i], last) * dimension;
    for (int64_t d = 0; d < dimension; ++d) {
      const int number = (packed[i * bytes + d % bytes] >> (d / bytes * bits)) & mask;
      out[i * dimension + d] = centroid[d] + s[d] * w[number];
    }
  }
  return result;
}

// ---------------------------------------------------------------------------------- inverted lists

// For each centroid the passages that have a vector there, rising, each once.
template <typename Code>
py::tuple invert(Array<Code> codes, Array<int64_t> offsets, int64_t centroids) {
  const int64_t passages = offsets.shape(0) - 1;
  const Code* code = codes.data();
  const int64_t* offset = offsets.data();
  Array<int64_t> bounds(centroids + 1);
  int64_t* bound = bounds.mutable_data();
  std::fill(bound, bound + centroids + 1, 0);
  std::vector<int64_t> seen(centroids, -1);
  for (int64_t p = 0; p < passages; ++p)
    for (int64_t t = offset[p]; t < offset[p + 1]; ++t)
      if (seen[code[t]] != p) {
        seen[code[t]] = p;
        ++bound[code[t] + 1];
      }
  for (int64_t c = 0; c < centroids; ++c) bound[c + 1] += bound[c];
  Array<uint32_t> lists(bound[centroids]);
  uint32_t* list = lists.mutable_data();
  std::vector<int64_t> place(bound, bound + centroids);
  std::fill(seen.begin(), seen.end(), -1);
  for (int64_t p = 0; p < passages; ++p)
    for (int64_t t = offset[p]; t < offset[p + 1]; ++t)
      if (seen[code[t]] != p) {
        seen[code[t]] = p;
        list[place[code[t]]++] = static_cast<uint32_t>(p);
      }
  return py::make_tuple(bounds, lists);
}

// ------------------------------------------------------------------------------------------ search

template <typename Code>
struct Index {
  const int64_t* offsets;  // (passages + 1)
  const Code* codes;       // (vectors)
  const uint8_t* residuals;
  const int64_t* list_bounds;  // (centroids + 1)
  const uint32_t* lists;
  const float* centroid;   // (centroids, dimension)
  const uint8_t* buckets;  // (2^bits) residual weights as unsigned bytes, 128 for zero
  int64_t passages, centroids, dimension;
  int64_t padded;  // the dimension that unpacked residuals have, a multiple of 4
  int64_t bytes;
  int bits;
};

struct Query {
  const float* tiles;      // (lanes / 16, dimension, 16) the query's vectors
  float* table;            // (centroids, lanes) their inner products with the centroids
  const int8_t* vectors;   // (lanes / 16, padded / 4, 16, 4) the same scaled and rounded
  const float* factors;    // (lanes) what a product of whole numbers is worth
  const float* shifts;     // (lanes) what the buckets' zero, 128, added too much
  int64_t count, lanes;    // query vectors, and the same rounded up to a multiple of 16
};

struct Found {
  float score;
  uint32_t passage;
};

constexpr int UNPACKED_SLACK = 64;

// One residual to `8 / bits` planes of unsigned weights.
VECTORISED void unpack_buckets(const uint8_t* packed, int64_t bytes, int bits, const uint8_t* buckets,
                               uint8_t* out) {
  const int mask = (1 << bits) - 1;
  for (int p = 0; p < 8 / bits; ++p)
    for (int64_t j = 0; j < bytes; ++j) out[p * bytes + j] = buckets[(packed[j] >> (p * bits)) & mask];
}

// best[lane] = max over a passage's vectors of table[code][lane] + factor[lane] * (bucket . query)
template <typename Code>
VECTORISED void max_sim_plain(const Index<Code>& index, const Query& query, int64_t begin, int64_t end,
                              uint8_t* scratch, float* best) {
  const int64_t groups = index.padded / 4, last = index.centroids - 1;
  for (int64_t lane = 0; lane < query.lanes; ++lane) best[lane] = -1e30f;
  for (int64_t t = begin; t < end; ++t) {
    unpack_buckets(index.residuals + t * index.bytes, index.bytes, index.bits, index.buckets, scratch);
    const float* base = query.table + std::min<int64_t>(index.codes[t], last) * query.lanes;
    for (int64_t block = 0; block < query.lanes; block += LANES) {
      int32_t sum[LANES] = {};
      const int8_t* q = query.vectors + block * index.padded;
      for (int64_t g = 0; g < groups; ++g)
        for (int lane = 0; lane < LANES; ++lane)
          for (int i = 0; i < 4; ++i) sum[lane] += scratch[4 * g + i] * q[(g * LANES + lane) * 4 + i];
      for (int lane = 0; lane < LANES; ++lane) {
        const float score = base[block + lane] + query.factors[block + lane] * sum[lane];
        best[block + lane] = std::max(best[block + lane], score);
      }
    }
  }
}

#ifdef X86
#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))

VNNI inline void unpack_nibbles(const uint8_t* packed, int64_t bytes, __m512i buckets, uint8_t* out) {
  const __m512i low = _mm512_set1_epi8(15);
  for (int shift = 0; shift < 8; shift += 4)  // a plane's last store runs over into what follows it
    for (int64_t j = 0; j < bytes; j += 64) {
      const __mmask64 kept = bytes - j >= 64 ? ~0ull : (1ull << (bytes - j)) - 1;
      const __m512i byte = _mm512_maskz_loadu_epi8(kept, packed + j);
      const __m512i number = _mm512_and_si512(_mm512_srli_epi16(byte, shift), low);
      _mm512_storeu_si512(out + shift / 4 * bytes + j, _mm512_shuffle_epi8(buckets, number));
    }
}

// ROWS passage vectors by BLOCKS registers of 16 query vectors: 8 sums at a time keep both of the
// processor's units for such products busy.
template <int ROWS, int BLOCKS, typename Code>
VNNI inline void max_sim_rows(const Index<Code>& index, const Query& query, int64_t first_lane,
                              const uint8_t* unpacked, int64_t width, const int64_t* rows,
                              __m512* best) {
  const int64_t groups = index.padded / 4, last = index.centroids - 1;
  __m512i sum[ROWS][BLOCKS];
  for (auto& row : sum)
    for (auto& block : row) block = _mm512_setzero_si512();
  const int8_t* q = query.vectors + first_lane * index.padded;
#pragma GCC unroll 4
  for (int64_t g = 0; g < groups; ++g) {
    __m512i lanes[BLOCKS];
    for (int b = 0; b < BLOCKS; ++b) lanes[b] = _mm512_loadu_si512(q + (b * groups + g) * 64);
    for (int r = 0; r < ROWS; ++r) {
      int32_t four;
      std::memcpy(&four, unpacked + r * width + 4 * g, 4);
      const __m512i weights = _mm512_set1_epi32(four);
      for (int b = 0; b < BLOCKS; ++b) sum[r][b] = _mm512_dpbusd_epi32(sum[r][b], weights, lanes[b]);
    }
  }
  for (int r = 0; r < ROWS; ++r) {
    const float* base =
        query.table + std::min<int64_t>(index.codes[rows[r]], last) * query.lanes + first_lane;
    for (int b = 0; b < BLOCKS; ++b) {
      const __m512 factor = _mm512_loadu_ps(query.factors + first_lane + b * LANES);
      const __m512 score = _mm512_fmadd_ps(factor, _mm512_cvtepi32_ps(sum[r][b]),
                                           _mm512_loadu_ps(base + b * LANES));
      best[b] = _mm512_max_ps(best[b], score);
    }
  }
}

template <typename Code>
VNNI void max_sim_vnni(const Index<Code>& index, const Query& query, int64_t begin, int64_t end,
                       uint8_t* scratch, float* best) {
  constexpr int ROWS = 8;
  const int64_t width = index.padded + UNPACKED_SLACK;
  const __m512i buckets = _mm512_broadcast_i32x4(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(index.buckets)));
  for (int64_t lane = 0; lane < query.lanes; ++lane) best[lane] = -1e30f;
  for (int64_t t = begin; t < end; t += ROWS) {
    int64_t rows[ROWS];
    for (int r = 0; r < ROWS; ++r) {
      rows[r] = std::min(t + r, end - 1);  // the last one again does not change a maximum
      const uint8_t* packed = index.residuals + rows[r] * index.bytes;
      __builtin_prefetch(packed + 2 * ROWS * index.bytes);
      if (index.bits == 4)
        unpack_nibbles(packed, index.bytes, buckets, scratch + r * width);
      else
        unpack_buckets(packed, index.bytes, index.bits, index.buckets, scratch + r * width);
    }
    int64_t lane = 0;
    for (; lane + 2 * LANES <= query.lanes; lane += 2 * LANES) {
      __m512 top[2] = {_mm512_loadu_ps(best + lane), _mm512_loadu_ps(best + lane + LANES)};
      max_sim_rows<4, 2>(index, query, lane, scratch, width, rows, top);
      max_sim_rows<4, 2>(index, query, lane, scratch + 4 * width, width, rows + 4, top);
      _mm512_storeu_ps(best + lane, top[0]);
      _mm512_storeu_ps(best + lane + LANES, top[1]);
    }
    if (lane < query.lanes) {
      __m512 top[1] = {_mm512_loadu_ps(best + lane)};
      max_sim_rows<8, 1>(index, query, lane, scratch, width, rows, top);
      _mm512_storeu_ps(best + lane, top[0]);
    }
  }
}

const bool HAS_VNNI = __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
#else
const bool HAS_VNNI = false;
#endif

bool use_vnni = HAS_VNNI;

template <typename Code>
float max_sim(const Index<Code>& index, const Query& query, uint32_t passage, uint8_t* scratch,
              float* best) {
  const int64_t begin = index.offsets[passage], end = index.offsets[passage + 1];
#ifdef X86
  if (use_vnni)
    max_sim_vnni(index, query, begin, end, scratch, best);
  else
#endif
    max_sim_plain(index, query, begin, end, scratch, best);
  float score = 0;
  for (int64_t lane = 0; lane < query.count; ++lane) score += best[lane] + query.shifts[lane];
  return score;
}

// Sum over the query's vectors of the highest level that any of a passage's centroids has.
// levels: (centroids, width), of which sizeof(Levels) columns from `levels` on are summed.
template <typename Levels, typename Code>
VECTORISED uint32_t highest_levels(const Code* codes, int64_t count, uint64_t last,
                                   const uint8_t* levels, int64_t width) {
  Levels best{};
  for (int64_t t = 0; t < count; ++t) {
    const uint64_t code = codes[t] < last ? codes[t] : last;
    const Levels row = *reinterpret_cast<const Levels*>(levels + code * width);
    best = row > best ? row : best;
  }
  uint32_t sum = 0;
  for (size_t i = 0; i < sizeof(Levels); ++i) sum += best[i];
  return sum;
}

template <typename Code>
uint32_t centroid_sim(const Index<Code>& index, const uint8_t* levels, int64_t width, uint32_t passage) {
  const int64_t begin = index.offsets[passage], count = index.offsets[passage + 1] - begin;
  const Code* codes = index.codes + begin;
  const uint64_t last = index.centroids - 1;
  uint32_t sum = 0;
  int64_t first = 0;
  for (; first + 32 <= width; first += 32)
    sum += highest_levels<Bytes32>(codes, count, last, levels + first, width);
  if (first < width) sum += highest_levels<Bytes16>(codes, count, last, levels + first, width);
  return sum;
}

// Widen low[lane] and high[lane] to the range of table[begin..end - 1][lane].
VECTORISED void widen_range(const float* table, int64_t begin, int64_t end, int64_t lanes, float* low,
                            float* high) {
  for (int64_t block = 0; block < lanes; block += LANES) {
    Floats least = *reinterpret_cast<Floats*>(low + block);
    Floats most = *reinterpret_cast<Floats*>(high + block);
    for (int64_t c = begin; c < end; ++c) {
      const Floats row = *reinterpret_cast<const Floats*>(table + c * lanes + block);
      least = row < least ? row : least;
      most = row > most ? row : most;
    }
    *reinterpret_cast<Floats*>(low + block) = least;
    *reinterpret_cast<Floats*>(high + block) = most;
  }
}

// levels[c][lane] = 255 for the lane's highest score, and one less for each step below it
VECTORISED void to_levels(const float* table, int64_t begin, int64_t end, int64_t lanes,
                          const float* high, float inverse_step, uint8_t* levels) {
  for (int64_t c = begin; c < end; ++c) {
    const float* row = table + c * lanes;
    uint8_t* out = levels + c * lanes;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const float level = 255.5f + (row[lane] - high[lane]) * inverse_step;
      out[lane] = static_cast<uint8_t>(static_cast<int32_t>(std::max(level, 0.0f)));
    }
  }
}

VECTORISED bool any_at_least(const uint8_t* levels, const uint8_t* thresholds, int64_t lanes) {
  uint8_t any = 0;
  for (int64_t lane = 0; lane < lanes; ++lane) any |= levels[lane] >= thresholds[lane];
  return any;
}

struct Settings {
  int64_t k, probes, candidates;
  int threads;
};

// What a query needs while it is answered; kept by the thread that answers, so that the next query
// finds its memory mapped.
struct Workspace {
  std::vector<float> table, low, high;
  std::vector<uint8_t> levels, thresholds, reached;
  std::vector<uint32_t> histograms;
};

struct Timings {
  double stages[6] = {};  // table, levels, probe, centroid scores, selection, residual scores: seconds
  int64_t probed = 0, reached = 0, scored = 0, centroid_vectors = 0, residual_vectors = 0;
};

// The `candidates` best of those found by the centroids alone.
void keep_best(std::vector<Found>& found, size_t count) {
  if (found.size() <= count) return;
  std::nth_element(found.begin(), found.begin() + count, found.end(), [](const Found& a, const Found& b) {
    return a.score != b.score ? a.score > b.score : a.passage < b.passage;
  });
  found.resize(count);
}

// allowed: (passages) nonzero where a passage may be found, of which there are `allowed_count`.
template <typename Code>
std::vector<Found> search_one(const Index<Code>& index, Query query, const uint8_t* allowed,
                              int64_t allowed_count, const Settings& settings, Workspace& workspace,
                              Timings& timings) {
  const int threads = settings.threads;
  const int64_t lanes = query.lanes, centroids = index.centroids, passages = index.passages;
  const bool score_all = allowed_count <= settings.candidates;
  constexpr int64_t centroid_block = 256, passage_block = 256, candidate_block = 8;
  const int64_t centroid_blocks = (centroids + centroid_block - 1) / centroid_block;
  const int64_t passage_blocks = (passages + passage_block - 1) / passage_block;

  auto& [table, low, high, levels, thresholds, reached, histograms] = workspace;
  table.resize(centroids * lanes);
  levels.resize(centroids * lanes);
  low.assign(threads * lanes, 1e30f);
  high.assign(threads * lanes, -1e30f);
  thresholds.assign(lanes, 255);
  reached.assign(passages, 0);
  histograms.assign(threads * lanes * 256, 0);
  query.table = table.data();
  float inverse_step = 0;
  std::vector<Found> found;
  std::vector<std::vector<Found>> parts(threads);
  std::vector<int64_t> centroid_vectors(threads), residual_vectors(threads), probed(threads);
  const auto job = std::make_shared<Job>();

  job->add(centroid_blocks, [&](int64_t block, int rank) {  // the table, and each lane's range
    const int64_t begin = block * centroid_block, end = std::min(begin + centroid_block, centroids);
    constexpr int64_t cached = 64;  // centroids that stay in the cache for all lanes
    for (int64_t c = begin; c < end; c += cached)
      for (int64_t lane = 0; lane < lanes; lane += LANES)
        scores_of_block(query.tiles + lane * index.dimension, index.centroid + c * index.dimension,
                        nullptr, std::min(cached, end - c), index.dimension,
                        query.table + c * lanes + lane, lanes);
    widen_range(query.table, begin, end, lanes, &low[rank * lanes], &high[rank * lanes]);
  });
  job->add(score_all ? 0 : 1, [&](int64_t, int) {
    float range = 1e-20f;
    for (int64_t lane = 0; lane < query.count; ++lane) {
      for (int r = 1; r < threads; ++r) {
        low[lane] = std::min(low[lane], low[r * lanes + lane]);
        high[lane] = std::max(high[lane], high[r * lanes + lane]);
      }
      range = std::max(range, high[lane] - low[lane]);
    }
    inverse_step = 255.0f / range;
  });
  job->add(score_all ? 0 : centroid_blocks, [&](int64_t block, int rank) {  // the levels
    const int64_t begin = block * centroid_block, end = std::min(begin + centroid_block, centroids);
    to_levels(query.table, begin, end, lanes, high.data(), inverse_step, levels.data());
    uint32_t* histogram = &histograms[rank * lanes * 256];
    for (int64_t c = begin; c < end; ++c) {
      for (int64_t lane = 0; lane < query.count; ++lane)
        ++histogram[lane * 256 + levels[c * lanes + lane]];
      // lanes that only fill up a register count nowhere
      std::fill(&levels[c * lanes + query.count], &levels[c * lanes] + lanes, 0);
    }
  });
  job->add(score_all ? 0 : 1, [&](int64_t, int) {
    for (int64_t lane = 0; lane < query.count; ++lane) {
      int level = 255;
      for (int64_t above = 0; level > 0; --level) {
        for (int r = 0; r < threads; ++r) above += histograms[(r * lanes + lane) * 256 + level];
        if (above >= settings.probes) break;
      }
      thresholds[lane] = static_cast<uint8_t>(level);
    }
  });
  job->add(score_all ? 0 : centroid_blocks, [&](int64_t block, int rank) {  // the lists
    const int64_t begin = block * centroid_block, end = std::min(begin + centroid_block, centroids);
    for (int64_t c = begin; c < end; ++c) {
      if (!any_at_least(&levels[c * lanes], thresholds.data(), lanes)) continue;
      ++probed[rank];
      for (int64_t i = index.list_bounds[c]; i < index.list_bounds[c + 1]; ++i)
        if (index.lists[i] < passages)
          std::atomic_ref<uint8_t>(reached[index.lists[i]]).store(1, std::memory_order_relaxed);
    }
  });
  job->add(score_all ? 0 : passage_blocks, [&](int64_t block, int rank) {  // by centroids alone
    const int64_t begin = block * passage_block, end = std::min(begin + passage_block, passages);
    for (int64_t p = begin; p < end; ++p) {
      if (!reached[p] || !allowed[p]) continue;
      centroid_vectors[rank] += index.offsets[p + 1] - index.offsets[p];
      const uint32_t sum = centroid_sim(index, levels.data(), lanes, static_cast<uint32_t>(p));
      parts[rank].push_back({static_cast<float>(sum), static_cast<uint32_t>(p)});
    }
  });
  job->add(1, [&](int64_t, int) {  // whom to score with residuals, in the order of the files
    for (const auto& part : parts) found.insert(found.end(), part.begin(), part.end());
    // where the lists led to too few, all that are allowed
    const bool enough = static_cast<int64_t>(found.size()) >= std::min(settings.k, allowed_count);
    for (int64_t p = 0; p < passages && !(enough && !score_all); ++p)
      if (allowed[p] && (score_all || !reached[p]))
        found.push_back({score_all ? 0.0f
                                   : static_cast<float>(centroid_sim(index, levels.data(), lanes,
                                                                     static_cast<uint32_t>(p))),
                         static_cast<uint32_t>(p)});
    timings.reached = found.size();
    keep_best(found, settings.candidates);
    std::sort(found.begin(), found.end(),
              [](const Found& a, const Found& b) { return a.passage < b.passage; });
    job->stages.back().blocks = (found.size() + candidate_block - 1) / candidate_block;
  });
  job->add(0, [&](int64_t block, int rank) {
    thread_local std::vector<uint8_t> scratch;
    thread_local std::vector<float> best;
    scratch.resize(8 * (index.padded + UNPACKED_SLACK));
    best.resize(lanes);
    const size_t begin = block * candidate_block, end = std::min(begin + candidate_block, found.size());
    for (size_t i = begin; i < end; ++i) {
      const uint32_t p = found[i].passage;
      residual_vectors[rank] += index.offsets[p + 1] - index.offsets[p];
      if (i + 1 < end) {
        const uint8_t* ahead = index.residuals + index.offsets[found[i + 1].passage] * index.bytes;
        for (int64_t line = 0; line < 16 * index.bytes; line += 64) __builtin_prefetch(ahead + line);
      }
      found[i].score = max_sim(index, query, p, scratch.data(), best.data());
    }
  });

  double before = now();
  Pool::run(job, threads);
  constexpr int names[] = {0, 1, 1, 2, 2, 3, 4, 5};  // stages of the job to stages that are shown
  for (size_t i = 0; i < job->stages.size(); ++i) {
    if (job->stages[i].blocks == 0) continue;
    timings.stages[names[i]] += job->stages[i].finished - before;
    before = job->stages[i].finished;
  }
  timings.scored = found.size();
  for (int r = 0; r < threads; ++r) {
    timings.probed += probed[r];
    timings.centroid_vectors += centroid_vectors[r];
    timings.residual_vectors += residual_vectors[r];
  }
  keep_best(found, settings.k);
  return found;
}

// A query in the order of the kernels: as it is, and scaled by the residuals' scale and rounded to
// bytes.
struct PreparedQuery {
  std::vector<int8_t> vectors;
  std::vector<float> tiles, factors, shifts;

  PreparedQuery(const float* query, int64_t count, int64_t lanes, int64_t dimension, int64_t padded,
               const float* scale, float bucket_step)
      : vectors(lanes * padded), tiles(lanes * dimension), factors(lanes), shifts(lanes) {
    std::vector<float> scaled(dimension);
    for (int64_t lane = 0; lane < count; ++lane) {
      float most = 1e-20f;
      float* tile = tiles.data() + lane / LANES * LANES * dimension + lane % LANES;
      for (int64_t d = 0; d < dimension; ++d) {
        tile[d * LANES] = query[lane * dimension + d];
        scaled[d] = query[lane * dimension + d] * scale[d];
        most = std::max(most, std::abs(scaled[d]));
      }
      int64_t sum = 0;
      int8_t* block = vectors.data() + lane / LANES * LANES * padded;
      for (int64_t d = 0; d < dimension; ++d) {
        const int rounded = static_cast<int>(std::lround(scaled[d] * 127 / most));
        block[(d / 4 * LANES + lane % LANES) * 4 + d % 4] = static_cast<int8_t>(rounded);
        sum += rounded;
      }
      factors[lane] = bucket_step * most / 127;
      shifts[lane] = -128.0f * factors[lane] * sum;
    }
  }
};

template <typename Code>
py::tuple search(Array<float> queries, Array<int64_t> query_offsets, Array<int64_t> offsets,
                 Array<Code> codes, Array<uint8_t> residuals, Array<float> centroids, Array<int64_t> list_bounds, Array<uint32_t> lists,
                 Array<float> scale, Array<uint8_t> buckets, float bucket_step, int bits,
                 Array<uint8_t> allowed, int64_t k, int64_t probes, int64_t candidates, int threads) {
  const int64_t count = query_offsets.shape(0) - 1, dimension = queries.shape(1);
  const int64_t planes = 8 / bits, bytes = residuals.shape(1);
  // what is unpacked is planes * bytes long, and products are taken in fours
  const int64_t padded = (planes * bytes + 3) / 4 * 4;
  const Index<Code> index{offsets.data(),  codes.data(),     residuals.data(), list_bounds.data(),
                          lists.data(),    centroids.data(), buckets.data(),   offsets.shape(0) - 1,
                          centroids.shape(0), dimension,     padded,           bytes,
                          bits};
  const float* q = queries.data();
  const int64_t* starts = query_offsets.data();
  const uint8_t* may = allowed.data();
  const float* scales = scale.data();
  std::vector<std::vector<Found>> results(count);
  std::vector<Timings> timings(count);
  {
    py::gil_scoped_release release;
    const int64_t allowed_count = std::count_if(may, may + index.passages, [](uint8_t a) { return a; });
    const auto answer = [&](int64_t i, int threads_each) {
      thread_local Workspace workspace;
      const int64_t vectors = starts[i + 1] - starts[i], lanes = (vectors + LANES - 1) / LANES * LANES;
      const PreparedQuery prepared(q + starts[i] * dimension, vectors, lanes, dimension, padded, scales,
                                   bucket_step);
      const Query query{prepared.tiles.data(),   nullptr, prepared.vectors.data(),
                        prepared.factors.data(), prepared.shifts.data(), vectors, lanes};
      results[i] = search_one(index, query, may, allowed_count, {k, probes, candidates, threads_each},
                              workspace, timings[i]);
    };
    if (count >= threads) {
      in_threads(threads, count, [&](int64_t i, int) { answer(i, 1); });
    } else {
      for (int64_t i = 0; i < count; ++i) answer(i, threads);
    }
  }
  py::list rankings;
  for (const auto& result : results) {
    Array<int64_t> places(static_cast<py::ssize_t>(result.size()));
    Array<float> scores(static_cast<py::ssize_t>(result.size()));
    for (size_t i = 0; i < result.size(); ++i) {
      places.mutable_data()[i] = result[i].passage;
      scores.mutable_data()[i] = result[i].score;
    }
    rankings.append(py::make_tuple(places, scores));
  }
  Timings sum;
  for (const auto& each : timings) {
    for (int stage = 0; stage < 6; ++stage) sum.stages[stage] += each.stages[stage];
    sum.probed += each.probed;
    sum.reached += each.reached;
    sum.scored += each.scored;
    sum.centroid_vectors += each.centroid_vectors;
    sum.residual_vectors += each.residual_vectors;
  }
  py::dict work;
  const char* names[] = {"table", "levels", "probe", "centroids", "selection", "residuals"};
  py::dict seconds;
  for (int stage = 0; stage < 6; ++stage) seconds[names[stage]] = sum.stages[stage];
  work["seconds"] = seconds;
  work["centroids_probed"] = sum.probed;
  work["passages_reached"] = sum.reached;
  work["passages_scored"] = sum.scored;
  work["vectors_by_centroid"] = sum.centroid_vectors;
  work["vectors_by_residual"] = sum.residual_vectors;
  return py::make_tuple(rankings, work);
}

// Whether residuals are scored by the AVX-512 VNNI loop; turned off to test the other one.
bool set_vnni(bool wanted) {
  use_vnni = wanted && HAS_VNNI;
  return use_vnni;
}

}  // namespace

PYBIND11_MODULE(kernels, module) {
  module.doc() = "The hot loops of the multi-vector engine; see kernels.pyi.";
  const auto strict = [](const char* name) { return py::arg(name).noconvert(); };
  module.def("nearest", &nearest, strict("vectors"), strict("leaders"), strict("leader_norms"),
             strict("members"), strict("member_norms"), strict("bounds"), py::arg("probes"),
             py::arg("threads"));
  module.def("accumulate", &accumulate, strict("vectors"), strict("codes"), strict("sums"),
             strict("counts"));
  module.def("pack", &pack, strict("vectors"), strict("codes"), strict("centroids"),
             strict("inverse_scale"), strict("cutoffs"), py::arg("bits"), py::arg("threads"));
  module.def("unpack", &unpack<uint16_t>, strict("codes"), strict("residuals"), strict("centroids"),
             strict("scale"), strict("weights"), py::arg("bits"));
  module.def("unpack", &unpack<uint32_t>, strict("codes"), strict("residuals"), strict("centroids"),
             strict("scale"), strict("weights"), py::arg("bits"));
  module.def("invert", &invert<uint16_t>, strict("codes"), strict("offsets"), py::arg("centroids"));
  module.def("invert", &invert<uint32_t>, strict("codes"), strict("offsets"), py::arg("centroids"));
  module.def("search", &search<uint16_t>, strict("queries"), strict("query_offsets"), strict("offsets"),
             strict("codes"), strict("residuals"), strict("centroids"), strict("list_bounds"), strict("lists"), strict("scale"), strict("buckets"),
             py::arg("bucket_step"), py::arg("bits"), strict("allowed"), py::arg("k"),
             py::arg("probes"), py::arg("candidates"), py::arg("threads"));
  module.def("search", &search<uint32_t>, strict("queries"), strict("query_offsets"), strict("offsets"),
             strict("codes"), strict("residuals"), strict("centroids"), strict("list_bounds"), strict("lists"), strict("scale"), strict("buckets"),
             py::arg("bucket_step"), py::arg("bits"), strict("allowed"), py::arg("k"),
             py::arg("probes"), py::arg("candidates"), py::arg("threads"));
  module.def("set_vnni", &set_vnni, py::arg("wanted"));
}
